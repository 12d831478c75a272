"""Values known from elsewhere, identities between objectives, and numerical care."""

import itertools
import math

import pytest
import torch

from coview.objectives import (
    MINC,
    NTXent,
    SpectralContrastive,
    VICReg,
    minc,
    minc_terms,
    nt_xent,
    spectral_contrastive,
    spectral_terms,
    vicreg,
    vicreg_terms,
)
from coview.objectives.rows import check_normalization, normalized, unit_rows
from coview.testing import embeddings


def golden():
    """Two views of 4 images in 3 dimensions, from a formula that any language can repeat."""
    angle = (torch.arange(1, 13, dtype=torch.float64) ** 2).reshape(3, 4)
    first = angle.sin()
    return torch.stack([first.T, (first + 0.1 * angle.cos()).T])


def gradient(function, z):
    leaf = z.clone().requires_grad_()
    return torch.autograd.grad(function(leaf), leaf)[0]


class TestGolden:
    """Computed with independent code, in part in pure Python."""

    def test_nt_xent_is_half_of_the_official_sum(self):
        assert nt_xent(golden(), temperature=0.15).item() == pytest.approx(
            0.008671621852047 / 2, abs=1e-14
        )

    def test_vicreg(self):
        terms = vicreg_terms(golden())
        assert [term.item() for term in terms] == pytest.approx(
            [0.004847760982549, 0.201403233646198, 0.166190819432013], abs=1e-14
        )
        assert vicreg(golden()).item() == pytest.approx(5.322465685150700, abs=1e-13)

    def test_spectral_parts(self):
        """-2 tr(K'K) + L_c(K) with sums, as in the duality paper; ours are means."""
        z = golden()
        within = torch.stack([z[0], z[0]])  # the paper's negatives are of the same view
        alignment = spectral_terms(z, normalization="none", scale=1.0).alignment * 4
        criterion = spectral_terms(within, normalization="none", scale=1.0).repulsion * 12
        assert criterion.item() == pytest.approx(4.974777990945665, abs=1e-13)
        assert (alignment + criterion).item() == pytest.approx(-7.293969203857701, abs=1e-13)


class TestRows:
    def test_ball_leaves_short_rows_and_clips_long_ones(self):
        z = torch.tensor([[0.3, 0.4], [3.0, 4.0], [0.0, 0.0]])
        expected = torch.tensor([[0.3, 0.4], [0.6, 0.8], [0.0, 0.0]])
        torch.testing.assert_close(normalized(z, "ball", 1.0), expected)

    def test_sphere_has_squared_radius_scale(self):
        rows = normalized(embeddings(4, 5), "sphere", 9.0)
        torch.testing.assert_close(rows.norm(dim=-1), torch.full((2, 4), 3.0, dtype=torch.float64))

    def test_unknown_normalization(self):
        with pytest.raises(ValueError, match=r"normalization .* ball"):
            check_normalization("box")

    @pytest.mark.parametrize("size", [1e-38, 1e-30, 1.0, 1e30])
    def test_unit_rows_of_any_size(self, size):
        rows = unit_rows(torch.tensor([3.0, 4.0]) * size)
        torch.testing.assert_close(rows, torch.tensor([0.6, 0.8]))


class TestPrecisionNearTheOptimum:
    """Float32 against float64 where large sums cancel."""

    @pytest.mark.parametrize("images", [32, 33, 64, 200])
    def test_spectral(self, images):
        bases = [torch.linalg.qr(embeddings(32, 32, seed=seed)[0]).Q for seed in range(7)]
        frame = torch.cat(bases)[:images]
        z = (torch.stack([frame, frame]) + 1e-4 * embeddings(images, 32)).float()

        def pairs(z):
            first, second = normalized(z, "sphere", 32.0)
            off = (first @ second.T).fill_diagonal_(0).square().sum() / (images * (images - 1))
            return (off - 2 * (first * second).sum() / images) / 32

        exact = spectral_contrastive(z.double())
        assert spectral_contrastive(z).item() == pytest.approx(exact.item(), abs=1e-6)
        reference = gradient(spectral_contrastive, z.double())
        error, naive = (
            (gradient(f, z) - reference).norm().item() for f in (spectral_contrastive, pairs)
        )
        assert error < 2 * naive

    @pytest.mark.parametrize("images", [33, 64, 200])
    def test_vicreg(self, images):
        """Whitened views far from the origin: the value is 1e-8, not rounding noise."""
        rows = embeddings(images, 32)[0]
        left, _, right = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
        white = left @ right * math.sqrt(images - 1)
        z = (torch.stack([white, white]) + 1e-4 * embeddings(images, 32) + 3).float()
        exact = vicreg(z.double()).item()
        assert exact < 1e-4
        assert vicreg(z).item() == pytest.approx(exact, rel=1e-2)


JOINT = torch.tensor([[0.30, 0.05, 0.02], [0.05, 0.20, 0.03], [0.02, 0.03, 0.30]]).double()
"""Three states; the eigenvalues of D^-1/2 P D^-1/2 are 1, λ₂, λ₃, the χ² information their sum."""

EIGENVALUES = torch.tensor([1, 0.79068569, 0.59155369]).double()


class Population:
    """The joint distribution as 100 pairs of states: each batch is the whole population."""

    counts = (JOINT * 100).round().long().flatten()
    first = torch.arange(3).repeat_interleave(3).repeat_interleave(counts)
    second = torch.arange(3).repeat(3).repeat_interleave(counts)

    @classmethod
    def views(cls, table):
        return torch.stack([table[cls.first], table[cls.second]])

    @staticmethod
    def moment(table):
        return table.T @ (JOINT.sum(1)[:, None] * table)

    @classmethod
    def loss(cls, table, target):
        """Loss (A) with the exact second moment of the target."""
        views, partners = cls.views(table), cls.views(target)
        options = {"batch_weight": 0.0, "normalization": "none", "scale": 1.0}
        return minc(views, partners, cls.moment(target).detach(), **options)

    @classmethod
    def bound(cls, table):
        """Return J, the bound on the χ² information."""
        return 2 * (table.T @ JOINT @ table).trace() - cls.moment(table).square().sum() - 1

    @classmethod
    def train(cls, table, steps=250):
        for _ in range(steps):
            table = table - 0.75 * gradient(lambda x: cls.loss(x, x.detach()), table)
        return table


def moment_of(z):
    """Return the mean outer product over both views."""
    rows = z.flatten(0, 1)
    return rows.T @ rows / len(rows)


class TestMINC:
    @pytest.mark.parametrize(("dim", "bound"), [(1, 0.0), (2, 0.62518386), (3, 0.97511963)])
    def test_learns_the_leading_spectrum(self, dim, bound):
        table = Population.train(0.3 * embeddings(3, dim, distance=1.0)[0])
        moment = torch.linalg.eigvalsh(Population.moment(table)).flip(0)
        torch.testing.assert_close(moment, EIGENVALUES[:dim], atol=1e-7, rtol=0)
        assert Population.bound(table).item() == pytest.approx(bound, abs=1e-7)

    def test_leaves_collapse(self):
        """A constant is a saddle: the second eigenvalue grows from 1e-12 to λ₂."""
        table = torch.tensor([[1.0, 0.0]]).double().repeat(3, 1)
        table = Population.train(table + 1e-6 * embeddings(3, 2)[0])
        smallest = torch.linalg.eigvalsh(Population.moment(table))[0]
        assert smallest.item() == pytest.approx(EIGENVALUES[1].item(), abs=1e-7)

    def test_semi_gradient_is_half_of_the_spectral_gradient(self):
        table = embeddings(3, 2)[0]
        semi = gradient(lambda x: Population.loss(x, x.detach()), table)
        full = gradient(lambda x: -Population.bound(x), table)
        torch.testing.assert_close(semi, full / 2)

    def test_is_a_bound_for_any_target(self):
        information = EIGENVALUES[1:].square().sum().item()
        table = 0.9 * Population.train(embeddings(3, 3)[0])
        for seed in range(20):
            target = table + 0.1 * embeddings(3, 3, seed=seed)[0]
            bound = -Population.loss(table, target).item() - 1
            assert information - 1 < bound <= information

    @pytest.mark.parametrize("normalization", ["none", "sphere"])
    def test_batch_weight_one_is_spectral_with_all_views(self, normalization):
        z = embeddings(7, 4)
        options = {"normalization": normalization, "scale": 3.0}
        alone = torch.zeros(4, 4, dtype=torch.float64)

        def ours(z):
            return minc(z, z, alone, batch_weight=1.0, **options)

        def spectral(z):
            pairs = [torch.stack([z[v], z[w]]) for v in (0, 1) for w in (0, 1)]
            repulsion = sum(spectral_terms(pair, **options).repulsion for pair in pairs) / 4
            return spectral_terms(z, **options).alignment + repulsion

        torch.testing.assert_close(ours(z), spectral(z))
        torch.testing.assert_close(gradient(ours, z), gradient(spectral, z) / 2)

    def test_spectral_is_a_point_against_the_moment_of_the_others(self):
        first, second = z = embeddings(6, 4)
        values = []
        for i in range(6):
            others = torch.cat([second[:i], second[i + 1 :]])
            values.append(first[i] @ (others.T @ others / 5) @ first[i] - 2 * first[i] @ second[i])
        value = spectral_contrastive(z, normalization="none", scale=1.0)
        torch.testing.assert_close(value, torch.stack(values).mean())

    def test_own_image_is_not_in_the_moment(self):
        """With every other image at 0 only the memory acts."""
        z = torch.zeros(2, 5, 3, dtype=torch.float64)
        z[:, 0] = embeddings(1, 3)[:, 0]
        state = torch.eye(3, dtype=torch.float64)
        weights = (0.0, 1.0)
        full, none = (minc(z, z, state, batch_weight=w, normalization="none") for w in weights)
        alignment = -2 * (z[0] * z[1]).sum() / (5 * 32)
        torch.testing.assert_close(none, alignment)
        torch.testing.assert_close(full - none, z.square().sum() / (2 * 5 * 32))

    def test_state_is_an_average_and_is_read_before_the_batch(self):
        memory = -7 / math.log(0.75)
        objective = MINC(memory=memory, carried=False, scale=6.0)
        state = objective.init(3).double()
        expected = torch.eye(3, dtype=torch.float64) * 2  # uniform, before the first batch alone
        moments = []
        for step in range(4):
            z = embeddings(7, 3, seed=step)
            loss = objective(z, state)
            torch.testing.assert_close(loss.total, minc(z, z, expected, scale=6.0))
            objective.update(state, [loss.statistics], progress=0.5)
            rows = normalized(z, "sphere", 6.0).flatten(0, 1)
            moments.append(rows.T @ rows / 14)
            ages = 0.75 ** torch.arange(step, -1, -1.0, dtype=torch.float64)
            expected = (torch.stack(moments) * ages[:, None, None]).sum(0) / ages.sum()
            torch.testing.assert_close(state.get_buffer("second_moment"), expected)
        torch.testing.assert_close(float(state.get_buffer("filled")), 1 - 0.75**4)

    def test_a_memory_of_nothing_is_the_last_batch(self):
        objective, z = MINC(memory=0.0, carried=False, scale=6.0), embeddings(7, 3)
        state = objective.init(3).double()
        objective.update(state, [objective(z, state).statistics], progress=0.5)
        rows = normalized(z, "sphere", 6.0).flatten(0, 1)
        torch.testing.assert_close(state.get_buffer("second_moment"), rows.T @ rows / 14)

    def test_a_carried_memory_follows_the_encoder_exactly(self):
        """All images in each batch: S, started at their moment, is their moment for ever."""
        objective = MINC(memory=50.0, normalization="none", scale=1.0)
        state, z = objective.init(3).double(), embeddings(6, 3)
        state.get_buffer("second_moment").copy_(moment_of(z))
        state.get_buffer("filled").fill_(1)
        for seed in range(4):
            now = embeddings(6, 3, seed=seed)
            loss = objective(now, state, target=z)
            expected = minc(now, now, moment_of(now), normalization="none", scale=1.0)
            torch.testing.assert_close(loss.total, expected)
            objective.update(state, [loss.statistics], progress=0.5)
            torch.testing.assert_close(state.get_buffer("second_moment"), moment_of(now))
            z = now

    @pytest.mark.parametrize("a", [0.0, 0.4, 1.0])
    def test_chi_squared_is_that_of_the_present_moment_in_the_mean(self, a):
        """Over all batches of three independent images of four, whatever the encoder did between.

        Not so the loss: it has each image's own movement in it.
        """
        then, now = embeddings(4, 3, seed=1), embeddings(4, 3, seed=2)
        plain = {"normalization": "none", "scale": 1.0}
        expected = -1 - minc(now, now, moment_of(now), batch_weight=0.0, **plain)
        objective = MINC(batch_weight=a, **plain)
        state = objective.init(3).double()
        state.get_buffer("second_moment").copy_(moment_of(then))
        found = [
            objective(now[:, batch], state, target=then[:, batch])
            for batch in itertools.product(range(4), repeat=3)
        ]
        mean = torch.stack([loss.terms["chi_squared"] for loss in found]).mean()
        torch.testing.assert_close(mean, expected)
        loss = torch.stack([loss.total for loss in found]).mean()
        assert torch.allclose(-1 - loss, expected) == (a == 1)

    def test_a_second_moment_in_the_graph_is_a_constant(self):
        z = embeddings(5, 3).requires_grad_()
        gradients = [
            torch.autograd.grad(minc(z, z, moment), z)[0]
            for moment in (moment_of(z), moment_of(z).detach())
        ]
        torch.testing.assert_close(*gradients)

    def test_a_still_encoder_has_nothing_to_carry(self):
        z, state = embeddings(6, 3), MINC(carried=False).init(3).double()
        carried = MINC()(z, state, target=z.clone())
        torch.testing.assert_close(carried.total, MINC(carried=False)(z, state).total)

    def test_the_network_before_gets_no_gradient(self):
        z, before = embeddings(6, 3), embeddings(6, 3, seed=1).requires_grad_()
        assert not MINC()(z, MINC().init(3).double(), target=before).total.requires_grad

    def test_needs_the_network_before_to_carry(self):
        with pytest.raises(ValueError, match="target is missing"):
            MINC()(embeddings(6, 3), MINC().init(3))

    def test_target_is_partner_and_memory(self):
        z, target = embeddings(6, 3), embeddings(6, 3, seed=1)
        moment = torch.eye(3, dtype=torch.float64)
        found = minc_terms(z, target, moment, scale=2.0)
        of_target = minc_terms(target, target, moment, scale=2.0)
        torch.testing.assert_close(found.outer_products, of_target.outer_products)
        a, b = normalized(z, "sphere", 2.0), normalized(target, "sphere", 2.0)
        torch.testing.assert_close(found.alignment, -(a * b.flip(0)).sum() / (6 * 2.0))

    def test_target_of_another_shape(self):
        with pytest.raises((ValueError, TypeError), match="target"):
            minc(embeddings(4, 3), embeddings(5, 3), torch.eye(3))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda z: nt_xent(z, temperature=0.0), "temperature"),
        (lambda z: nt_xent(z[:1]), "view"),
        (lambda z: nt_xent(z[:, :1]), "batch"),
        (lambda z: spectral_contrastive(z, scale=-1.0), "scale"),
        (lambda z: vicreg(z, covariance_weight=-1.0), "covariance_weight"),
        (lambda z: vicreg_terms(z, eps=0.0), "eps"),
        (lambda z: minc(z, z, torch.eye(3), batch_weight=1.5), "batch_weight"),
        (lambda _: MINC(batch_weight=1.5), "batch_weight"),
        (lambda _: MINC(memory=-0.1), "memory"),
        (lambda _: NTXent(temperature=math.nan), "temperature"),
        (lambda _: SpectralContrastive(scale=0.0), "scale"),
        (lambda _: VICReg(eps=0.0), "eps"),
    ],
)
def test_bad_arguments_are_named(call, named):
    with pytest.raises(ValueError, match=named):
        call(embeddings(4, 3))


def test_terms_add_up():
    z = embeddings(5, 3)
    for objective in (NTXent(), SpectralContrastive(), MINC(carried=False)):
        loss = objective(z, objective.init(3))
        parts = [value for name, value in loss.terms.items() if name != "chi_squared"]
        assert sum(parts).item() == pytest.approx(loss.total.item())
    loss = VICReg(invariance_weight=2.0, variance_weight=3.0, covariance_weight=5.0)(
        z, torch.nn.Module()
    )
    parts = loss.terms
    expected = 2 * parts["invariance"] + 3 * parts["variance"] + 5 * parts["covariance"]
    torch.testing.assert_close(loss.total, expected)
