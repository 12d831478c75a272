"""Pairs whose information is known: what an estimator is to be tried on.

The distributions are those of the published "Beyond Normal" benchmark (czyz2023beyond), the
Gaussian staircase (poole2019variational), the discrete table of regimes of InfoMin
(tian2020infomin), and images whose information is that of their classes or factors: drawn ones,
scenes, and labelled images of your own. A map of x alone or of y alone that can be undone leaves
the information as it is.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.special import digamma, gammaln, ndtr

from coview.data.scenes.information import discrete, gaussian
from coview.data.scenes.scenes import Scenes
from coview.random import generator

Array = Float[np.ndarray, "n ..."]
Map = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A joint distribution to draw from, and its information.

    Attributes:
        name: Says what it is.
        information: I(x; y) in nats.
        sample: Draws n pairs from (n, seed): arrays [n, ...] paired by row.
    """

    name: str
    information: float
    sample: Callable[[int, int], tuple[Array, Array]]


def staircase(dim: int = 20, information: float = 4.0) -> Task:
    """Return x ~ N(0, I), y = ρ x + √(1 − ρ²) ε with the ρ that gives the information.

    Raises:
        ValueError: If `dim` is below 1 or the information is negative.
    """
    if dim < 1 or not 0 <= information < math.inf:
        raise ValueError(
            f"dim must be at least 1 and information at least 0, got {dim}, {information}"
        )
    rho = math.sqrt(-math.expm1(-2 * information / dim))

    def sample(n: int, seed: int) -> tuple[Array, Array]:
        x, noise = generator(seed, "staircase", dim).normal(size=(2, n, dim))
        return x, rho * x + math.sqrt(1 - rho**2) * noise

    return Task(name=f"gaussian {dim}x{dim}", information=information, sample=sample)


def multinormal(name: str, covariance: Float[np.ndarray, "both both"], x_dim: int) -> Task:
    """Return a Gaussian vector, its first `x_dim` coordinates x and the others y."""
    coordinates = tuple(range(len(covariance)))
    information = gaussian(covariance, coordinates[:x_dim], coordinates[x_dim:])
    root = np.linalg.cholesky(covariance)

    def sample(n: int, seed: int) -> tuple[Array, Array]:
        both = generator(seed, "multinormal").normal(size=(n, len(covariance))) @ root.T
        return both[:, :x_dim], both[:, x_dim:]

    return Task(name=name, information=information, sample=sample)


def bivariate(correlation: float = 0.75) -> Task:
    """Return two Gaussian variables; information −½ log(1 − ρ²)."""
    covariance = np.array([[1.0, correlation], [correlation, 1.0]])
    return multinormal("bivariate normal", covariance, 1)


def dense(dim: int, correlation: float = 0.5) -> Task:
    """Return 2 dim Gaussian variables, each correlated with each."""
    covariance = np.full((2 * dim, 2 * dim), correlation) + (1 - correlation) * np.eye(2 * dim)
    return multinormal(f"dense normal {dim}x{dim}", covariance, dim)


def sparse(dim: int, correlation: float = 0.8, pairs: int = 2) -> Task:
    """Return `dim` + `dim` Gaussian variables, of which only `pairs` pairs are correlated."""
    covariance = np.eye(2 * dim)
    for i in range(pairs):
        covariance[i, dim + i] = covariance[dim + i, i] = correlation
    return multinormal(f"sparse normal {dim}x{dim}", covariance, dim)


def student(dim: int, freedom: float, correlation: float = 0.0) -> Task:
    r"""Return a Student-t vector: heavy tails, and information even without correlation.

    The Gaussian part of the dispersion, correlated as `sparse`, plus

    .. math:: f(\nu) + f(\nu + 2d) - 2 f(\nu + d), \quad
              f(a) = \log\Gamma(a/2) - \tfrac a2 \psi(a/2)

    Raises:
        ValueError: If `freedom` is not positive.
    """
    if not freedom > 0:
        raise ValueError(f"freedom must be above 0, got {freedom}")
    base = sparse(dim, correlation, min(2, dim))

    def part(a: float) -> float:
        return float(gammaln(a / 2) - a / 2 * digamma(a / 2))

    shared = part(freedom) + part(freedom + 2 * dim) - 2 * part(freedom + dim)

    def sample(n: int, seed: int) -> tuple[Array, Array]:
        x, y = base.sample(n, seed)
        scale = generator(seed, "student").chisquare(freedom, (n, 1)) / freedom
        return x / np.sqrt(scale), y / np.sqrt(scale)

    return Task(
        name=f"student-t {dim}x{dim}, {freedom:g} df",
        information=base.information + shared,
        sample=sample,
    )


def additive_uniform(epsilon: float) -> Task:
    """Return x ~ U(0, 1), y = x + U(−ε, ε): ε − log 2ε for ε ≤ ½, 1/4ε beyond.

    Raises:
        ValueError: If `epsilon` is not positive.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon must be above 0, got {epsilon}")
    information = epsilon - math.log(2 * epsilon) if epsilon <= 0.5 else 1 / (4 * epsilon)

    def sample(n: int, seed: int) -> tuple[Array, Array]:
        x, noise = generator(seed, "additive").uniform(size=(2, n, 1))
        return x, x + epsilon * (2 * noise - 1)

    return Task(name=f"additive uniform, ε {epsilon:g}", information=information, sample=sample)


def uniform_mixture(values: int = 5) -> Task:
    """Return x uniform on 0 .. m − 1, y ~ U(x, x + 2): log m − (m − 1)/m log 2.

    Raises:
        ValueError: If `values` is below 1.
    """
    if values < 1:
        raise ValueError(f"values must be at least 1, got {values}")

    def sample(n: int, seed: int) -> tuple[Array, Array]:
        rng = generator(seed, "mixture")
        x = rng.integers(values, size=(n, 1)).astype(float)
        return x, x + 2 * rng.uniform(size=(n, 1))

    information = math.log(values) - (values - 1) / values * math.log(2)
    return Task(name=f"uniform mixture of {values}", information=information, sample=sample)


def mapped(task: Task, name: str, of_x: Map, of_y: Map) -> Task:
    """Return the task after a one-to-one map of each side; the information stays."""

    def sample(n: int, seed: int) -> tuple[Array, Array]:
        x, y = task.sample(n, seed)
        return of_x(x), of_y(y)

    return replace(task, name=f"{name} of {task.name}", sample=sample)


def cube(x: np.ndarray) -> np.ndarray:
    """Return x³."""
    cubed: np.ndarray = x**3
    return cubed


def half_cube(x: np.ndarray) -> np.ndarray:
    """Return x √|x|: longer tails."""
    mapped_x: np.ndarray = x * np.sqrt(np.abs(x))
    return mapped_x


def wiggly_x(x: np.ndarray) -> np.ndarray:
    """Return x bent by three sines, still rising."""
    sines = 0.4 * np.sin(x) + 0.2 * np.sin(1.7 * x + 1) + 0.03 * np.sin(3.3 * x - 2.5)
    bent: np.ndarray = x + sines
    return bent


def wiggly_y(y: np.ndarray) -> np.ndarray:
    """Return y bent by three other sines, still rising."""
    sines = -0.4 * np.sin(0.4 * y) + 0.17 * np.sin(1.3 * y + 3.5) + 0.02 * np.sin(4.3 * y - 2.5)
    bent: np.ndarray = y + sines
    return bent


def spiral(
    x: Float[np.ndarray, "n dim"], *, axes: tuple[int, int] = (0, 1), speed: float = 0.25
) -> np.ndarray:
    """Return each point turned in a plane by `speed` times its squared length, in radians."""
    first, second = axes
    angle = speed * (x**2).sum(1)
    turned = x.copy()
    turned[:, first] = np.cos(angle) * x[:, first] + np.sin(angle) * x[:, second]
    turned[:, second] = np.cos(angle) * x[:, second] - np.sin(angle) * x[:, first]
    return turned


def swiss_roll(x: Float[np.ndarray, "n 1"]) -> Float[np.ndarray, "n 2"]:
    """Return numbers in [0, 1] rolled up in the plane."""
    t = 1.5 * np.pi * (1 + 2 * x)
    return np.hstack([t * np.cos(t), t * np.sin(t)]) / 21


def bimodal(weight: float, low: float, high: float) -> Map:
    """Return the map of N(0, 1) to the mixture weight N(low, 1) + (1 − weight) N(high, 1)."""
    grid = np.linspace(low - 9, high + 9, 20001)
    level = weight * ndtr(grid - low) + (1 - weight) * ndtr(grid - high)
    rising = np.concatenate([[True], np.diff(level) > 0])

    def of_normal(x: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.interp(ndtr(x), level[rising], grid[rising])
        return found

    return of_normal


Regime = Literal["missing", "sweet spot", "excess", "noise", "full"]

REGIMES: dict[Regime, tuple[float, float]] = {
    "missing": (math.log(5), math.log(5)),
    "sweet spot": (math.log(10), math.log(10)),
    "excess": (math.log(40), math.log(10)),
    "noise": (math.log(4), 0.0),
    "full": (math.log(640), math.log(10)),
}
"""I(v1; v2) and I(v1; y), in nats, of the views of `regime_cases`."""


def regime_cases(
    regime: Regime,
) -> tuple[Int[np.ndarray, "case first"], Int[np.ndarray, "case second"], Int[np.ndarray, " case"]]:
    """Return every case of two views v1, v2 of a datum of label y, once each, equally likely.

    y is uniform on 10 values; a nuisance s that the views may share, and private n1 and n2, are
    uniform on 4; "missing" keeps ⌊y/2⌋, "sweet spot" y, "excess" y and s, "noise" s alone, each
    with the private ones; "full" is the whole datum twice.

    Raises:
        ValueError: If there is no such regime.

    References:
        tian2020infomin, section 3.
    """
    y, s, n1, n2 = np.array(list(product(range(10), range(4), range(4), range(4)))).T
    shared: dict[str, list[np.ndarray]] = {
        "missing": [y // 2],
        "sweet spot": [y],
        "excess": [y, s],
        "noise": [s],
        "full": [y, s, n1, n2],
    }
    if regime not in shared:
        raise ValueError(f"regime must be one of {', '.join(shared)}; got {regime!r}")
    private = ([], []) if regime == "full" else ([n1], [n2])
    first, second = (np.stack([*shared[regime], *own], 1) for own in private)
    return first, second, y


def regime_task(regime: Regime) -> Task:
    """Return pairs of views drawn from the cases of a regime, coded one-hot."""
    first, second, _ = regime_cases(regime)
    coded = [_one_hot(view) for view in (first, second)]

    def sample(n: int, seed: int) -> tuple[Array, Array]:
        cases = generator(seed, "regime").integers(len(first), size=n)
        return coded[0][cases], coded[1][cases]

    return Task(name=f"regime: {regime}", information=REGIMES[regime][0], sample=sample)


def _one_hot(symbols: Int[np.ndarray, "case column"]) -> Float[np.ndarray, "case level"]:
    return np.hstack([(column[:, None] == np.unique(column)).astype(float) for column in symbols.T])


def class_images(classes: int = 8, flip: float = 0.0, *, side: int = 16) -> Task:
    """Return pairs of images of one class: its field of a grid is bright, the rest is noise.

    The class can be read off the image, and nothing else is shared, so that the information is
    that of the classes: log C, less H_b(e) + e log(C − 1) when the second image's class is
    replaced by another with probability e.

    Args:
        classes: C, equally likely, from 2 to the fields of 4 × 4 pixels.
        flip: e.
        side: Of the images in pixels, a multiple of 4.

    Raises:
        ValueError: If an argument is out of range.

    References:
        lee2024benchmark, for setting the information of images by their classes.
    """
    fields = side // 4
    if side % 4 or not 2 <= classes <= fields**2 or not 0 <= flip <= 1:
        raise ValueError(
            "side must be a multiple of 4, classes from 2 to (side/4)² and flip from 0 to 1, got "
            f"{side}, {classes} and {flip}"
        )

    def sample(n: int, seed: int) -> tuple[Array, Array]:
        rng = generator(seed, "class images")
        first = rng.integers(classes, size=n)
        second = _flipped(first, classes, flip, rng)
        return tuple(_bright_field(c, side, rng) for c in (first, second))  # type: ignore[return-value]

    return Task(
        name=f"images of {classes} classes, flip {flip:g}",
        information=_after_flips(np.full(classes, 1 / classes), flip),
        sample=sample,
    )


def class_pairs(
    images: Float[np.ndarray, "image ..."] | UInt8[np.ndarray, "image ..."],
    labels: Int[np.ndarray, " label"],
    flip: float = 0.0,
) -> Task:
    """Return pairs of different images of yours of one class, at times of another class.

    The information is that of the classes in the proportions of `labels`, as far as the class can
    be read off each image: where it cannot, the images share less. No image is in two pairs, so
    that n pairs need somewhat more than 2 n images.

    Args:
        images: Any rows, images or vectors.
        labels: The class of each, from 0.
        flip: Probability that the second image is of another class, each as likely.

    Raises:
        ValueError: If there are fewer than 2 classes, the lengths differ, a class number has no
            image or `flip` is out of range; when drawing, if a class has too few images.

    References:
        lee2024benchmark, for pairs of one class with label noise.
    """
    if len(images) != len(labels) or not len(labels) or labels.min() < 0:
        raise ValueError(
            f"labels must be from 0, one an image: {len(images)} images, {len(labels)} labels"
        )
    counts = np.bincount(labels)
    if len(counts) < 2 or not counts.all() or not 0 <= flip <= 1:
        raise ValueError(
            "labels must have at least 2 classes, each with an image, and flip be from 0 to 1; "
            f"got images a class {counts.tolist()} and flip {flip}"
        )

    def sample(n: int, seed: int) -> tuple[Array, Array]:
        rng = generator(seed, "class pairs")
        order = rng.permutation(len(labels))
        first, rest = order[:n], order[n:]
        wanted = _flipped(labels[first], len(counts), flip, rng)
        second = np.empty_like(first)
        for label in range(len(counts)):
            places, pool = np.flatnonzero(wanted == label), rest[labels[rest] == label]
            if len(first) < n or len(pool) < len(places):
                raise ValueError(
                    f"too few images for {n} pairs: class {label} has {len(pool)} left, "
                    f"{len(places)} are needed"
                )
            second[places] = pool[: len(places)]
        return images[first], images[second]

    return Task(
        name=f"pairs of {len(counts)} classes, flip {flip:g}",
        information=_after_flips(counts / len(labels), flip),
        sample=sample,
    )


def scene_views(shared: Iterable[str] = ("colour", "shape"), scenes: Scenes | None = None) -> Task:
    """Return two views of scenes that share some factors, the others drawn anew.

    Args:
        shared: Factors in common.
        scenes: The family, by default `Scenes(size=32)`.

    Returns:
        The task; images are float32 in [0, 1], [n, 3, size, size].

    Raises:
        ValueError: If a factor is unknown.
    """
    family, common = scenes or Scenes(size=32), tuple(sorted(shared))

    def sample(n: int, seed: int) -> tuple[Array, Array]:
        views = (family.draw(np.arange(n), seed=seed, view=view, shared=common) for view in (0, 1))
        first, second = (family.render(v).images.numpy().astype(np.float32) / 255 for v in views)
        return first, second

    return Task(
        name=f"scenes that share {' and '.join(common) or 'nothing'}",
        information=family.information(common),
        sample=sample,
    )


def _flipped(
    classes: Int[np.ndarray, " n"], count: int, flip: float, rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """Return the classes, each replaced by another with a probability."""
    other = (classes + rng.integers(1, count, size=len(classes))) % count
    return np.where(rng.uniform(size=len(classes)) < flip, other, classes)


def _after_flips(shares: Float[np.ndarray, " class"], flip: float) -> float:
    """Return the information in nats of a class and of what `_flipped` makes of it."""
    count = len(shares)
    kept = np.eye(count)
    return discrete(shares[:, None] * ((1 - flip) * kept + flip / (count - 1) * (1 - kept)))


def _bright_field(
    classes: Int[np.ndarray, " n"], side: int, rng: np.random.Generator
) -> Float[np.ndarray, "n 1 side side"]:
    """Return noise in [0, 0.5) with one field of 4 × 4 pixels at 0.5 to 1."""
    n, fields = len(classes), side // 4
    images = rng.uniform(0, 0.5, size=(n, fields, 4, fields, 4))
    images[np.arange(n), classes // fields, :, classes % fields, :] += 0.5
    return images.reshape(n, 1, side, side)


def benchmark_tasks() -> tuple[Task, ...]:
    """Return the ten tasks of our table, from one dimension to images."""
    uniform = mapped(bivariate(), "normal cdf", ndtr, ndtr)
    return (
        bivariate(),
        mapped(bivariate(), "wiggly", wiggly_x, wiggly_y),
        mapped(bivariate(), "bimodal", bimodal(0.3, 0.0, 5.0), bimodal(0.5, -1.0, 3.0)),
        mapped(uniform, "swiss roll", swiss_roll, lambda y: y),
        additive_uniform(0.1),
        mapped(student(2, 1.0), "asinh", np.arcsinh, np.arcsinh),
        mapped(sparse(5), "half-cube", half_cube, half_cube),
        mapped(sparse(3), "spiral", spiral, lambda y: spiral(y, axes=(1, 2))),
        dense(25),
        class_images(),
    )
