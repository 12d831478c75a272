"""The networks of a run and one step of pretraining."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from coview.data import Batch, Dataset
from coview.encoders import Encoder, JigsawHead, Projector, SplitProjector, Target
from coview.objectives import Loss, Objective
from coview.ranks import Ranks, apart
from coview.training.loop import Seen, State, to_float
from coview.training.schedules import warmup_cosine
from coview.training.shuffling import shuffled
from coview.typing import Embeddings, Views
from coview.views import Jigsaw, ViewMaker, of_one_shape
from coview.views.jigsaw import Patches


class NonFinite(RuntimeError):
    """A loss or gradient that is not a number; the last good checkpoint is untouched."""


class Learned(NamedTuple):
    """What the networks make of views; predictions are the embeddings if there is no predictor.

    Puzzles are those of the jigsaw, predicted where there is a predictor.
    """

    representations: Float[Tensor, "view batch dim_h"]
    embeddings: Embeddings
    predictions: Embeddings
    puzzles: Float[Tensor, "1 batch dim"] | None = None


class Learner(nn.Module):
    """Encoder, projector and predictor as one module, so that one forward pass serves a step.

    Args:
        encoder: Images to representations.
        projector: Representations to embeddings.
        predictor: Embeddings to predictions; None for none.
        jigsaw: Representations of a puzzle's patches to an embedding; None for none.
        per_view: Run the views one after the other, so that batch norm sees them apart.
    """

    def __init__(
        self,
        encoder: Encoder,
        projector: Projector | SplitProjector,
        predictor: nn.Module | None = None,
        *,
        jigsaw: JigsawHead | None = None,
        per_view: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.predictor = predictor
        self.jigsaw = jigsaw
        self.per_view = per_view
        self.embedding_dim = projector.dim

    @property
    def trunk(self) -> "Learner":
        """Encoder and projector alone: what a target follows."""
        return Learner(self.encoder, self.projector, per_view=self.per_view)

    def forward(self, views: Views, patches: Patches | None = None) -> Learned:
        """Return the representations, embeddings and predictions of each view, and of puzzles."""
        count = len(views)
        puzzles = None if patches is None else self._solve(patches)
        chunks = list(views) if self.per_view else [views.flatten(0, 1)]
        representations = [self.encoder(chunk) for chunk in chunks]
        embeddings = [self.projector(h) for h in representations]
        predictions = embeddings
        if self.predictor is not None:
            predictions = [self.predictor(z) for z in embeddings]
        parts = (torch.cat(part) for part in (representations, embeddings, predictions))
        h, z, p = (part.reshape(count, -1, part.shape[-1]) for part in parts)
        return Learned(h, z, p, puzzles)

    def _solve(self, patches: Patches) -> Float[Tensor, "1 batch dim"]:
        """Return an embedding or prediction of each puzzle.

        Patches keep their size. They leave batch norm's running statistics alone: the encoder is
        used on whole images.
        """
        if self.jigsaw is None:
            raise ValueError("there is no head for patches; give the learner a jigsaw")
        normal = (patches.flatten(0, 1) - self.encoder.mean) / self.encoder.std
        with _tracking_nothing(self.encoder):
            z: Tensor = self.jigsaw(self.encoder.backbone(normal))
        return (z if self.predictor is None else self.predictor(z))[None]


@contextmanager
def _tracking_nothing(module: nn.Module) -> Iterator[None]:
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class PretrainingStep:
    """One optimiser step: views, forward, objective, backward, update.

    Args:
        fabric: Precision, processes and backward.
        learner: The trained networks.
        wrapped: The same as set up by Fabric.
        optimizer: As set up by Fabric.
        objective: What to minimise.
        objective_state: What it remembers.
        target: Network that follows the learner, if the objective needs one.
        shuffled: Compute the target's embeddings on processes drawn at random.
        policy: How views are made.
        jigsaw: How puzzles are made; None for none.
        jigsaw_weight: Of the puzzles in the loss, β in [0, 1].
        dataset: The images, for their number and names.
        state: Where the run is.
        size: Width of the views in pixels.
        seed: Of the views.
        steps: Steps of the run.
        learning_rate: Peak.
        warmup: Share of the steps over which the learning rate rises.
        clip: Largest norm of the gradient; 0 for none.
    """

    def __init__(
        self,
        *,
        fabric: Fabric,
        learner: Learner,
        wrapped: nn.Module,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        objective_state: nn.Module,
        target: Target | None,
        shuffled: bool,
        policy: ViewMaker,
        jigsaw: Jigsaw | None,
        jigsaw_weight: float,
        dataset: Dataset,
        state: State,
        size: int,
        seed: int,
        steps: int,
        learning_rate: float,
        warmup: float,
        clip: float,
    ) -> None:
        self.fabric = fabric
        self.learner = learner
        self.wrapped = wrapped
        self.optimizer = optimizer
        self.objective = objective
        self.objective_state = objective_state
        self.target = target
        self.shuffled = shuffled
        self.policy = policy
        self.jigsaw = jigsaw
        self.jigsaw_weight = jigsaw_weight
        self.dataset = dataset
        self.state = state
        self.size = size
        self.seed = seed
        self.steps = steps
        self.learning_rate = learning_rate
        self.warmup = warmup
        self.clip = clip
        self.ranks = Ranks.current()

    def __call__(self, batch: Batch) -> Seen:
        """Take a step.

        Raises:
            NonFinite: If the loss or the gradient is not finite; nothing was updated.
        """
        rate = self.learning_rate * warmup_cosine(self.state.step, self.steps, warmup=self.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        views, patches = self._seen(batch)
        learned = self.wrapped(views) if patches is None else self.wrapped(views, patches)
        loss = self._loss(learned, self._given(batch, views, learned))
        if not torch.isfinite(loss.total):
            raise NonFinite(self._explain(batch, views, "loss"))
        self.optimizer.zero_grad()
        self.fabric.backward(loss.total)
        norm = nn.utils.clip_grad_norm_(
            self.learner.parameters(), self.clip if self.clip else float("inf")
        )
        if not torch.isfinite(norm):
            raise NonFinite(self._explain(batch, views, "gradient"))
        progress = (self.state.step + 1) / self.steps
        previous = self.objective.needs.target == "previous"
        if self.target is not None and previous:
            self.target.update(self.learner.trunk, progress=progress)
        self.optimizer.step()
        self.objective.update(self.objective_state, [loss.statistics], progress=progress)
        if self.target is not None and not previous:
            self.target.update(self.learner.trunk, progress=progress)
        images = sum(self.ranks.counts(batch.index))
        return Seen(
            loss=to_float(loss.total),
            terms=_floats(loss.terms),
            learning_rate=rate,
            epoch=(self.state.step + 1) * images / len(self.dataset),
            images=images,
            representations=self.ranks.gather(learned.representations[0].detach().contiguous()),
        )

    def _seen(self, batch: Batch) -> tuple[Views, Patches | None]:
        """Return the views of a batch, and its puzzles if there is a jigsaw."""
        images: Any = batch.images  # one by one where they are whole, for makers that take them
        index = batch.index.cpu().numpy()
        when = {"seed": self.seed, "epoch": batch.epoch, "size": self.size}
        made = self.policy(images, index=index, **when)
        views = of_one_shape(made, self.policy.name).to(batch.index.device)
        if self.jigsaw is None:
            return views, None
        return views, self.jigsaw(images, index=index, **when).patches

    def _loss(self, learned: Learned, given: Mapping[str, Tensor]) -> Loss:
        """Return (1 − β) the views' loss + β that of the puzzles with the same positives."""

        def of(anchors: Embeddings) -> Loss:
            return self.objective(anchors, self.objective_state, **given, ranks=self.ranks)

        loss = of(learned.predictions)
        if learned.puzzles is None:
            return loss
        puzzles = of(learned.puzzles.expand(len(learned.predictions), -1, -1)).total
        total = (1 - self.jigsaw_weight) * loss.total + self.jigsaw_weight * puzzles
        return Loss.of(total, {**loss.terms, "jigsaw": puzzles}, loss.statistics)

    def _given(self, batch: Batch, views: Views, learned: Learned) -> dict[str, Tensor]:
        """Return what the objective needs besides embeddings, by name."""
        needs, given = self.objective.needs, {}
        if self.target is not None:
            with torch.no_grad(), self.fabric.autocast():
                given["target"] = self._targets(self.target.network, views)
        elif needs.target is not None:
            given["target"] = learned.embeddings.detach()
        if needs.labels and batch.labels is not None:
            given["labels"] = batch.labels
        if needs.source_index:
            given["index"] = batch.index
        return given

    def _targets(self, network: nn.Module, views: Views) -> Embeddings:
        def encode(views: Views) -> Embeddings:
            embeddings: Embeddings = network(views).embeddings
            return embeddings

        if not self.shuffled:
            return encode(views)
        return shuffled(encode, views, self.ranks, self.seed, self.state.step)

    def _explain(self, batch: Batch, views: Views, what: str) -> str:
        """Say which images are to blame: batch norm spreads one bad row over the whole batch."""
        positions = [
            position
            for row, position in enumerate(batch.index.tolist())
            if not self._is_finite(views[:, [row]])
        ]
        if not positions:
            which = "every image alone has finite embeddings, so it is the batch or the objective"
        elif len(positions) == len(batch.index):
            which = "so are the embeddings of every image alone: the weights have diverged"
        else:
            some = ", ".join(self.dataset.names[i] for i in positions[:8])
            which = f"alone, {len(positions)} images have embeddings that are not finite: {some}"
        return (
            f"the {what} at step {self.state.step + 1} is not finite; {which}. The last checkpoint "
            "is from before. Try a lower --learning-rate, a longer --warmup, --precision float32, "
            "a larger temperature, or look at the images named here."
        )

    @torch.no_grad()
    def _is_finite(self, views: Views) -> bool:
        """Tell whether one image alone, without the other ranks, has finite predictions."""
        with apart(), self.fabric.autocast():  # twice: batch norm needs two rows
            learned = self.learner(views.expand(-1, 2, -1, -1, -1))
        return bool(torch.isfinite(learned.predictions).all())


def _floats(terms: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: to_float(value) for name, value in terms.items()}
