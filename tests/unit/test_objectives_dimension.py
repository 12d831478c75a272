"""The dimension-contrastive objectives: known values, official code, other settings, care."""

import math
from dataclasses import replace
from itertools import combinations

import jaxtyping
import pytest
import torch

from coview.objectives import (
    TABLE,
    BarlowTwins,
    CodingRate,
    SIGReg,
    VICReg,
    VICRegCtr,
    VICRegExp,
    WhiteningMSE,
    barlow_twins,
    barlow_twins_terms,
    coding_rate,
    coding_rate_terms,
    dimension_contrastive_criterion,
    random_directions,
    sigreg,
    sigreg_terms,
    vicreg,
    vicreg_ctr,
    vicreg_ctr_terms,
    vicreg_exp,
    vicreg_exp_terms,
    whiten,
    whitening_mse,
)
from coview.objectives.coding_rate import log_det
from coview.ranks import Ranks
from coview.testing import OBJECTIVE_CHECKS, check_reference, embeddings
from coview.testing.objectives import check_gradient
from reference.dimension_contrastive import REFERENCES


@pytest.fixture
def no_types():
    """Without jaxtyping's checks, which users do not have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def golden():
    """Two views of 4 images in 3 dimensions, from a formula that any language can repeat."""
    angle = (torch.arange(1, 13, dtype=torch.float64) ** 2).reshape(3, 4)
    first = angle.sin()
    return torch.stack([first.T, (first + 0.1 * angle.cos()).T])


def gradient(function, z):
    leaf = z.clone().requires_grad_()
    return torch.autograd.grad(function(leaf), leaf)[0]


def floats(terms):
    return [term.item() for term in terms]


class TestGolden:
    """Computed with independent code."""

    def test_vicreg_exp(self):
        expected = [0.004847760982549, 0.201403233646198, 1.070715033871293]
        assert floats(vicreg_exp_terms(golden())) == pytest.approx(expected, abs=1e-13)
        assert vicreg_exp(golden()).item() == pytest.approx(2.347681062371333, abs=1e-13)

    @pytest.mark.parametrize(
        ("divisor", "covariance", "total"),
        [
            ("dim", 1.039571202023569, 1.351756215790905),
            ("batch", 0.931457885124076, 1.243642898891412),
        ],
    )
    def test_vicreg_ctr(self, divisor, covariance, total):
        expected = [0.004847760982549, 0.307337252784787, covariance]
        terms = vicreg_ctr_terms(golden(), divisor=divisor)
        assert floats(terms) == pytest.approx(expected, abs=1e-13)
        value = vicreg_ctr(golden(), divisor=divisor)
        assert value.item() == pytest.approx(total, abs=1e-13)

    def test_barlow_twins(self):
        expected = [7.861753e-06, 0.571262209858842]
        assert floats(barlow_twins_terms(golden())) == pytest.approx(expected, abs=5e-13)
        assert barlow_twins(golden()).item() == pytest.approx(0.002921299023695, abs=1e-14)

    def test_coding_rate(self):
        """Half the log-determinant of I + K Kᵀ, on both sides."""
        view = golden()[0]
        for products in (view.T @ view, view @ view.T):
            assert -log_det(products).item() / 2 == pytest.approx(-1.613846123555327, abs=1e-13)


class TestOfficialCode:
    """The published formulas once more, as their authors compute them; float64, 1e-9 or better."""

    shapes = pytest.mark.parametrize(("images", "dim"), [(17, 6), (6, 17), (8, 8)])

    @staticmethod
    def assert_factor(name, ours, official):
        factor = next(c.factor for c in TABLE[name].ledger if c.name == "factor")
        assert ours.item() == pytest.approx(factor * official.item(), rel=1e-11)

    @shapes
    def test_vicreg(self, images, dim):
        x, y = z = embeddings(images, dim)
        invariance = torch.nn.functional.mse_loss(x, y)
        variance = covariance = 0
        for view in (x, y):
            deviation = (view.var(0) + 1e-4).sqrt()
            variance += (1 - deviation).relu().mean() / 2
            c = view.T.cov()
            covariance += (c.square().sum() - c.diagonal().square().sum()) / dim
        self.assert_factor("vicreg", vicreg(z), 25 * invariance + 25 * variance + covariance)

    @shapes
    @pytest.mark.parametrize("name", ["vicreg_exp", "vicreg_ctr"])
    def test_appendix_l(self, name, images, dim):
        z = embeddings(images, dim)
        total = torch.nn.functional.mse_loss(*z)
        for view in z:
            k = view if name == "vicreg_exp" else view.T
            total = total + (1 - (k.var(0) + 1e-4).sqrt()).relu().mean() / 2
            c = k.T.cov() / (0.1 if name == "vicreg_exp" else 0.15)
            off = c[~torch.eye(len(c), dtype=torch.bool)].reshape(len(c), -1)
            total = total + off.logsumexp(1).mean() / 2 * (2 if name == "vicreg_exp" else 1)
        self.assert_factor(name, TABLE[name].function(z), total)

    @shapes
    def test_barlow_twins(self, images, dim):
        z = embeddings(images, dim)
        norm = torch.nn.BatchNorm1d(dim, affine=False).double()
        c = norm(z[0]).T @ norm(z[1]) / images
        on = (c.diagonal() - 1).square().sum()
        off = c.square().sum() - c.diagonal().square().sum()
        self.assert_factor("barlow_twins", barlow_twins(z), on + 0.0051 * off)

    @shapes
    def test_coding_rate(self, images, dim):
        z = embeddings(images, dim)
        first, second = torch.nn.functional.normalize(z, dim=-1)
        rates = [
            torch.logdet(torch.eye(dim) + dim / (images * 0.2) * w.T @ w) / 2
            for w in (first, second)
        ]
        cosine = torch.cosine_similarity(first, second).mean()
        self.assert_factor("coding_rate", coding_rate(z), -30 * cosine - sum(rates) / 2)

    @pytest.mark.parametrize(("images", "dim", "size"), [(17, 6, None), (24, 3, 6), (24, 3, 8)])
    def test_whitening_mse(self, images, dim, size):
        z = embeddings(images, dim)
        order = torch.arange(images).roll(5).flip(0)
        total = 0
        for rows in order.reshape(-1, size or images):
            white = []
            for view in z[:, rows]:
                inverse = torch.linalg.inv(torch.linalg.cholesky(view.T.cov()))
                white.append((view - view.mean(0)) @ inverse.T)
            total += (2 - 2 * torch.cosine_similarity(*white)).sum() / images
        ours = whitening_mse(z, order[None], sub_batch_size=size)
        self.assert_factor("whitening_mse", ours, total)

    def test_sigreg(self):
        z, directions = embeddings(17, 6), random_directions(6, 9, 0, 0).double()
        t = torch.linspace(0, 3, 17, dtype=torch.float64)
        phi = (-t.square() / 2).exp()
        weights = torch.full((17,), 2 * 3 / 16, dtype=torch.float64)
        weights[[0, -1]] /= 2
        angles = (z @ directions)[..., None] * t
        errors = (angles.cos().mean(-3) - phi).square() + angles.sin().mean(-3).square()
        statistic = ((errors @ (weights * phi)) * 17).mean()
        invariance = (z.mean(0) - z).square().mean()
        self.assert_factor("sigreg", sigreg(z, directions), 0.95 * invariance + 0.05 * statistic)


OTHER_SETTINGS = (
    VICReg(invariance_weight=3.0, variance_weight=7.0, covariance_weight=0.5, eps=0.01),
    VICRegExp(temperature=0.5, invariance_weight=3.0, variance_weight=7.0, covariance_weight=0.5),
    VICRegExp(eps=0.01),
    VICRegCtr(temperature=0.5, invariance_weight=3.0, variance_weight=7.0, covariance_weight=0.5),
    VICRegCtr(divisor="batch", eps=0.01),
    BarlowTwins(redundancy_weight=0.7, eps=0.01),
    CodingRate(distortion=0.01, invariance_weight=2.0),
    WhiteningMSE(shrinkage=0.3),
    WhiteningMSE(shrinkage=0.3, sub_batch_size=3, iterations=2, seed=4),
    SIGReg(regularization_weight=0.9, num_slices=3, num_knots=5, largest_frequency=5.0, seed=3),
)


@pytest.mark.parametrize("objective", OTHER_SETTINGS, ids=repr)
def test_equals_reference(objective):
    name = next(name for name, spec in TABLE.items() if type(objective) is spec.config)
    check_reference(objective, REFERENCES[name])


@pytest.mark.parametrize(
    ("name", "changed", "objective"),
    [
        ("vicreg", {}, VICReg(invariance_weight=1.0, covariance_weight=4.0, eps=1e-6)),
        ("vicreg_exp", {}, VICRegExp(temperature=1.0, covariance_weight=0.5, eps=1e-6)),
        ("vicreg_ctr", {}, VICRegCtr(divisor="batch", temperature=1.0, eps=1e-6)),
        ("barlow_twins", {}, BarlowTwins(redundancy_weight=1.0, eps=1e-3)),
        ("coding_rate", {}, CodingRate(distortion=0.5, invariance_weight=100.0)),
        (
            "whitening_mse",
            {"known_points": TABLE["whitening_mse"].known_points[:1]},
            WhiteningMSE(shrinkage=0.1),
        ),
        ("sigreg", {}, SIGReg(num_slices=5, num_knots=33, largest_frequency=5.0, seed=1)),
    ],
)
def test_other_settings_keep_contract(name, changed, objective):
    for check in OBJECTIVE_CHECKS:
        if check is not check_gradient:
            check(replace(TABLE[name], **changed), objective)


@pytest.mark.parametrize("objective", OTHER_SETTINGS[2:], ids=repr)
def test_other_settings_have_the_gradient_of_their_value(objective):
    for images, dim in ((7, 2), (3, 4)):
        z, state = embeddings(images, dim).requires_grad_(), objective.init(dim).double()
        torch.autograd.gradcheck(
            lambda z, state=state: objective(z, state, ranks=Ranks()).total, (z,)
        )


@pytest.mark.parametrize(
    "function", [vicreg, vicreg_exp, vicreg_ctr, barlow_twins, coding_rate, whitening_mse]
)
@pytest.mark.parametrize(("images", "dim"), [(23, 5), (6, 5), (5, 4)])
def test_more_views_are_the_mean_over_pairs(function, images, dim):
    z = embeddings(images, dim, views=4)

    def pairs(z):
        return torch.stack([function(torch.stack(pair)) for pair in combinations(z, 2)]).mean()

    torch.testing.assert_close(function(z), pairs(z), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient(function, z), gradient(pairs, z), rtol=1e-11, atol=1e-12)


class TestVICReg:
    def test_covariance_is_the_criterion_of_centred_embeddings(self):
        for images, dim in ((9, 4), (4, 9)):
            view = embeddings(images, dim)[0]
            covariance = vicreg(
                torch.stack([view, view]), invariance_weight=0.0, variance_weight=0.0
            )
            criterion = dimension_contrastive_criterion(view - view.mean(0))
            expected = 2 * criterion / (dim * (images - 1) ** 2)
            torch.testing.assert_close(covariance, expected)

    def test_a_single_dimension_repeats_no_other(self):
        assert vicreg_exp_terms(embeddings(5, 1)).covariance == 0

    def test_ctr_is_exp_of_the_transpose(self):
        """The variance and covariance terms; one process, on both sides."""
        for images, dim in ((9, 4), (4, 9)):
            z = embeddings(images, dim)
            ctr = vicreg_ctr_terms(z, temperature=0.2)
            exp = vicreg_exp_terms(z.mT, temperature=0.2)
            torch.testing.assert_close(ctr, exp, rtol=1e-12, atol=0)

    @pytest.mark.parametrize("function", [vicreg_exp, vicreg_ctr])
    def test_memory_is_not_quadratic(self, function):
        images, dim = (5, 300) if function is vicreg_exp else (300, 5)
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, id):
            function(embeddings(images, dim).requires_grad_())
        assert max(kept) <= 2 * images * dim

    def test_large_covariances_do_not_overflow(self):
        for function in (vicreg_exp, vicreg_ctr):
            for images, dim in ((20, 4), (4, 20)):
                z = embeddings(images, dim).float() * 1e8
                assert gradient(function, z).isfinite().all()

    def test_unknown_divisor(self, no_types):
        with pytest.raises(ValueError, match=r"divisor .* dim, batch"):
            VICRegCtr(divisor="rows")


class TestBarlowTwins:
    @pytest.mark.parametrize(("images", "dim"), [(9, 4), (4, 9)])
    def test_opposite_views_are_worst(self, images, dim):
        """Correlations of −1 on the diagonal, where agreement has 1: 4 dim in place of 0."""
        view = embeddings(images, dim)[0]
        same, opposite = (barlow_twins_terms(torch.stack([view, sign * view])) for sign in (1, -1))
        assert same.invariance.item() == pytest.approx(0, abs=1e-6)
        assert opposite.invariance.item() == pytest.approx(4 * dim, rel=1e-3)
        torch.testing.assert_close(opposite.redundancy, same.redundancy)

    def test_scale_of_dimensions_hardly_counts(self):
        z = embeddings(30, 4)
        scaled = z * torch.tensor([1.0, 10.0, 100.0, 1000.0], dtype=torch.float64) + 5
        torch.testing.assert_close(barlow_twins(scaled), barlow_twins(z), rtol=1e-4, atol=0)

    def test_gradient_goes_through_the_statistics(self):
        """Standardised embeddings do not change with the mean, nor (but for eps) the deviation."""
        for images, dim in ((9, 4), (4, 9)):
            z = embeddings(images, dim) * 100
            grad = gradient(barlow_twins, z)
            torch.testing.assert_close(grad.sum(1), torch.zeros(2, dim).double())
            radial = (grad * z).sum(1)
            assert radial.abs().max() < 1e-6 * (grad.abs() * z.abs()).sum()


class TestCodingRate:
    def test_is_its_own_dual(self):
        for images, dim in ((9, 4), (4, 9)):
            z = embeddings(images, dim)[0]
            torch.testing.assert_close(log_det(z.T @ z), log_det(z @ z.T))
            leaf = z.clone().requires_grad_()
            by_dim, by_image = (
                torch.autograd.grad(log_det(x), leaf)[0] for x in (leaf.T @ leaf, leaf @ leaf.T)
            )
            torch.testing.assert_close(by_dim, by_image)

    def test_spread_needs_more_bits(self):
        spread = torch.eye(8).double().expand(2, 8, 8)
        narrow = spread.clone()
        narrow[:, 4:] = narrow[:, :4]
        assert coding_rate_terms(spread).expansion < coding_rate_terms(narrow).expansion


class TestWhiteningMSE:
    def test_whitened_views_meet_the_criterion(self):
        white = whiten(embeddings(20, 6))
        for view in white:
            assert dimension_contrastive_criterion(view).item() < 1e-20
            expected = torch.full((6,), math.sqrt(19), dtype=torch.float64)
            torch.testing.assert_close(view.norm(dim=0), expected)

    def test_order_counts_only_with_sub_batches(self):
        z, order = embeddings(12, 3), torch.arange(12).roll(4).flip(0)[None]
        torch.testing.assert_close(
            whitening_mse(z, order, sub_batch_size=12), whitening_mse(z, sub_batch_size=12)
        )
        assert abs(whitening_mse(z, order, sub_batch_size=6) - whitening_mse(z)) > 1e-3

    def test_sub_batches_are_even_and_no_smaller(self):
        z = embeddings(17, 3)
        parts = [whitening_mse(z[:, rows]) for rows in (slice(9), slice(9, 17))]
        expected = (9 * parts[0] + 8 * parts[1]) / 17
        torch.testing.assert_close(whitening_mse(z, sub_batch_size=8), expected)
        torch.testing.assert_close(
            whitening_mse(z, sub_batch_size=9), whitening_mse(z, sub_batch_size=17)
        )

    def test_orders_are_a_function_of_seed_and_step(self):
        def values(seed):
            objective, z = WhiteningMSE(iterations=3, seed=seed), embeddings(40, 4)
            state, found = objective.init(4), []
            for _ in range(3):
                found.append(objective(z, state).total.item())
                objective.update(state, [], progress=0.5)
            return found

        assert values(0) == values(0)
        assert len({*values(0), *values(1)}) == 6

    def test_orders_are_permutations(self):
        objective = WhiteningMSE(iterations=2)
        orders = objective.orders(torch.tensor(3), 50, 4)
        assert orders.sort(1).values.tolist() == [list(range(50))] * 2
        assert not torch.equal(orders[0], orders[1])
        assert objective.orders(torch.tensor(3), 15, 4) is None

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_batches_that_cannot_be_whitened(self, dtype):
        z = embeddings(40, 6).to(dtype)
        constant, repeated, tied = z.clone(), z.clone(), z.clone()
        constant[..., 2] = 1.7
        repeated[..., 2] = z[..., 4]
        tied[..., 5] = z[..., 0] + z[..., 1]
        for wrong in (constant, repeated, tied, z[:, :6], z[:, :1].expand(2, 40, 6)):
            with pytest.raises(ValueError, match=r"cannot be whitened: .*batch"):
                whitening_mse(wrong)
            assert gradient(lambda z: whitening_mse(z, shrinkage=0.1), wrong).isfinite().all()

    @pytest.mark.parametrize(
        ("wrong", "named"),
        [
            ({"sub_batch_size": 1}, "sub_batch_size"),
            ({"shrinkage": 1.5}, "shrinkage"),
            ({"iterations": 0}, "iterations"),
        ],
    )
    def test_bad_settings(self, wrong, named):
        with pytest.raises(ValueError, match=named):
            WhiteningMSE(**wrong)


class TestSIGReg:
    @pytest.mark.parametrize("spread", [0.5, 1.0, 3.0])
    def test_statistic_has_a_closed_form(self, spread):
        """With dense and far knots: Epps and Pulley's sums of Gaussians over pairs and points."""
        x = embeddings(12, 1)[0] * spread
        z = torch.stack([x, x])
        pairs = (-(x - x.T).square() / 2).exp().mean()
        points = (-x.square() / 4).exp().mean()
        expected = 12 * math.sqrt(2 * math.pi) * (pairs - math.sqrt(2) * points + math.sqrt(1 / 3))
        directions = torch.ones(1, 1).double()
        terms = sigreg_terms(z, directions, num_knots=200, largest_frequency=10.0)
        torch.testing.assert_close(terms.regularization, expected, rtol=1e-10, atol=0)
        assert terms.invariance == 0

    def test_normal_embeddings_are_best(self):
        normal = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(99.0) + 0.5) / 99)
        directions = torch.ones(1, 1)

        def statistic(x):
            return sigreg_terms(x.expand(2, -1)[..., None], directions).regularization.item()

        assert statistic(normal) < 1e-3
        for other in (normal + 1, 2 * normal, normal / 2, normal.sign(), torch.zeros(99)):
            assert statistic(other) > 1

    def test_directions_are_unit_and_change_with_seed_step_and_width(self):
        drawn = [random_directions(5, 7, seed, step) for seed in (0, 1) for step in (0, 1)]
        for directions in drawn:
            torch.testing.assert_close(directions.norm(dim=0), torch.ones(7))
        assert len({directions.sum().item() for directions in drawn}) == 4
        assert torch.equal(drawn[3], random_directions(5, 7, 1, 1))

    def test_directions_are_those_of_the_step(self):
        objective, z = SIGReg(num_slices=4, seed=9), embeddings(8, 3).float()
        state = objective.init(3)
        for step in range(3):
            assert state.step == step
            expected = sigreg(z, random_directions(3, 4, 9, step))
            torch.testing.assert_close(objective(z, state).total, expected)
            objective.update(state, [], progress=0.5)

    def test_directions_of_another_width(self, no_types):
        with pytest.raises(ValueError, match="directions must be of width 3"):
            sigreg(embeddings(5, 3), torch.ones(4, 2))

    @pytest.mark.parametrize(
        ("wrong", "named"),
        [
            ({"regularization_weight": 1.5}, "regularization_weight"),
            ({"num_slices": 0}, "num_slices"),
            ({"num_knots": 1}, "num_knots"),
            ({"largest_frequency": 0.0}, "largest_frequency"),
        ],
    )
    def test_bad_settings(self, wrong, named):
        with pytest.raises(ValueError, match=named):
            SIGReg(**wrong)


class TestPrecisionNearTheOptimum:
    """Float32 gradients against float64 ones, relative to those one step of 0.01 away."""

    @pytest.mark.parametrize(
        ("function", "images", "dim"),
        [
            (vicreg, 64, 16),
            (vicreg_exp, 64, 16),
            (vicreg_ctr, 17, 64),
            (barlow_twins, 64, 16),
            (barlow_twins, 17, 16),
            (coding_rate, 64, 16),
            (coding_rate, 16, 64),
            (whitening_mse, 31, 16),
        ],
    )
    def test_gradient(self, function, images, dim):
        first = whiten(embeddings(max(images, dim + 1), dim))[0][:images]
        best = torch.stack([first, first])
        noise = embeddings(images, dim, seed=1)
        scale = gradient(function, best + 0.01 * noise).norm()
        for distance in (0.0, 1e-5, 1e-3):
            z = (best + distance * noise).float()
            exact = gradient(function, z.double())
            assert (gradient(function, z) - exact).norm() < 2e-5 * scale


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda z: vicreg_exp(z, temperature=0.0), "temperature"),
        (lambda z: vicreg_exp(z, covariance_weight=-1.0), "covariance_weight"),
        (lambda z: vicreg_ctr(z, eps=0.0), "eps"),
        (lambda z: vicreg_ctr(z[:1]), "view"),
        (lambda z: barlow_twins(z, redundancy_weight=-1.0), "redundancy_weight"),
        (lambda z: barlow_twins_terms(z, eps=0.0), "eps"),
        (lambda z: coding_rate(z, invariance_weight=-1.0), "invariance_weight"),
        (lambda z: coding_rate_terms(z, distortion=0.0), "distortion"),
        (lambda z: whitening_mse(z, shrinkage=-0.1), "shrinkage"),
        (lambda z: sigreg(z, torch.ones(3, 2), regularization_weight=2.0), "regularization_weight"),
    ],
)
def test_bad_arguments_are_named(call, named):
    with pytest.raises(ValueError, match=named):
        call(embeddings(4, 3))
