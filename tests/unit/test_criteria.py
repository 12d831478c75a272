"""The duality of the two criteria: theorem, corollary, bounds, gradients, known values."""

import math

import pytest
import torch

from coview.objectives import (
    dimension_contrastive_criterion,
    doubly_normalized,
    duality_gap,
    sample_contrastive_criterion,
    whiten,
)
from coview.objectives.coding_rate import log_det
from coview.random import torch_generator
from coview.testing import embeddings

SHAPES = [(1, 1), (1, 5), (5, 1), (16, 64), (64, 16), (32, 32), (7, 8), (8, 7)]
shapes = pytest.mark.parametrize(("images", "dim"), SHAPES)


def matrix(images, dim, seed=0):
    """Heavy-tailed, with scales of rows and columns that differ by orders of magnitude."""
    generator = torch_generator("matrix", images, dim, seed)
    z = torch.randn(images, dim, generator=generator, dtype=torch.float64)
    rows = torch.randn(images, 1, generator=generator, dtype=torch.float64).exp()
    return z * rows * torch.randn(dim, generator=generator, dtype=torch.float64).exp()


def golden():
    return ((torch.arange(1, 13, dtype=torch.float64) ** 2).reshape(3, 4).sin()).T


def unit(z, axis):
    return z / z.norm(dim=axis, keepdim=True)


def naive(rows):
    """Loops over ordered pairs of rows."""
    rows = rows.tolist()
    return sum(
        sum(x * y for x, y in zip(a, b, strict=True)) ** 2
        for i, a in enumerate(rows)
        for j, b in enumerate(rows)
        if i != j
    )


def gradient(function, z):
    leaf = z.clone().requires_grad_()
    return torch.autograd.grad(function(leaf), leaf)[0]


class TestDefinition:
    @shapes
    def test_equal_loops(self, images, dim):
        z = matrix(images, dim)
        total = (z.T @ z).square().sum().item()
        for ours, expected in (
            (sample_contrastive_criterion(z), naive(z)),
            (dimension_contrastive_criterion(z), naive(z.T)),
        ):
            assert ours.item() == pytest.approx(expected, abs=1e-14 * total)

    def test_golden(self):
        z = golden()
        rows, columns = z.T.norm(dim=1), z.norm(dim=1)  # the paper's K is the transpose
        assert sample_contrastive_criterion(z).item() == pytest.approx(4.974777990945665, abs=1e-13)
        assert dimension_contrastive_criterion(z).item() == pytest.approx(
            1.671557014305519, abs=1e-13
        )
        assert duality_gap(z).item() == pytest.approx(
            10.230188345708660 - 13.533409322348806, abs=1e-13
        )
        assert (rows**4).sum().item() == pytest.approx(13.533409322348806, abs=1e-13)
        assert (columns**4).sum().item() == pytest.approx(10.230188345708660, abs=1e-13)
        assert (z.T @ z).square().sum().item() == pytest.approx(15.204966336654326, abs=1e-13)

    def test_golden_of_unit_samples(self):
        z = unit(golden(), 1)
        values = [sample_contrastive_criterion(z), dimension_contrastive_criterion(z)]
        assert [value.item() for value in values] == pytest.approx(
            [2.073875582560189, 0.513696303620569], abs=1e-13
        )
        assert (z.T.norm(dim=1) ** 4).sum().item() == pytest.approx(5.560179278939621, abs=1e-13)

    @pytest.mark.parametrize(
        "function",
        [
            sample_contrastive_criterion,
            dimension_contrastive_criterion,
            duality_gap,
            doubly_normalized,
        ],
    )
    def test_bad_input(self, function):
        with pytest.raises((ValueError, TypeError)):
            function(torch.ones(2, 3, 4))
        with pytest.raises(ValueError, match="z must be"):
            function(torch.ones(0, 4))
        with pytest.raises((ValueError, TypeError)):
            function(torch.ones(3, 4, dtype=torch.int64))


class TestTheorem:
    @shapes
    def test_3_3(self, images, dim):
        """L_nc + Σ ‖column‖⁴ = L_c + Σ ‖row‖⁴ = ‖ZᵀZ‖², by loops and by ours."""
        for seed in range(5):
            z = matrix(images, dim, seed)
            total = (z.T @ z).square().sum()
            by_row, by_column = (z.norm(dim=1) ** 4).sum(), (z.norm(dim=0) ** 4).sum()
            for l_c, l_nc in (
                (naive(z), naive(z.T)),
                (sample_contrastive_criterion(z), dimension_contrastive_criterion(z)),
            ):
                assert (l_nc + by_column).item() == pytest.approx(total.item(), rel=1e-13)
                assert (l_c + by_row).item() == pytest.approx(total.item(), rel=1e-13)
            gap = naive(z.T) - naive(z)
            assert duality_gap(z).item() == pytest.approx(gap, abs=1e-13 * total.item())

    @pytest.mark.parametrize(("images", "dim"), [(64, 16), (16, 64), (32, 32), (3, 5)])
    @pytest.mark.parametrize("row_norm", [1.0, 3.0])
    def test_doubly_normalised_criteria_differ_by_a_constant(self, images, dim, row_norm):
        """n b⁴ − dim a⁴: the paper's n − dim (for norms of 1) holds only for n = dim, as 0."""
        z = doubly_normalized(matrix(images, dim), row_norm=row_norm)
        column_norm = row_norm * math.sqrt(images / dim)
        constant = images * row_norm**4 - dim * column_norm**4
        scale = (z.T @ z).square().sum().item()
        gap = dimension_contrastive_criterion(z) - sample_contrastive_criterion(z)
        assert gap.item() == pytest.approx(constant, abs=1e-12 * scale)
        assert duality_gap(z).item() == pytest.approx(constant, abs=1e-12 * scale)
        if row_norm == 1 and images == 64:
            assert constant == 64 - 64**2 / 16

    def test_lemma_3_4_and_its_corollary(self):
        for seed in range(50):
            images, dim = 2 + seed % 7, 2 + seed % 5
            z = matrix(images, dim, seed)
            for rows, n, m in ((unit(z, 1), images, dim), (unit(z, 0).T, dim, images)):
                slack = 1e-12 * n**2
                fourth = (rows.norm(dim=0) ** 4).sum()
                assert n**2 / m - slack <= fourth <= n**2 + slack
                l_c, l_nc = (
                    sample_contrastive_criterion(rows),
                    dimension_contrastive_criterion(rows),
                )
                assert l_nc - n + n**2 / m - slack <= l_c <= l_nc - n + n**2 + slack

    def test_bounds_are_attained(self):
        """Below by equal column norms, spread or collapsed; above by a single column."""
        spread, constant = torch.eye(6).double(), torch.ones(6, 6).double() / math.sqrt(6)
        one_column = torch.zeros(6, 6).double()
        one_column[:, 2] = 1
        found = [(z.norm(dim=0) ** 4).sum().item() for z in (spread, constant, one_column)]
        assert found == pytest.approx([6, 6, 36])

    @shapes
    def test_gradients(self, images, dim):
        z = matrix(images, dim)
        gram, moment = z @ z.T, z.T @ z
        of_samples = 4 * (gram - gram.diagonal().diag()) @ z
        of_dimensions = 4 * z @ (moment - moment.diagonal().diag())
        tolerance = {"rtol": 1e-10, "atol": 1e-13 * of_samples.abs().max().item() + 1e-300}
        torch.testing.assert_close(
            gradient(sample_contrastive_criterion, z), of_samples, **tolerance
        )
        tolerance["atol"] = 1e-13 * (moment.abs().max() * z.abs().max()).item()
        torch.testing.assert_close(
            gradient(dimension_contrastive_criterion, z), of_dimensions, **tolerance
        )
        difference = 4 * (gram.diagonal()[:, None] * z - z * moment.diagonal())
        torch.testing.assert_close(gradient(duality_gap, z), difference, **tolerance)

    @pytest.mark.parametrize(("images", "dim"), [(12, 12), (24, 6), (6, 24)])
    def test_gradients_of_doubly_normalised_differ_radially(self, images, dim):
        z = doubly_normalized(matrix(images, dim))
        difference = gradient(duality_gap, z)
        torch.testing.assert_close(
            difference, 4 * (1 - images / dim) * z, rtol=1e-10, atol=1e-12 * images / dim
        )

    def test_coding_rate_is_its_own_dual(self):
        z = matrix(6, 9)
        torch.testing.assert_close(log_det(z.T @ z), log_det(z @ z.T))

    @pytest.mark.parametrize("dim", [8, 64, 512])
    def test_proposition_3_1_inner_products_on_the_sphere(self, dim):
        """Mean 0 and variance 1 / dim, within four standard errors."""
        pairs = 20_000
        generator = torch_generator("sphere", dim)
        x, y = unit(torch.randn(2, pairs, dim, generator=generator), 2)
        products = (x * y).sum(1)
        assert abs(products.mean().item()) < 4 / math.sqrt(pairs * dim)
        assert products.var().item() * dim == pytest.approx(1, abs=4 * math.sqrt(2 / pairs))


class TestPrecision:
    """Where one side is the difference of large numbers, in float32."""

    def test_gap_of_equal_norms_is_exact(self):
        z = doubly_normalized(matrix(48, 48).float())
        assert abs(duality_gap(z).item()) < 1e-8  # norms to the fourth add up to 48

    @pytest.mark.parametrize(("images", "dim"), [(63, 64), (64, 65)])
    def test_criterion_on_the_other_side(self, images, dim):
        """Fewer images than dimensions, norms nearly equal: fourth powers alone would be worse."""
        basis = whiten(embeddings(dim + 1, dim))[0]
        z = doubly_normalized(basis[:images]).float()
        exact = dimension_contrastive_criterion(z.double()).item()
        direct = (z @ z.T).square().sum() - (z.norm(dim=0) ** 4).sum()
        error = abs(dimension_contrastive_criterion(z).item() - exact)
        assert error < 1e-6 * exact
        assert error < abs(direct.item() - exact)


class TestDoublyNormalized:
    @pytest.mark.parametrize(("images", "dim"), [(64, 16), (16, 64), (32, 32), (1, 4), (4, 1)])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_norms(self, images, dim, dtype):
        z = doubly_normalized(matrix(images, dim).to(dtype), row_norm=2.0)
        assert z.dtype == dtype
        precision = 64 * torch.finfo(dtype).eps
        assert (z.norm(dim=1) / 2 - 1).abs().max() < precision
        assert (z.norm(dim=0) / (2 * math.sqrt(images / dim)) - 1).abs().max() < precision

    def test_is_a_rescaling_of_rows_and_columns(self):
        z = matrix(6, 4)
        ratio = doubly_normalized(z) / z
        assert (ratio > 0).all()
        assert torch.linalg.svdvals(ratio)[1] < 1e-10 * torch.linalg.svdvals(ratio)[0]

    def test_of_itself_is_itself(self):
        z = doubly_normalized(matrix(6, 4))
        torch.testing.assert_close(doubly_normalized(z), z)

    @pytest.mark.parametrize("size", [1e-30, 1e30])
    def test_any_scale(self, size):
        z = matrix(6, 4).float()
        torch.testing.assert_close(doubly_normalized(z * size), doubly_normalized(z))

    def test_has_a_gradient(self):
        weights = matrix(4, 3, seed=1)
        z = matrix(4, 3).requires_grad_()
        torch.autograd.gradcheck(lambda z: (doubly_normalized(z) * weights).sum(), (z,), atol=1e-4)

    def test_zero_rows_and_columns(self):
        z = matrix(4, 3)
        z[2] = 0
        with pytest.raises(ValueError, match=r"z has rows that are zero .*\[2\]"):
            doubly_normalized(z)
        with pytest.raises(ValueError, match=r"z has columns that are zero .*\[2\]"):
            doubly_normalized(z.T)
        with pytest.raises(ValueError, match="not finite"):
            doubly_normalized(torch.full((2, 2), torch.nan))

    def test_zeros_that_forbid_equal_norms(self):
        z = torch.tensor([[1.0, 0, 0], [1, 0, 0], [1, 1, 1]])
        with pytest.raises(ValueError, match="after 50 iterations"):
            doubly_normalized(z, iterations=50)

    @pytest.mark.parametrize("wrong", ["row_norm", "iterations", "tolerance"])
    def test_bad_numbers(self, wrong):
        with pytest.raises(ValueError, match=wrong):
            doubly_normalized(torch.ones(2, 2), **{wrong: 0 if wrong == "iterations" else 0.0})
