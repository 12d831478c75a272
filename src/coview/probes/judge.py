"""The judgement: several subjects, k-NN and linear, few and all labels, paired intervals."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from coview.probes.draws import Count, label_draws
from coview.probes.intervals import (
    FEWEST_UNITS,
    Correct,
    Resamples,
    interval,
    interval_of_difference,
    resample,
    resampled_accuracy,
)
from coview.probes.linear import STRENGTHS
from coview.probes.outcomes import (
    KNN_TEMPERATURE,
    NEIGHBOURS,
    Outcome,
    Part,
    Task,
    knn_outcome,
    linear_outcome,
)
from coview.probes.records import Difference, Features, Judgement, Probe, Result, Split

Replicates = dict[tuple[str, Probe, Count], Float[np.ndarray, " resample"]]

_PROBES: dict[Probe, Callable[[Features, Task], Outcome]] = {
    "linear": linear_outcome,
    "k-NN": knn_outcome,
}


def judge(
    subjects: Mapping[str, Features],
    labels: Int[np.ndarray, " images"],
    split: Split,
    *,
    classes: Sequence[str],
    groups: Int[np.ndarray, " _"] | None = None,
    disjoint_by: str | None = None,
    labels_per_class: Sequence[Count] = (10, 100, "all"),
    draws: int = 10,
    resamples: int = 2000,
    seed: int = 0,
) -> Judgement:
    """Judge frozen representations beside each other.

    For each subject and number of labels, k (of k-NN) and the regularisation (of the linear probe)
    are chosen once by accuracy on the whole validation split, averaged over the first three draws;
    ties go to the smaller k and the stronger regularisation. Probes learn from the drawn labels of
    the training split alone; means and deviations come from all its rows, which needs no labels.
    The test split is read once. Rows with label -1 are left out.

    Intervals are 95 % percentile intervals of a bootstrap that resamples label draws and test
    images (whole groups when there are groups). All subjects share draws and replicates, so
    differences are paired.

    Args:
        subjects: Name to features; the first is compared with every other.
        labels: Class of each image of the data set, -1 if unknown.
        split: Positions of the three parts in `labels`.
        classes: Class names; labels are positions in it.
        groups: Group of each image; the parts should not share any.
        disjoint_by: What the groups are called, for the record.
        labels_per_class: Numbers of labels a class; a class with fewer gives all it has, and a
            number that no class exceeds is left out. Both are said in `settings["notes"]`.
        draws: Draws of labels for each number.
        resamples: Bootstrap replicates.
        seed: Key of draws and replicates.

    Returns:
        Results (subjects x probes x numbers of labels) and differences of the first subject.

    Raises:
        ValueError: If a part has fewer than two labelled images, training or test labels show one
            class, labels or features do not fit the split, or features are not finite.
    """
    if not subjects:
        raise ValueError("subjects must not be empty")
    if resamples < 2:
        raise ValueError(f"resamples must be at least 2, got {resamples}")
    _check_lengths(subjects, labels, split, groups, len(classes))
    parts = {name: _labelled(name, labels, split) for name in ("train", "validation", "test")}
    chosen = {
        n: label_draws(parts["train"].y, per_class=n, draws=draws, seed=seed)
        for n in labels_per_class
    }
    kept = {n: rows for n, rows in chosen.items() if rows}
    task = Task(**parts, classes=len(classes), draws=kept)
    test_rows = np.asarray(split.test)[task.test.rows]
    test_groups = None if groups is None else np.asarray(groups)[test_rows]
    shared = resample(len(test_rows), groups=test_groups, resamples=resamples, seed=seed)
    results, replicates = _judge_all(subjects, task, shared)
    return Judgement(
        classes=tuple(classes),
        split={**{name: len(part.y) for name, part in parts.items()}, "disjoint_by": disjoint_by},
        results=tuple(results),
        differences=tuple(
            _differences(results, replicates, next(iter(subjects)), units=shared.units)
        ),
        settings={
            "labels_per_class": list(kept),
            "draws": draws,
            "resamples": resamples,
            "seed": seed,
            "coverage": 0.95,
            "k": list(NEIGHBOURS),
            "knn_temperature": KNN_TEMPERATURE,
            "strength": list(STRENGTHS),
            "chosen_on": "validation",
            "interval": "bootstrap of label draws and test "
            + ("images" if groups is None else f"groups ({disjoint_by or 'group'})"),
            "notes": [*_notes(task.train.y, chosen, classes), *_of_groups(groups, shared.units)],
        },
    )


def _check_lengths(
    subjects: Mapping[str, Features],
    labels: np.ndarray,
    split: Split,
    groups: np.ndarray | None,
    classes: int,
) -> None:
    if groups is not None and len(groups) != len(labels):
        raise ValueError(f"groups has {len(groups)} entries for {len(labels)} labels")
    if len(labels) and int(labels.max()) >= classes:
        raise ValueError(f"labels go up to {int(labels.max())} but there are {classes} classes")
    for name in ("train", "validation", "test"):
        where = np.asarray(getattr(split, name))
        if len(where) and (int(where.max()) >= len(labels) or int(where.min()) < 0):
            raise ValueError(
                f"labels has {len(labels)} entries; the {name} split names image {where.max()}"
            )
        for subject, features in subjects.items():
            rows = torch.as_tensor(getattr(features, name))
            if rows.ndim != 2 or len(rows) != len(where):
                raise ValueError(
                    f"features of {subject!r}: {name} has shape {tuple(rows.shape)}, "
                    f"the split has {len(where)} images"
                )
            if not bool(torch.isfinite(rows).all()):
                raise ValueError(f"features of {subject!r}: {name} has values that are not finite")


def _labelled(name: str, labels: np.ndarray, split: Split) -> Part:
    """Return the labelled rows of one part."""
    y = np.asarray(labels)[np.asarray(getattr(split, name), dtype=np.int64)].astype(np.int64)
    rows = np.flatnonzero(y >= 0)
    if len(rows) < 2:
        raise ValueError(f"the {name} split has {len(rows)} labelled images, at least 2 are needed")
    if name != "validation" and len(np.unique(y[rows])) < 2:
        raise ValueError(f"the {name} split shows one class only; two or more are needed")
    return Part(rows, y[rows])


def _of_groups(groups: np.ndarray | None, units: int) -> list[str]:
    if groups is None or units >= FEWEST_UNITS:
        return []
    return [f"test images are of {units} groups: intervals over so few say little"]


def _notes(
    y: np.ndarray, chosen: Mapping[Count, list[np.ndarray]], classes: Sequence[str]
) -> list[str]:
    """Say where there are fewer labels than asked."""
    sizes = np.bincount(y, minlength=len(classes))
    notes = []
    for count, rows in chosen.items():
        if count == "all":
            continue
        if not rows:
            notes.append(f"{count} labels a class: left out, no class has more (see all)")
            continue
        small = [
            f"{name} ({size})" for name, size in zip(classes, sizes, strict=True) if size < count
        ]
        if small:
            notes.append(f"{count} labels a class: fewer exist for {', '.join(small)}")
    return notes


def _judge_all(
    subjects: Mapping[str, Features], task: Task, shared: Resamples
) -> tuple[list[Result], Replicates]:
    """Return all results, and the replicates of each (subject, probe, labels)."""
    results: list[Result] = []
    replicates: Replicates = {}
    for subject, features in subjects.items():
        for probe, run in _PROBES.items():
            for count, (predicted, setting) in run(features, task).items():
                correct = predicted == task.test.y
                bootstrap = resampled_accuracy(correct, shared)
                replicates[subject, probe, count] = bootstrap.paired
                results.append(
                    Result(
                        subject=subject,
                        probe=probe,
                        labels_per_class=count,
                        accuracy=float(correct.mean()),
                        interval=interval(bootstrap.alone),
                        balanced_accuracy=_balanced(correct, task.test.y),
                        n=len(task.test.y),
                        draws=len(predicted),
                        setting=setting,
                    )
                )
    return results, replicates


def _balanced(correct: Correct, y: np.ndarray) -> float:
    """Return the mean over the classes that occur of the accuracy within each."""
    return float(np.mean([correct[:, y == c].mean() for c in np.unique(y)]))


def _differences(
    results: Sequence[Result],
    replicates: Replicates,
    first: str,
    *,
    units: int,
) -> list[Difference]:
    accuracy = {(r.subject, r.probe, r.labels_per_class): r.accuracy for r in results}
    found = []
    for other in results:
        if other.subject == first:
            continue
        ours = (first, other.probe, other.labels_per_class)
        theirs = (other.subject, other.probe, other.labels_per_class)
        found.append(
            Difference(
                subject=first,
                against=other.subject,
                probe=other.probe,
                labels_per_class=other.labels_per_class,
                difference=accuracy[ours] - other.accuracy,
                interval=interval_of_difference(replicates[ours], replicates[theirs], units=units),
            )
        )
    return found
