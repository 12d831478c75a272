"""`coview.evaluate`: how good is an encoder, beside what it must beat?"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int64
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from coview import data, encoders
from coview.data import Dataset, Splits, check_labels, fingerprint
from coview.encoders import Encoder
from coview.evaluation.diagnosis import write_diagnosis
from coview.evaluation.subjects import raw_pixels, reinitialised, starting, untrained
from coview.probes import Features, Judgement, judge
from coview.training.features import extract
from coview.training.loading import load
from coview.training.pretrain import HELD_OUT, seen_in_training
from coview.training.run_folder import RunFolder

LabelsPerClass = Sequence[int | Literal["all"]]


def evaluate(
    subject: RunFolder | Path | str | nn.Module,
    source: Any = None,  # noqa: ANN401
    *,
    labels: Any = "auto",  # noqa: ANN401
    groups: Any = None,  # noqa: ANN401
    train: Any = None,  # noqa: ANN401
    test: Any = None,  # noqa: ANN401
    splits: Splits | None = None,
    labels_per_class: LabelsPerClass = (10, 100, "all"),
    draws: int = 10,
    seed: int = 0,
    encoder: nn.Module | None = None,
) -> Judgement:
    """Judge frozen representations by k-NN and linear probe with few and all labels.

    Beside the encoder stand raw pixels, an untrained encoder of the same kind and the weights that
    it started from, if any. Probe settings are chosen on the validation split; the test split is
    read once. For a run folder the judgement is written into it, and beside it `diagnosis.json`:
    what the representations and views look like without labels.

    Args:
        subject: A run folder, or a module from images to representations.
        source: Labelled images as for `coview.data.open`; default: those of the run.
        labels: `auto`, or a CSV with file,label[,group]; or labels, one an image.
        groups: One group an image (signer, patient, scene), or `folders`; splits never divide one.
        train: Instead of `source`: images to learn probes from; a quarter of them validates.
        test: Together with `train`: images to test on.
        splits: Positions of train, validation and test images in `source`; default: those of the
            run if the images are the same, else 60, 20 and 20 %.
        labels_per_class: Numbers of labels a class.
        draws: Draws of labels for each number.
        seed: Of the split and the draws.
        encoder: The run's encoder if it is at hand; loaded from the run folder otherwise.

    Returns:
        The judgement; accuracies are fractions with 95 % intervals.

    Raises:
        ValueError: If there are no labels or only one class, or the arguments contradict.
        FileNotFoundError: If there is no such run or source.
    """
    folder = None if isinstance(subject, nn.Module) else _folder(subject)
    if isinstance(subject, nn.Module):
        encoder = subject
    elif encoder is None:
        encoder = load(subject)
    dataset, split = _images(folder, encoder, source, labels, groups, train, test, splits, seed)
    check_labels(dataset.labels, dataset.classes, "data")
    rows = np.concatenate(split)
    bounds = np.cumsum([len(part) for part in split])[:-1]
    seen = dataset.subset(seen_in_training(split))
    subjects = {"trained": encoder, **_opponents(folder, encoder, seen, seed)}
    features = {}
    with _progress() as progress:
        task = progress.add_task("representations", total=len(rows) * len(subjects))
        for name, module in subjects.items():
            h = extract(module, dataset, rows, progress=lambda n: progress.advance(task, n))
            features[name] = _features(h, bounds)
    features["raw pixels"] = _features(raw_pixels(dataset, rows), bounds)
    order = ("trained", "raw pixels", "untrained encoder", "starting weights")
    judgement = judge(
        {name: features[name] for name in order if name in features},
        dataset.labels if dataset.labels is not None else np.empty(0, np.int64),
        split,
        classes=dataset.classes,
        groups=dataset.groups,
        disjoint_by=_disjoint_by(dataset, split),
        labels_per_class=labels_per_class,
        draws=draws,
        seed=seed,
    )
    if folder is not None:
        about = {
            "images": dataset.name,
            "test_images_seen_in_training": _seen(folder, dataset, split),
        }
        folder.write(judgement.to_record() | about, "evaluation.json")
        write_diagnosis(folder, encoder, dataset, split, seed=seed)
    return judgement


def _divided(groups: Int64[np.ndarray, " images"], split: Splits) -> bool:
    """Tell whether a group lies in more than one part of a split."""
    parts = [set(groups[part].tolist()) for part in split]
    return len(set().union(*parts)) < sum(map(len, parts))


def _seen(folder: RunFolder, dataset: Dataset, split: Splits) -> bool | None:
    """Tell whether the encoder has seen the test images, without their labels; None if unknown."""
    trained_on = folder.read()["data"]["fingerprint"]
    held = _recorded_splits(folder, dataset) or split
    if trained_on == fingerprint(dataset.subset(seen_in_training(held))):
        return bool(np.isin(split.test, seen_in_training(held)).any())
    return True if trained_on == fingerprint(dataset) else None


def _recorded_splits(folder: RunFolder, dataset: Dataset) -> Splits | None:
    """Return the splits of the run, if these are its images."""
    if not (folder.path / "splits.json").is_file():
        return None
    recorded = folder.read("splits.json")
    held = Splits(**{name: np.asarray(recorded[name], np.int64) for name in Splits._fields})
    if len(dataset) != sum(map(len, held)):
        return None
    same = fingerprint(dataset.subset(seen_in_training(held)))
    return held if same == folder.read()["data"]["fingerprint"] else None


def _folder(subject: RunFolder | Path | str) -> RunFolder:
    return subject if isinstance(subject, RunFolder) else RunFolder.open(subject)


def _disjoint_by(dataset: Dataset, split: Splits) -> str | None:
    """Return what the groups are called that no two parts share; None if there are none."""
    if dataset.groups is None or _divided(dataset.groups, split):
        return None
    return "signer" if dataset.name == "sample" else "group"


def _features(h: torch.Tensor, bounds: np.ndarray) -> Features:
    train, validation, test = torch.tensor_split(h, torch.from_numpy(bounds))
    return Features(train=train, validation=validation, test=test)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _opponents(
    folder: RunFolder | None, encoder: nn.Module, seen: Dataset, seed: int
) -> dict[str, nn.Module]:
    record = {} if folder is None else folder.read()
    backbone = record.get("encoder", {}).get("backbone", "")
    if not isinstance(encoder, Encoder) or not encoders.is_known(backbone):
        fresh = reinitialised(encoder, seen, seed=seed)
        return {} if fresh is None else {"untrained encoder": fresh}
    opponents: dict[str, nn.Module] = {
        "untrained encoder": untrained(encoder, backbone, seen, seed=seed)
    }
    if (weights := record["config"]["weights"]) is not None:
        if Path(weights).is_file():
            opponents["starting weights"] = starting(encoder, backbone, weights)
        else:
            warnings.warn(f"starting weights {weights} are gone: left out", stacklevel=3)
    return opponents


def _images(
    folder: RunFolder | None,
    encoder: nn.Module,
    source: Any,  # noqa: ANN401
    labels: Any,  # noqa: ANN401
    groups: Any,  # noqa: ANN401
    train: Any,  # noqa: ANN401
    test: Any,  # noqa: ANN401
    splits: Splits | None,
    seed: int,
) -> tuple[Dataset, Splits]:
    size = encoder.size if isinstance(encoder, Encoder) else None
    if (train is None) != (test is None):
        raise ValueError("train and test go together")
    if train is not None:
        if source is not None or splits is not None:
            raise ValueError("give train and test, or source and splits, not both")
        scaling = {} if folder is None else folder.read()["data"]
        first = _opened(train, size, scaling.get("scaling"))
        return _joined(first, _opened(test, first.size, first.scaling), seed)
    record = {} if folder is None else folder.read()
    if source is None:
        source = record.get("config", {}).get("source")
        if not isinstance(source, str) or not (source == "sample" or Path(source).exists()):
            raise ValueError(f"source: the images of the run ({source}) are not at hand; give them")
        labels = _known_labels(record, labels)
    dataset = source
    if not isinstance(source, Dataset):
        dataset = data.open(
            source,
            size=size,
            labels=labels,
            groups=groups,
            missing_labels="unlabelled",
            max_broken=record.get("config", {}).get("max_broken", 0.05),
            scaling=record.get("data", {}).get("scaling"),
        )
    if splits is None and folder is not None:
        held = _recorded_splits(folder, dataset)
        whole = held is None or dataset.groups is None or not _divided(dataset.groups, held)
        splits = held if whole else None
    check_labels(dataset.labels, dataset.classes, "data")
    return dataset, data.split(dataset, HELD_OUT, seed=seed) if splits is None else splits


def _known_labels(record: dict[str, Any], labels: Any) -> Any:  # noqa: ANN401
    """Return the table of labels that the run was given, if no other is asked for."""
    known = record["config"]["labels"]
    if isinstance(labels, str) and labels == "auto" and isinstance(known, str):
        return known if Path(known).is_file() else labels
    return labels


def _opened(source: Any, size: int | None, scaling: Any) -> Dataset:  # noqa: ANN401
    return source if isinstance(source, Dataset) else data.open(source, size=size, scaling=scaling)


def _joined(train: Dataset, test: Dataset, seed: int) -> tuple[Dataset, Splits]:
    """Put two datasets into one, with splits that keep them apart."""
    both = data.concatenate(train, test)
    inner = data.split(train, (0.75, 0.25, 0.0), seed=seed)
    held = np.arange(len(train), len(train) + len(test))
    parts = Splits(train=inner.train, validation=inner.validation, test=held)
    return both, parts
