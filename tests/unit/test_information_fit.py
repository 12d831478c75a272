"""Fitted critics: known truths, given critics, splits, and bad data."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from coview.information import (
    GaussianConditional,
    Joint,
    Separable,
    bivariate,
    class_images,
    convolutional_encoder,
    estimate_each,
    estimate_information,
    nwj,
    perceptron,
    sparse,
    student,
)
from coview.information import fit as fitting
from coview.information.fit import FRACTIONS, _Batches, _Data, _Ensemble, _Scaled, divide, matrices
from coview.random import generator, torch_generator

QUICK = {"steps": 100, "batch_size": 48, "learning_rate": 4e-3}
TASK = bivariate(0.8)
X, Y = TASK.sample(1600, 0)


def narrow(x_shape, y_shape):
    return Separable(*(perceptron(s[0], width=24, outputs=8) for s in (x_shape, y_shape)))


def narrow_joint(x_shape, y_shape):
    return Joint(x_shape[0], y_shape[0], width=24)


@pytest.mark.parametrize(
    "estimator", ["infonce", "nwj", "interpolated", "dv", "mine", "js", "smile"]
)
def test_every_estimator_finds_a_known_value(estimator):
    found = estimate_information(X, Y, estimator=estimator, critic=narrow, **QUICK)
    assert found.estimator == estimator
    assert found.kind == ("point" if estimator == "smile" else "lower bound")
    assert found.n == 400
    assert found.value == pytest.approx(TASK.information, abs=3 * found.standard_error + 0.06)
    assert (found.ceiling is not None) == (estimator in ("infonce", "interpolated"))


@pytest.mark.parametrize("estimator", ["club", "l1out", "vub"])
def test_conditionals_bound_from_above(estimator):
    found = estimate_information(X, Y, estimator=estimator, **QUICK)
    assert found.kind == "upper bound"
    assert any("as far as it is true" in warning for warning in found.warnings)
    assert TASK.information - 0.08 < found.value < 4
    if estimator == "vub":
        assert found.value == pytest.approx(TASK.information, abs=0.2)


def test_chi_squared_is_in_its_own_unit():
    found = estimate_information(X, Y, estimator="chi_squared", critic=narrow, **QUICK)
    assert found.unit == "chi-squared"
    truth = 1 / (1 - 0.64) - 1
    assert 0.5 * truth < found.value < truth + 4 * found.standard_error


@pytest.mark.parametrize("critic", ["separable", "joint", "bilinear"])
def test_named_critics(critic):
    few = slice(None, 400)
    found = estimate_information(X[few], Y[few], critic=critic, steps=60, batch_size=32)
    assert found.value > 0.1
    assert found.ceiling_name == "log 100"


def test_the_convolutional_critic_reads_classes_of_images():
    x, y = class_images(4, side=8).sample(800, 0)
    found = estimate_information(
        (255 * x).astype(np.uint8), y, critic="convolutional", steps=100, batch_size=64
    )
    assert found.value == pytest.approx(math.log(4), abs=0.15)


def test_a_given_frozen_encoder():
    encoder = nn.Linear(3, 3)
    encoder.requires_grad_(False)
    before = encoder.weight.clone()
    x, y = sparse(3).sample(1200, 0)
    critic = Separable(nn.Sequential(encoder, nn.Linear(3, 8)), perceptron(3, outputs=8))
    found = estimate_information(x, y, critic=lambda *_: critic, **QUICK)
    assert found.value > 0.6
    torch.testing.assert_close(encoder.weight, before, rtol=0, atol=0)


def test_groups_are_undivided():
    groups = generator("groups").integers(40, size=500)
    parts = divide(500, groups, 0)
    sets = [set(groups[part].tolist()) for part in parts]
    assert sum(map(len, sets)) == 40
    assert sorted(torch.cat(parts).tolist()) == list(range(500))
    plain = divide(500, None, 0)
    assert [len(part) for part in plain] == [round(500 * f) for f in FRACTIONS]


def test_rows_of_a_matrix_are_in_random_order():
    found = matrices(torch.arange(3000, 7500), None, 1024, 0)
    assert (found.rows.shape, found.aligned) == ((4, 1125), 1)
    assert len(set(found.rows.flatten().tolist())) == 4500
    for rows in found.rows:  # each from all of a sorted set
        assert float(rows.double().mean()) == pytest.approx(5250, abs=200)
    small = matrices(torch.arange(100), None, 1024, 0)
    assert sorted(small.rows.flatten().tolist()) == list(range(100))


def test_a_matrix_has_one_row_of_each_group():
    sizes = [1, 7, 3, 9, 5, 5]
    groups = np.repeat(np.arange(6) + 40, sizes)
    found = matrices(torch.arange(30), groups, 4, 0)
    assert (found.rows.shape, found.aligned) == ((5, 6), 5)
    of = groups[found.rows.numpy()]
    assert (of == of[0]).all()
    assert sorted(of[0].tolist()) == list(range(40, 46))
    for place, group in enumerate(of[0].tolist()):
        assert len(set(found.rows[:, place].tolist())) == min(5, sizes[group - 40])
    many = matrices(torch.arange(90), np.arange(90) // 3, 8, 0)  # 30 groups: three sets of ten
    assert (many.rows.shape, many.aligned) == ((9, 10), 3)
    of = (many.rows // 3).reshape(3, 3, 10)
    assert bool((of == of[:, :1]).all())
    assert sorted(of[:, 0].flatten().tolist()) == list(range(30))


def test_a_batch_has_no_two_rows_of_a_group():
    groups = np.repeat(np.arange(12), np.arange(1, 13))
    batches = iter(_Batches(torch.arange(78), groups, 5, torch_generator(0, "b")))
    seen = [next(batches) for _ in range(400)]
    for rows in seen:
        assert len(set(groups[rows].tolist())) == 5
    assert set(torch.cat(seen).tolist()) == set(range(78))


class Exact(nn.Module):
    """The log-ratio of two columns of correlation ρ, summed; nothing is learnt."""

    def forward(self, x, y):
        rho = 0.8
        x, y = x.flatten(1)[:, None], y.flatten(1)[None]
        quadratic = (rho**2 * (x.square() + y.square()) - 2 * rho * x * y) / (2 * (1 - rho**2))
        return (-quadratic - 0.5 * math.log(1 - rho**2)).sum(-1)


@pytest.mark.parametrize("estimator", ["infonce", "dv", "interpolated"])
def test_rows_of_a_group_do_not_pass_for_strangers(estimator):
    rng = generator("alike", estimator)
    centre, noise = rng.normal(size=(300, 1, 2)), rng.normal(size=(2, 300, 10, 2))
    x = 0.95 * centre + math.sqrt(1 - 0.95**2) * noise[0]
    y = 0.8 * x + 0.6 * (0.95 * rng.normal(size=(300, 1, 2)) + math.sqrt(1 - 0.95**2) * noise[1])
    x, y = (side.reshape(3000, 2) for side in (x, y))
    found = estimate_information(
        x, y, estimator=estimator, critic=lambda *_: Exact(), groups=np.arange(3000) // 10
    )
    truth = -math.log(1 - 0.8**2)
    assert abs(found.value - truth) < 3.5 * found.standard_error
    assert 0.03 < found.standard_error < 0.3  # of 75 groups, whatever their size
    assert found.n == 75
    if estimator == "infonce":
        assert found.ceiling_name == "log 75"


def test_few_groups_are_a_warning():
    found = estimate_information(
        X[:400], Y[:400], critic=lambda *_: Exact(), groups=np.arange(400) // 10
    )
    assert "10 groups measure: so few make value and error rough" in found.warnings


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.where(np.arange(400) < 300, np.nan, np.arange(400.0)), "some rows have none"),
        (
            np.arange(400) // 50,
            r"too few groups, 8: the parts would have \[5, 1, 2\]",
        ),
        (np.arange(399), "one entry a row, 400"),
    ],
)
def test_groups_that_cannot_be_used_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        estimate_information(X[:400], Y[:400], groups=groups)


def test_an_encoder_for_both_sides():
    def build(*_):
        encoder = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 8))
        return Separable(encoder, encoder)

    for pairs in ([(X, Y)], [(X, Y)] * 2):
        for found in estimate_each(pairs, critic=build, **QUICK):
            assert found.value == pytest.approx(TASK.information, abs=0.2)


def test_an_encoder_that_cannot_be_batched():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(1, 8, batch_first=True)

        def forward(self, x):
            return self.gru(x.flatten(1)[..., None])[0][:, -1]

    found = estimate_information(
        X[:400], Y[:400], critic=lambda *_: Separable(Recurrent(), Recurrent()), steps=60
    )
    assert found.value > 3 * found.standard_error > 0


def test_a_critic_without_a_matrix_is_refused():
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x, y):
            return self.scale * (x * y).sum(1)

    with pytest.raises(ValueError, match=r"critic must return scores \[row, column\]"):
        estimate_information(X[:200], Y[:200], critic=lambda *_: Rows())


def test_too_few_steps_are_reported():
    few = estimate_information(X, Y, critic=narrow, steps=3)
    assert any("still rising after 3 steps" in warning for warning in few.warnings)


def scripted(monkeypatch, looks, steps):
    """Fit to given values of the looks, every fifth step, patience 2; return weights and doubts."""
    monkeypatch.setattr(fitting, "CHECK_EVERY", 5)
    monkeypatch.setattr(fitting, "PATIENCE", 2)
    values = iter(torch.tensor(looks))
    monkeypatch.setattr(_Ensemble, "_choose", lambda *_: next(values))
    pair = tuple(_Scaled.fitted(torch.from_numpy(side), torch.arange(1600)) for side in (X, Y))
    torch.manual_seed(0)
    ensemble = _Ensemble(narrow((1,), (1,)), len(looks[0]))
    doubts = ensemble.fit(
        _Data([pair] * len(looks[0])),
        _Batches(torch.arange(960), None, 32, torch_generator(0, "batches")),
        torch.arange(960, 1024)[None],
        objective=nwj,
        averaged=False,
        steps=steps,
        learning_rate=4e-3,
    )
    return [
        {n: w[i].detach() for n, w in ensemble.weights.items()} for i in range(len(looks[0]))
    ], doubts


def test_members_of_an_ensemble_stop_as_alone(monkeypatch):
    """They peak at looks 1, 3 and 5; what the first would find after it has stopped is too late."""
    looks = [
        [3.0, 1.0, 1.0],
        [2.0, 2.0, 2.0],
        [1.0, 3.0, 3.0],
        [9.0, 2.0, 4.0],
        [9.0, 1.0, 5.0],
        [9.0, 9.0, 4.0],
    ]
    together, doubts = scripted(monkeypatch, looks, 30)
    for member in range(3):
        (alone,), own = scripted(monkeypatch, [[look[member]] for look in looks], 30)
        assert own == [doubts[member]] == [[]]
        for name, weight in alone.items():
            torch.testing.assert_close(together[member][name], weight, rtol=0, atol=1e-3)
    assert len({float(weights["encode_x.5.bias"].sum()) for weights in together}) == 3


def test_looks_that_are_not_finite_are_reported(monkeypatch):
    inf, nan = math.inf, math.nan
    looks = [[nan, 1.0, 1.0, 1.0], [-inf, 2.0, inf, 2.0], [nan, nan, 3.0, 3.0]]
    _, doubts = scripted(monkeypatch, looks, 15)
    assert [len(own) for own in doubts] == [1, 1, 1, 1]
    assert doubts[0][0].startswith("no look at the rows that choose was finite")
    assert doubts[1][0].startswith("diverged after step 10: the critic of step 10 is measured")
    assert doubts[2] == doubts[3] == ["still rising after 15 steps: more may find more"]


@pytest.mark.parametrize(
    ("samples", "rate"), [((X, Y), 3.0), (student(2, 1.0).sample(1600, 0), 1e-3)]
)
def test_an_untrained_critic_is_reported(samples, rate):
    setting = QUICK | {"learning_rate": rate}
    found = estimate_information(*samples, estimator="nwj", critic=narrow, **setting)
    assert any("this is the untrained critic" in warning for warning in found.warnings)


def test_rows_that_fit_choose_and_measure_are_apart(monkeypatch):
    seen = {"fit": set(), "choose": set(), "measure": set()}
    phase = ["fit"]

    def spied(name, call):
        def during(*arguments):
            phase.append(name)
            found = call(*arguments)
            phase.pop()
            return found

        return during

    def rows(scaled, index, call=_Scaled.__getitem__):
        seen[phase[-1]] |= set(index.tolist())
        return call(scaled, index)

    def fitted(rows, part, call=_Scaled.fitted):
        seen[phase[-1]] |= set(part.tolist())
        return call(rows, part)

    monkeypatch.setattr(_Scaled, "__getitem__", rows)
    monkeypatch.setattr(_Scaled, "fitted", fitted)
    monkeypatch.setattr(_Ensemble, "_choose", spied("choose", _Ensemble._choose))
    monkeypatch.setattr(fitting, "_measure", spied("measure", fitting._measure))
    estimate_information(X[:100], Y[:100], critic=narrow, steps=60, batch_size=16)
    assert {name: len(found) for name, found in seen.items()} == {
        "fit": 60,
        "choose": 15,
        "measure": 25,
    }
    assert len(set.union(*seen.values())) == 100


def test_mine_is_fitted_with_its_moving_average():
    mine, dv = (
        estimate_information(X, Y, estimator=name, critic=narrow, **(QUICK | {"steps": 20}))
        for name in ("mine", "dv")
    )
    assert mine.value != pytest.approx(dv.value, abs=1e-4)
    assert mine.value == pytest.approx(dv.value, abs=0.1)


def test_tuba_learns_its_baseline():
    class Kept:
        def __call__(self, x_shape, y_shape):
            return narrow(x_shape, y_shape)

    built = []
    make = fitting.WithBaseline

    class Spied(make):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            built.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "WithBaseline", Spied)
        found = estimate_information(X, Y, estimator="tuba", critic=Kept(), **QUICK)
    assert (found.kind, found.estimator) == ("lower bound", "tuba")
    assert found.value == pytest.approx(TASK.information, abs=3 * found.standard_error + 0.06)
    y = torch.linspace(-2, 2, 9)[:, None]
    torch.manual_seed(0)
    fresh = make(narrow((1,), (1,)), 1).log_baseline(y).detach()
    learnt = built[0].log_baseline(y).detach()
    assert float(learnt.std()) > 0.05
    assert float((learnt - fresh).abs().max()) > 0.1


def test_a_learnt_temperature():
    class Learnt(Separable):
        def __init__(self):
            super().__init__(perceptron(1, width=24, outputs=8), perceptron(1, width=24, outputs=8))
            self.temperature = nn.Parameter(torch.tensor(0.5))

    found = estimate_information(X, Y, critic=lambda *_: Learnt(), **(QUICK | {"steps": 20}))
    assert found.ceiling is not None
    assert 1 < found.ceiling < 3


@pytest.mark.parametrize("estimator", ["vub", "club"])
def test_variances_at_the_floor_are_reported(estimator):
    setting = QUICK | {"steps": 300}
    near = X + 1e-4 * generator("near").normal(size=X.shape)
    found = estimate_information(X, near, estimator=estimator, **setting)
    assert any("the value may lie below the truth" in warning for warning in found.warnings)
    far = estimate_information(X, Y, estimator=estimator, **setting)
    assert not any("below the truth" in warning for warning in far.warnings)


def test_bad_data_are_reported():
    constant = np.hstack([X, np.ones_like(X)])
    found = estimate_information(constant, Y, critic=narrow, **QUICK)
    assert any("x has 1 constant of 2 columns" in warning for warning in found.warnings)
    wide = generator("wide").normal(size=(40, 30))
    few = estimate_information(wide, wide + 0, critic=narrow, steps=5)
    assert any("40 pairs are too few for 60 dimensions" in warning for warning in few.warnings)


def test_an_offset_costs_no_digits():
    few = {"critic": narrow, **(QUICK | {"steps": 20})}
    plain = estimate_information(X, Y, **few)
    assert estimate_information(X + 1e9, Y, **few).value == pytest.approx(plain.value, abs=1e-4)
    ticks = np.round(1e6 * X).astype(np.int64) + 1_700_000_000_000_000
    assert estimate_information(ticks, Y, **few).value == pytest.approx(plain.value, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"y": Y[:-1]}, "1600 and 1599 rows"),
        ({"x": np.where(X > 2, np.nan, X)}, "not finite"),
        ({"x": X[:12], "y": Y[:12]}, "too few rows, 12"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"batch_size": 3}, "batch_size at least 4"),
        ({"learning_rate": 0.0}, "learning_rate above 0"),
        ({"groups": np.arange(3)}, r"one entry a row, 1600; got shape \(3,\)"),
        ({"critic": "convolutional"}, None),
    ],
    ids=range(8),
)
def test_bad_arguments(changes, match):
    arguments = {"x": X, "y": Y, "critic": narrow} | changes
    if match is None:  # flat rows get a perceptron each
        found = estimate_information(**(arguments | QUICK | {"steps": 2}))
        assert math.isfinite(found.value)
        return
    with pytest.raises(ValueError, match=match):
        estimate_information(**arguments)


def test_other_bad_arguments():
    with pytest.raises(ValueError, match="same shapes"):
        estimate_each([(X, Y), (X[:100], Y[:100])])
    with pytest.raises(ValueError, match="height >= 8"):
        convolutional_encoder((3, 4, 8))
    with pytest.raises(ValueError, match="temperature"):
        Separable(nn.Identity(), nn.Identity(), temperature=0.0)


def test_critics_score_every_pair():
    x, y = (torch.randn(n, 3, generator=torch_generator("critics", n)) for n in (4, 5))
    for critic in (narrow((3,), (3,)), narrow_joint((3,), (3,)), GaussianConditional(3, 3)):
        scores = critic(x, y)
        assert scores.shape == (4, 5)
        for i in range(4):
            for j in range(5):
                torch.testing.assert_close(
                    critic(x[i : i + 1], y[j : j + 1])[0, 0], scores[i, j], rtol=1e-4, atol=1e-5
                )


def test_members_learn_apart():
    """The gradient of one member's score reaches no other's weights."""
    ensemble = _Ensemble(narrow((1,), (1,)), 3)
    x, y = (torch.randn(3, 4, 1, generator=torch_generator("apart", n)) for n in (0, 1))
    ensemble.scores(x, y)[1].sum().backward()
    for weight in ensemble.weights.values():
        assert not weight.grad[0].any()
        assert not weight.grad[2].any()
    assert any(weight.grad[1].any() for weight in ensemble.weights.values())
