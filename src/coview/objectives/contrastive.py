"""Each embedding picks its positives out of the batch: NT-Xent, DCL and SupCon."""

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coview.objectives.contract import Loss, Needs, Stateless, Symmetric, Targets
from coview.objectives.inputs import check_positive, check_views, full_precision, total_images
from coview.objectives.rows import unit_rows
from coview.objectives.tiles import (
    Similarity,
    apply_similarity,
    check_similarity,
    log_sum_exp_of_others,
)
from coview.ranks import Ranks
from coview.typing import Embeddings, Indices, Scalar


class NTXentTerms(NamedTuple):
    """Means over all anchors: minus the logit of the positives, and log Σ exp of the others."""

    alignment: Scalar
    repulsion: Scalar


def nt_xent(
    z: Embeddings,
    *,
    temperature: float = 0.1,
    similarity: Similarity = "cosine",
    ranks: Ranks | None = None,
) -> Scalar:
    r"""Return the normalised-temperature cross-entropy of the views.

    .. math:: \frac{1}{Vn} \sum_a \Big[ -\frac{1}{V-1} \sum_{a^+} \frac{f(s_{a a^+})}{\tau}
              + \log \sum_{b \neq a} \exp \frac{f(s_{ab})}{\tau} \Big]

    with s the cosine similarity, a and b over all V n embeddings, a⁺ the other views of the image.

    Args:
        z: Embeddings of any length; a zero row counts as orthogonal to all.
        temperature: τ, divides similarities.
        similarity: f: "cosine" for s itself, "squared" for s², "absolute" for the absolute value
            (SimCLR-sq and -abs); positives too.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Returns:
        The mean over all V n anchors, in nats.

    Raises:
        ValueError: If there are not two or more views of at least two images, τ is not positive, or
            the similarity is not one of the three.

    Convention: The official code returns loss_a + loss_b, each a mean over n: twice ours.
    Views: Mean over anchors and their V − 1 positives; the denominator has all other embeddings,
        as in SupCon with the image as class.
    Known points: log(V n − 1) on identical embeddings.
    Invariances: Swapping the views, rotations, and any positive scaling of each row.
    Numerics: Streamed in tiles: time O(n² dim), memory O(n dim). "absolute" has slope 0 at 0.
    Distributed: Local rows against gathered columns.

    References:
        chen2020simclr, eq. 1; official code, google-research/simclr objective.py at 383d414;
        garrido2023duality, eq. 30-31 (squared and absolute).
    """
    terms = nt_xent_terms(z, temperature=temperature, similarity=similarity, ranks=ranks)
    return terms.alignment + terms.repulsion


@full_precision
def nt_xent_terms(
    z: Embeddings,
    *,
    temperature: float = 0.1,
    similarity: Similarity = "cosine",
    ranks: Ranks | None = None,
) -> NTXentTerms:
    """Return the two terms whose sum is `nt_xent`; arguments as there."""
    batch = _Batch.of(z, temperature, similarity, ranks)
    positives = batch.positive_logits().sum()
    sums = torch.stack([positives, batch.log_sum_exp(block=1).sum()])
    positives, others = batch.ranks.sum(sums, replicated=True)
    return NTXentTerms(-positives / (batch.pairs * batch.images), others / batch.anchors)


def decoupled_nt_xent(
    z: Embeddings,
    *,
    temperature: float = 0.1,
    similarity: Similarity = "cosine",
    sigma: float | None = None,
    ranks: Ranks | None = None,
) -> Scalar:
    r"""Return NT-Xent whose denominator leaves out the anchor's own image (DCL, DCLW).

    .. math:: \frac{1}{Vn} \sum_a \Big[ -\frac{1}{V-1} \sum_{a^+} w_{a a^+}
              \frac{f(s_{a a^+})}{\tau} + \log \sum_{b \not\sim a} \exp \frac{f(s_{ab})}{\tau} \Big]

    with b over the embeddings of other images. The weights w are 1 or, with σ, for the views v and
    w of image i, :math:`2 - n\,\mathrm{softmax}_i(f(s_{vi,wi}) / \sigma)`, which counts pairs that
    agree already for less.

    Args:
        z: Embeddings of any length; a zero row counts as orthogonal to all.
        temperature: τ, divides similarities.
        similarity: f, as in `nt_xent`.
        sigma: σ of the weights (the official code's is 0.5); None for weights of 1.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Returns:
        The mean over all V n anchors; it may be negative.

    Raises:
        ValueError: If there are not two or more views of at least two images, τ or σ is not
            positive, or the similarity is not one of the three.

    Convention: The code referred to returns the sum of two directions, each a mean over n: twice
        ours. Its weights have a gradient, and so have ours.
    Views: Mean over anchors and their V − 1 positives; weights by pair of views.
    Known points: log(V n − V) on identical embeddings.
    Invariances: Swapping the views, rotations, and any positive scaling of each row.
    Numerics: As `nt_xent`.
    Distributed: Local rows against gathered columns; with σ also the logits of positives.

    References:
        yeh2022decoupled; code, raminnakhli/Decoupled-Contrastive-Learning at 0b9b76d;
        garrido2023duality, eq. 27 (squared and absolute).
    """
    terms = decoupled_nt_xent_terms(
        z, temperature=temperature, similarity=similarity, sigma=sigma, ranks=ranks
    )
    return terms.alignment + terms.repulsion


@full_precision
def decoupled_nt_xent_terms(
    z: Embeddings,
    *,
    temperature: float = 0.1,
    similarity: Similarity = "cosine",
    sigma: float | None = None,
    ranks: Ranks | None = None,
) -> NTXentTerms:
    """Return the two terms whose sum is `decoupled_nt_xent`; arguments as there."""
    _check_sigma(sigma)
    batch = _Batch.of(z, temperature, similarity, ranks)
    logits, others = batch.positive_logits(), batch.log_sum_exp(block=batch.views).sum()
    if sigma is None:
        positives, others = batch.ranks.sum(torch.stack([logits.sum(), others]), replicated=True)
    else:
        logits = batch.ranks.gather(logits, batch.counts, replicated=True)
        weights = 2 - batch.images * (logits * (temperature / sigma)).softmax(0)
        positives = (weights * logits).sum()
        others = batch.ranks.sum(others, replicated=True)
    return NTXentTerms(-positives / (batch.pairs * batch.images), others / batch.anchors)


def supervised_contrastive(
    z: Embeddings, labels: Indices, *, temperature: float = 0.07, ranks: Ranks | None = None
) -> Scalar:
    r"""Return NT-Xent whose positives are all other embeddings of the anchor's class (SupCon).

    .. math:: \frac{1}{Vn} \sum_a \Big[ -\frac{1}{|P(a)|} \sum_{p \in P(a)} \frac{s_{ap}}{\tau}
              + \log \sum_{b \neq a} \exp \frac{s_{ab}}{\tau} \Big]

    Args:
        z: Embeddings of any length; a zero row counts as orthogonal to all.
        labels: The class of each image; of an image with −1 only the other views are positives.
        temperature: τ, divides similarities.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Returns:
        The mean over all V n anchors, in nats.

    Raises:
        ValueError: If there are not two or more views of at least two images, there is not one
            label an image, or τ is not positive.

    Convention: The official code multiplies by τ / 0.07 (its base temperature); we do not.
    Views: Any number of at least two.
    Known points: log(V n − 1) on identical embeddings, whatever the labels.
    Invariances: Swapping the views, rotations, any positive scaling of each row; `nt_xent` if all
        labels differ.
    Numerics: Positives by sums over classes: beside `nt_xent` only O(n dim).
    Distributed: Local rows against gathered columns and labels.

    References:
        khosla2020supcon, eq. 2; official code, HobbitLong/SupContrast losses.py at 02f458c.
    """
    terms = supervised_contrastive_terms(z, labels, temperature=temperature, ranks=ranks)
    return terms.alignment + terms.repulsion


@full_precision
def supervised_contrastive_terms(
    z: Embeddings, labels: Indices, *, temperature: float = 0.07, ranks: Ranks | None = None
) -> NTXentTerms:
    """Return the two terms whose sum is `supervised_contrastive`; arguments as there."""
    batch = _Batch.of(z, temperature, "cosine", ranks)
    if labels.is_floating_point() or labels.shape != (z.shape[1],):
        raise ValueError(
            f"labels must have one whole number an image, shape ({z.shape[1]},); "
            f"got {tuple(labels.shape)} of {labels.dtype}"
        )
    classes = _numbered(batch.ranks.gather(labels, batch.counts))
    by_image = batch.everyone.reshape(-1, batch.views, z.shape[-1]).sum(1)
    sums = torch.zeros_like(by_image).index_add(0, classes, by_image)
    ones = by_image.new_full((batch.images,), batch.views)
    sizes = torch.zeros_like(ones).index_add(0, classes, ones)
    own = classes[batch.first // batch.views :][: len(labels)]
    rows = batch.local.reshape(-1, batch.views, z.shape[-1])
    logits = (rows.sum(1) * sums[own]).sum(-1) - rows.square().sum((1, 2))
    positives = (logits / (sizes[own] - 1)).sum()
    both = torch.stack([positives, batch.log_sum_exp(block=1).sum()])
    positives, others = batch.ranks.sum(both, replicated=True) / batch.anchors
    return NTXentTerms(-positives, others)


def _numbered(labels: Indices) -> Indices:
    """Return class numbers from 0 on, without gaps; each −1 is a class of its own."""
    ordered, order = labels.sort()
    begins = (ordered[1:] != ordered[:-1]) | (ordered[1:] == -1)
    numbers = torch.cat([begins.new_zeros(1), begins]).cumsum(0)
    return torch.empty_like(order).scatter_(0, order, numbers)


def _check_sigma(sigma: float | None) -> None:
    if sigma is not None:
        check_positive("sigma", sigma)


class _Batch(NamedTuple):
    """Unit rows of all ranks, such that inner products need no temperature; images outermost."""

    local: Float[Tensor, "local_rows dim"]
    everyone: Float[Tensor, "all_rows dim"]
    views: int
    counts: tuple[int, ...]
    similarity: Similarity
    temperature: float
    ranks: Ranks

    @classmethod
    def of(
        cls, z: Tensor, temperature: float, similarity: Similarity, ranks: Ranks | None
    ) -> "_Batch":
        check_views(z)
        check_positive("temperature", temperature)
        check_similarity(similarity)
        ranks = ranks or Ranks.current()
        counts = ranks.counts(z[0])
        total_images(counts)
        power = 0.25 if similarity == "squared" else 0.5
        local = unit_rows(z.transpose(0, 1).flatten(0, 1), temperature**-power)
        everyone = ranks.gather(local, [len(z) * count for count in counts])
        return cls(local, everyone, len(z), counts, similarity, temperature, ranks)

    @property
    def images(self) -> int:
        return sum(self.counts)

    @property
    def anchors(self) -> int:
        return self.views * self.images

    @property
    def pairs(self) -> int:
        return self.views * (self.views - 1) // 2

    @property
    def first(self) -> int:
        """Where this rank's rows begin among those of everyone."""
        return self.views * sum(self.counts[: self.ranks.index])

    def positive_logits(self) -> Float[Tensor, "local_images pair"]:
        """Return the logit of each pair of views."""
        views = self.local.reshape(-1, self.views, self.local.shape[-1]).unbind(1)
        products = [(a * b).sum(-1) for a, b in combinations(views, 2)]
        return apply_similarity(torch.stack(products, 1), self.similarity)

    def log_sum_exp(self, block: int) -> Float[Tensor, " local_rows"]:
        """Return log Σ exp of the logits of others: all but a run of `block` with oneself."""
        return log_sum_exp_of_others(
            self.local,
            self.everyone,
            self.first,
            block=block,
            similarity=self.similarity,
            bound=1 / self.temperature,
        )


@dataclass(frozen=True, kw_only=True)
class NTXent(Symmetric):
    """SimCLR's objective; see `nt_xent`."""

    needs: ClassVar[Needs] = Needs(max_views=None)

    temperature: float = 0.1
    similarity: Similarity = "cosine"

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)
        check_similarity(self.similarity)

    def loss(self, z: Embeddings, ranks: Ranks | None) -> Loss:
        """Return the loss of `z`."""
        terms = nt_xent_terms(
            z, temperature=self.temperature, similarity=self.similarity, ranks=ranks
        )
        return Loss.of(terms.alignment + terms.repulsion, terms._asdict())


@dataclass(frozen=True, kw_only=True)
class DecoupledNTXent(Symmetric):
    """The decoupled objective, DCL, or with `sigma` DCLW; see `decoupled_nt_xent`."""

    needs: ClassVar[Needs] = Needs(max_views=None)

    temperature: float = 0.1
    similarity: Similarity = "cosine"
    sigma: float | None = None

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)
        check_similarity(self.similarity)
        _check_sigma(self.sigma)

    def loss(self, z: Embeddings, ranks: Ranks | None) -> Loss:
        """Return the loss of `z`."""
        terms = decoupled_nt_xent_terms(
            z,
            temperature=self.temperature,
            similarity=self.similarity,
            sigma=self.sigma,
            ranks=ranks,
        )
        return Loss.of(terms.alignment + terms.repulsion, terms._asdict())


@dataclass(frozen=True, kw_only=True)
class SupCon(Stateless):
    """The supervised contrastive objective; see `supervised_contrastive`."""

    needs: ClassVar[Needs] = Needs(labels=True, max_views=None)

    temperature: float = 0.07

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)

    def __call__(
        self,
        z: Embeddings,
        state: nn.Module,
        *,
        target: Targets | None = None,
        labels: Indices | None = None,
        index: Indices | None = None,
        ranks: Ranks | None = None,
    ) -> Loss:
        """Return the loss of `z`; see `Objective`."""
        if labels is None:
            raise ValueError("labels are missing: the class of each image, -1 for unknown")
        terms = supervised_contrastive_terms(z, labels, temperature=self.temperature, ranks=ranks)
        return Loss.of(terms.alignment + terms.repulsion, terms._asdict())
