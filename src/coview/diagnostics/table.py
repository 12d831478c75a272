"""The table of measures beside a verdict."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from coview.diagnostics.collapse import standard_deviation_ratio
from coview.diagnostics.neighbours import cluster_learnability, intrinsic_dimension
from coview.diagnostics.norms import norm_balance
from coview.diagnostics.pairs import lidar, pair_distance_ratio
from coview.diagnostics.spectrum import effective_rank, power_law, stable_rank
from coview.objectives.alignment_uniformity import alignment, uniformity
from coview.ranks import Ranks


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number of the table and how to read it."""

    name: str
    value: float
    meaning: str


def measure_all(
    views: Float[Tensor, "view batch dim"], some: Float[Tensor, "some dim"], *, seed: int
) -> tuple[list[Measure], list[str]]:
    """Return the measures that can be had, and a caution for each that cannot.

    Args:
        views: Representations; but for LiDAR and alignment the first view is measured.
        some: Rows of the first view for what is quadratic in rows.
        seed: Of k-means.
    """
    parts: dict[str, Callable[[], list[Measure]]] = {
        "ranks": lambda: _ranks(views[0]),
        "alpha-ReQ": lambda: _decay(views[0]),
        "LiDAR and alignment": lambda: _pairs(views),
        "uniformity": lambda: _sphere(views[0], some),
        "intrinsic dimension": lambda: _dimension(some),
        "cluster learnability": lambda: _learnability(some, seed),
        "norms": lambda: _norms(views[0]),
    }
    measures: list[Measure] = []
    cautions = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # few images: `diagnose` says so once
        for name, part in parts.items():
            try:
                measures += part()
            except ValueError as error:
                cautions.append(f"No {name}: {error}.")
    return measures, cautions


def _ranks(h: Float[Tensor, "batch dim"]) -> list[Measure]:
    most = min(len(h), h.shape[1])
    centred = min(len(h) - 1, h.shape[1])
    return [
        _row("RankMe", effective_rank(h), f"directions in use, of {most}; the mean may be one"),
        _row("effective rank, centred", effective_rank(h, centered=True), f"of {centred}"),
        _row(
            "stable rank, centred",
            stable_rank(h, centered=True),
            "1 over the share of the variance along the strongest direction",
        ),
    ]


def _decay(h: Float[Tensor, "batch dim"]) -> list[Measure]:
    found = power_law(h)
    trust = "" if found.r2 >= 0.95 else ": no power law, so alpha means little"
    about = f"decay of eigenvalues {found.first} to {found.last}; R² {found.r2:.3f}{trust}"
    return [_row("alpha-ReQ", found.alpha, about)]


def _pairs(views: Float[Tensor, "view batch dim"]) -> list[Measure]:
    if len(views) < 2:
        return []
    count, images, dim = views.shape
    centred = views.double() - views.double().mean(dim=(0, 1))
    scale = centred.square().mean().sqrt()
    if not float(scale) > 0:
        raise ValueError("all representations are the same")
    about = (
        f"directions that tell images apart through {count} views, of {min(images - 1, dim)}; "
        "representations scaled to a mean variance of 1"
    )
    near = alignment(views, ranks=Ranks())
    return [
        _row("LiDAR", lidar(centred / scale), about),
        _row(
            "distance of views",
            pair_distance_ratio(views),
            "squared, over that of different images; 0 is the same, 1 no nearer",
        ),
        _row("alignment", float(near), "mean squared distance of two views on the sphere, 0 to 4"),
    ]


def _sphere(h: Float[Tensor, "batch dim"], some: Float[Tensor, "some dim"]) -> list[Measure]:
    even = uniformity(some[None], ranks=Ranks())
    return [
        _row("uniformity", float(even), "near -4 when spread over the sphere, 0 at a point"),
        _row("standard deviation ratio", standard_deviation_ratio(h), "of at most 1"),
    ]


def _dimension(some: Float[Tensor, "some dim"]) -> list[Measure]:
    about = f"of the manifold, by two neighbours among {len(some):,} images"
    return [_row("intrinsic dimension", intrinsic_dimension(some), about)]


def _learnability(some: Float[Tensor, "some dim"], seed: int) -> list[Measure]:
    about = "accuracy of one neighbour on k-means clusters; with the intrinsic dimension, CLID"
    return [_row("cluster learnability", cluster_learnability(some, seed=seed), about)]


def _norms(h: Float[Tensor, "batch dim"]) -> list[Measure]:
    found = norm_balance(h)
    dimensions = found.dimensions / found.least_dimensions
    images = found.images / found.least_images
    return [
        _row("norms of dimensions", dimensions, "fourth powers over their least; 1 is even"),
        _row("norms of images", images, "the same; table S4 of the duality has 1 to 3"),
    ]


def _row(name: str, value: float, meaning: str) -> Measure:
    return Measure(name=name, value=value, meaning=meaning)
