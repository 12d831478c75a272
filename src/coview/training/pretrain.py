"""Pretraining: from a source of images to a run folder with an encoder.

The journey of a batch: `Job.batches` (data) → `PretrainingStep` (views, encoder, projector,
objective, update) → `loop.run` (order, checkpoints) → observers. The formulas of the objectives are
in `coview.objectives`, one file a family; `coview.objectives.table` lists them.
"""

import contextlib
import dataclasses
import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from rich.console import Console
from torch import nn

from coview import data
from coview.data import Dataset, Splits, fingerprint
from coview.encoders import Encoder
from coview.probes import knn_predict
from coview.random import generator
from coview.ranks import Ranks
from coview.training import recipes
from coview.training.devices import start
from coview.training.features import extract
from coview.training.job import (
    Job,
    build_job,
    find_objective,
    name_of_encoder,
    seconds_per_step,
)
from coview.training.learner import Learner
from coview.training.loading import save_encoder
from coview.training.loop import run
from coview.training.observers import Bar, Latest, Monitor
from coview.training.randomness import isolated
from coview.training.run_folder import FORMAT, RunFolder, command_line, environment, now
from coview.training.schedules import default_epochs
from coview.training.settings import Pretraining
from coview.views import of_one_shape, takes_pictures
from coview.warn import warn

SMALL = 100
"""Below this many pixels the views default to `small` and the encoder to `compact`."""

HELD_OUT = (0.6, 0.2, 0.2)
"""Shares of train, validation and test when there are labels to judge by."""

_PICTURES = 8


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a finished run leaves at hand.

    Attributes:
        folder: Its records.
        encoder: The encoder, in evaluation mode.
        learner: Encoder and heads.
        dataset: All images.
        splits: How labelled images were split; None without labels.
        first: Whether this process is the one that writes.
    """

    folder: RunFolder
    encoder: Encoder
    learner: Learner
    dataset: Dataset
    splits: Splits | None
    first: bool


def train(asked: Pretraining) -> Trained:
    """Learn an encoder and write the run folder; see `coview.pretrain`."""
    with isolated(asked.seed, "pretrain"), warnings.catch_warnings():
        warnings.simplefilter("default", RuntimeWarning)
        return _train(asked)


def _train(asked: Pretraining) -> Trained:
    folder = RunFolder(asked.out or default_folder(asked.source))
    if not asked.resume:
        folder.check_free()
    asked = replace(asked, resume=asked.resume and not folder.is_empty_start())
    settings = _recorded(asked, folder) if asked.resume else asked
    find_objective(settings.objective)  # a wrong one is named before the images are read
    fabric, precision = start(
        accelerator=settings.accelerator,
        devices=settings.devices,
        nodes=settings.nodes,
        precision=settings.precision,
    )
    dataset = open_source(settings, fabric.device)
    splits = splits_of(dataset, seed=settings.seed)
    training = dataset if splits is None else dataset.subset(seen_in_training(splits))
    training = training.to(fabric.device)
    settings = _resolve(settings, training)
    steps = folder.read()["steps"] if asked.resume else _length(settings, training)
    if steps is None:
        trial = build_job(fabric, settings, training, steps=1000)
        steps = max(1, round(60 * (settings.minutes or 0) / seconds_per_step(trial)))
        steps = fabric.broadcast(steps)
    job = build_job(fabric, settings, training, steps=steps)
    monitor = Monitor(
        folder=folder if fabric.is_global_zero else None,
        every=max(1, steps // 100),
        knn=OnlineKNN.build(job.learner.encoder, dataset, splits, seed=settings.seed),
        knn_every=max(1, steps // 10),
        warmup_steps=round(settings.warmup * steps),
        latest=Latest(),
    )
    job.state.parts = {**job.state.parts, "monitor": monitor}
    if asked.resume:
        _restore(folder, job, training)
    elif fabric.is_global_zero:
        folder.create()
        _write_start(folder, settings, dataset, training, splits, job, steps, precision)
    fabric.barrier()
    _run(folder, settings, job, monitor, steps)
    if fabric.is_global_zero:
        name = name_of_encoder(settings.encoder)
        save_encoder(job.learner.encoder, folder.encoder, backbone=name)
        folder.write_lines("skipped.jsonl", [skip._asdict() for skip in dataset.skipped])
        folder.update(status="finished", seconds=round(job.state.seconds, 2))
    fabric.barrier()
    return Trained(
        folder=folder,
        encoder=job.learner.encoder.eval(),
        learner=job.learner,
        dataset=dataset,
        splits=splits,
        first=fabric.is_global_zero,
    )


def _restore(folder: RunFolder, job: Job, training: Dataset) -> None:
    """Go back to the last checkpoint; there is none if the run was killed before its first step."""
    recorded = folder.read()["data"]["fingerprint"]
    if recorded != fingerprint(training):
        raise ValueError(
            f"source: its images are not those that the run in {folder.path} was started with"
        )
    if folder.checkpoint.is_file():
        job.state.restore(folder.checkpoint)
    if job.fabric.is_global_zero:
        folder.cut_metrics(job.state.step)
        folder.update(status="running")


def _run(folder: RunFolder, settings: Pretraining, job: Job, monitor: Monitor, steps: int) -> None:
    """Train to the end, with a progress bar on the first process."""
    first = job.fabric.is_global_zero
    console = Console(stderr=True, quiet=not first)
    console.print(_announcement(folder, settings, job, steps), highlight=False)
    try:
        with Bar("pretraining", monitor.latest, done=job.state.step, console=console) as bar:
            run(
                job.step,
                job.state,
                steps=steps,
                batches=job.batches,
                observers=(monitor, bar),
                checkpoint=folder.checkpoint,
                checkpoint_seconds=settings.checkpoint_seconds,
                seed=settings.seed,
                rank=job.fabric.global_rank,
                agree=lambda wish: _any_process(wish, job.fabric.device),
            )
    except (Exception, KeyboardInterrupt) as error:
        if first:
            with contextlib.suppress(OSError):
                folder.update(status="stopped", reason=str(error) or type(error).__name__)
        error.add_note(f"the run is in {folder.path}; --resume goes on from its last checkpoint")
        raise


def _any_process(wish: bool, device: torch.device) -> bool:
    """Tell whether any process has a wish: all must stop after the same step."""
    return bool(Ranks.current().sum(torch.tensor(float(wish), device=device)))


def default_views(size: int) -> str:
    """Return the preset for images of this width in pixels."""
    return "small" if size < SMALL else "simclr"


def default_encoder(size: int) -> str:
    """Return the backbone for images of this width in pixels."""
    return "compact" if size < SMALL else "resnet18"


def default_folder(source: Any) -> Path:  # noqa: ANN401
    """Return runs/NAME for a source."""
    if isinstance(source, str | Path):
        return Path("runs") / (Path(source).resolve().stem if str(source) != "sample" else "sample")
    return Path("runs") / (source.name if isinstance(source, Dataset) else "arrays")


def open_source(settings: Pretraining, device: torch.device) -> Dataset:
    """Open the images of a run; on a CPU they are at most 96 pixels wide unless told otherwise."""
    if isinstance(settings.source, Dataset):
        return settings.source
    return data.open(
        settings.source,
        size=settings.size,
        largest=96 if device.type == "cpu" else 224,
        labels=None if settings.labels in (None, "none") else settings.labels,
        max_broken=settings.max_broken,
        workers=settings.workers,
    )


def splits_of(dataset: Dataset, *, seed: int) -> Splits | None:
    """Return the splits by which a labelled dataset is judged; None without two classes."""
    labels = dataset.labels
    if labels is None:
        return None
    if len(found := np.unique(labels[labels >= 0])) < 2:
        which = f"only the class {dataset.classes[found[0]]!r}" if len(found) else "no class"
        warn(f"labels: {which} occurs, so nothing can be judged by them", stacklevel=2)
        return None
    try:
        return data.split(dataset, HELD_OUT, seed=seed)
    except ValueError as error:  # labels only judge: too few of them must not stop a training
        warn(f"nothing is held out to judge by: {error}", stacklevel=2)
        return None


def seen_in_training(splits: Splits) -> Int64[np.ndarray, " images"]:
    """Return the positions that training sees: everything but the test split."""
    return np.sort(np.concatenate([splits.train, splits.validation]))


@dataclass(frozen=True, kw_only=True)
class OnlineKNN:
    """k-NN accuracy while training: train split as memory, validation split as queries."""

    encoder: nn.Module
    dataset: Dataset
    memory: Int64[np.ndarray, " memory"]
    queries: Int64[np.ndarray, " queries"]

    @classmethod
    def build(
        cls,
        encoder: nn.Module,
        dataset: Dataset,
        splits: Splits | None,
        *,
        seed: int,
    ) -> "OnlineKNN | None":
        """Choose at most 2,000 labelled images as memory and 1,000 as queries; None without."""
        if splits is None or dataset.labels is None:
            return None
        chosen = []
        for part, most in ((splits.train, 2000), (splits.validation, 1000)):
            labelled = part[dataset.labels[part] >= 0]
            chosen.append(generator(seed, "online k-NN").permutation(labelled)[:most])
        if min(map(len, chosen)) == 0:
            return None
        return cls(encoder=encoder, dataset=dataset, memory=chosen[0], queries=chosen[1])

    def __call__(self) -> float:
        """Return the accuracy in [0, 1] of the encoder as it is."""
        labels = self.dataset.labels
        if labels is None:
            raise ValueError("online k-NN needs labels")
        predicted = knn_predict(
            extract(self.encoder, self.dataset, self.memory),
            labels[self.memory],
            extract(self.encoder, self.dataset, self.queries),
            classes=len(self.dataset.classes),
        )
        return float((predicted.numpy() == labels[self.queries]).mean())


def _resolve(settings: Pretraining, training: Dataset) -> Pretraining:
    """Replace `auto` by what it stands for, and fit a recipe to the images."""
    if settings.recipe is not None:
        settings = _fitted(settings, recipes.get(settings.recipe), training)
    encoder, policy = settings.encoder, settings.views
    if isinstance(encoder, str) and encoder == "auto":
        encoder = default_encoder(training.size)
    if isinstance(policy, str) and policy == "auto":
        policy = default_views(training.size)
    return replace(settings, encoder=encoder, views=policy)


def _fitted(
    settings: Pretraining, recipe: recipes.Recipe | recipes.MINC, training: Dataset
) -> Pretraining:
    """Fit what a recipe has filled in: views and memory to the images, the rates to the batch."""
    whole = recipe.settings()
    changed: dict[str, Any] = {}
    if settings.views == whole["views"]:
        changed["views"] = recipe.policy(small=training.size < SMALL)
    if settings.objective == whole["objective"]:
        changed["objective"] = recipe.objective(min(recipes.NEGATIVES, len(training)))
    if settings.optimizer == whole["optimizer"]:
        batch = min(settings.batch_size, len(training))
        if settings.learning_rate is None:
            changed["learning_rate"] = recipe.learning_rate * batch / 256
        if settings.weight_decay is None:
            changed["weight_decay"] = recipe.weight_decay
    return replace(settings, **changed)


def _length(settings: Pretraining, training: Dataset) -> int | None:
    """Return the steps of the run; None if they follow from minutes."""
    if settings.steps is not None:
        return settings.steps
    if settings.minutes is not None:
        return None
    epochs = settings.epochs or default_epochs(len(training))
    per_epoch = max(1, len(training) // settings.batch_size)
    return max(1, round(epochs * per_epoch))


def _recorded(asked: Pretraining, folder: RunFolder) -> Pretraining:
    """Return the settings of the run to resume; what is asked for now must not contradict them."""
    if not folder.path.exists():
        raise FileNotFoundError(f"out: nothing to resume at {folder.path}")
    recorded = RunFolder.open(folder.path).read()["config"]
    defaults = Pretraining(source=asked.source).record()
    recipe = Pretraining(
        source=asked.source, **recipes.filled({"recipe": recorded.get("recipe")})
    ).record()
    now_asked = asked.record()
    free = {
        "source",
        "workers",
        "devices",
        "nodes",
        "accelerator",
        "checkpoint_seconds",
        "evaluate",
    }
    for name in recorded.keys() - free:
        if now_asked[name] not in (defaults[name], recipe[name], recorded[name]):
            raise ValueError(
                f"{name}: the run in {folder.path} has {recorded[name]!r}, not {now_asked[name]!r}"
            )
    taken = {}
    for field in dataclasses.fields(Pretraining):
        name = field.name
        if name in recorded and name not in free:
            value = getattr(asked, name)
            objects = ("encoder", "objective", "views", "labels")
            if name not in objects or value is None or isinstance(value, str | Path):
                taken[name] = recorded[name]
    taken["projector"] = tuple(recorded["projector"])
    taken["weights"] = None if recorded["weights"] is None else Path(recorded["weights"])
    return replace(asked, **taken)


def _write_start(
    folder: RunFolder,
    settings: Pretraining,
    dataset: Dataset,
    training: Dataset,
    splits: Splits | None,
    job: Job,
    steps: int,
    precision: str,
) -> None:
    folder.write_lines("skipped.jsonl", [skip._asdict() for skip in dataset.skipped])
    if splits is not None:
        folder.write({k: v.tolist() for k, v in splits._asdict().items()}, "splits.json")
    _write_views(folder, job, training, settings.seed)
    encoder = job.learner.encoder
    folder.write(
        {
            "format": FORMAT,
            "status": "running",
            "command": command_line(),
            "created": now(),
            "seconds": 0.0,
            "steps": steps,
            "config": settings.record(),
            "objective": repr(job.objective),
            "policy": job.policy.to_dict() if hasattr(job.policy, "to_dict") else None,
            "data": {
                "name": dataset.name,
                "images": len(dataset),
                "trained_on": len(training),
                "channels": dataset.channels,
                "size": dataset.size,
                "classes": list(dataset.classes),
                "skipped": len(dataset.skipped),
                "scaling": dataset.scaling,
                "geometry": dataset.geometry,
                "fingerprint": fingerprint(training),
            },
            "encoder": {
                "backbone": name_of_encoder(settings.encoder),
                "dim": encoder.dim,
                "parameters": sum(p.numel() for p in encoder.parameters()),
            },
            "batch_size": job.batch_size,
            "precision": precision,
            "environment": environment(job.fabric.device),
            "notes": _notes(settings, dataset, job, splits),
        }
    )


def _notes(settings: Pretraining, dataset: Dataset, job: Job, splits: Splits | None) -> list[str]:
    notes = []
    if job.batch_size < settings.batch_size:
        notes.append(
            f"The batch was shrunk from {settings.batch_size} to {job.batch_size}, the images "
            "there are."
        )
    if dataset.skipped:
        notes.append(f"{len(dataset.skipped)} files could not be read; see skipped.jsonl.")
    if splits is not None:
        notes.append(f"{len(splits.test)} images were held out as test split and not trained on.")
    if settings.recipe is not None and len(job.dataset) < recipes.NEGATIVES:
        held, recipe = len(job.dataset), recipes.get(settings.recipe)
        if settings.objective == recipe.objective(held) != recipe.objective(recipes.NEGATIVES):
            notes.append(
                f"The memory was shrunk from {recipes.NEGATIVES:,} to {held:,}, the images there "
                "are."
            )
    if job.objective.needs.labels:
        notes.append("The objective learned from the labels of the images that it was trained on.")
    return notes


def _write_views(folder: RunFolder, job: Job, training: Dataset, seed: int) -> None:
    """Keep some views as the encoder sees them in the first epoch."""
    index = generator(seed, "pictures").permutation(len(training))[:_PICTURES]
    images = training.fetch(index)
    seen: Any = training.pictures(index) if takes_pictures(job.policy) else images
    made = job.policy(seen, index=index, seed=seed, epoch=0, size=training.size)
    folder.write_arrays(
        "pictures/views.npz",
        views=(of_one_shape(made, job.policy.name).clamp(0, 1) * 255).round().byte().cpu().numpy(),
        images=images.cpu().numpy(),
        captions=np.asarray(json.dumps(made.record.captions())),
    )


def _announcement(folder: RunFolder, settings: Pretraining, job: Job, steps: int) -> str:
    dataset, record = job.dataset, folder.read()
    about = (
        f"{len(dataset):,} images of {dataset.channels} x {dataset.size} x {dataset.size}, "
        f"{name_of_encoder(settings.encoder)} ({job.learner.encoder.dim} dimensions), "
        f"{job.objective!r}, views {job.policy.name}, batch {job.batch_size}, {steps:,} steps, "
        f"{record['precision']} on {job.fabric.device.type} -> {folder.path}"
    )
    return "\n".join([about, *record["notes"]])
