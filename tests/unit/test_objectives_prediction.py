"""BYOL, SimSiam and linear predictors: official values, multi-crop, what a solved predictor is."""

import pytest
import torch
from torch.nn.functional import normalize

from coview.objectives import (
    BYOL,
    TABLE,
    LinearBYOL,
    SimSiam,
    byol,
    least_squares_predictor,
    linear_byol,
    simsiam,
)
from coview.testing import embeddings
from reference.objectives import REFERENCES

PREDICTION, TARGET = embeddings(9, 5), embeddings(9, 5, seed=1)


def official_byol(p1, p2, t1, t2):
    """Both directions of the squared distance of unit vectors, summed; mean over the images."""

    def regression(x, y):
        x, y = (v * (v * v).sum(-1, keepdim=True).clamp_min(1e-12).rsqrt() for v in (x, y))
        return ((x - y) ** 2).sum(-1)

    return (regression(p1, t2) + regression(p2, t1)).mean()


def official_simsiam(p1, p2, z1, z2):
    """Half the cosine of both directions, negated."""
    cosine = torch.nn.CosineSimilarity(dim=1)
    return -(cosine(p1, z2).mean() + cosine(p2, z1).mean()) * 0.5


@pytest.mark.parametrize(
    ("name", "function", "official"),
    [("byol", byol, official_byol), ("simsiam", simsiam, official_simsiam)],
)
def test_factor_of_the_ledger(name, function, official):
    (factor,) = [row.factor for row in TABLE[name].ledger if row.factor is not None]
    expected = factor * official(*PREDICTION, *TARGET).item()
    assert function(PREDICTION, TARGET).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("targets", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "objective",
    [BYOL(), SimSiam(), LinearBYOL(), LinearBYOL(predictor="least-squares")],
    ids=repr,
)
def test_multi_crop_equals_reference(objective, targets):
    """Four predictions, fewer targets: a target is compared with all predictions but its own."""
    z, target = embeddings(6, 4, views=4), embeddings(6, 4, views=4, seed=1)[:targets]
    name = next(name for name, spec in TABLE.items() if isinstance(objective, spec.config))
    state = objective.init(4)
    expected = REFERENCES[name](z, objective, state, target=target)
    assert objective(z, state, target=target).total.item() == pytest.approx(expected, abs=1e-12)


def test_a_single_target_leaves_its_own_prediction_without_gradient():
    z = PREDICTION.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(byol(z, TARGET[:1]), z)
    assert torch.equal(gradient[0], torch.zeros_like(gradient[0]))
    assert gradient[1].abs().min() > 0


def test_byol_is_simsiam_scaled():
    torch.testing.assert_close(byol(PREDICTION, TARGET), 4 + 4 * simsiam(PREDICTION, TARGET))


def test_zero_rows_are_orthogonal_to_all():
    assert byol(torch.zeros(2, 3, 4), TARGET[:, :3, :4].float()).item() == 4


def test_least_squares_minimises_the_ridge_objective():
    """Its gradient, taken by autograd, is zero."""
    ridge, dim = 0.3, 5
    matrix = least_squares_predictor(PREDICTION, TARGET, ridge=ridge).requires_grad_()
    z, target = normalize(PREDICTION, dim=-1), normalize(TARGET, dim=-1)
    errors = [target[1 - v] - z[v] @ matrix.T for v in (0, 1)]
    loss = sum(e.square().sum() for e in errors) / 18 + ridge / dim * matrix.square().sum()
    (gradient,) = torch.autograd.grad(loss, matrix)
    assert gradient.abs().max() < 1e-12


def test_the_gradient_of_a_least_squares_predictor_is_that_of_its_matrix_held_fixed():
    z = PREDICTION.clone().requires_grad_()
    matrix = least_squares_predictor(PREDICTION, TARGET)
    losses = linear_byol(z, TARGET, predictor="least-squares"), byol(z @ matrix.T, TARGET)
    gradients = [torch.autograd.grad(loss, z)[0] for loss in losses]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: byol(PREDICTION, embeddings(9, 5, views=3)), "target must have 1 to 2 views"),
        (lambda: byol(PREDICTION, TARGET[:0]), "target must have 1 to 2 views"),
        (lambda: byol(PREDICTION[:1], TARGET[:1]), "view"),
        (lambda: byol(PREDICTION[:, :1], TARGET[:, :1]), "batch"),
        (lambda: LinearBYOL(predictor="cubic"), "predictor"),
        (lambda: LinearBYOL(ridge=0.0), "ridge"),
        (lambda: least_squares_predictor(PREDICTION, TARGET, ridge=-1.0), "ridge"),
        (lambda: BYOL()(PREDICTION, BYOL().init(5)), "target is missing"),
    ],
)
def test_bad_arguments_are_named(call, named):
    with pytest.raises((ValueError, TypeError), match=named):  # TypeError: jaxtyping's hook
        call()
