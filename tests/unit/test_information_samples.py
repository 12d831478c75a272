"""Neighbours, correlations, counts; tasks with known truth; what an estimate says of bad data."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import digamma

from coview.data.scenes import Scenes, discrete
from coview.information import (
    REGIMES,
    Estimate,
    additive_uniform,
    benchmark_tasks,
    bimodal,
    bivariate,
    canonical,
    class_images,
    class_pairs,
    cube,
    dense,
    gaussian_bias,
    half_cube,
    ksg,
    mapped,
    plug_in,
    regime_cases,
    regime_task,
    samples,
    scene_views,
    sparse,
    spiral,
    staircase,
    student,
    swiss_roll,
    uniform_mixture,
    wiggly_x,
    wiggly_y,
)
from coview.information.estimate import repeats, value_warnings
from coview.random import generator


def ksg_loops(x, y, k, variant):
    x, y = ((side - side.mean(0)) / side.std(0) for side in (x, y))
    n, total = len(x), 0.0
    for i in range(n):
        dx, dy = (((side - side[i]) ** 2).sum(1) ** 0.5 for side in (x, y))
        nearest = [j for j in np.argsort(np.maximum(dx, dy)) if j != i][:k]
        if variant == 1:
            reach = max(dx[nearest[-1]], dy[nearest[-1]])
            counts = [sum(d[j] < reach or d[j] == 0 for j in range(n) if j != i) for d in (dx, dy)]
            total += digamma(counts[0] + 1) + digamma(counts[1] + 1)
        else:
            counts = [sum(d[j] <= max(d[nearest]) for j in range(n) if j != i) for d in (dx, dy)]
            total += digamma(counts[0]) + digamma(counts[1]) + 1 / k
    return digamma(k) + digamma(n) - total / n


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("columns", [(3, 3), (1, 3), (2, 1), (1, 1)])
def test_ksg_is_its_loops(variant, k, columns, monkeypatch):
    monkeypatch.setattr(samples, "_BLOCK", 50)
    x, y = (side[:, :kept] for side, kept in zip(sparse(3).sample(120, 0), columns, strict=True))
    found = ksg(x, y, neighbours=k, variant=variant)
    assert found.value == pytest.approx(ksg_loops(x, y, k, variant), abs=1e-10)


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize(
    "task",
    [
        bivariate(0.75),
        bivariate(0.0),
        additive_uniform(0.75),
        mapped(bivariate(), "wiggly", wiggly_x, wiggly_y),
        mapped(bivariate(), "bimodal", bimodal(0.3, 0.0, 5.0), bimodal(0.5, -1.0, 3.0)),
    ],
    ids=lambda t: t.name if hasattr(t, "name") else None,
)
def test_ksg_finds_known_values(variant, task):
    found = ksg(*task.sample(3000, 1), variant=variant)
    assert found.value == pytest.approx(task.information, abs=4 * found.standard_error)
    assert found.kind == "point"
    assert found.warnings == ()


@pytest.mark.parametrize("variant", [1, 2])
def test_ksg_with_copies_keeps_its_ceiling_and_a_constant_column_changes_nothing(variant):
    rng = generator("copies")
    x, y = (np.repeat(rng.normal(size=(60, 1)), 10, 0) for _ in "xy")
    found = ksg(x, y, variant=variant)
    wide = ksg(np.hstack([x, np.ones_like(x)]), y, variant=variant)
    assert wide.value == pytest.approx(found.value, abs=1e-12)
    assert found.ceiling is not None
    assert found.value <= found.ceiling + 1e-9
    whole = rng.integers(0, 5, (300, 2)).astype(float)
    assert ksg(whole, whole[:, :1], variant=1).value < np.log(5) + 0.2


@pytest.mark.parametrize("variant", [1, 2])
def test_ksg_does_not_see_a_rotation(variant):
    x, y = dense(5).sample(400, 0)
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T, bias=True))).T  # white
    turned = x @ np.linalg.qr(generator("turn").normal(size=(5, 5)))[0]
    assert ksg(turned, y, variant=variant).value == pytest.approx(
        ksg(x, y, variant=variant).value, abs=1e-9
    )


@pytest.mark.parametrize("variant", [1, 2])
def test_ksg_saturates_at_its_ceiling(variant):
    x = generator("line").normal(size=500)
    found = ksg(x, 2 * x, variant=variant)
    assert found.ceiling is not None
    assert found.value <= found.ceiling + 1e-9
    assert any("saturated" in warning for warning in found.warnings)
    assert "ceiling ψ(500) − ψ(5)" in str(found)


@pytest.mark.parametrize(
    "task", [bivariate(), sparse(5), dense(10), staircase(20, 4.0)], ids=lambda task: task.name
)
def test_canonical_is_exact_for_gaussians(task):
    found = canonical(*task.sample(4000, 2))
    assert found.value == pytest.approx(task.information, abs=4 * found.standard_error)
    plain = canonical(*task.sample(4000, 2), corrected=False)
    x, y = task.sample(4000, 2)
    joint = np.corrcoef(np.hstack([x, y]).T)
    d = x.shape[1]
    parts = [np.linalg.slogdet(m)[1] for m in (joint[:d, :d], joint[d:, d:], joint)]
    assert plain.value == pytest.approx(0.5 * (parts[0] + parts[1] - parts[2]), abs=1e-9)


def test_the_bias_of_canonical_is_exact():
    """100 samples of 60 pairs in 5 + 5 dimensions: uncorrected is .26 above, corrected is not."""
    task = sparse(5)
    found = [canonical(*task.sample(60, seed)).value for seed in range(100)]
    spread = float(np.std(found)) / 10
    assert np.mean(found) == pytest.approx(task.information, abs=3.5 * spread)
    assert gaussian_bias(60, 5, 5) > 7 * spread
    assert gaussian_bias(12, 1, 1) == pytest.approx(
        0.5 * (digamma(5.5) - digamma(5.0))
    )  # r² is Beta
    assert gaussian_bias(100_000, 5, 4) == pytest.approx(20 / 200_000, rel=1e-2)


@pytest.mark.parametrize("measure", [canonical, ksg, plug_in], ids=lambda f: f.__name__)
def test_the_standard_error_is_that_of_repetition(measure):
    task = bivariate(0.6)

    def once(seed):
        x, y = task.sample(600, seed)
        return measure(x > 0, y > 0.5) if measure is plug_in else measure(x, y)

    estimates = [once(seed) for seed in range(60)]
    truth = np.std([e.value for e in estimates], ddof=1)
    claimed = math.sqrt(np.mean([e.standard_error**2 for e in estimates]))
    assert 0.75 < claimed / truth < 1.5


@pytest.mark.parametrize("regime", list(REGIMES))
def test_the_discrete_table_is_exact(regime):
    """I(v1; v2), I(v; y) and I(v1; v2 | y) of InfoMin's regimes."""
    first, second, y = regime_cases(regime)
    shared, of_task = REGIMES[regime]
    assert plug_in(first, second).value == pytest.approx(shared, abs=1e-12)
    assert plug_in(first, y).value == pytest.approx(of_task, abs=1e-12)
    assert plug_in(second, y).value == pytest.approx(of_task, abs=1e-12)
    with_y = plug_in(np.hstack([first, y[:, None]]), second).value
    given_y = with_y - plug_in(y, second).value
    table = {"missing": 0, "sweet spot": 0, "excess": 1.386, "noise": 1.386, "full": 4.159}
    assert given_y == pytest.approx(table[regime], abs=5e-4)
    printed = {"missing": 1.609, "sweet spot": 2.303, "excess": 3.689, "noise": 1.386}
    assert round(shared, 3) == (printed | {"full": 6.461})[regime]
    x, y = regime_task(regime).sample(50, 0)
    columns = {"excess": 3, "full": 4}.get(regime, 2)
    assert x.sum(1).tolist() == y.sum(1).tolist() == [columns] * 50


def test_miller_and_madow_remove_most_of_the_bias():
    rng = generator("counts")
    plain, corrected = [], []
    for _ in range(100):
        x, y = rng.integers(4, size=200), rng.integers(5, size=200)
        plain.append(plug_in(x, y).value)
        corrected.append(plug_in(x, y, corrected=True).value)
    assert np.mean(plain) == pytest.approx(12 / 400, rel=0.15)
    assert abs(np.mean(corrected)) < 0.15 * np.mean(plain)


def test_plug_in_is_the_formula_of_the_table():
    rng = generator("table")
    x, y = rng.integers(4, size=(300, 2)), rng.integers(5, size=300)
    table = np.zeros((16, 5))
    np.add.at(table, (4 * x[:, 0] + x[:, 1], y), 1 / 300)
    assert plug_in(x, y).value == pytest.approx(discrete(table), abs=1e-12)
    many = np.arange(60_000)  # a table of them has 29 GB
    assert plug_in(many, many // 2).value == pytest.approx(math.log(30_000))


def test_one_symbol_is_reported():
    found = plug_in(np.zeros(20, dtype=int), np.arange(20) % 3)
    assert found.value == pytest.approx(0.0, abs=1e-12)
    assert "x has one symbol: nothing can be shared" in found.warnings
    assert not any("y has one symbol" in warning for warning in found.warnings)


def test_ties_in_one_side_are_reported_of_variant_2():
    x, y = bivariate(0.8).sample(400, 0)
    tied = np.round(x)
    said = ["variant 2 is too low" in " ".join(ksg(tied, y, variant=v).warnings) for v in (1, 2)]
    assert said == [False, True]
    assert ksg(tied, y, variant=2).value < ksg(tied, y, variant=1).value - 0.1
    assert ksg(x, y, variant=2).warnings == ()


@pytest.mark.parametrize(
    "kind", [torch.float64, torch.bfloat16, torch.uint8, torch.bool, torch.int64]
)
def test_repeats_are_counted_in_any_type(kind):
    x = (torch.arange(1200)[:, None] // torch.tensor([1, 2, 4, 8]).cumprod(0) % 2).to(kind)
    y = torch.arange(1200) % 3
    expected = 1200 - len({(*r, int(c)) for r, c in zip(map(tuple, x.tolist()), y, strict=True)})
    assert repeats(x, y[:, None]) == expected > 0
    if kind.is_floating_point:
        assert repeats(torch.tensor([[0.0], [-0.0]]).to(kind)) == 1


def test_too_many_symbols_are_reported():
    x = np.arange(50)
    found = plug_in(x, x)
    assert found.value == pytest.approx(math.log(50))
    assert any("most are seen once" in warning for warning in found.warnings)
    assert plug_in(x % 3, x % 3).warnings == ()


@pytest.mark.parametrize("freedom", [1.0, 3.0])
@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_students_information_is_the_mean_log_ratio(freedom, correlation):
    dim = 2
    task = student(dim, freedom, correlation)
    x, y = task.sample(40_000, 3)
    shape = np.eye(4)
    for i in range(2):
        shape[i, 2 + i] = shape[2 + i, i] = correlation
    both = stats.multivariate_t(np.zeros(4), shape, df=freedom).logpdf(np.hstack([x, y]))
    one = stats.multivariate_t(np.zeros(2), np.eye(2), df=freedom)
    ratio = both - one.logpdf(x) - one.logpdf(y)
    error = ratio.std() / math.sqrt(len(x))
    assert ratio.mean() == pytest.approx(task.information, abs=4 * error)


def test_other_tasks_by_their_log_ratios():
    x, y = additive_uniform(0.3).sample(50_000, 0)
    density = np.minimum(np.minimum(y + 0.3, 1.3 - y), 0.6) / 0.6
    ratio = -np.log(0.6) - np.log(density)
    assert ratio.mean() == pytest.approx(additive_uniform(0.3).information, abs=0.01)
    assert additive_uniform(0.5).information == pytest.approx(0.5)
    assert additive_uniform(0.5 + 1e-9).information == pytest.approx(0.5)
    x, y = uniform_mixture(5).sample(50_000, 0)
    cell = np.floor(y)
    assert plug_in(x.astype(int), cell.astype(int)).value == pytest.approx(
        uniform_mixture(5).information, abs=0.01
    )
    assert bivariate(0.75).information == pytest.approx(0.4133, abs=1e-4)


def test_maps_can_be_undone():
    x = generator("maps").normal(size=(500, 3))
    for rising in (cube, half_cube, wiggly_x, wiggly_y, bimodal(0.3, 0.0, 5.0)):
        column = np.sort(x[:, 0])
        assert (np.diff(rising(column)) > 0).all()
    turned = spiral(x)
    np.testing.assert_allclose((turned**2).sum(1), (x**2).sum(1))
    np.testing.assert_allclose(spiral(turned, speed=-0.25), x)
    u = np.linspace(0, 1, 300)[:, None]
    radius = np.linalg.norm(swiss_roll(u), axis=1)
    np.testing.assert_allclose(radius * 21 / (1.5 * np.pi) / 2 - 0.5, u[:, 0], atol=1e-12)
    mixture = bimodal(0.3, 0.0, 5.0)(generator("mixture").normal(size=20_000))
    assert np.mean(mixture < 2.5) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("flip", [0.0, 0.2])
def test_images_hold_the_information_of_their_classes(flip):
    task = class_images(6, flip)
    first, second = task.sample(20_000, 0)
    assert first.shape == (20_000, 1, 16, 16)
    assert first.min() >= 0
    assert first.max() <= 1
    means = [i.reshape(-1, 4, 4, 4, 4).mean((2, 4)).reshape(-1, 16) for i in (first, second)]
    classes = [m.argmax(1) for m in means]
    assert np.mean(classes[0] != classes[1]) == pytest.approx(flip, abs=0.01)
    assert plug_in(*classes).value == pytest.approx(task.information, abs=0.02)
    two = class_images(2, 0.3)
    bits = -0.3 * math.log(0.3) - 0.7 * math.log(0.7)
    assert two.information == pytest.approx(math.log(2) - bits)


@pytest.mark.parametrize("flip", [0.0, 0.3, 1.0])
def test_pairs_of_a_class_hold_its_information(flip):
    rng = generator("labels")
    labels = rng.choice(3, 60_000, p=[0.5, 0.3, 0.2])
    task = class_pairs(np.arange(60_000.0)[:, None], labels, flip)
    first, second = (side[:, 0].astype(int) for side in task.sample(20_000, 0))
    assert len(set(first) | set(second)) == 40_000
    assert np.mean(labels[first] != labels[second]) == pytest.approx(flip, abs=0.01)
    shares = np.bincount(labels) / len(labels)
    joint = np.diag(shares) * (1 - flip)
    for one in range(3):
        for other in range(3):
            joint[one, other] += (one != other) * shares[one] * flip / 2
    assert task.information == pytest.approx(discrete(joint), rel=1e-12)
    found = plug_in(labels[first], labels[second])
    assert found.value == pytest.approx(task.information, abs=0.01)


def test_pairs_of_a_class_need_images_enough():
    rows, labels = np.arange(40.0)[:, None], np.arange(40) % 4
    assert len(class_pairs(rows, labels).sample(8, 0)[0]) == 8
    for n in (25, 41):
        with pytest.raises(ValueError, match=f"too few images for {n} pairs: class"):
            class_pairs(rows, labels).sample(n, 0)
    for arguments in (
        (rows, labels[1:]),
        (rows, labels - 1),
        (rows, 2 * labels),
        (rows, 0 * labels),
        (rows, labels, 1.5),
    ):
        with pytest.raises(ValueError, match="labels must"):
            class_pairs(*arguments)


def test_views_of_scenes_share_what_is_said():
    task = scene_views(("shape", "background"), Scenes(size=16, grid=1, scales=1))
    assert task.information == pytest.approx(math.log(8) + math.log(8))
    first, second = task.sample(40, 3)
    assert first.shape == second.shape == (40, 3, 16, 16)
    assert first.dtype == np.float32
    assert 0 <= first.min() < first.max() <= 1
    assert not np.array_equal(first, second)
    alike = scene_views(Scenes().factors, Scenes(size=32)).sample(20, 0)
    np.testing.assert_array_equal(*alike)
    with pytest.raises(ValueError, match="colours"):
        scene_views(("colours",))


def test_draws_depend_on_the_seed_alone():
    more = uniform_mixture(), regime_task("excess"), scene_views()
    mine = class_pairs(np.arange(400.0)[:, None], np.arange(400) % 4)
    for task in (*benchmark_tasks(), *more, mine):
        first, again, other = task.sample(20, 1), task.sample(20, 1), task.sample(20, 2)
        for a, b, c in zip(first, again, other, strict=True):
            assert len(a) == 20
            np.testing.assert_array_equal(a, b)
            assert not np.array_equal(a, c)
    assert len({task.name for task in benchmark_tasks()}) == 10


def test_additive_over_independent_pairs():
    x, y = bivariate(0.8).sample(3000, 0)
    u, v = bivariate(0.5).sample(3000, 1)
    both = np.hstack([x, u]), np.hstack([y, v])
    for measure in (ksg, canonical):
        whole, parts = measure(*both), [measure(x, y), measure(u, v)]
        margin = 4 * math.hypot(*(p.standard_error for p in parts), whole.standard_error)
        assert whole.value == pytest.approx(sum(p.value for p in parts), abs=margin + 0.03)


def test_cropping_and_processing_only_lose():
    x, y = staircase(6, 2.0).sample(3000, 0)
    values = [canonical(x[:, :kept], y).value for kept in (6, 4, 2, 1)]
    assert values == sorted(values, reverse=True)
    values = [ksg(x[:, :kept], y[:, :2]).value for kept in (2, 1)]
    assert values == sorted(values, reverse=True)
    noise = generator("noise").normal(size=(2, *y.shape))
    values = [canonical(x, y).value]
    for step in noise:
        y = y + step
        values.append(canonical(x, y).value)
    assert values == sorted(values, reverse=True)


X, Y = sparse(3).sample(100, 0)
MEASURES = pytest.mark.parametrize("measure", [ksg, canonical], ids=lambda f: f.__name__)


@MEASURES
def test_constant_columns_and_copies_are_reported(measure):
    constant = np.hstack([X, np.ones((100, 2))])
    found = measure(constant, Y)
    assert any("x has 2 constant of 5 columns" in warning for warning in found.warnings)
    if measure is canonical:
        assert found.value == pytest.approx(canonical(X, Y).value)
    copied = measure(np.vstack([X, X[:10]]), np.vstack([Y, Y[:10]]))
    assert any("10 of 110 pairs repeat" in warning for warning in copied.warnings)
    assert not any("repeat" in warning for warning in measure(X, Y).warnings)


def test_nothing_varies():
    found = canonical(np.ones((20, 2)), Y[:20])
    assert found.value == 0
    assert any("constant" in warning for warning in found.warnings)


@MEASURES
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_errors(measure, value):
    broken = X.copy()
    broken[7, 1] = value
    with pytest.raises(ValueError, match=r"x has values that are not finite, first in rows \[7\]"):
        measure(broken, Y)


@pytest.mark.parametrize("measure", [ksg, canonical, plug_in], ids=lambda f: f.__name__)
def test_unpaired_lengths_are_errors(measure):
    with pytest.raises(ValueError, match="got 100 and 99 rows"):
        measure(X > 0, Y[:99] > 0)
    with pytest.raises(ValueError, match="n >= 4"):
        measure(X[:3], Y[:3])


def test_fewer_pairs_than_dimensions():
    x, y = dense(10).sample(15, 0)
    with pytest.raises(ValueError, match="more pairs than dimensions \\+ 1 = 21, got 15"):
        canonical(x, y)
    more = dense(10).sample(150, 0)
    assert any("under 10 each" in warning for warning in canonical(*more).warnings)
    assert any(
        "15 pairs are too few for 20 dimensions" in warning for warning in ksg(x, y).warnings
    )


def test_a_copy_is_infinite_for_canonical():
    found = canonical(X, X[:, :1])
    assert found.value == math.inf
    assert any("infinite" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: ksg(X, Y, neighbours=0), "neighbours must be from 1"),
        (lambda: ksg(X, Y, neighbours=100), "neighbours must be from 1 to n - 1 = 99"),
        (lambda: plug_in(X, Y), "whole numbers"),
        (lambda: staircase(0), "dim must be"),
        (lambda: staircase(3, -1.0), "information at least 0"),
        (lambda: student(2, 0.0), "freedom"),
        (lambda: additive_uniform(0.0), "epsilon"),
        (lambda: uniform_mixture(0), "values"),
        (lambda: class_images(17), "classes from 2"),
        (lambda: class_images(4, 1.5), "flip from 0 to 1"),
    ],
    ids=range(10),
)
def test_bad_arguments(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_tensors_and_arrays_are_alike():
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    assert ksg(x, y) == ksg(X, Y)
    assert canonical(x[:, 0], y) == canonical(X[:, 0], Y)


def test_an_estimate_prints_its_ceiling_beside_its_value():
    estimate = Estimate(
        value=3.91, standard_error=0.05, kind="lower bound", ceiling=math.log(64),
        ceiling_name="log 64", n=640, estimator="infonce",
    )  # fmt: skip
    assert str(estimate) == "3.91 ± 0.05 nats (lower bound, ceiling log 64 = 4.16)"


def test_values_on_the_wrong_side_of_nothing_are_doubted():
    def told(value, kind):
        return value_warnings(value, 0.1, None, 100, kind)

    assert told(-0.1, "upper bound")[0].startswith("below 0, which no upper bound can be")
    assert told(-0.5, "lower bound")[0].startswith("below 0, less than knowing nothing")
    assert not told(-0.2, "lower bound") + told(-0.5, "point") + told(0.1, "upper bound")


@pytest.mark.parametrize("kind", ["lower bound", "point", "upper bound"])
def test_a_value_that_a_few_pairs_decide_is_doubted(kind):
    (said,) = value_warnings(2.0, 1.01, None, 100, kind)
    assert said == "the error is above 1 nat: a few pairs decide the value"
    assert not value_warnings(2.0, 0.99, None, 100, kind)
    assert not value_warnings(2.0, 5.0, None, 100, kind, unit="1")


def test_arrays_as_files_and_slices_give_them():
    x, y = (generator("layout", i).normal(size=(200, 2)) for i in range(2))
    plain = ksg(x[::-1].copy(), y[::-1].copy())
    assert ksg(x[::-1], y[::-1]) == plain
    assert ksg(x[::-1].astype(">f8"), y[::-1]) == plain
    with pytest.raises(ValueError, match=r"x must be \[n >= 4, ...\] of real numbers"):
        ksg(x.astype(object), y)
    with pytest.raises(ValueError, match="y must be"):
        ksg(x, y.astype(str))


def test_ksg_says_when_it_still_grows():
    x, noise = generator("grows").normal(size=(2, 1000, 1))
    wavy, smooth = ksg(x, np.sin(20 * x)), ksg(x, x + noise)
    (grows,) = wavy.warnings
    assert grows.startswith("still grows with n: parts of 100 pairs find 0.")
    assert smooth.warnings == ()
    order = np.argsort(x[:, 0])  # its parts are drawn at random
    assert ksg(x[order], (x + noise)[order]).standard_error < 2 * smooth.standard_error


def test_ksg_of_few_pairs_has_no_error():
    x = generator("few").normal(size=(8, 1))
    found = ksg(x, x + generator("few", 1).normal(size=(8, 1)))
    assert math.isinf(found.standard_error)
    assert "8 pairs have no error: that takes 2 (k + 1) = 12 of them" in found.warnings
    assert not any("extreme" in warning for warning in found.warnings)


def test_masked_values_and_what_is_no_number_are_refused():
    x = generator("masked").normal(size=20)
    with pytest.raises(ValueError, match="y has masked values"):
        canonical(x, np.ma.masked_array(x, x > 1))
    assert canonical(x, np.ma.masked_array(x, np.zeros(20, bool))).n == 20
