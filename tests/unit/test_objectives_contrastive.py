"""Sample-contrastive objectives: other settings, golden values, tiles, labels, memory, scores."""

import math
import warnings
from dataclasses import replace
from itertools import pairwise
from typing import get_args

import pytest
import torch

from coview.objectives import (
    FMICL,
    TABLE,
    AlignmentUniformity,
    DecoupledNTXent,
    InfoNCE,
    InstanceDiscrimination,
    NTXent,
    SpectralContrastive,
    SupCon,
    alignment,
    decoupled_nt_xent,
    f_micl,
    info_nce,
    nt_xent,
    spectral_contrastive,
    supervised_contrastive,
    uniformity,
)
from coview.objectives.f_micl import COLLAPSING, Divergence, check_divergence, scores
from coview.objectives.rows import unit_rows
from coview.objectives.tiles import PairFunction, log_sum_exp_of_others, sum_over_others
from coview.random import torch_generator
from coview.testing import check_reference, embeddings
from coview.testing import objectives as checks
from coview.testing.cases import cases
from reference.objectives import REFERENCES
from reference.sample_contrastive import divergence as published

UNBOUNDED = {"bounds": lambda *_: (-math.inf, math.inf), "known_points": ()}
WITHOUT_SCALING = {"invariances": frozenset({"rotation", "dimension permutation"})}


CHECKS = (
    checks.check_degenerate,
    checks.check_optima,
    checks.check_known_points,
    checks.check_bounds,
    checks.check_precision,
)
"""Those whose outcome may depend on settings."""


def collapsing(**settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FMICL(**settings)


SETTINGS = [
    (NTXent(temperature=0.5), {}),
    (NTXent(temperature=0.01), {}),  # exponents that float32 cannot hold
    (NTXent(similarity="squared"), {}),
    (NTXent(similarity="absolute", temperature=0.5), {}),
    (NTXent(similarity="squared", temperature=0.005), {}),
    (DecoupledNTXent(temperature=0.2), {}),
    (DecoupledNTXent(similarity="squared"), {}),
    (DecoupledNTXent(similarity="absolute"), {}),
    (DecoupledNTXent(sigma=0.5), {}),
    (DecoupledNTXent(sigma=0.3, similarity="absolute"), {}),
    (SupCon(temperature=0.5), {}),
    (SpectralContrastive(negatives="all"), {}),
    (
        SpectralContrastive(negatives="all", normalization="none", scale=2.0),
        UNBOUNDED | WITHOUT_SCALING,
    ),
    (SpectralContrastive(negatives="all", normalization="ball", scale=1.0), WITHOUT_SCALING),
    (InfoNCE(memory=5, temperature=0.5), {}),
    (InfoNCE(memory=40, temperature=0.02), {}),
    (InstanceDiscrimination(images=30, negatives=9, momentum=0.9), {}),
    (InstanceDiscrimination(images=12, negatives=40, temperature=0.02, momentum=0.0), {}),
    (AlignmentUniformity(power=1.0, scale=3.0, uniformity_weight=0.3), {}),
    (AlignmentUniformity(alignment_weight=0.5, scale=30.0), {}),
    (FMICL(divergence="js", negative_weight=3.0), {}),
    (FMICL(divergence="pearson", sigma=1.0), {}),
    (FMICL(divergence="squared_hellinger"), {}),
    (FMICL(divergence="tsallis", order=0.7), {}),
    (FMICL(divergence="tsallis", order=3.0), {}),
    (FMICL(divergence="vincze_le_cam"), {}),
    (collapsing(divergence="reverse_kl", negative_weight=1.0), {}),
    (collapsing(divergence="neyman", negative_weight=1.0), {}),
    (collapsing(divergence="jeffrey", negative_weight=1.0), {}),
]


def row_of(objective):
    return next(spec for spec in TABLE.values() if isinstance(objective, spec.config))


@pytest.mark.filterwarnings("ignore:f-MICL with divergence")
@pytest.mark.parametrize(
    ("objective", "changed"),
    SETTINGS,
    ids=lambda v: ",".join(v) if isinstance(v, dict) else repr(v),
)
def test_other_settings_keep_contract(objective, changed):
    spec = replace(row_of(objective), **changed)
    for check in CHECKS:
        check(spec, objective)
    check_reference(objective, REFERENCES[spec.name])
    for case in cases(objective):

        def total(z, case=case):
            return replace(case, z=z).loss(objective).total

        torch.autograd.gradcheck(total, (case.z.requires_grad_(),), fast_mode=True)


def golden():
    """Two views of 4 images in 3 dimensions, from a formula that any language can repeat."""
    angle = (torch.arange(1, 13, dtype=torch.float64) ** 2).reshape(3, 4)
    first = angle.sin()
    return torch.stack([first.T, (first + 0.1 * angle.cos()).T])


def gradient(function, z):
    leaf = z.clone().requires_grad_()
    return torch.autograd.grad(function(leaf), leaf)[0]


THEORY = {
    ("simclr", "cosine"): 0.008744751202831,
    ("simclr", "squared"): 0.928004417115923,
    ("simclr", "absolute"): 1.157726068368841,
    ("dcl", "cosine"): -24.713937143103735,
    ("dcl", "squared"): -11.704775298834768,
    ("dcl", "absolute"): -9.592461058843046,
}


class TestGolden:
    """The duality paper's theory forms: sums over images, one direction, negatives of one view."""

    @pytest.mark.parametrize(("form", "similarity"), THEORY)
    def test_theory_forms(self, form, similarity):
        power = 0.25 if similarity == "squared" else 0.5
        first, second = unit_rows(golden(), 0.15**-power)
        shape = {"cosine": lambda s: s, "squared": torch.square, "absolute": torch.abs}[similarity]
        positive = shape((first * second).sum(-1))
        others = log_sum_exp_of_others(first, first, similarity=similarity)
        if form == "simclr":
            others = torch.logaddexp(positive, others)
        value = (others - positive).sum().item()
        assert value == pytest.approx(THEORY[form, similarity], abs=1e-13)


class TestTiles:
    @pytest.mark.parametrize("similarity", ["cosine", "squared", "absolute"])
    @pytest.mark.parametrize("tile", [1, 3, 4, 100])
    @pytest.mark.parametrize("bound", [None, 30.0])
    @pytest.mark.parametrize(("first", "block"), [(0, 1), (4, 2), (3, 3), (None, 1)])
    def test_equal_dense(self, similarity, tile, bound, first, block):
        columns = embeddings(12, 3)[0]
        start = first or 0
        rows = columns[start : start + 6].clone()

        def tiled(rows, columns):
            options = {"block": block, "similarity": similarity, "bound": bound, "tile": tile}
            return log_sum_exp_of_others(rows, columns, first, **options)

        assert_equal(tiled, dense(similarity, first, block), rows, columns)

    @pytest.mark.parametrize("similarity", ["cosine", "squared", "absolute"])
    @pytest.mark.parametrize("tile", [1, 4, 5, 100])
    @pytest.mark.parametrize("bound", [None, 30.0])
    @pytest.mark.parametrize("block", [1, 2, 3])
    def test_rows_with_themselves(self, similarity, tile, bound, block):
        """Mirrored tiles, of which block boundaries may be anywhere."""

        def tiled(rows):
            options = {"block": block, "similarity": similarity, "bound": bound, "tile": tile}
            return log_sum_exp_of_others(rows, rows, **options)

        expected = dense(similarity, 0, block)
        assert_equal(tiled, lambda rows: expected(rows, rows), embeddings(12, 3)[0])

    @pytest.mark.parametrize("tile", [2, 5, 100])
    @pytest.mark.parametrize("apart", [False, True])
    def test_any_function(self, tile, apart):
        function = PairFunction(lambda x, _: x**3, lambda x, _: 3 * x**2)

        def tiled(rows):
            columns = rows.clone() if apart else rows
            return sum_over_others(rows, columns, function, tile=tile)

        def dense(rows):
            return (rows @ rows.T).fill_diagonal_(0).pow(3).sum(1)

        assert_equal(tiled, dense, embeddings(8, 3)[0])

    @pytest.mark.parametrize("function", [nt_xent, decoupled_nt_xent, uniformity, f_micl])
    def test_nothing_of_the_size_of_all_pairs_is_kept(self, function):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, id):
            function(embeddings(200, 4).requires_grad_())
        assert max(kept) <= 2 * 200 * 4

    @pytest.mark.parametrize("temperature", [1e-6, 1e-3, 0.02, 0.03, 100.0])
    def test_float32_at_any_temperature(self, temperature):
        z = embeddings(30, 5)
        for function in (nt_xent, decoupled_nt_xent):
            short, exact = (function(x, temperature=temperature) for x in (z.float(), z))
            torch.testing.assert_close(short.double(), exact, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("similarity", ["cosine", "squared", "absolute"])
    def test_gradient_under_autocast_is_that_without(self, similarity):
        z = embeddings(20, 8).float()
        plain = gradient(lambda x: nt_xent(x, similarity=similarity), z)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = gradient(lambda x: nt_xent(x, similarity=similarity), z)
        assert torch.equal(plain, mixed)


def dense(similarity, first, block):
    shape = {"cosine": lambda s: s, "squared": torch.square, "absolute": torch.abs}[similarity]

    def function(rows, columns):
        logits = shape(rows @ columns.T)
        if first is not None:
            own = (torch.arange(len(rows))[:, None] + first) // block
            logits = logits.masked_fill(own == torch.arange(len(columns)) // block, -torch.inf)
        return logits.logsumexp(1)

    return function


def assert_equal(ours, theirs, *inputs):
    """Compare values and weighted gradients by every input."""
    torch.testing.assert_close(ours(*inputs), theirs(*inputs))
    weights = torch.linspace(-1, 2, len(inputs[0]), dtype=torch.float64)
    results = []
    for function in (ours, theirs):
        leaves = [x.clone().requires_grad_() for x in inputs]
        results.append(torch.autograd.grad((function(*leaves) * weights).sum(), leaves))
    torch.testing.assert_close(*results)


class TestSimilarity:
    @pytest.mark.parametrize("function", [nt_xent, decoupled_nt_xent])
    @pytest.mark.parametrize("similarity", ["squared", "absolute"])
    def test_signs_of_rows_do_not_count(self, function, similarity):
        z = embeddings(6, 4)
        signs = torch.tensor([1, -1, 1, 1, -1, -1.0], dtype=torch.float64)[:, None]
        torch.testing.assert_close(
            function(z * signs, similarity=similarity), function(z, similarity=similarity)
        )

    @pytest.mark.parametrize("function", [nt_xent, decoupled_nt_xent])
    @pytest.mark.parametrize("similarity", ["squared", "absolute"])
    def test_no_slope_at_zero(self, function, similarity):
        """Orthogonal images whose views are orthogonal too."""
        z = torch.eye(8, dtype=torch.float64).reshape(2, 4, 8)
        slope = gradient(lambda x: function(x, similarity=similarity), z)
        assert torch.equal(slope, torch.zeros_like(z))

    @pytest.mark.parametrize("call", [nt_xent, NTXent, decoupled_nt_xent, DecoupledNTXent])
    def test_unknown(self, call):
        positional = () if isinstance(call, type) else (embeddings(4, 3),)
        with pytest.raises((ValueError, TypeError), match="similarity"):
            call(*positional, similarity="cubed")


class TestDecoupled:
    def test_large_sigma_is_no_weight(self):
        z = embeddings(6, 4)
        torch.testing.assert_close(decoupled_nt_xent(z, sigma=1e9), decoupled_nt_xent(z))

    def test_is_nt_xent_without_positives_in_the_denominator(self):
        """With one positive each, exp(lse of NT-Xent) = exp(lse of DCL) + exp(positive)."""
        first, second = unit_rows(embeddings(5, 4), 0.1**-0.5)
        rows = torch.stack([first, second], 1).flatten(0, 1)
        without = log_sum_exp_of_others(rows, rows, block=2)
        positive = (first * second).sum(-1).repeat_interleave(2)
        expected = (torch.logaddexp(without, positive) - positive).mean()
        torch.testing.assert_close(nt_xent(embeddings(5, 4)), expected)


class TestSupCon:
    def test_different_labels_are_nt_xent(self):
        z = embeddings(6, 4, views=3)
        expected = nt_xent(z, temperature=0.07)
        for labels in (torch.tensor([5, 0, 7, 3, 1, 9]), torch.full((6,), -1)):
            torch.testing.assert_close(supervised_contrastive(z, labels), expected)

    @pytest.mark.parametrize(
        "labels", [[-1, 2, 2, -1, 5], [0, 0, 0, 0, 0], [3, -1, 3, 7, 7], [-1, -1, 4, 1, 4]]
    )
    @pytest.mark.parametrize("views", [2, 3])
    def test_labels_as_the_reference(self, labels, views):
        z, labels = embeddings(5, 4, views=views), torch.tensor(labels)
        expected = REFERENCES["supervised_contrastive"](z, SupCon(), None, labels=labels)
        assert supervised_contrastive(z, labels).item() == pytest.approx(expected, rel=1e-12)

    def test_labels_of_another_length(self):
        with pytest.raises((ValueError, TypeError), match="labels"):
            supervised_contrastive(embeddings(5, 4), torch.zeros(4, dtype=torch.int64))


class TestSpectral:
    def test_all_views_is_the_mean_over_pairs_of_views(self):
        z = embeddings(7, 4, views=3)
        options = {"normalization": "none", "scale": 1.0}
        pairs = [torch.stack([z[v], z[w]]) for v in range(3) for w in range(3)]
        align = -2 * sum((a * b).sum(-1).mean() for a, b in pairs) + 2 * z.square().sum() / 7
        squares = []
        for a, b in pairs:
            off = (a @ b.T).fill_diagonal_(0)
            squares.append(off.square().sum() / 42)
        expected = align / 6 + sum(squares) / 9
        value = spectral_contrastive(z, negatives="all", **options)
        torch.testing.assert_close(value, expected)

    @pytest.mark.parametrize("negatives", ["cross", "all"])
    @pytest.mark.parametrize("views", [2, 3])
    @pytest.mark.parametrize("images", [12, 17, 32, 33, 64, 200])
    def test_float32_near_the_optimum(self, negatives, views, images):
        bases = [torch.linalg.qr(embeddings(32, 32, seed=seed)[0]).Q for seed in range(7)]
        frame = torch.cat(bases)[:images]
        z = (frame + 1e-4 * embeddings(images, 32, views=views)).float()

        def pairs(z):
            rows = torch.nn.functional.normalize(z, dim=-1)
            grams = torch.einsum("vid, wjd -> vwij", rows, rows)
            other = 1 - torch.eye(views)[:, :, None, None]
            same = torch.eye(images)
            align = -2 * (grams * other * same).sum() / (views * (views - 1) * images)
            kept = grams * (1 - same) * (other if negatives == "cross" else 1)
            count = views * (views - 1) if negatives == "cross" else views**2
            return align + 32 * kept.square().sum() / (count * images * (images - 1))

        def ours(z):
            return spectral_contrastive(z, negatives=negatives)

        exact = ours(z.double())
        assert ours(z).item() == pytest.approx(exact.item(), abs=1e-6)
        reference = gradient(ours, z.double())
        error, naive = ((gradient(f, z) - reference).norm().item() for f in (ours, pairs))
        assert error < 2 * naive

    def test_unknown_negatives(self):
        with pytest.raises((ValueError, TypeError), match="negatives"):
            SpectralContrastive(negatives="own")


class TestMemory:
    def test_fresh_queue_is_random_unit_rows(self):
        first, second = (InfoNCE(memory=50).init(8) for _ in range(2))
        assert torch.equal(first.keys, second.keys)
        torch.testing.assert_close(first.keys.norm(dim=1), torch.ones(50))
        assert first.keys.mean(0).norm() < 0.35
        assert first.position == 0

    def test_first_in_first_out(self):
        objective = InfoNCE(memory=7)
        state = objective.init(3)
        fresh = state.keys.clone()
        targets = [embeddings(2, 3, seed=seed).float() for seed in range(3)]
        rows = [unit_rows(t).transpose(0, 1).flatten(0, 1) for t in targets]
        expected = [
            torch.cat([rows[0], fresh[4:]]),
            torch.cat([rows[1][3:], rows[0][1:], rows[1][:3]]),
            torch.cat([rows[1][3:], rows[2], rows[1][1:3]]),
        ]
        for target, keys in zip(targets, expected, strict=True):
            objective.update(
                state, [objective(target, state, target=target).statistics], progress=0.5
            )
            torch.testing.assert_close(state.keys, keys)
        assert state.position == 12 % 7

    def test_more_keys_than_places(self):
        objective = InfoNCE(memory=3)
        state, target = objective.init(4), embeddings(5, 4).float()
        objective.update(state, [objective(target, state, target=target).statistics], progress=0.5)
        newest = unit_rows(target).transpose(0, 1).flatten(0, 1)[-3:]
        torch.testing.assert_close(state.keys, newest)

    def test_memory_is_read_before_it_is_written(self):
        objective, z = InfoNCE(memory=6), embeddings(4, 3)
        state = objective.init(3).double()
        anchors, keys = torch.cat([z[0], z[1]]), torch.cat([z[1], z[0]])
        expected = info_nce(anchors, keys, state.keys)
        torch.testing.assert_close(objective(z, state, target=z).total, expected)

    def test_fewer_targets_than_views(self):
        """Small crops are anchors only."""
        objective, z = InfoNCE(memory=6), embeddings(4, 3, views=3)
        state = objective.init(3).double()
        loss = objective(z, state, target=z[:2])
        expected = REFERENCES["info_nce"](z, objective, state, target=z[:2])
        assert loss.total.item() == pytest.approx(expected, rel=1e-12)
        assert len(loss.statistics["keys"]) == 8

    def test_is_cross_entropy(self):
        generator = torch_generator("info_nce")
        anchor, positive = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
        negatives = torch.randn(9, 4, generator=generator, dtype=torch.float64)
        a, p, m = (torch.nn.functional.normalize(x) for x in (anchor, positive, negatives))
        logits = torch.cat([(a * p).sum(1, keepdim=True), a @ m.T], 1) / 0.2
        expected = torch.nn.functional.cross_entropy(logits, torch.zeros(5, dtype=torch.int64))
        value = info_nce(anchor, positive, negatives, temperature=0.2)
        torch.testing.assert_close(value, expected)

    def test_all_alike(self):
        row = embeddings(1, 4)[0]
        value = info_nce(row.expand(3, 4), row.expand(3, 4), row.expand(8, 4))
        assert value.item() == pytest.approx(math.log(9))

    def test_gradients(self):
        """To anchors, and to positives that ask for one; never to the memory."""
        leaves = [embeddings(5, 4, seed=seed)[0].requires_grad_() for seed in range(3)]
        found = torch.autograd.grad(info_nce(*leaves), leaves, allow_unused=True)
        assert found[2] is None
        assert min(found[0].norm(), found[1].norm()) > 0
        memory = leaves[2].detach()
        torch.autograd.gradcheck(lambda a, p: info_nce(a, p, memory), leaves[:2])

    @pytest.mark.parametrize(
        ("call", "named"),
        [
            (lambda x: info_nce(x, x, x[:0]), "negatives"),
            (lambda x: info_nce(x, x, x, temperature=-1.0), "temperature"),
            (lambda x: info_nce(x[:0], x[:0], x), "anchor"),
            (lambda _: InfoNCE(memory=0), "memory"),
        ],
    )
    def test_bad_input(self, call, named):
        with pytest.raises(ValueError, match=named):
            call(embeddings(4, 3)[0])


class TestBank:
    def test_fresh_bank_is_random_unit_rows(self):
        first, second = (InstanceDiscrimination(images=50).init(8) for _ in range(2))
        assert torch.equal(first.rows, second.rows)
        torch.testing.assert_close(first.rows.norm(dim=1), torch.ones(50))
        assert first.rows.mean(0).norm() < 0.35

    def test_negatives_are_uniform_over_rows_and_drawn_anew(self):
        objective = InstanceDiscrimination(images=20, negatives=20_000)
        state = objective.init(3)
        first = state.drawn.clone()
        z = embeddings(4, 3)
        for _ in range(2):
            before = state.drawn.clone()
            loss = objective(z, state, index=torch.arange(4))
            objective.update(state, [loss.statistics], progress=0.5)
            assert not torch.equal(before, state.drawn)
        counts = torch.bincount(state.drawn, minlength=20)
        assert ((counts - 1000).square() / 1000).sum() < 43.8  # chi-squared, 19 degrees, 0.1 %
        assert (state.drawn == first).double().mean() < 0.1

    def test_one_step_by_hand(self):
        """The value of the bank before the step; rows move halfway, once, on the sphere."""
        objective = InstanceDiscrimination(images=6, negatives=5, temperature=0.3)
        state = objective.init(4).double()
        z, index = embeddings(4, 4), torch.tensor([5, 0, 5, 2])
        before = state.rows.clone()
        loss = objective(z, state, index=index)
        expected = [
            info_nce(z[v], before[index], before[state.drawn], temperature=0.3) for v in range(2)
        ]
        torch.testing.assert_close(loss.total, sum(expected) / 2)
        objective.update(state, [loss.statistics], progress=0.5)
        rows = before.clone()
        unit = torch.nn.functional.normalize(z, dim=-1).mean(0)
        for image in (0, 2, 5):
            seen = unit[index == image].mean(0)
            rows[image] = torch.nn.functional.normalize(0.5 * before[image] + 0.5 * seen, dim=0)
        torch.testing.assert_close(state.rows, rows)

    def test_the_order_of_images_and_micro_batches_does_not_count(self):
        objective = InstanceDiscrimination(images=6)
        z, index = embeddings(5, 4), torch.tensor([5, 0, 5, 2, 5])
        found = []
        for parts in (([0, 1, 2, 3, 4],), ([4, 3], [2, 1, 0])):
            state = objective.init(4).double()
            statistics = [objective(z[:, p], state, index=index[p]).statistics for p in parts]
            objective.update(state, statistics, progress=0.5)
            found.append(state.rows)
        torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)

    def test_one_view_is_enough(self):
        objective = InstanceDiscrimination(images=6)
        z, state = embeddings(5, 4)[:1], objective.init(4).double()
        index = torch.arange(5)
        expected = REFERENCES["instance_discrimination"](z, objective, state, index=index)
        assert objective(z, state, index=index).total.item() == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("call", "named"),
        [
            (lambda z, s: InstanceDiscrimination(images=6)(z, s, index=torch.arange(4) + 3), "in"),
            (lambda z, s: InstanceDiscrimination(images=6)(z, s, index=torch.arange(4) - 1), "in"),
            (lambda z, s: InstanceDiscrimination(images=6)(z, s), "missing"),
            (lambda z, s: InstanceDiscrimination(images=7)(z, s, index=torch.arange(4)), "rows"),
            (lambda *_: InstanceDiscrimination(negatives=0), "negatives"),
            (lambda *_: InstanceDiscrimination(images=0), "images"),
            (lambda *_: InstanceDiscrimination(momentum=1.1), "momentum"),
        ],
        ids=["beyond", "below", "missing", "other bank", "negatives", "images", "momentum"],
    )
    def test_bad_input(self, call, named):
        state = InstanceDiscrimination(images=6).init(3)
        with pytest.raises(ValueError, match=named):
            call(embeddings(4, 3), state)


class TestAlignmentUniformity:
    def test_two_points(self):
        """At angle π/3 the distance is 1."""
        z = torch.tensor([[1.0, 0.0], [0.5, math.sqrt(0.75)]]).double()
        views = torch.stack([z, z.flip(0)])
        for power in (1.0, 2.0, 3.5):
            assert alignment(views, power=power).item() == pytest.approx(1.0)
        assert uniformity(views[:1], scale=3.0).item() == pytest.approx(-3.0)

    def test_power_below_one(self):
        with pytest.raises(ValueError, match="power"):
            alignment(embeddings(4, 3), power=0.5)

    def test_kl_of_f_micl_is_alignment_and_the_kernel_mean(self):
        z = embeddings(6, 4)
        kernel = sum(uniformity(view[None], scale=1.0).exp() for view in z) / 2
        expected = alignment(z) - 1 + 40 * kernel
        torch.testing.assert_close(f_micl(z), expected)


DIVERGENCES = get_args(Divergence)


class TestDivergences:
    @pytest.mark.parametrize("name", DIVERGENCES)
    def test_scores_are_those_of_the_published_functions(self, name):
        """f'(u), and f*(f'(u)) = u f'(u) − f(u), from f, f' and f* as printed."""
        f, derivative, conjugate = published(name, 1.5)
        score = scores(name, 1.5)
        for u in (0.05, 0.3, 0.8, 1.0, 1.7, 6.0):
            x = torch.tensor(math.log(u), dtype=torch.float64, requires_grad=True)
            step = 1e-6 * u
            numeric = (f(u + step) - f(u - step)) / (2 * step)
            assert derivative(u) == pytest.approx(numeric, rel=1e-6, abs=1e-8)
            assert score.positive(x).item() == pytest.approx(derivative(u), rel=1e-12, abs=1e-14)
            negative = score.negative(x)
            assert negative.item() == pytest.approx(u * derivative(u) - f(u), rel=1e-9, abs=1e-12)
            assert negative.item() == pytest.approx(conjugate(derivative(u)), rel=1e-9, abs=1e-9)
            (slope,) = torch.autograd.grad(negative, x)
            torch.testing.assert_close(score.slope(x), slope)

    @pytest.mark.parametrize("name", DIVERGENCES)
    def test_those_that_collapse_warn(self, name):
        """h(t) = f*(f'(G)) of a squared distance t on [0, 4] is strictly convex for most others."""
        t = torch.linspace(0, 4, 41, dtype=torch.float64)
        values = scores(name).negative(-t).tolist()
        slopes = [b - a for a, b in pairwise(values)]
        convex = all(b > a + 1e-12 for a, b in pairwise(slopes))
        assert convex == (name not in COLLAPSING - {"jeffrey"})
        if name in COLLAPSING:
            with pytest.warns(UserWarning, match=f"{name}.*collapses"):
                FMICL(divergence=name)
            with pytest.warns(UserWarning, match=f"{name}.*collapses"):
                f_micl(embeddings(4, 3), divergence=name)

    def test_total_variation_is_not_offered(self):
        with pytest.raises((ValueError, TypeError), match="divergence"):
            FMICL(divergence="total_variation")
        with pytest.raises(ValueError, match="divergence must be one of kl, js"):
            check_divergence("total_variation", 1.5)

    def test_order_of_one(self):
        with pytest.raises(ValueError, match="order must not be 1"):
            FMICL(divergence="tsallis", order=1.0)
