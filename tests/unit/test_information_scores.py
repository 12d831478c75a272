"""Formulas of a critic's scores: naive loops, the optimal critic's known values, ceilings."""

import math
from functools import partial

import pytest
import torch

from coview.information import (
    chi_squared,
    club,
    donsker_varadhan,
    estimate_from_conditional,
    estimate_from_scores,
    gaussian_log_density,
    infonce,
    interpolated,
    js,
    leave_one_out,
    mine,
    moving_average,
    nwj,
    smile,
    tuba,
    vub,
)
from coview.information.scores import READINGS
from coview.random import torch_generator

DIM = 20


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch_generator("scores", seed), dtype=torch.float64)


def optimal(information, batches, k=64):
    """Return log q(y|x) and the true log-ratio of the Gaussian staircase."""
    rho = math.sqrt(1 - math.exp(-2 * information / DIM))
    x, noise = normal(2, batches, k, DIM, seed=information)
    y = rho * x + math.sqrt(1 - rho**2) * noise
    conditional = gaussian_log_density(y, rho * x, torch.full_like(x, math.log(1 - rho**2)))
    marginal = -0.5 * (y.square() + math.log(2 * math.pi)).sum(-1)
    return conditional, conditional - marginal.unsqueeze(-2)


def loops(scores):
    """Return every formula, sum by sum."""
    s, k = scores.tolist(), len(scores)
    pairs = [(i, j) for i in range(k) for j in range(k) if i != j]
    exp, log = math.exp, math.log

    def joint(f=lambda v: v):
        return sum(f(s[i][i]) for i in range(k)) / k

    def apart(f=lambda v: v):
        return sum(f(s[i][j]) for i, j in pairs) / len(pairs)

    def softplus(v):
        return log(1 + exp(v))

    def others(i, j):  # mean over x but x_i, against y_j
        return sum(exp(s[m][j]) for m in range(k) if m != i) / (k - 1)

    def i_alpha(alpha, a):
        def base(i, j):
            return alpha * others(i, j) + (1 - alpha) * a[j]

        gained = sum(s[j][j] - log(base(i, j)) for i, j in pairs) / len(pairs)
        return 1 + gained - sum(exp(s[i][j]) / base(j, j) for i, j in pairs) / len(pairs)

    a = [0.5 + 0.1 * j for j in range(k)]
    return {
        "infonce": sum(s[i][i] - log(sum(exp(v) for v in s[i]) / k) for i in range(k)) / k,
        "tuba": 1
        + sum(s[i][i] - log(a[i]) for i in range(k)) / k
        - sum(exp(s[i][j]) / a[j] for i, j in pairs) / len(pairs),
        "nwj": joint() - apart(exp) / math.e,
        "interpolated": i_alpha(0.3, a),
        "interpolated, 1": i_alpha(1.0, a),
        "dv": joint() - log(apart(exp)),
        "mine": joint() - apart(exp) / 2.0,
        "js": joint(lambda v: -softplus(-v)) - apart(softplus),
        "smile": joint() - log(apart(lambda v: exp(max(-1, min(1, v))))),
        "chi_squared": 2 * joint() - apart(lambda v: v * v) - 1,
        "club": joint() - apart(),
        "l1out": sum(s[i][i] - log(others(i, i)) for i in range(k)) / k,
    }


K = 7
LOG_BASELINE = torch.tensor([0.5 + 0.1 * j for j in range(K)], dtype=torch.float64).log()
FORMULAS = {
    "infonce": infonce,
    "tuba": lambda s: tuba(s, LOG_BASELINE.expand(s.shape[:-1])),
    "nwj": nwj,
    "interpolated": lambda s: interpolated(s, 0.3, LOG_BASELINE.expand(s.shape[:-1])),
    "interpolated, 1": partial(interpolated, alpha=1.0),
    "dv": donsker_varadhan,
    "mine": lambda s: mine(s, torch.full(s.shape[:-2], math.log(2.0), dtype=s.dtype)),
    "js": js,
    "smile": partial(smile, clip=1.0),
    "chi_squared": chi_squared,
    "club": club,
    "l1out": leave_one_out,
}


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_formulas_are_the_loops(name):
    scores = 2 * normal(3, K, K)
    found = FORMULAS[name](scores)
    assert found.shape == (3,)
    for value, matrix in zip(found, scores, strict=True):
        assert float(value) == pytest.approx(loops(matrix)[name], abs=1e-10)


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_gradients(name):
    scores = 2 * normal(2, K, K)
    scores[scores.abs().sub(1).abs() < 1e-3] = 0.5  # not on the edge of SMILE's clip
    assert torch.autograd.gradcheck(FORMULAS[name], scores.requires_grad_())


@pytest.mark.parametrize("name", ["infonce", "interpolated", "dv", "smile", "js", "l1out"])
def test_large_scores_neither_overflow_nor_lose_digits(name):
    scores = (500 * normal(8, 8)).float()
    found = FORMULAS[name](scores) if name != "interpolated" else interpolated(scores, 1.0)
    assert bool(torch.isfinite(found))
    if name in ("infonce", "dv", "l1out"):
        exact = FORMULAS[name](scores.double())
        assert float(found) == pytest.approx(float(exact), rel=1e-5)


def test_leaving_one_out_does_not_cancel():
    scores = torch.zeros(5, 5)
    scores[2, 3] = 80.0  # swallows the rest of its column in float32
    assert float(leave_one_out(scores)) == pytest.approx(-(80 - math.log(4)) / 5, rel=1e-5)
    scores[3, 3] = 90.0
    scores[2, 3] = 0.0
    assert float(leave_one_out(scores)) == pytest.approx(90 / 5)


# Values measured independently with the optimal critic, K = 64, 400 batches: mean, spread.
ORACLE = {
    2: {"infonce": 1.81, "nwj": 1.99, "dv": 1.99, "smile 1": 2.37, "smile 5": 2.02, "club": 4.35},
    4: {"infonce": 3.07, "nwj": 4.02, "dv": 4.06, "smile 1": 4.66, "smile 5": 4.27, "club": 9.69},
    6: {"infonce": 3.74, "nwj": 6.06, "dv": 6.23, "smile 1": 6.81, "smile 5": 6.70, "club": 16.13},
    8: {"infonce": 4.03, "nwj": 8.04, "dv": 8.59, "smile 1": 8.93, "smile 5": 9.34, "club": 24.14},
    10: {
        "infonce": 4.13, "nwj": 9.98, "dv": 11.33, "smile 1": 10.99, "smile 5": 12.10,
        "club": 33.75,
    },
}  # fmt: skip


@pytest.mark.parametrize("information", sorted(ORACLE))
def test_the_optimal_critic_gives_the_known_values(information):
    conditional, ratio = optimal(information, 400)
    found = {
        "infonce": infonce(ratio),
        "nwj": nwj(1 + ratio),
        "dv": donsker_varadhan(ratio),
        "smile 1": smile(ratio, 1.0),
        "smile 5": smile(ratio, 5.0),
        "club": club(conditional) * 63 / 64,  # the oracle keeps the diagonal
    }
    for name, values in found.items():
        spread = float(values.std() / 20)  # of a mean of 400 batches; the oracle has as much
        assert abs(float(values.mean()) - ORACLE[information][name]) < 4 * spread + 0.01, name


@pytest.mark.parametrize("information", [2, 8])
def test_club_has_a_closed_form(information):
    values = club(optimal(information, 400)[0])
    expected = DIM * math.expm1(2 * information / DIM)
    assert abs(float(values.mean()) - expected) < 4 * float(values.std()) / 20


def test_bounds_are_on_their_sides():
    conditional, ratio = optimal(4, 400)
    assert float(leave_one_out(conditional).mean()) > 4
    assert float(infonce(ratio).mean()) < float(interpolated(ratio, 0.5).mean()) < 4


def test_a_critic_of_js_read_as_nwj_loses_one_over_e():
    _, ratio = optimal(2, 400)
    assert float((tuba(ratio) - nwj(ratio)).mean()) == pytest.approx(1 / math.e, abs=0.02)
    assert float(tuba(ratio).mean()) == pytest.approx(2, abs=0.06)


def test_js_is_best_at_the_true_ratio():
    _, ratio = optimal(2, 100)
    best = float(js(ratio).mean())
    for other in (ratio + 0.5, ratio - 0.5, 0.8 * ratio, 1.2 * ratio):
        assert float(js(other).mean()) < best


def test_chi_squared_of_a_known_ratio():
    """x, y uniform on 3 values, equal with probability 1/2."""
    table = torch.full((3, 3), 0.5 / 6, dtype=torch.float64).fill_diagonal_(0.5 / 3)
    truth = float(((table * 9 - 1) ** 2).mean())
    generator = torch_generator("chi")
    cells = torch.multinomial(table.flatten(), 400 * 64, True, generator=generator)
    x, y = (cells // 3).view(400, 64), (cells % 3).view(400, 64)
    ratio = (table * 9)[x.unsqueeze(-1), y.unsqueeze(-2)]
    values = chi_squared(ratio)
    assert abs(float(values.mean()) - truth) < 4 * float(values.std()) / 20
    estimate = estimate_from_scores(ratio, "chi_squared")
    assert "chi-squared" in str(estimate)


@pytest.mark.parametrize("alpha", [0.01, 0.5, 1.0])
def test_the_ceiling_of_interpolation_is_reached_and_not_passed(alpha):
    scores = torch.full((16, 16), -2000.0, dtype=torch.float64).fill_diagonal_(2000.0)
    estimate = estimate_from_scores(scores, "interpolated", alpha=alpha)
    assert estimate.ceiling is not None
    assert estimate.value == pytest.approx(estimate.ceiling, abs=1e-6)
    assert estimate.value == pytest.approx(float(interpolated(scores, alpha)))


@pytest.mark.parametrize(("temperature", "highest"), [(0.1, 5.55), (0.2, 4.87), (0.5, 1.98)])
def test_the_temperature_caps_cosine_scores(temperature, highest):
    z = torch.nn.functional.normalize(normal(256, 64), dim=1)
    scores = z @ z.T / temperature
    estimate = estimate_from_scores(scores, temperature=temperature)
    assert estimate.ceiling == pytest.approx(min(math.log(256), 1 / temperature))
    assert estimate.value < min(estimate.ceiling, highest + 0.02)
    saturated = any("saturated" in warning for warning in estimate.warnings)
    assert saturated == (estimate.value > estimate.ceiling - 0.5)
    assert "1/0.5 = 2.00" in str(estimate) or temperature != 0.5
    without = estimate_from_scores(scores)
    assert "ceiling log 256 = 5.55" in str(without)
    for estimator in ("dv", "tuba", "nwj"):
        capped = estimate_from_scores(scores, estimator, temperature=temperature)
        assert capped.ceiling is not None
        assert capped.value < capped.ceiling


@pytest.mark.parametrize("temperature", [0.05, 0.25, 1.0])
@pytest.mark.parametrize("name", ["nwj", "tuba", "dv", "interpolated", "smile"])
def test_no_cosines_exceed_their_cap(name, temperature):
    """By gradient ascent over unit vectors, K = 6; and a cap is reported as one."""
    z = normal(2, 6, 6, seed=3).requires_grad_()
    optimiser = torch.optim.Adam([z], lr=0.05)

    def scores():
        x, y = torch.nn.functional.normalize(z, dim=-1)
        return x @ y.T / temperature + (1 if name == "nwj" else 0)

    for _ in range(300):
        optimiser.zero_grad()
        (-READINGS[name].value(scores())).backward()
        optimiser.step()
    best = estimate_from_scores(scores().detach(), name, temperature=temperature)
    clipped = name == "smile" and 1 / temperature > 5
    cap = 1 / temperature + 5 if clipped else 6 / 5 / temperature
    if name == "interpolated":
        cap = min(cap, 1 + math.log(5 / 0.01))
    assert best.ceiling == pytest.approx(cap)
    assert 0.2 * cap < best.value < cap + 1e-9


@pytest.mark.parametrize("name", ["interpolated", "smile"])
def test_equal_embeddings_are_saturated_and_nothing_is_told_apart(name):
    z = torch.nn.functional.normalize(torch.ones(32, 8), dim=1)
    found = estimate_from_scores(z @ z.T / 4, name, temperature=4.0)
    assert found.ceiling == pytest.approx(32 / 31 / 4)
    assert any("saturated" in warning for warning in found.warnings)
    assert any("tells no pair from another" in warning for warning in found.warnings)


def test_chi_squared_knows_no_log_n():
    scores = torch.zeros(8, 8).fill_diagonal_(8.0)  # the exact ratio of 8 equally likely pairs
    found = estimate_from_scores(scores, "chi_squared")
    assert found.value == pytest.approx(15.0)
    assert not any("log n" in warning for warning in found.warnings)
    assert any("log n" in w for w in estimate_from_scores(scores, "dv").warnings)


def test_the_moving_average_begins_with_the_first_batch():
    first, second = 3 * normal(2, 4, 6, 6)
    apart = [
        s.exp().masked_fill(torch.eye(6, dtype=torch.bool), 0).sum((1, 2)) / 30
        for s in (first, second)
    ]
    average = moving_average(None, first)
    torch.testing.assert_close(average.exp(), apart[0])
    average = moving_average(average, second, 0.9)
    torch.testing.assert_close(average.exp(), 0.9 * apart[0] + 0.1 * apart[1])


def test_mine_has_the_gradient_of_dv_with_the_average_below():
    scores = normal(6, 6).requires_grad_()
    own = moving_average(None, scores)
    (of_mine,) = torch.autograd.grad(mine(scores, own), scores)
    (of_dv,) = torch.autograd.grad(donsker_varadhan(scores), scores)
    torch.testing.assert_close(of_mine, of_dv)


@pytest.mark.parametrize("name", ["infonce", "dv", "club"])
@pytest.mark.parametrize("batches", [1, 12])
def test_the_standard_error_is_that_of_repetition(name, batches):
    """Over 60 repetitions, with the spread's own error of a tenth."""
    conditional, ratio = optimal(1, 60 * batches, 48)
    scores = (conditional if name == "club" else ratio).view(60, batches, 48, 48)
    estimates = [estimate_from_scores(s, name) for s in scores]
    truth = torch.tensor([e.value for e in estimates]).std()
    claimed = torch.tensor([e.standard_error for e in estimates]).square().mean().sqrt()
    assert 0.7 < float(claimed / truth) < 1.4


def test_estimates_say_what_they_are():
    estimate = estimate_from_scores(optimal(2, 10)[1])
    assert estimate.kind == "lower bound"
    assert estimate.n == 640
    assert estimate.warnings == ()
    text = str(estimate)
    assert text.startswith(f"{estimate.value:.2f} ± {estimate.standard_error:.2f} nats")
    assert text.endswith("(lower bound, ceiling log 64 = 4.16)")
    saturated = estimate_from_scores(optimal(10, 10)[1])
    assert "saturated: within 0.5 of the ceiling 4.16" in str(saturated)
    high = estimate_from_scores(optimal(10, 1)[1], "dv")
    assert any("above log n = 4.16" in warning for warning in high.warnings)
    infinite = estimate_from_scores(torch.full((8, 8), 200.0).fill_diagonal_(0.0), "nwj")
    assert any("not finite" in warning for warning in infinite.warnings)


@pytest.mark.parametrize("name", sorted({*READINGS} - {"l1out"}))  # that needs the true q
def test_independence_is_nothing(name):
    """A fixed critic, x and y independent: no lower bound is above 0, no upper one below."""
    x, y = normal(2, 40, 64, 3, seed=5)
    scores = 0.3 * x @ y.mT
    scores = {"chi_squared": 1 + scores, "nwj": 1 + scores}.get(name, scores)
    estimate = estimate_from_scores(scores, name)
    margin = 3 * estimate.standard_error
    if estimate.kind == "upper bound":
        assert estimate.value > -margin
    else:
        assert estimate.value < margin


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"scores": torch.zeros(4, 5)}, r"\[\.\.\., K, K\]"),
        ({"scores": torch.zeros(3, 3)}, "K >= 4"),
        ({"scores": torch.full((4, 4), torch.nan)}, "not finite"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"estimator": "smile", "clip": 0.0}, "clip must be above 0"),
        ({"estimator": "interpolated", "alpha": 0.0}, "alpha must be above 0"),
        ({"estimator": "interpolated", "alpha": 1.5}, "alpha must be above 0"),
    ],
    ids=lambda v: str(sorted(v)) if isinstance(v, dict) else "",
)
def test_bad_scores(arguments, match):
    with pytest.raises(ValueError, match=match):
        estimate_from_scores(**({"scores": torch.zeros(4, 4)} | arguments))


def test_the_gaussian_density_is_torchs():
    y, mean, log_variance = normal(5, 3), normal(4, 3, seed=1), normal(4, 3, seed=2)
    found = gaussian_log_density(y, mean, log_variance)
    for i in range(4):
        density = torch.distributions.Normal(mean[i], (0.5 * log_variance[i]).exp())
        torch.testing.assert_close(found[i], density.log_prob(y).sum(-1))
    standard = torch.distributions.Normal(torch.zeros(3).double(), torch.ones(3).double())
    own = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(own, standard).sum(-1)
    torch.testing.assert_close(vub(mean, log_variance), expected)


def test_exact_conditionals_bound_from_above():
    rho = 0.6
    x, noise = normal(2, 400, 4, seed=9)
    y = rho * x + 0.8 * noise
    log_variance = torch.full_like(x, 2 * math.log(0.8))
    truth = -2 * math.log(1 - rho**2)
    found = {
        name: estimate_from_conditional(y, rho * x, log_variance, estimator=name)
        for name in ("club", "l1out", "vub")
    }
    for estimate in found.values():
        assert estimate.kind == "upper bound"
        assert estimate.n == 400
        assert estimate.value > truth - 3 * estimate.standard_error
    assert found["vub"].value == pytest.approx(truth, abs=4 * found["vub"].standard_error)
    closed = 4 * math.expm1(2 * truth / 4)
    assert found["club"].value == pytest.approx(closed, abs=4 * found["club"].standard_error)


def test_bad_conditionals():
    y = torch.zeros(5, 2)
    with pytest.raises(ValueError, match="one shape"):
        estimate_from_conditional(y, torch.zeros(5, 3), y)
    with pytest.raises(ValueError, match="mean has values that are not finite"):
        estimate_from_conditional(y, y / 0, y)


@pytest.mark.parametrize("name", ["club", "l1out", "vub"])
def test_conditionals_of_constant_or_few_rows_are_reported(name):
    y = normal(6, 6)
    y[:, 2] = 1.0
    found = estimate_from_conditional(y, 0 * y, 0 * y, estimator=name)
    assert found.warnings[:2] == (
        "6 pairs are too few for 6 dimensions: they hardly show how they depend",
        "y has 1 constant of 6 columns",
    )
    more = estimate_from_conditional(normal(9, 6), normal(9, 6), normal(9, 6), estimator=name)
    assert not any("dimensions" in w or "constant" in w for w in more.warnings)


def test_places_of_one_group_are_left_out_together():
    scores = normal(20, 20)
    once = estimate_from_scores(scores, "nwj")
    thrice = estimate_from_scores(scores.expand(3, 20, 20), "nwj", aligned=3)
    assert (thrice.value, thrice.standard_error, thrice.n) == pytest.approx(
        (once.value, once.standard_error, 20)
    )
    apart = estimate_from_scores(scores.expand(3, 20, 20), "nwj")
    assert apart.standard_error == pytest.approx(once.standard_error / math.sqrt(3))
    sets = normal(16, 6, 6)
    found = estimate_from_scores(sets, "nwj", aligned=2)
    of_set = nwj(sets).reshape(8, 2).mean(1)
    assert found.standard_error == pytest.approx(float(of_set.std()) / math.sqrt(8))
    with pytest.raises(ValueError, match="aligned must divide the 16 batches, got 3"):
        estimate_from_scores(sets, "nwj", aligned=3)
