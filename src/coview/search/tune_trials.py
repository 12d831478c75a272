"""The trainings of a tuning: a trunk on the views of many points, branches on those of one, judged.

Work is shared twice: every point goes on from the trunk, and those that survive a rung go on from
where they are. A branch takes over all that was learned, heads included, and begins a schedule of
its own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from lightning_fabric import Fabric
from torch import Tensor

from coview.data import Dataset, Splits
from coview.diagnostics import diagnose, effective_rank
from coview.encoders import Encoder
from coview.objectives import Objective
from coview.probes import LinearProbe, linear_probe
from coview.probes.draws import Count, label_draws
from coview.probes.intervals import (
    FEWEST_UNITS,
    Replicates,
    class_weights,
    resample,
    resampled_balanced_accuracy,
)
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
from coview.warn import warn

MOST_READ = 4000
"""Images of a part that are read out, at most."""

FEWEST_LABELS = 20
"""Labelled validation images below which accuracy says nothing."""

DRAWS = 5
"""Probes that a point is judged by, of other labelled images each."""

SHOWN: tuple[Count, ...] = (5, 20, 100, "all")
"""Labels of each class that a probe may be shown, where the user does not say."""

_DIAGNOSED = 512


class Readings(NamedTuple):
    """Labelled images: those that each of several probes is fitted on, and those that judge it.

    `draws` are of `train`; `judged` judge every point, and choose the strengths of the probes;
    `test` are read once, at the end, and can only bring the default back.
    """

    train: Int64[np.ndarray, " train"]
    draws: tuple[Int64[np.ndarray, " _"], ...]
    judged: Int64[np.ndarray, " judged"]
    test: Int64[np.ndarray, " test"]


class Accuracy(NamedTuple):
    """Balanced accuracy: the mean over classes of the share found, of so many images or groups."""

    value: float
    replicates: Replicates
    units: int

    @property
    def standard_error(self) -> float | None:
        """None where there are too few units to tell."""
        return float(self.replicates.alone.std()) if self.units >= FEWEST_UNITS else None


class Judged(NamedTuple):
    """What a branch is worth: balanced accuracy, None without labels; diagnostics and verdict."""

    accuracy: float | None
    standard_error: float | None
    rank: float
    lidar: float
    verdict: str


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
        labels_per_class: Count,
        seed: int,
        fabric: Fabric,
    ) -> "Trials":
        """Divide the images as `pretrain` does; nothing but `test` reads the test part."""
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
            choose, measure, _ = critic.divided(unlabelled, (1 / 3, 2 / 3, 0.0), seed=seed)
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

    def showing(self, labels_per_class: Count) -> "Trials":
        """Return the same trials with probes that are shown so many labels of each class."""
        assert self.readings is not None
        assert self.dataset.labels is not None
        draws = _draws(
            self.dataset.labels, self.readings.train, labels_per_class, seed=self.settings.seed
        )
        return replace(self, readings=self.readings._replace(draws=draws))

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
        skip: Callable[[int], object] = lambda _: None,
    ) -> Encoder:
        """Train from what was learned before, write what is learned, return the encoder.

        Images and their views go on from where they were; the schedule begins anew. A training that
        was stopped part-way goes on, a minute back at most.

        Args:
            maker: Makes the views.
            steps: Of the optimiser.
            start: What to go on from; None is the beginning.
            end: File to write.
            advance: Called after every step.
            skip: Called with the steps that need not be taken again.
        """
        with isolated(self.settings.seed, "tune"):
            job = self._job(maker, steps)
            learned = {name: part for name, part in job.state.parts.items() if name != "optimizer"}
            taken, part_way = 0, end.with_suffix(".part-way.pt")
            if start is not None:
                stored = checkpoints.load(start)
                taken = stored["taken"]
                for name, part in learned.items():
                    part.load_state_dict(stored[name])
            if part_way.is_file():
                job.state.restore(part_way)
                skip(job.state.step)

            def observe(seen: Seen) -> None:
                advance()

            run(
                job.step,
                job.state,
                steps=steps,
                batches=lambda step: job.batches(taken + step),
                observers=(observe,),
                checkpoint=part_way,
                seed=self.settings.seed,
            )
        state = {name: part.state_dict() for name, part in learned.items()}
        checkpoints.save(end, {**state, "taken": taken + steps})
        part_way.unlink()
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
        found = diagnose(views)
        lidar = next((one.value for one in found.measures if one.name == "LiDAR"), math.nan)
        about = (effective_rank(h), lidar, found.verdict)
        if self.readings is None:
            return Judged(None, None, *about)
        known = seen[np.searchsorted(rows, validation)]
        accuracy = self._accuracy(self._probes(encoder, known), known, validation)
        return Judged(accuracy.value, accuracy.standard_error, *about)

    def test(self, encoder: Encoder) -> Accuracy:
        """Read the test images out; two encoders' replicates are of the same images and probes."""
        assert self.readings is not None
        known, h = (
            extract(encoder, self.dataset, rows)
            for rows in (self.readings.judged, self.readings.test)
        )
        return self._accuracy(self._probes(encoder, known), h, self.readings.test)

    def by_labels(self, encoder: Encoder) -> dict[Count, float]:
        """Return the accuracy on validation images by the labels of each class that are shown.

        Numbers that no class has more than are left out, being all.
        """
        assert self.readings is not None
        assert self.dataset.labels is not None
        most = np.unique(self.dataset.labels[self.readings.train], return_counts=True)[1].max()
        known = extract(encoder, self.dataset, self.readings.judged)
        read = extract(encoder, self.dataset, self.readings.train)
        found = {}
        for count in SHOWN:
            if count == "all" or count < most:
                shown = self.showing(count)
                probes = shown._probes(encoder, known, read)
                found[count] = self._accuracy(probes, known, self.readings.judged).value
        return found

    def _probes(
        self,
        encoder: Encoder,
        known: Float[Tensor, "judged dim"],
        read: Float[Tensor, "train dim"] | None = None,
    ) -> list[LinearProbe]:
        """Fit a probe to each draw of labels, its strength chosen on the images that judge.

        Args:
            encoder: Whose representations are read.
            known: Of the images that judge.
            read: Of all labelled images to fit; None to extract those that are shown.
        """
        assert self.readings is not None
        assert self.dataset.labels is not None
        labels = torch.from_numpy(self.dataset.labels)
        rows = self.readings.train
        if read is None:
            rows = np.unique(np.concatenate(self.readings.draws))
            read = extract(encoder, self.dataset, rows)
        place = {int(row): i for i, row in enumerate(rows)}
        return [
            linear_probe(
                read[[place[int(row)] for row in draw]],
                labels[draw],
                classes=len(self.dataset.classes),
                validation=(known, labels[self.readings.judged]),
            )
            for draw in self.readings.draws
        ]

    def _accuracy(
        self,
        probes: Sequence[LinearProbe],
        h: Float[Tensor, "image dim"],
        rows: Int64[np.ndarray, " image"],
    ) -> Accuracy:
        """Return how well probes do on images; whole groups are resampled."""
        assert self.dataset.labels is not None
        labels, groups = self.dataset.labels[rows], self.dataset.groups
        right = np.stack([probe.predict(h) == labels for probe in probes])
        weights = class_weights(labels)
        resamples = resample(
            len(rows),
            groups=None if groups is None else groups[rows],
            resamples=2000,
            seed=self.settings.seed,
        )
        found = resampled_balanced_accuracy(right, labels, resamples)
        return Accuracy(float((right @ weights).mean()), found, resamples.units)

    def _job(self, maker: Policy | Mixture, steps: int) -> Job:
        settings = replace(self.settings, views=maker)
        return build_job(self.fabric, settings, settings.source, steps=steps)


def _readings(
    dataset: Dataset, splits: Splits, labels_per_class: Count, *, seed: int
) -> Readings | None:
    """Return labelled images to fit probes and to judge them; None, said, if they are too few."""
    labels = np.zeros(0) if dataset.labels is None else dataset.labels
    train, validation, test = (
        _some(rows[labels[rows] >= 0], seed, name)
        for name, rows in zip(("train", "validation", "test"), splits, strict=True)
    )
    few = [
        f"{name} images have labels of {classes} class{'es' * (classes != 1)}"
        for name, part in (("training", train), ("validation", validation))
        if (classes := len(np.unique(labels[part]))) < 2
    ]
    if len(validation) < FEWEST_LABELS:
        few.append(f"{len(validation)} validation images have a label (at least {FEWEST_LABELS})")
    if few:
        warn(
            f"labels: {' and '.join(few)}: too few, points are judged without labels", stacklevel=2
        )
        return None
    return Readings(train, _draws(labels, train, labels_per_class, seed=seed), validation, test)


def _draws(
    labels: Int64[np.ndarray, " image"],
    train: Int64[np.ndarray, " train"],
    labels_per_class: Count,
    *,
    seed: int,
) -> tuple[Int64[np.ndarray, " _"], ...]:
    draws = label_draws(labels[train], per_class=labels_per_class, draws=DRAWS, seed=seed)
    return tuple(train[draw] for draw in draws) or (train,)


def _some(rows: Int64[np.ndarray, " row"], seed: int, name: str) -> Int64[np.ndarray, " chosen"]:
    """Return at most `MOST_READ` rows, in random order."""
    chosen: Int64[np.ndarray, " chosen"] = generator(seed, "tune", name).permutation(rows)
    return chosen[:MOST_READ]
