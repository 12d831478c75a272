"""From resolved settings and images to the parts of a run, ready to train."""

import copy
import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from coview import encoders, objectives, views
from coview.data import Dataset, effective_batch_size
from coview.encoders import (
    Encoder,
    JigsawHead,
    Projector,
    SplitBackbone,
    SplitProjector,
    Target,
    synchronize_batch_norm,
)
from coview.objectives import Crosswise, InfoNCE, InstanceDiscrimination, Objective
from coview.training.devices import gains_from_channels_last
from coview.training.learner import Learner, PretrainingStep
from coview.training.loop import State
from coview.training.optimizers import build_optimizer, peak_learning_rate
from coview.training.randomness import isolated
from coview.training.settings import Pretraining, parse
from coview.typing import Images
from coview.views import Jigsaw, Policy, ViewMaker, takes_pictures
from coview.views.generators import Perturbation, PerturbedViews, PixelFlow, load_generator
from coview.views.splits import ColourSplit
from coview.views.splits import parse as parse_split


@dataclass(frozen=True, kw_only=True)
class Job:
    """The parts of a run.

    Attributes:
        fabric: Devices, precision and processes.
        learner: Encoder, projector and predictor, not wrapped.
        step: What the loop calls with each batch.
        state: What goes into a checkpoint.
        policy: How views are made.
        objective: What is minimised.
        dataset: The images, on the device if they are resident.
        batch_size: Images a step over all ranks.
        seed: Of everything that is drawn.
    """

    fabric: Fabric
    learner: Learner
    step: PretrainingStep
    state: State
    policy: ViewMaker
    objective: Objective
    dataset: Dataset
    batch_size: int
    seed: int

    def batches(self, start: int) -> Any:  # noqa: ANN401
        """Return the endless stream of batches from a step on."""
        return self.dataset.batches(
            self.batch_size,
            seed=self.seed,
            start_step=start,
            device=self.fabric.device,
            whole=takes_pictures(self.policy) and self.step.jigsaw is None,
            ranks_index=self.fabric.global_rank,
            ranks_size=self.fabric.world_size,
        )


def find_objective(wanted: str | Objective) -> Objective:
    """Return an objective by name, as in `nt_xent:temperature=0.2`, or the one given.

    Raises:
        ValueError: If there is none of that name, or it does not take such parameters.
    """
    if not isinstance(wanted, str):
        return wanted
    name, parameters = parse(wanted)
    config = objectives.get(name).config
    allowed = inspect.signature(config).parameters
    if wrong := parameters.keys() - allowed.keys():
        raise ValueError(
            f"{name} has no parameter {min(wrong)!r}; it has {', '.join(allowed) or 'none'}"
        )
    try:
        objective: Objective = config(**parameters)
    except TypeError as error:
        raise ValueError(f"objective {wanted!r}: {error}") from error
    return objective


def name_of_encoder(wanted: str | nn.Module) -> str:
    """Return the name of a backbone, or the class of a user's own."""
    return wanted if isinstance(wanted, str) else type(wanted).__name__


def find_policy(wanted: str | ViewMaker) -> ViewMaker:
    """Return a policy by name or file, as in `small:flip=0`, or the one given."""
    if not isinstance(wanted, str):
        return wanted
    if wanted.endswith((".json", ".toml")):
        return views.get(wanted)
    if is_learned(wanted):
        generator = load_generator(wanted)
        if not isinstance(generator, Perturbation):
            raise ValueError(f"views {wanted!r} are a split of channels: give it as split")
        return PerturbedViews(generator=generator, before=views.get("cmc"))
    name, parameters = parse(wanted)
    return views.get(name, **parameters)


def find_split(
    wanted: str, objective: Objective, encoder: str | nn.Module
) -> ColourSplit | PixelFlow:
    """Return the split of an image's channels over several encoders: by name, or a learned one.

    Raises:
        ValueError: If it is not one of colours, or objective or encoder do not go with it.
    """
    learned = is_learned(wanted)
    split = load_generator(wanted) if learned else parse_split(wanted)
    if not isinstance(split, ColourSplit | PixelFlow):
        raise ValueError(f"split {wanted!r} is not one of colours, as in 'YDbDr:0|12'")
    if not isinstance(objective, InfoNCE | InstanceDiscrimination):
        raise ValueError(
            f"split needs an objective with a memory, info_nce or instance_discrimination, not "
            f"{type(objective).__name__}"
        )
    if not isinstance(encoder, str):
        raise ValueError(
            f"split builds an encoder for each part: give encoder by name, not a "
            f"{type(encoder).__name__}"
        )
    return split


def is_learned(wanted: str) -> bool:
    """Tell whether a setting is the file or the folder of a learned generator."""
    return wanted.endswith(".safetensors") or (Path(wanted) / "generator.safetensors").is_file()


def channel_statistics(
    dataset: Dataset, *, most: int = 2000, convert: Callable[[Images], Images] = lambda x: x
) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel in [0, 1], over at most `most` images.

    Args:
        dataset: The images.
        most: How many to look at.
        convert: What is done to images in [0, 1] first; keeps the number of channels.
    """
    rows = np.linspace(0, len(dataset) - 1, min(most, len(dataset))).astype(np.int64)
    moments = torch.zeros(2, dataset.channels, dtype=torch.float64)
    for chunk in np.array_split(rows, -(-len(rows) // 256)):
        x = convert(dataset.fetch(chunk).cpu().double() / 255)
        moments += torch.stack([x.mean((2, 3)).sum(0), (x**2).mean((2, 3)).sum(0)]) / len(rows)
    mean, square = moments
    return mean.tolist(), (square - mean**2).clamp(min=0).sqrt().tolist()


def build_encoder(settings: Pretraining, dataset: Dataset) -> Encoder:
    """Build the encoder that the settings ask for, with its starting weights if there are any."""
    with isolated(settings.seed, "encoder"):
        encoder = _build_encoder(settings, dataset)
    if settings.weights is not None:
        encoders.load_weights(encoder, settings.weights)
    return encoder


def _build_encoder(settings: Pretraining, dataset: Dataset) -> Encoder:
    if settings.split is not None:
        split = find_split(settings.split, find_objective(settings.objective), settings.encoder)
        split.channels(dataset.channels)
        mean, std = channel_statistics(dataset, convert=lambda x: encoders.split_channels(split, x))
        return encoders.create_split(
            settings.encoder,
            split,
            size=dataset.size,
            mean=mean,
            std=std,
            scaling=dataset.scaling,
        )
    mean, std = channel_statistics(dataset)
    return encoders.create(
        copy.deepcopy(settings.encoder),
        channels=dataset.channels,
        size=dataset.size,
        mean=mean,
        std=std,
        scaling=dataset.scaling,
    )


def build_objective(settings: Pretraining, dataset: Dataset) -> Objective:
    """Return the objective, told how many images there are and how many encoders.

    Raises:
        ValueError: If it does not go with the other settings.
    """
    objective = find_objective(settings.objective)
    if objective.needs.images:
        objective = replace(objective, images=len(dataset))  # type: ignore[type-var]
    if settings.split is not None:
        split = find_split(settings.split, objective, settings.encoder)
        split.channels(dataset.channels)
        objective = Crosswise(objective=objective, parts=split.parts)  # type: ignore[arg-type]
    needs = objective.needs
    if settings.jigsaw and settings.split is not None:
        raise ValueError("jigsaw and split do not go together so far; give one of them")
    if settings.jigsaw and needs.target not in ("online", "average") and not needs.images:
        raise ValueError(
            f"jigsaw needs an objective with targets or a memory, as info_nce; "
            f"{type(objective).__name__} has none"
        )
    return objective


def build_job(fabric: Fabric, settings: Pretraining, dataset: Dataset, *, steps: int) -> Job:
    """Build everything that a run trains and remembers.

    Args:
        fabric: Devices, precision and processes.
        settings: With nothing left at `auto`.
        dataset: The images to train on.
        steps: Steps of the run.
    """
    policy, objective = find_policy(settings.views), build_objective(settings, dataset)
    check_views(policy, objective)
    check_labels(dataset, objective)
    if len(dataset) < 2:
        raise ValueError(f"source: training needs at least 2 images; {dataset.name} has 1")
    batch_size = effective_batch_size(settings.batch_size, len(dataset))
    if objective.needs.more_images_than_dims and batch_size <= settings.projector[-1]:
        raise ValueError(
            f"batch_size {batch_size} must exceed the {settings.projector[-1]} dimensions of the "
            f"embeddings for {type(objective).__name__}; see projector"
        )
    learner = _build_learner(settings, dataset, objective)
    if fabric.world_size > 1 and settings.batch_norm == "synchronized":
        synchronize_batch_norm(learner)
    if gains_from_channels_last(fabric.device):
        learner.encoder.to(memory_format=torch.channels_last)
    rate = settings.learning_rate
    if rate is None:
        rate = peak_learning_rate(settings.optimizer, batch_size)
    optimizer = build_optimizer(
        learner, settings.optimizer, learning_rate=rate, weight_decay=settings.weight_decay
    )
    wrapped, wrapped_optimizer = fabric.setup(learner, optimizer)
    target = _build_target(settings, learner, objective)
    if target is not None:
        target.to(fabric.device)
    objective_state = objective.init(learner.embedding_dim).to(fabric.device)
    parts: dict[str, Any] = {
        "learner": learner,
        "optimizer": wrapped_optimizer,
        "objective": objective_state,
    }
    if target is not None:
        parts["target"] = target
    state = State(parts)
    step = PretrainingStep(
        fabric=fabric,
        learner=learner,
        wrapped=wrapped,
        optimizer=wrapped_optimizer,
        objective=objective,
        objective_state=objective_state,
        target=target,
        shuffled=settings.batch_norm == "shuffled",
        policy=policy,
        jigsaw=Jigsaw(grid=settings.jigsaw_grid) if settings.jigsaw else None,
        jigsaw_weight=settings.jigsaw,
        dataset=dataset,
        state=state,
        size=dataset.size,
        seed=settings.seed,
        steps=steps,
        learning_rate=rate,
        warmup=settings.warmup,
        clip=settings.clip,
    )
    return Job(
        fabric=fabric,
        learner=learner,
        step=step,
        state=state,
        policy=policy,
        objective=objective,
        dataset=dataset,
        batch_size=batch_size,
        seed=settings.seed,
    )


def _build_learner(settings: Pretraining, dataset: Dataset, objective: Objective) -> Learner:
    encoder = build_encoder(settings, dataset)
    widths = [width or encoder.dim for width in settings.projector]
    norm = settings.projector_norm
    projector: Projector | SplitProjector
    with isolated(settings.seed, "projector"):
        if isinstance(encoder.backbone, SplitBackbone):
            projector = SplitProjector(encoder.backbone.dims, settings.projector, norm=norm)
        else:
            projector = Projector(encoder.dim, widths, norm=norm)
    predictor = None
    if objective.needs.predictor is not None:
        with isolated(settings.seed, "predictor"):
            predictor = encoders.predictor(
                objective.needs.predictor, projector.dim, hidden=widths[0], norm=norm
            )
    head = None
    if settings.jigsaw:
        with isolated(settings.seed, "jigsaw"):
            head = _build_jigsaw(encoder, widths, settings, size=dataset.size)
    per_view = settings.statistics == "per-view"
    return Learner(encoder, projector, predictor, jigsaw=head, per_view=per_view).train()


def _build_target(settings: Pretraining, learner: Learner, objective: Objective) -> Target | None:
    """Return the network that follows the learner, or keeps what it was before each step."""
    if objective.needs.target == "average":
        return Target(learner.trunk, decay=settings.target_decay, schedule=settings.target_schedule)
    if objective.needs.target == "previous":
        return Target(learner.trunk, decay=0.0, schedule="constant")
    return None


def _build_jigsaw(
    encoder: Encoder, widths: Sequence[int], settings: Pretraining, *, size: int
) -> JigsawHead:
    """Build the head of the jigsaw, if the backbone can take its patches."""
    jigsaw = Jigsaw(grid=settings.jigsaw_grid)
    side = jigsaw.patch(size)
    try:
        encoders.build(encoder.backbone, channels=encoder.channels, size=side)
    except ValueError as error:
        raise ValueError(
            f"jigsaw: its patches of {side} pixels are not for this encoder ({error}); try another "
            "encoder or a larger size"
        ) from error
    return JigsawHead(encoder.dim, widths, cells=jigsaw.cells, norm=settings.projector_norm)


def check_views(policy: ViewMaker, objective: Objective) -> None:
    """Check that a policy makes as many views as an objective compares.

    Raises:
        ValueError: If it does not.
    """
    made, needs = len(policy.views), objective.needs
    if isinstance(policy, Policy) and len(set(policy.sizes)) > 1:
        raise ValueError(
            f"views {policy.name!r} makes views of different sizes (shares {policy.sizes}); "
            "training takes views of one size so far"
        )
    if made < needs.min_views or (needs.max_views is not None and made > needs.max_views):
        allowed = (
            f"{needs.min_views}"
            if needs.min_views == needs.max_views
            else (f"{needs.min_views} to {needs.max_views or 'any number'}")
        )
        raise ValueError(
            f"views {policy.name!r} makes {made} views, the objective compares {allowed}"
        )


def check_labels(dataset: Dataset, objective: Objective) -> None:
    """Check that there are labels if an objective learns from them.

    Raises:
        ValueError: If there are none.
    """
    if objective.needs.labels and dataset.labels is None:
        raise ValueError(
            f"objective {type(objective).__name__} learns from labels and {dataset.name} has none; "
            "give them with --labels"
        )


def seconds_per_step(job: Job, *, warm: int = 3, timed: int = 10) -> float:
    """Measure the median time of a step, images included, by taking some; the job is spent."""
    times = []
    started = time.perf_counter()
    for batch in islice(job.batches(0), warm + timed):
        job.step(batch)
        job.state.step += 1
        times.append(time.perf_counter() - started)
        started = time.perf_counter()
    return float(np.median(times[warm:]))
