"""The trainings of a tuning: a trunk on the views of many points, branches on those of one, judged.

Work is shared twice: every point goes on from the trunk, and those that survive a rung go on from
where they are. A branch takes over all that was learned, heads included, and begins a schedule of
its own.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int, Int64
from lightning_fabric import Fabric

from coview.data import Dataset, Splits
from coview.data.splits import split
from coview.diagnostics import diagnose, effective_rank
from coview.encoders import Encoder
from coview.objectives import Objective
from coview.probes import linear_probe
from coview.probes.draws import label_draws
from coview.probes.intervals import Resamples, resample, resampled_accuracy
from coview.random import generator
from coview.search import audit_critic as critic
from coview.search.audit_critic import Measured, Parts
from coview.training import checkpoints
from coview.training.features import extract
from coview.training.job import Job, build_job, seconds_per_step
from coview.training.loop import Seen, run
from coview.training.pretrain import default_encoder, splits_of
from coview.training.randomness import isolated
from coview.training.settings import Pretraining
from coview.views import Policy, ViewBatch
from coview.views.policy import Pictures

MOST_READ = 4000
"""Images of a part that are read out, at most."""

FEWEST_LABELS = 20
"""Labelled validation images below which accuracy says nothing."""

DRAWS = 5
"""Probes that a point is judged by, of other labelled images each."""

_DIAGNOSED = 512


class Readings(NamedTuple):
    """Labelled images: those that each of several probes is fitted on, and those that judge it."""

    draws: tuple[Int64[np.ndarray, " _"], ...]
    judged: Int64[np.ndarray, " judged"]


class Judged(NamedTuple):
    """What a branch is worth.

    `right` tells for each probe and labelled validation image whether the label was found; None
    without labels.
    """

    accuracy: float | None
    standard_error: float | None
    rank: float
    verdict: str
    right: Bool[np.ndarray, "probe image"] | None


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
        looked: Images that nothing was trained on, whose representations are looked at.
        readings: Labelled images to fit probes and to judge them; None without labels.
        settings: Of a training.
        fabric: Device and precision.
    """

    dataset: Dataset
    parts: Parts
    looked: Int64[np.ndarray, " looked"]
    readings: Readings | None
    settings: Pretraining
    fabric: Fabric

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        *,
        objective: str | Objective,
        batch_size: int,
        labels_per_class: int,
        seed: int,
        fabric: Fabric,
    ) -> "Trials":
        """Divide the images as `pretrain` does: the test part of labelled ones is not touched."""
        dataset = dataset.to(fabric.device)
        splits = splits_of(dataset, seed=seed)
        readings = (
            None if splits is None else _readings(dataset, splits, labels_per_class, seed=seed)
        )
        if splits is None or readings is None:
            parts = critic.divide(dataset, seed=seed)
            held = np.concatenate([parts.choose, parts.measure])
        else:
            held = splits.validation
            unlabelled = replace(dataset.subset(held), labels=None)
            choose, measure, _ = split(unlabelled, (1 / 3, 2 / 3, 0.0), seed=seed)
            parts = critic.parts_of(dataset, splits.train, held[choose], held[measure], seed=seed)
        looked = _some(held, seed, "looked")
        training = replace(dataset.subset(parts.fit), labels=None)
        settings = Pretraining(
            source=training,
            objective=objective,
            encoder=default_encoder(dataset.size),
            batch_size=min(batch_size, len(training)),
            seed=seed,
        )
        return cls(
            dataset=dataset,
            parts=parts,
            looked=looked,
            readings=readings,
            settings=settings,
            fabric=fabric,
        )

    def check(self, policy: Policy) -> None:
        """Raise what a training with these views would raise before its first step."""
        self._job(policy, 1)

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

        Images and their views go on from where they were; the schedule begins anew.

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
            taken = 0
            if start is not None:
                stored = checkpoints.load(start)
                taken = stored["taken"]
                for name, part in learned.items():
                    part.load_state_dict(stored[name])

            def observe(seen: Seen) -> None:
                advance()

            run(
                job.step,
                job.state,
                steps=steps,
                batches=lambda step: job.batches(taken + step),
                observers=(observe,),
                seed=self.settings.seed,
            )
        state = {name: part.state_dict() for name, part in learned.items()}
        checkpoints.save(end, {**state, "taken": taken + steps})
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
        """Read representations out on validation images, and look at them without labels.

        With many labels a linear probe reads the same from representations of different worth: few
        are shown to each of several probes.
        """
        validation = self.looked[:0] if self.readings is None else self.readings.judged
        rows = np.union1d(self.looked, validation)
        seen = extract(encoder, self.dataset, rows)
        views = critic.representations(
            encoder,
            self.dataset,
            policy,
            self.looked[:_DIAGNOSED],
            size=self.dataset.size,
            seed=self.settings.seed,
            fabric=self.fabric,
        )[0]
        h = seen[np.searchsorted(rows, self.looked)]
        rank, verdict = effective_rank(h), diagnose(views).verdict
        labels = self.dataset.labels
        if self.readings is None or labels is None:
            return Judged(None, None, rank, verdict, None)
        shown = np.unique(np.concatenate(self.readings.draws))
        read, known = (
            extract(encoder, self.dataset, shown),
            seen[np.searchsorted(rows, validation)],
        )
        right = []
        for draw in self.readings.draws:
            probe = linear_probe(
                read[np.searchsorted(shown, draw)],
                torch.from_numpy(labels[draw]),
                classes=len(self.dataset.classes),
                validation=(known, torch.from_numpy(labels[validation])),
            )
            right.append(probe.predict(known) == labels[validation])
        found = np.stack(right)
        error = float(resampled_accuracy(found, self.resamples()).std())
        return Judged(float(found.mean()), error, rank, verdict, found)

    def resamples(self) -> Resamples:
        """Return replicates of the judging images, whole groups at a time; the same at any call."""
        assert self.readings is not None
        groups = self.dataset.groups
        return resample(
            len(self.readings.judged),
            groups=None if groups is None else groups[self.readings.judged],
            resamples=2000,
            seed=self.settings.seed,
        )

    def _job(self, maker: Policy | Mixture, steps: int) -> Job:
        settings = replace(self.settings, views=maker)
        return build_job(self.fabric, settings, settings.source, steps=steps)


def _readings(
    dataset: Dataset, splits: Splits, labels_per_class: int, *, seed: int
) -> Readings | None:
    """Return labelled images to fit probes and to judge them; None, said, if they are too few."""
    labels = np.zeros(0) if dataset.labels is None else dataset.labels
    train, validation = (
        _some(rows[labels[rows] >= 0], seed, name)
        for name, rows in (("train", splits.train), ("validation", splits.validation))
    )
    if len(np.unique(labels[train])) < 2 or len(validation) < FEWEST_LABELS:
        warnings.warn(
            f"labels: {len(train)} to fit a probe and {len(validation)} to judge it (at least "
            f"{FEWEST_LABELS}) are too few: points are judged without labels",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    draws = label_draws(labels[train], per_class=labels_per_class, draws=DRAWS, seed=seed)
    return Readings(tuple(train[draw] for draw in draws) or (train,), validation)


def _some(rows: Int64[np.ndarray, " row"], seed: int, name: str) -> Int64[np.ndarray, " chosen"]:
    """Return at most `MOST_READ` rows, in random order."""
    chosen: Int64[np.ndarray, " chosen"] = generator(seed, "tune", name).permutation(rows)
    return chosen[:MOST_READ]
