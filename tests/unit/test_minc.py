"""MINC against a distribution of three states where everything is known, by explicit loops."""

import re
from itertools import pairwise

import jaxtyping
import numpy as np
import pytest
import torch

from coview.objectives import MINC, minc
from coview.random import generator
from coview.ranks import Ranks
from coview.studies.tabular import Method, gradient
from coview.testing import embeddings

JOINT = ((0.30, 0.05, 0.02), (0.05, 0.20, 0.03), (0.02, 0.03, 0.30))

MARGINAL = (0.37, 0.28, 0.35)

EIGENVALUES = (1.0, 0.79068569, 0.59155369)

INFORMATION = 0.97511963

STATES = range(3)

PAIRS = [
    (x, y) for x in STATES for y in STATES for _ in range(round(100 * JOINT[x][y]))
]  # each batch is the whole population

RAW = {"batch_weight": 0.0, "normalization": "none", "scale": 1.0, "ranks": Ranks()}


def views(table):
    first, second = zip(*PAIRS, strict=True)
    return torch.stack([table[list(first)], table[list(second)]])


def moment(table):
    """Return E[φ φᵀ] in loops."""
    dims = range(table.shape[1])
    rows = table.tolist()
    return torch.tensor(
        [[sum(MARGINAL[x] * rows[x][k] * rows[x][m] for x in STATES) for m in dims] for k in dims],
        dtype=torch.float64,
    )


def expected_partner(table):
    """Return (T φ)(x) = E[φ(x′) | x] in loops."""
    rows = table.tolist()
    return torch.tensor(
        [
            [sum(JOINT[x][y] / MARGINAL[x] * rows[y][k] for y in STATES) for k in range(len(row))]
            for x, row in enumerate(rows)
        ],
        dtype=torch.float64,
    )


def bound(phi, psi):
    """Return J(φ, ψ) = 2 E[φ(x)·ψ(x′)] − E[(φ(x)·ψ(x′))²] − 1 over all pairs, in loops."""
    products = [[float(phi[x] @ psi[y]) for y in STATES] for x in STATES]
    together = sum(JOINT[x][y] * products[x][y] for x in STATES for y in STATES)
    apart = sum(MARGINAL[x] * MARGINAL[y] * products[x][y] ** 2 for x in STATES for y in STATES)
    return 2 * together - apart - 1


def eigenfunctions():
    """Return v with T v = λ v, largest first, of norm 1 under the marginal."""
    root = torch.tensor(MARGINAL, dtype=torch.float64).sqrt()
    joint = torch.tensor(JOINT, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(joint / root / root[:, None])
    return values.flip(0), vectors.flip(1) / root[:, None]


def slope(function, table):
    leaf = table.clone().requires_grad_()
    return torch.autograd.grad(function(leaf), leaf)[0]


def test_the_distribution_has_the_stated_numbers():
    assert [sum(row) for row in JOINT] == pytest.approx(MARGINAL)
    values, functions = eigenfunctions()
    assert values.tolist() == pytest.approx(EIGENVALUES, abs=1e-8)
    for value, function in zip(values, functions.T, strict=True):
        torch.testing.assert_close(expected_partner(function[:, None])[:, 0], value * function)
    information = sum(
        JOINT[x][y] ** 2 / (MARGINAL[x] * MARGINAL[y]) for x in STATES for y in STATES
    )
    assert information - 1 == pytest.approx(INFORMATION, abs=1e-8)
    assert sum(value**2 for value in EIGENVALUES[1:]) == pytest.approx(INFORMATION, abs=1e-7)


def test_the_loss_is_the_bound_with_the_opposite_sign():
    phi, psi = (0.7 * embeddings(3, 2, seed=seed)[0] for seed in (1, 2))
    value = minc(views(phi), views(psi), moment(psi), **RAW)
    assert -value.item() - 1 == pytest.approx(bound(phi, psi), abs=1e-12)


def test_the_gradient_is_that_of_the_population():
    """p(x) (2 Λ φ(x) − 2 (T φ)(x)), partner and moment standing still."""
    phi = embeddings(3, 2)[0]
    found = slope(lambda x: minc(views(x), views(phi), moment(phi), **RAW), phi)
    expected = torch.stack(
        [MARGINAL[x] * 2 * (moment(phi) @ phi[x] - expected_partner(phi)[x]) for x in STATES]
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
def test_is_a_bound_for_any_two_tables(size):
    for seed in range(20):
        phi, psi = (size * embeddings(3, 3, seed=2 * seed + k)[0] for k in (0, 1))
        value = minc(views(phi), views(psi), moment(psi), **RAW)
        assert -value.item() - 1 <= INFORMATION


@pytest.mark.parametrize(("dim", "least"), [(2, 0.62518386), (3, INFORMATION)])
def test_power_iteration_never_lowers_the_bound_and_reaches_it(dim, least):
    """φ ← Λ_ψ⁻¹ T ψ is the best φ for ψ; then ψ ← φ."""
    psi, seen = embeddings(3, dim)[0], []
    for _ in range(60):
        phi = expected_partner(psi) @ torch.linalg.inv(moment(psi))
        at_rest = slope(lambda x, psi=psi: minc(views(x), views(psi), moment(psi), **RAW), phi)
        torch.testing.assert_close(at_rest, torch.zeros_like(phi), atol=1e-9, rtol=0)
        seen.append(-minc(views(phi), views(psi), moment(psi), **RAW).item() - 1)
        psi = phi
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(seen))
    assert seen[-1] == pytest.approx(least, abs=1e-7)
    assert dim == 3 or seen[-1] > seen[0] + 0.01


def test_hard_replacement_oscillates_and_half_of_it_settles():
    """A mode's strength s goes to λ / s; damped by half it is Newton's root of λ."""
    _, functions = eigenfunctions()
    start = 0.5 * functions[:, 1:2]
    for share, settles in ((1.0, False), (0.5, True)):
        psi = start
        for _ in range(10):
            phi = expected_partner(psi) / moment(psi)
            psi = (1 - share) * psi + share * phi
        strength = moment(psi).item()
        assert (strength == pytest.approx(EIGENVALUES[1], abs=1e-8)) == settles
        if not settles:
            assert strength == pytest.approx(moment(start).item())


def trained(form, steps=400):
    """Return a table of width 3 trained by the gradient of a form with the exact moment."""
    table = 0.3 * embeddings(3, 3)[0]
    for _ in range(steps):
        z = views(table)[None]
        cross = z[0, 0].T @ z[0, 1] / len(PAIRS)
        exact = (cross + cross.T) / 2 if form == "oja" else moment(table)
        rows = gradient(z, z, exact[None], Method(form=form), batch_weight=0.0)[0]
        for view, place in enumerate(zip(*PAIRS, strict=True)):
            table = table.index_add(0, torch.tensor(place), -0.75 * rows[view])
    return table


def cosines(table):
    """Return |cos| of each dimension with each eigenfunction under the marginal."""
    _, functions = eigenfunctions()
    weights = torch.tensor(MARGINAL, dtype=torch.float64)[:, None]
    norms = (weights * table**2).sum(0).sqrt()
    return ((weights * table).T @ functions / norms[:, None]).abs()


class TestForms:
    """What `studies.tabular` compares, at rest on the three states."""

    def test_plain_is_any_rotation(self):
        table = trained("plain")
        spectrum = torch.linalg.eigvalsh(moment(table)).flip(0)
        assert spectrum.tolist() == pytest.approx(EIGENVALUES, abs=1e-7)
        assert cosines(table).diagonal().min() < 0.99

    def test_ordered_is_the_eigenfunctions_in_order(self):
        table = trained("ordered")
        torch.testing.assert_close(cosines(table), torch.eye(3).double(), atol=1e-6, rtol=0)
        assert moment(table).diagonal().tolist() == pytest.approx(EIGENVALUES, abs=1e-7)

    def test_oja_is_white(self):
        torch.testing.assert_close(moment(trained("oja")), torch.eye(3).double(), atol=1e-6, rtol=0)


class TestInformation:
    def test_the_term_is_the_bound_where_the_memory_is_the_present_moment(self):
        phi = 0.7 * embeddings(3, 2)[0]
        objective = MINC(batch_weight=0.0, carried=False, normalization="none", scale=1.0)
        state = objective.init(2).double()
        state.get_buffer("second_moment").copy_(moment(phi))
        term = objective(views(phi), state).terms["chi_squared"]
        assert term.item() == pytest.approx(bound(phi, phi), abs=1e-12)
        assert not term.requires_grad

    @pytest.mark.parametrize("normalization", ["sphere", "ball"])
    def test_the_term_is_of_the_normalised_rows(self, normalization):
        """J = 2 E[z·z′] − E[(z·w)²] − 1 for rows of norm √μ, over other images w of any view."""
        objective = MINC(batch_weight=1.0, carried=False, normalization=normalization, scale=5.0)
        z = 100 * embeddings(6, 3)
        rows = 5**0.5 * z / z.norm(dim=-1, keepdim=True)
        together = sum(float(rows[0, i] @ rows[1, i]) for i in range(6)) / 6
        apart = [
            float(rows[v, i] @ rows[w, j]) ** 2
            for v in (0, 1)
            for w in (0, 1)
            for i in range(6)
            for j in range(6)
            if i != j
        ]
        assert z.norm(dim=-1).min() > 5**0.5  # beyond the ball
        term = objective(z, objective.init(3).double()).terms["chi_squared"]
        assert term.item() == pytest.approx(2 * together - sum(apart) / len(apart) - 1)

    @pytest.mark.parametrize(("dim", "scale"), [(3, 5.0), (6, 2.0)])
    def test_the_most_on_a_sphere_is_of_views_that_agree_and_fill_it(self, dim, scale):
        """2 μ − μ² / dim − 1, in the mean: where the memory is the present moment."""
        objective = MINC(batch_weight=0.0, carried=False, scale=scale)
        most = 2 * scale - scale**2 / dim - 1

        def term(z):
            rows = z.flatten(0, 1)
            rows = rows * (scale**0.5 / rows.norm(dim=-1, keepdim=True))
            state = objective.init(dim).double()
            state.get_buffer("second_moment").copy_(rows.T @ rows / len(rows))
            return objective(z, state).terms["chi_squared"].item()

        axes = torch.eye(dim).double()
        assert term(torch.stack([axes, axes])) == pytest.approx(most)
        assert all(term(embeddings(7, dim, distance=0.0, seed=s)) < most for s in range(20))


@pytest.mark.parametrize("memory", [0.0, 30.0])
def test_the_noise_of_the_memory(memory):
    """It keeps (1 - b)/(1 + b) of the noise of a batch's moment, which is as 1 / rows."""
    table = generator("noise of a moment").normal(size=(64, 4))
    truth = table.T @ table / 64
    of_one = float(((table**2).sum(1) ** 2).mean() - (truth**2).sum())
    objective = MINC(carried=False, memory=memory, normalization="none", scale=1.0)
    state = objective.init(4).double()
    drawn = generator("draws of a moment").choice(64, (2500, 2, 3))
    errors = []
    for z in torch.from_numpy(table[drawn]):
        objective.update(state, [objective(z, state).statistics], progress=0.5)
        found = state.get_buffer("second_moment").numpy()
        errors.append(((found - truth) ** 2).sum())
    kept = np.exp(-3 / memory) if memory else 0.0
    expected = (1 - kept) / (1 + kept) * of_one / 6
    assert np.mean(errors[300:]) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("carried", [True, False])
def test_micro_batches_leave_the_state_of_one_batch(carried):
    objective, (z, before) = MINC(carried=carried), (embeddings(9, 3, seed=seed) for seed in (1, 2))
    states = [objective.init(3).double() for _ in range(2)]
    for state, cuts in zip(states, ((0, 9), (0, 4, 9)), strict=True):
        state.get_buffer("filled").fill_(0.5)
        parts = [
            objective(z[:, a:b], state, target=before[:, a:b] if carried else None).statistics
            for a, b in pairwise(cuts)
        ]
        objective.update(state, parts, progress=0.5)
    torch.testing.assert_close(*(dict(state.named_buffers()) for state in states))


@pytest.mark.parametrize("shape", [(4,), (3, 3), (1, 4), (4, 4, 1)])
def test_a_second_moment_of_another_shape_is_refused(monkeypatch, shape):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users have no such checks
    z = embeddings(6, 4)
    named = re.escape(f"second_moment must have shape (4, 4); got {shape}")
    with pytest.raises(ValueError, match=named):
        minc(z, z, torch.ones(shape))


@pytest.mark.parametrize("memory", [1e6, 1e20, 1e300])
def test_a_memory_that_never_fills_is_the_average_of_all_rows(memory):
    objective = MINC(memory=memory, carried=False, normalization="none")
    state, seen = objective.init(3), []
    for step, images in enumerate((4, 9, 2)):
        z = embeddings(images, 3, seed=step).float()
        objective.update(state, [objective(z, state).statistics], progress=0.5)
        seen.append(z.flatten(0, 1))
        rows = torch.cat(seen)
        expected = rows.T @ rows / len(rows)
        torch.testing.assert_close(state.get_buffer("second_moment"), expected)
