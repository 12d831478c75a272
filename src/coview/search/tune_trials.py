"""The trainings of a tuning: a trunk on the views of many points, branches on those of one, judged.

Work is shared twice: every point goes on from the trunk, and those that survive a rung go on from
where they are. A branch takes over all that was learned, heads included, and begins a schedule of
its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int, Int64
from lightning_fabric import Fabric

from coview.data import Dataset, Splits
from coview.diagnostics import diagnose, effective_rank
from coview.encoders import Encoder
from coview.information.fit import CANDIDATES
from coview.objectives import Objective
from coview.probes import linear_probe
from coview.random import generator
from coview.search import audit_critic as critic
from coview.search.audit_critic import Measured, Parts
from coview.training import checkpoints
from coview.training.features import extract
from coview.training.job import Job, build_job, seconds_per_step
from coview.training.loop import Seen, run
from coview.training.pretrain import SMALL, splits_of
from coview.training.randomness import isolated
from coview.training.settings import Pretraining
from coview.views import Policy, ViewBatch
from coview.views.policy import Pictures

MOST_READ = 4000
"""Images of a part that are read out, at most."""

_DIAGNOSED = 512


class Judged(NamedTuple):
    """What a branch is worth.

    `right` tells for each validation image whether the probe has its label; None without labels.
    """

    accuracy: float | None
    standard_error: float | None
    rank: float
    verdict: str
    right: Bool[np.ndarray, " image"] | None

    @property
    def value(self) -> float:
        """What points are ordered by: accuracy, without labels the effective rank."""
        return self.rank if self.accuracy is None else self.accuracy


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Views of one policy or another, drawn for every batch."""

    takes_pictures: ClassVar[bool] = True
    name: ClassVar[str] = "mixture"

    policies: tuple[Policy, ...]

    @property
    def views(self) -> Sequence[Any]:
        """One entry for each view."""
        return self.policies[0].views

    def __call__(
        self,
        images: Pictures,
        *,
        index: Int[np.ndarray, " entry"],
        seed: int,
        epoch: int,
        size: int,
    ) -> ViewBatch:
        """Make the views of a batch; see `Policy`."""
        drawn = generator(seed, "mixture", epoch, int(index[0])).integers(len(self.policies))
        return self.policies[drawn](images, index=index, seed=seed, epoch=epoch, size=size)


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Images divided by what they are for, and how a branch is trained on them.

    Attributes:
        dataset: All images.
        parts: Which ones train (`fit`) and measure information.
        readings: Images that fit the probe and that it is judged on; without labels the first is
            empty.
        settings: Of a training.
        fabric: Device and precision.
    """

    dataset: Dataset
    parts: Parts
    readings: tuple[Int64[np.ndarray, " fitted"], Int64[np.ndarray, " judged"]]
    settings: Pretraining
    fabric: Fabric

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        *,
        objective: str | Objective,
        batch_size: int,
        seed: int,
        fabric: Fabric,
    ) -> "Trials":
        """Divide the images as `pretrain` does: the test part of labelled ones is not touched."""
        splits = splits_of(dataset, seed=seed)
        parts = critic.divide(dataset, seed=seed) if splits is None else _divide(splits, seed)
        empty = np.zeros(0, dtype=np.int64)
        readings = (empty, np.sort(np.concatenate([parts.choose, parts.measure])))
        if splits is not None and dataset.labels is not None:
            train, validation = (
                np.sort(generator(seed, "tune", name).permutation(rows[dataset.labels[rows] >= 0]))[
                    :MOST_READ
                ]
                for name, rows in (("train", splits.train), ("validation", splits.validation))
            )
            readings = (train, validation)
        training = replace(dataset.subset(parts.fit), labels=None).to(fabric.device)
        settings = Pretraining(
            source=training,
            objective=objective,
            encoder="compact" if dataset.size < SMALL else "resnet18",
            batch_size=min(batch_size, len(training)),
            seed=seed,
        )
        return cls(
            dataset=dataset, parts=parts, readings=readings, settings=settings, fabric=fabric
        )

    @property
    def is_labelled(self) -> bool:
        """Whether there are labels to judge by."""
        return len(self.readings[0]) > 0

    def train(
        self,
        maker: Policy | Mixture,
        steps: int,
        *,
        start: Path | None,
        end: Path,
        advance: Callable[[], object] = lambda: None,
    ) -> Encoder:
        """Train from what was learned before, write what is learned, return the encoder.

        Args:
            maker: Makes the views.
            steps: Of the optimiser.
            start: What to go on from; None is the beginning.
            end: File to write.
            advance: Called after every step.
        """
        with isolated(self.settings.seed, "tune"):
            job = self._job(maker, steps)
            learned = {name: part for name, part in job.state.parts.items() if name != "optimizer"}
            if start is not None:
                stored = checkpoints.load(start)
                for name, part in learned.items():
                    part.load_state_dict(stored[name])

            def observe(seen: Seen) -> None:
                advance()

            run(
                job.step,
                job.state,
                steps=steps,
                batches=job.batches,
                observers=(observe,),
                seed=self.settings.seed,
            )
        checkpoints.save(end, {name: part.state_dict() for name, part in learned.items()})
        return job.learner.encoder.eval()

    def encoder(self, start: Path) -> Encoder:
        """Return the encoder of a file that `train` wrote."""
        job = self._job(Policy(name="none", views=((), ())), 1)
        job.learner.load_state_dict(checkpoints.load(start)["learner"])
        return job.learner.encoder.eval()

    def seconds_per_step(self, policy: Policy) -> float:
        """Measure the time of a step."""
        with isolated(self.settings.seed, "tune"):
            return seconds_per_step(self._job(policy, 1000))

    def measure(self, encoder: Encoder, policy: Policy) -> Measured:
        """Measure what the two views of a policy share, on images that the encoder has not seen."""
        return critic.measure(
            encoder,
            self.dataset,
            policy,
            self.parts,
            size=self.dataset.size,
            seed=self.settings.seed,
            fabric=self.fabric,
        )

    def judge(self, encoder: Encoder, policy: Policy) -> Judged:
        """Read representations out on validation images, and look at them without labels."""
        train, validation = self.readings
        h = extract(encoder, self.dataset, validation)
        views = critic.representations(
            encoder,
            self.dataset,
            policy,
            validation[:_DIAGNOSED],
            size=self.dataset.size,
            seed=self.settings.seed,
            fabric=self.fabric,
        )[0]
        rank, verdict = effective_rank(h), diagnose(views).verdict
        labels = self.dataset.labels
        if not self.is_labelled or labels is None:
            return Judged(None, None, rank, verdict, None)
        probe = linear_probe(
            extract(encoder, self.dataset, train),
            torch.from_numpy(labels[train]),
            classes=len(self.dataset.classes),
            validation=(h, torch.from_numpy(labels[validation])),
        )
        right = np.asarray(probe.predict(h) == labels[validation])
        share = float(right.mean())
        error = float(np.sqrt(share * (1 - share) / len(right)))
        return Judged(share, error, rank, verdict, right)

    def _job(self, maker: Policy | Mixture, steps: int) -> Job:
        settings = replace(self.settings, views=maker)
        return build_job(self.fabric, settings, settings.source, steps=steps)


def _divide(splits: Splits, seed: int) -> Parts:
    """Return the training part to fit, and the validation part to choose and measure."""
    order = generator(seed, "tune", "measure").permutation(splits.validation)
    some = generator(seed, "tune", "critics").permutation(splits.train)[: critic.CRITIC_IMAGES]
    choose = min(len(order) // 3, CANDIDATES // 2)
    return Parts(
        fit=splits.train,
        critics=np.sort(some),
        choose=np.sort(order[:choose]),
        measure=np.sort(order[choose : choose + CANDIDATES]),
    )
