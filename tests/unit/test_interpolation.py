"""One object with four named objectives as settings."""

import itertools
import math
from dataclasses import replace

import jaxtyping
import pytest
import torch

from coview.objectives import (
    TABLE,
    nt_xent,
    vicreg,
    vicreg_ctr,
    vicreg_exp,
)
from coview.objectives.interpolation import INTERPOLATIONS, Interpolation
from coview.ranks import Ranks
from coview.testing import embeddings
from coview.testing import objectives as checks

NAMED = {"vicreg": vicreg, "vicreg_exp": vicreg_exp, "vicreg_ctr": vicreg_ctr, "nt_xent": nt_xent}

CHOICES = {
    "penalty": ("squares", "log-sum-exp"),
    "axis": ("dimension", "sample"),
    "negatives": ("same view", "all views"),
    "positive_in_denominator": (False, True),
    "similarity": ("cosine", "squared", "absolute"),
    "centering": ("none", "dimension", "sample"),
    "scaling": ("none", "embedding", "dimension"),
    "divisor": ("none", "entries", "batch"),
    "invariance": ("distance", "similarity"),
}


@pytest.fixture
def no_types():
    """Without jaxtyping's checks, which users do not have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def value_and_gradient(function, z):
    leaf = z.clone().requires_grad_()
    value = function(leaf)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize(
    ("views", "images", "dim"),
    [(2, 7, 3), (2, 3, 7), (2, 6, 6), (2, 2, 5), (2, 5, 1), (3, 4, 9), (4, 9, 4)],
)
def test_four_settings_are_the_named_objectives(name, views, images, dim):
    z = embeddings(images, dim, views=views)
    named = value_and_gradient(NAMED[name], z)
    ours = value_and_gradient(lambda z: INTERPOLATIONS[name].loss(z, Ranks()).total, z)
    torch.testing.assert_close(ours, named, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("similarity", ["squared", "absolute"])
def test_simclr_of_other_similarities(similarity):
    z = embeddings(6, 4)
    setting = replace(INTERPOLATIONS["nt_xent"], similarity=similarity, temperature=0.3)
    expected = nt_xent(z, temperature=0.3, similarity=similarity)
    torch.testing.assert_close(setting.loss(z, Ranks()).total, expected)


def test_theory_form_of_simclr_has_the_golden_value():
    """Equation 17: the first view's anchors, its own negatives and the positive, summed."""
    angle = (torch.arange(1, 13, dtype=torch.float64) ** 2).reshape(3, 4)
    first = angle.sin()
    z = torch.stack([first.T, (first + 0.1 * angle.cos()).T])
    expected = {
        "cosine": (0.008744751202831, -24.713937143103735),
        "squared": (0.928004417115923, -11.704775298834768),
        "absolute": (1.157726068368841, -9.592461058843046),
    }
    for similarity, golden in expected.items():
        unit = torch.nn.functional.normalize(z, dim=-1)
        f = {"cosine": lambda s: s, "squared": torch.square, "absolute": torch.abs}[similarity]
        logits = [f(x @ x.T) / 0.15 for x in unit]
        positives = f((unit[0] * unit[1]).sum(-1)) / 0.15
        for positive, value in zip((True, False), golden, strict=True):
            setting = replace(
                INTERPOLATIONS["nt_xent"],
                negatives="same view",
                positive_in_denominator=positive,
                similarity=similarity,
                temperature=0.15,
            )
            by_view = []
            for x in logits:
                off = x.masked_fill(torch.eye(4, dtype=torch.bool), -torch.inf)
                rows = torch.cat([off, positives[:, None]], 1) if positive else off
                by_view.append((rows.logsumexp(1) - positives).sum())
            assert by_view[0].item() == pytest.approx(value, abs=1e-12)
            ours = setting.loss(z, Ranks()).total * 8
            assert ours.item() == pytest.approx(sum(by_view).item(), abs=1e-12)


@pytest.mark.parametrize("name", ["nt_xent, centred", "nt_xent, dimensions scaled"])
def test_scenarios_of_the_paper(name):
    """Equation 14: dimensions of norm √(n / dim), so that embeddings have norm 1 on average."""
    z = embeddings(9, 4)
    centred = z - z.mean(1, keepdim=True)
    if name == "nt_xent, centred":
        expected = nt_xent(centred)
    else:
        x = centred / centred.norm(dim=1, keepdim=True) * math.sqrt(9 / 4)
        assert x.square().sum(-1).mean().item() == pytest.approx(1)
        flat = x.flatten(0, 1)
        logits = (flat @ flat.T / 0.1).fill_diagonal_(-torch.inf)
        positives = (x[0] * x[1]).sum(-1) / 0.1
        expected = logits.logsumexp(1).mean() - positives.mean()
    torch.testing.assert_close(INTERPOLATIONS[name].loss(z, Ranks()).total, expected)


def naive(z, setting):
    """Loops over anchors and what they are compared with."""
    views, images, dim = z.shape
    x = z
    if setting.centering == "dimension":
        x = z - z.mean(1, keepdim=True)
    elif setting.centering == "sample":
        x = z - z.mean(2, keepdim=True)
    if setting.scaling == "embedding":
        x = x / x.norm(dim=2, keepdim=True)
    elif setting.scaling == "dimension":
        x = x / x.norm(dim=1, keepdim=True) * math.sqrt(images / dim)
    x = x if setting.axis == "sample" else x.mT
    divisor = {"none": 1, "entries": x.shape[2] - 1, "batch": images - 1}[setting.divisor]
    power = {"cosine": lambda s: s, "squared": lambda s: s**2, "absolute": abs}

    def f(a, b):
        return power[setting.similarity](float(a @ b) / divisor) / setting.temperature

    count, penalties, positives = x.shape[1], [], []
    for v, i in itertools.product(range(views), range(count)):
        others = []
        for w, j in itertools.product(range(views), range(count)):
            if w == v and j == i:
                continue
            s = f(x[v, i], x[w, j])
            if i == j:
                positives.append(s)
                if setting.positive_in_denominator:
                    others.append(s)
            elif w == v or setting.negatives == "all views":
                others.append(s)
        if setting.penalty == "squares":
            penalties.append(sum(s**2 for s in others))
        else:
            penalties.append(math.log(sum(math.exp(s) for s in others)))
    if setting.invariance == "similarity":
        invariance = -sum(positives) / len(positives)
    else:
        pairs = list(itertools.combinations(z, 2))
        invariance = sum(float((a - b).square().mean()) for a, b in pairs) / len(pairs)
    return setting.invariance_weight * invariance + setting.penalty_weight * sum(penalties) / len(
        penalties
    )


@pytest.mark.parametrize("penalty", CHOICES["penalty"])
def test_every_combination_equals_loops_or_is_refused(penalty):
    """All choices of all knobs but the variance; how many are refused is known."""
    z, refused, compared = embeddings(4, 3, views=3), 0, 0
    temperature = 1.0 if penalty == "squares" else 0.5
    for knobs in itertools.product(*list(CHOICES.values())[1:]):
        chosen = dict(zip(list(CHOICES)[1:], knobs, strict=True))
        try:
            setting = Interpolation(
                penalty=penalty,
                temperature=temperature,
                variance_weight=0.0,
                invariance_weight=2.0,
                penalty_weight=3.0,
                **chosen,
            )
        except ValueError:
            refused += 1
            continue
        compared += 1
        if compared % 7 == 0:
            ours = setting.loss(z, Ranks()).total.item()
            assert ours == pytest.approx(naive(z, setting), rel=1e-10), setting
    total = math.prod(len(choices) for choices in list(CHOICES.values())[1:])
    kept = total * 7 // 9  # scaling dimensions asks for one of three centrings
    assert compared == (kept // 6 if penalty == "squares" else kept)
    assert refused == total - compared


@pytest.mark.parametrize("axis", ["dimension", "sample"])
def test_variance_axis(axis):
    z = embeddings(6, 5) * 0.3
    setting = replace(INTERPOLATIONS["vicreg"], variance_axis=axis)
    deviation = (z.var(1 if axis == "dimension" else 2) + setting.eps).sqrt()
    expected = (1 - deviation).relu().mean()
    torch.testing.assert_close(setting.loss(z, Ranks()).terms["variance"], expected)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"penalty": "cubes"}, "penalty must be one of squares, log-sum-exp"),
        ({"axis": "view"}, "axis"),
        ({"scaling": "sphere"}, "scaling"),
        ({"temperature": 0.1}, "temperature must be 1 with squares"),
        ({"positive_in_denominator": True}, "positive_in_denominator must be False"),
        ({"similarity": "squared"}, "similarity must be 'cosine'"),
        ({"scaling": "dimension", "centering": "none"}, "asks for centering 'dimension'"),
        ({"penalty": "log-sum-exp", "temperature": 0.0}, "temperature"),
        ({"penalty_weight": -1.0}, "penalty_weight"),
        ({"eps": 0.0}, "eps"),
    ],
)
def test_settings_that_make_no_sense(wrong, named, no_types):
    with pytest.raises(ValueError, match=named):
        Interpolation(**wrong)


@pytest.mark.parametrize(
    "check",
    [
        checks.check_scalar,
        checks.check_pure,
        checks.check_degenerate,
        checks.check_symmetry,
        checks.check_invariances,
        checks.check_precision,
        checks.check_bad_input,
        checks.check_config,
    ],
    ids=lambda check: check.__name__,
)
@pytest.mark.parametrize("name", NAMED)
def test_settings_keep_the_contract_of_the_named(name, check):
    """Gradients and values are compared above."""
    check(TABLE[name], INTERPOLATIONS[name])
