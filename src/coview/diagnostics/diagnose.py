"""A verdict in words on representations, with its evidence."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coview.diagnostics.pairs import ViewArray, checked_views
from coview.diagnostics.rules import (
    FEWEST,
    Check,
    Word,
    cluster_check,
    spread_checks,
    strength_check,
    weakness_check,
)
from coview.diagnostics.spectrum import Array, checked
from coview.diagnostics.table import Measure, measure_all
from coview.random import generator

AnyViews = Float[Tensor, "_ _ _"] | Float[np.ndarray, "_ _ _"]
"""Views [view, batch, dim] of any width."""

SAMPLE = 2000
"""Images taken for what is quadratic in images."""

_STORY: dict[Word, str] = {
    "full collapse": "all images have nearly the same representation",
    "cluster collapse": "the images lie on a few points",
    "dimensional collapse": "the representations vary along few directions",
    "views too strong": "to the encoder, two views of one image are hardly more alike than views "
    "of different images",
    "views too weak": "views of one image could be matched before any training",
}

_ADVICE: dict[Word, str] = {
    "not judged": "Look at the data: every image is the same.",
    "healthy": "Whether the representations serve a task, only labels tell.",
    "full collapse": "Lower the learning rate, train with a larger batch, or take an objective "
    "that keeps images apart.",
    "cluster collapse": "If the groups are all you want to know, be content. If not, take an "
    "objective that keeps every image apart from the others, or train without labels.",
    "dimensional collapse": "Weigh the term that spreads the representations more (uniformity, "
    "covariance, a lower temperature), widen the projector, or lower the learning rate.",
    "views too strong": "Weaken the views, larger crops first; or train longer, if the encoder "
    "has hardly been trained.",
    "views too weak": "Strengthen the views, smaller crops and more colour first, so that "
    "matching them takes more than was known before training.",
}


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What `diagnose` found.

    Attributes:
        verdict: That of the first rule that is broken, or "healthy"; "not judged" if all images are
            copies of one before training.
        sentence: The verdict in words.
        evidence: The number that decided and its limit; empty if healthy.
        advice: What to try.
        checks: The rules that could be judged, in the order of precedence.
        measures: The table; the verdict does not depend on it.
        cautions: What limits the numbers, and what could not be measured.
        images: Images.
        views: Views of each; 1 if there is nothing to compare.
        dim: Width.
    """

    verdict: Word
    sentence: str
    evidence: str
    advice: str
    checks: tuple[Check, ...]
    measures: tuple[Measure, ...]
    cautions: tuple[str, ...]
    images: int
    views: int
    dim: int

    def to_record(self) -> dict[str, Any]:
        """Return plain JSON; each check says whether it passed."""
        checks = [asdict(check) | {"passed": check.passed} for check in self.checks]
        return asdict(self) | {"checks": checks}


def diagnose(
    h: Array | ViewArray, *, before: Mapping[str, AnyViews] | None = None, seed: int = 0
) -> Diagnosis:
    """Judge representations without labels: three kinds of collapse, and the strength of views.

    The rules; the first broken one is the verdict:

    1. Full collapse: `standard_deviation_ratio` below 0.01, as in `collapse`.
    2. Cluster collapse: for 2, 4, 8, 16 or 32 clusters of k-means (20 images each at least), these
       leave under 5 % of the variance, and under a tenth of what they leave of a Gaussian with the
       same covariance; so a line is not mistaken for points.
    3. Dimensional collapse: a centred `effective_rank` below the limit of `collapse`, or more than
       95 % of the variance along one direction (from 3 dimensions and 4 images on).
    4. Views too strong: `view_separation` below 0.55 (chance is 0.5); from 20 images on.
    5. Views too weak: `view_separation` above 0.9 in anything of `before`; likewise.

    The rules take one of several images that are copies in `before`: the encoder cannot tell them
    apart, and is not to blame.

    The limits are ours, set on synthetic cases with a known answer and tried on short trainings
    (benchmarks/diagnosis.py).

    Args:
        h: Representations or embeddings [batch, dim], or [view, batch, dim] with row i of every
            view being image i. Rules 1 to 3 and the table, but for what compares views, take the
            first view.
        before: What was known before training, by name: the same views of the same images as raw
            pixels, in an untrained encoder, or both; any width.
        seed: Of the images drawn, of k-means and of the Gaussian.

    Returns:
        Verdict, evidence, table and cautions. What cannot be measured (few images, a narrow or
        collapsed representation) is left out with a caution.

    Raises:
        ValueError: If there are fewer than two images, values are not finite, or `before` is not
            of the same views and images.

    Numerics: What is quadratic in images (view separation, uniformity, neighbours, clusters) takes
        at most 2,000 of them, drawn at random, with a caution. The rest takes all.
    """
    views, before = _views_of(h), before or {}
    for name, known in before.items():
        if len(views) < 2 or known.shape[:2] != views.shape[:2]:
            raise ValueError(
                f"before: {name} must have the views (two or more) and images of h, "
                f"{tuple(views.shape[:2])}; got {tuple(known.shape[:2])}"
            )
    images = views.shape[1]
    alone, copies = _without_copies(images, before)
    everyone, views = views, views[:, torch.from_numpy(alone).to(views.device)]
    before = {name: known[:, alone] for name, known in before.items()}
    drawn = np.sort(generator(seed, "diagnose").permutation(len(alone))[:SAMPLE])
    some = views[:, torch.from_numpy(drawn).to(views.device)]
    checks = _checks(views, some, {name: known[:, drawn] for name, known in before.items()}, seed)
    broken = next((check for check in checks if not check.passed), None)
    verdict: Word = "healthy" if broken is None else broken.against
    if not checks:
        verdict = "not judged"
        views, some = everyone, everyone[:, :SAMPLE]
    measures, unmeasured = measure_all(views, some[0], seed=seed)
    return Diagnosis(
        verdict=verdict,
        sentence=_sentence(verdict, checks),
        evidence="" if broken is None else broken.text,
        advice=_ADVICE[verdict],
        checks=tuple(checks),
        measures=tuple(measures),
        cautions=(*copies, *_cautions(views, checks), *unmeasured),
        images=images,
        views=len(views),
        dim=views.shape[2],
    )


def _views_of(h: Array | ViewArray) -> Float[Tensor, "view batch dim"]:
    """Return `h` with a view axis, in at least float32."""
    if h.ndim == 2 or len(h) == 1:
        return checked(h if h.ndim == 2 else h[0])[None]
    views = checked_views(h)
    return views if torch.as_tensor(h).dtype == torch.float64 else views.float()


def _without_copies(
    images: int, before: Mapping[str, AnyViews]
) -> tuple[Int[np.ndarray, " alone"], list[str]]:
    """Return one of each image, by the first view in what of `before` tells fewest apart."""
    alone, said = np.arange(images), []
    for name, known in before.items():
        rows = torch.as_tensor(known[0]).detach().cpu().numpy()
        found = np.sort(np.unique(rows, axis=0, return_index=True)[1])
        if len(found) < len(alone):
            copies = images - len(found)
            said = [f"{copies} of {images} images are copies of another, already in {name}."]
            alone = found
    return alone, said


def _checks(
    views: Float[Tensor, "view batch dim"],
    some: Float[Tensor, "view some dim"],
    before: Mapping[str, AnyViews],
    seed: int,
) -> list[Check]:
    """Return the rules that can be judged, in the order of precedence."""
    if views.shape[1] < 2:
        return []
    full, dimensional = spread_checks(views[0])
    if not full.passed:
        return [full]
    cluster = cluster_check(some[0], seed=seed)
    checks = [full, *([] if cluster is None else [cluster]), *dimensional]
    if views.shape[1] < FEWEST:
        return checks
    if len(views) > 1:
        checks.append(strength_check(some))
    return [*checks, *(weakness_check(known, name) for name, known in before.items())]


def _sentence(verdict: Word, checks: list[Check]) -> str:
    if verdict == "not judged":
        return "Not judged: all images are the same before training."
    if verdict != "healthy":
        return f"{verdict.capitalize()}: {_STORY[verdict]}."
    judged = {check.against for check in checks}
    if "views too weak" in judged:
        return "Healthy: no collapse, and the views are neither too weak nor too strong."
    if "views too strong" in judged:
        return "Healthy: no collapse, and the views are not too strong."
    return "Healthy: no collapse."


def _cautions(views: Float[Tensor, "view batch dim"], checks: list[Check]) -> Iterator[str]:
    """Say what limits the verdict."""
    count, images, dim = views.shape
    if images <= dim:
        yield f"{images} images in {dim} dimensions: ranks are bounded by the images."
    if images > SAMPLE:
        yield f"View separation, uniformity, neighbours, clusters: {SAMPLE:,} of {images:,} images."
    judged = {check.against for check in checks}
    if not checks:
        return
    if not checks[0].passed:
        yield "Nothing more can be judged of a full collapse."
        return
    if "cluster collapse" not in judged:
        yield f"{images} images are too few to look for clusters (40 are needed)."
    if count < 2:
        yield "One view of each image: the strength of the views was not judged."
    elif images < FEWEST:
        yield f"{images} images are too few to judge the views ({FEWEST} are needed)."
    elif "views too weak" not in judged:
        yield "No views before training: whether the views are too weak was not judged."
