"""Each measure against loops in float64 and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from coview.diagnostics import (
    clid,
    cluster_learnability,
    effective_rank,
    intrinsic_dimension,
    lidar,
    linear_cka,
    norm_balance,
    pair_distance_ratio,
    power_law,
    stable_rank,
    standard_deviation_ratio,
    view_separation,
)
from coview.random import generator


def gaussian(*shape):
    return generator("measures", *shape).normal(size=shape)


def rotation(dim):
    return np.linalg.qr(gaussian(dim, dim))[0]


def spread(eigenvalues, rows=400):
    """Return rows whose covariance (over n) has exactly these eigenvalues."""
    basis = gaussian(rows, len(eigenvalues))
    basis = np.linalg.qr(basis - basis.mean(0))[0]
    return basis * np.sqrt(rows * np.asarray(eigenvalues)) @ rotation(len(eigenvalues)) + 3.0


# stable rank


@pytest.mark.parametrize("centered", [False, True])
def test_stable_rank_is_its_formula(centered):
    h = gaussian(30, 6) + 2.0
    rows = h - h.mean(0) if centered else h
    largest = max(np.linalg.eigvalsh(rows.T @ rows))
    assert stable_rank(h, centered=centered) == pytest.approx(
        sum(x * x for row in rows for x in row) / largest, rel=1e-10
    )


def test_stable_rank_at_its_known_points():
    assert stable_rank(spread([2.0] * 5), centered=True) == pytest.approx(5, rel=1e-10)
    assert stable_rank(np.ones((5, 3)), centered=True) == 0.0
    assert stable_rank(np.ones((5, 3))) == pytest.approx(1.0)


# alpha-ReQ


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.3])
def test_a_power_law_is_found(alpha):
    found = power_law(spread(np.arange(1, 61.0) ** -alpha))
    assert (found.first, found.last) == (11, 60)
    assert found.alpha == pytest.approx(alpha, rel=1e-8)
    assert found.r2 == pytest.approx(1.0, abs=1e-10)


def test_the_fit_is_weighted_least_squares():
    h = gaussian(90, 40) * np.exp(-0.1 * np.arange(40))
    centred = h - h.mean(0)
    values = np.sort(np.linalg.eigvalsh(centred.T @ centred))[::-1]
    ranks = np.arange(5, 31)
    x, y, w = np.log(ranks), np.log(values[4:30]), 1 / ranks
    slope, offset = np.polyfit(x, y, 1, w=np.sqrt(w))
    mean = np.average(y, weights=w)
    r2 = 1 - sum(w * (y - slope * x - offset) ** 2) / sum(w * (y - mean) ** 2)
    found = power_law(h, first=5, last=30)
    assert found.alpha == pytest.approx(-slope, rel=1e-8)
    assert found.r2 == pytest.approx(r2, rel=1e-8)
    assert found.r2 < 0.99


def test_a_fit_needs_eigenvalues():
    with pytest.raises(ValueError, match=r"at least 10 eigenvalues.*ranks 11 to 15"):
        power_law(gaussian(50, 15))
    with pytest.raises(ValueError, match="ranks 0 to"):
        power_law(gaussian(50, 40), first=0)


# pairs of views


def ratio_loops(h):
    views, n = h.shape[:2]
    near, far = [], []
    for v in range(views):
        for w in range(v + 1, views):
            for i in range(n):
                for j in range(n):
                    (near if i == j else far).append(((h[v, i] - h[w, j]) ** 2).sum())
    return np.mean(near) / np.mean(far)


def test_pair_distance_ratio_is_its_definition():
    h = gaussian(3, 9, 4) + gaussian(9, 4) + 5.0
    assert pair_distance_ratio(h) == pytest.approx(ratio_loops(h), rel=1e-12)


@pytest.mark.parametrize(("within", "expected"), [(0.0, 0.0), (1.0, 0.5), (3.0, 0.75)])
def test_pair_distance_ratio_is_the_share_within_images(within, expected):
    h = gaussian(4000, 8) + math.sqrt(within) * gaussian(2, 4000, 8)
    assert pair_distance_ratio(h) == pytest.approx(expected, abs=0.015)
    moved = 7.0 * h @ rotation(8) + 100.0
    assert pair_distance_ratio(moved) == pytest.approx(pair_distance_ratio(h), abs=1e-10)


def test_unrelated_views_have_ratio_one():
    assert pair_distance_ratio(gaussian(2, 4000, 8)) == pytest.approx(1.0, abs=0.02)


def separation_loops(h):
    views, n = h.shape[:2]
    won = [
        ((h[v, i] - h[(v + 1) % views, i]) ** 2).sum()
        < ((h[v, i] - h[(v + 1) % views, j]) ** 2).sum()
        for v in range(views)
        for i in range(n)
        for j in range(n)
        if i != j
    ]
    return np.mean(won)


def test_view_separation_is_its_definition():
    h = gaussian(3, 9, 4) + 0.7 * gaussian(9, 4) + 5.0
    assert view_separation(h) == pytest.approx(separation_loops(h), rel=1e-12)
    assert 0.55 < view_separation(h) < 0.95


def test_view_separation_at_its_known_points():
    h = gaussian(50, 4)
    assert view_separation(np.stack([h, h])) == 1.0
    assert view_separation(np.full((2, 50, 4), 0.1)) == 0.5
    assert view_separation(gaussian(2, 1000, 8)) == pytest.approx(0.5, abs=0.02)


def lidar_loops(h, delta, eps):
    q, n, dim = h.shape
    means = [sum(h[v, i] for v in range(q)) / q for i in range(n)]
    mean = sum(means) / n
    between, within = np.zeros((dim, dim)), delta * np.eye(dim)
    for i in range(n):
        between += np.outer(means[i] - mean, means[i] - mean) / (n - 1)
        for v in range(q):
            within += np.outer(h[v, i] - means[i], h[v, i] - means[i]) / (n * (q - 1))
    root = np.linalg.inv(np.real(sqrtm(within)))
    values = np.linalg.eigvalsh(root @ between @ root)
    p = values / values.sum() + eps
    return math.exp(-sum(x * math.log(x) for x in p))


@pytest.mark.parametrize(("n", "dim"), [(20, 5), (12, 11)])
def test_lidar_is_its_formula(n, dim):
    h = gaussian(3, n, dim) * np.arange(1, dim + 1) + 4 * gaussian(n, dim)
    assert lidar(h, delta=0.3, eps=1e-4) == pytest.approx(lidar_loops(h, 0.3, 1e-4), rel=1e-9)


def test_lidar_of_fewer_images_than_dimensions_takes_the_other_side_and_says_so():
    h = gaussian(3, 8, 20) + gaussian(8, 20)
    with pytest.warns(RuntimeWarning, match="LiDAR of 8 images in 20 dimensions is at most 7"):
        found = lidar(h, delta=0.1, eps=1e-12)
    p = np.linalg.eigvalsh(_lda(h, 0.1))
    p = p[p > 1e-10] / p.sum()
    assert found == pytest.approx(math.exp(-sum(p * np.log(p))), rel=1e-6)
    assert found <= 7


def _lda(h, delta):
    q, n, dim = h.shape
    means = h.mean(0)
    apart = (h - means).reshape(-1, dim)
    root = np.linalg.inv(np.real(sqrtm(apart.T @ apart / (n * (q - 1)) + delta * np.eye(dim))))
    return root @ np.cov(means.T) @ root


def test_lidar_counts_the_directions_that_tell_images_apart_where_rankme_counts_all():
    signal = np.zeros((600, 30))
    signal[:, :4] = spread([1.0] * 4, rows=600) - 3.0
    noise = 0.03 * gaussian(10, 600, 30)
    assert lidar(signal + noise) == pytest.approx(4, rel=0.05)
    stretched = (signal + noise) * np.where(np.arange(30) < 4, 1.0, 50.0)
    assert lidar(stretched, delta=1e-9) == pytest.approx(
        lidar(signal + noise, delta=1e-9), rel=1e-6
    )


def test_lidar_of_images_with_one_mean_is_zero():
    h = np.stack([gaussian(9, 4)] * 2)
    h[1] *= -1
    assert lidar(h) == 0.0


@pytest.mark.parametrize(
    "measure", [lidar, pair_distance_ratio, view_separation], ids=lambda f: f.__name__
)
def test_views_that_cannot_be_compared_are_named(measure):
    for shape in ((1, 9, 4), (2, 1, 4), (2, 9, 0)):
        with pytest.raises(ValueError, match="views must be"):
            measure(np.ones(shape))
    broken = gaussian(2, 9, 4)
    broken[1, 5, 0] = np.nan
    with pytest.raises(ValueError, match=r"first of images \[5\]"):
        measure(broken)


def test_constant_views_have_no_ratio():
    with pytest.raises(ValueError, match="coincide"):
        pair_distance_ratio(np.full((2, 9, 4), 7.3))
    with pytest.raises(ValueError, match="delta"):
        lidar(gaussian(2, 9, 4), delta=0.0)


# neighbours and clusters


def two_nn_loops(h):
    ratios = []
    for i in range(len(h)):
        near = sorted(np.linalg.norm(h[i] - h[j]) for j in range(len(h)) if j != i)
        ratios.append(near[1] / near[0])
    ratios.sort()
    n = len(ratios)
    kept = int(0.9 * n)
    x = np.log(ratios[:kept])
    y = np.array([-math.log(1 - (k + 1) / n) for k in range(kept)])
    return sum(x * y) / sum(x * x)


def test_intrinsic_dimension_is_its_formula_and_counts_equal_rows_once():
    h = gaussian(60, 5)
    assert intrinsic_dimension(h) == pytest.approx(two_nn_loops(h), rel=1e-9)
    assert intrinsic_dimension(np.concatenate([h, h[:30]])) == pytest.approx(
        intrinsic_dimension(h), rel=1e-9
    )


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_intrinsic_dimension_of_a_plane_however_embedded(dim):
    flat = gaussian(1500, dim) @ gaussian(dim, 50)
    assert intrinsic_dimension(flat) == pytest.approx(dim, rel=0.12)
    assert intrinsic_dimension(1e3 * flat + 1e4) == pytest.approx(
        intrinsic_dimension(flat), rel=1e-4
    )


def test_points_learn_perfectly_and_noise_does_not():
    points = np.repeat(gaussian(8, 6), 10, axis=0)
    assert cluster_learnability(points, clusters=8) == 1.0
    noise, clustered = gaussian(400, 40), np.repeat(3 * gaussian(20, 40), 20, axis=0)
    assert cluster_learnability(noise) < 0.45
    assert cluster_learnability(clustered + 0.1 * noise) > 0.95


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_cluster_learnability_is_the_accuracy_of_both_halves(seed):
    from sklearn.neighbors import KNeighborsClassifier

    from coview.diagnostics.neighbours import k_means

    h = gaussian(101, 7)
    unit = h / np.linalg.norm(h, axis=1, keepdims=True)
    labels = k_means(unit, 10, seed=seed).labels
    order = generator(seed, "cluster learnability").permutation(101)
    halves = order[:50], order[50:]
    right = 0
    for known, asked in (halves, halves[::-1]):
        knn = KNeighborsClassifier(1, metric="cosine").fit(unit[known], labels[known])
        right += (knn.predict(unit[asked]) == labels[asked]).sum()
    assert cluster_learnability(h, seed=seed) == pytest.approx(right / 101)


def test_clid_adds_what_is_standardised_over_candidates():
    candidates = [gaussian(200, 2), gaussian(200, 10), np.repeat(gaussian(100, 5), 2, axis=0)]
    parts = np.array([[cluster_learnability(h), intrinsic_dimension(h)] for h in candidates])
    expected = ((parts - parts.mean(0)) / parts.std(0)).sum(1)
    np.testing.assert_allclose(clid(candidates), expected, rtol=1e-9)
    np.testing.assert_allclose(clid([candidates[0]] * 2), [0, 0], atol=1e-12)
    with pytest.raises(ValueError, match="at least two"):
        clid(candidates[:1])
    with pytest.raises(ValueError, match=r"\[200, 199\]"):
        clid([candidates[0], candidates[1][1:]])


def test_neighbours_need_rows():
    for measure in (intrinsic_dimension, cluster_learnability):
        with pytest.raises(ValueError, match="at least 20"):
            measure(gaussian(19, 4))
    with pytest.raises(ValueError, match="has 3 different rows"):
        intrinsic_dimension(np.repeat(gaussian(3, 4), 30, axis=0))
    with pytest.raises(ValueError, match="clusters must be from 2"):
        cluster_learnability(gaussian(40, 4), clusters=21)
    with pytest.raises(ValueError, match="discarded"):
        intrinsic_dimension(gaussian(40, 4), discarded=1.0)


# CKA


def cka_loops(a, b, debiased):
    n = len(a)

    def hsic(x, y):
        k, m = x @ x.T, y @ y.T
        if not debiased:
            centre = np.eye(n) - 1 / n
            return np.trace(centre @ k @ centre @ m)
        k, m = k * (1 - np.eye(n)), m * (1 - np.eye(n))
        one = np.ones(n)
        return (
            np.trace(k @ m)
            + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
            - 2 / (n - 2) * (one @ k @ m @ one)
        )

    return hsic(a, b) / math.sqrt(hsic(a, a) * hsic(b, b))


@pytest.mark.filterwarnings("ignore:CKA of 30 rows:RuntimeWarning")
@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("dims", [(4, 7), (40, 7), (40, 50)])
def test_cka_is_its_formula_on_either_side(dims, debiased):
    a = gaussian(30, dims[0]) + 2.0
    b = np.concatenate([a[:, :3], gaussian(30, dims[1] - 3)], axis=1)
    assert linear_cka(a, b, debiased=debiased) == pytest.approx(cka_loops(a, b, debiased), rel=1e-9)


def test_cka_at_its_known_points():
    a, b = gaussian(200, 100), gaussian(201, 300)[:200]
    assert linear_cka(a, 3 * a @ rotation(100) + 1) == pytest.approx(1.0, rel=1e-9)
    assert abs(linear_cka(a, b)) < 0.03
    with pytest.warns(RuntimeWarning, match="biased towards 1"):
        assert linear_cka(a, b, debiased=False) > 0.4


def test_cka_wants_pairs():
    with pytest.raises(ValueError, match="got 30 and 29"):
        linear_cka(gaussian(30, 4), gaussian(29, 4))
    with pytest.raises(ValueError, match=r"b \(30, 4\) is constant"):
        linear_cka(gaussian(30, 4), np.full((30, 4), 0.1))
    with pytest.raises(ValueError, match="at least 4 rows"):
        linear_cka(gaussian(3, 4), gaussian(3, 4))


@pytest.mark.parametrize(
    ("measure", "match"),
    [
        (power_law, "alpha of 30 rows in 40 dimensions is biased"),
        (lambda h: linear_cka(h, h + 1, debiased=False), "CKA of 30 rows in 40 dimensions"),
    ],
    ids=["alpha", "CKA"],
)
def test_more_dimensions_than_rows_are_reported(measure, match):
    with pytest.warns(RuntimeWarning, match=match):
        measure(gaussian(30, 40))
    measure(gaussian(41, 40))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_no_scale_of_float32_is_too_large_or_too_small(scale):
    h = torch.from_numpy(gaussian(50, 20)).float()
    for measure in (effective_rank, standard_deviation_ratio, stable_rank):
        assert measure(scale * h) == pytest.approx(measure(h), rel=1e-4)


# Table S4


def test_norm_balance_is_its_definition():
    z = gaussian(12, 5) * np.arange(1, 6)
    unit_rows = [row / math.sqrt(sum(x * x for x in row)) for row in z]
    dimensions = sum(sum(row[k] ** 2 for row in unit_rows) ** 2 for k in range(5))
    unit_columns = [column / math.sqrt(sum(x * x for x in column)) for column in z.T]
    images = sum(sum(column[i] ** 2 for column in unit_columns) ** 2 for i in range(12))
    found = norm_balance(z)
    assert found.dimensions == pytest.approx(dimensions, rel=1e-12)
    assert found.images == pytest.approx(images, rel=1e-12)
    assert (found.least_dimensions, found.most_dimensions) == (144 / 5, 144)
    assert (found.least_images, found.most_images) == (25 / 12, 25)


def test_norm_balance_reaches_its_bounds():
    even = norm_balance(np.sign(gaussian(12, 5)))
    assert even.dimensions == pytest.approx(even.least_dimensions)
    assert even.images == pytest.approx(even.least_images)
    one_column = np.zeros((12, 5))
    one_column[:, 2] = gaussian(12)
    found = norm_balance(one_column)
    assert (found.dimensions, found.most_dimensions, found.most_images) == (
        pytest.approx(144), 144, 1,
    )  # fmt: skip


def test_norm_balance_of_a_gaussian_is_that_of_the_papers_dossier():
    found = norm_balance(gaussian(1024, 2048))
    assert found.dimensions / found.least_dimensions == pytest.approx(1 + 2 / 1024, abs=1e-3)
    assert found.images / found.least_images == pytest.approx(1 + 2 / 2048, abs=1e-3)
    with pytest.raises(ValueError, match="0 everywhere"):
        norm_balance(np.zeros((4, 3)))


# all


@pytest.mark.parametrize(
    "measure",
    [stable_rank, power_law, intrinsic_dimension, cluster_learnability, norm_balance],
    ids=lambda f: f.__name__,
)
def test_bad_rows_are_named(measure):
    h = gaussian(50, 40)
    h[7, 1] = np.inf
    with pytest.raises(ValueError, match=r"rows \[7\]"):
        measure(h)
    with pytest.raises(ValueError, match="batch >= 2"):
        measure(h[:1])


def test_nothing_touches_the_global_generators():
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    cluster_learnability(gaussian(50, 4))
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002
