"""Test predictions of both probes for every number of labels, settings chosen on validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from coview.probes.draws import Count
from coview.probes.knn import FloatRows, unit_rows, vote
from coview.probes.linear import (
    STRENGTHS,
    Fit,
    as_rows,
    fit_path,
    row_basis,
    standardisation,
    standardised,
)
from coview.probes.records import Features

NEIGHBOURS = (1, 5, 10, 20, 50)
"""Grid of k."""

TUNING_DRAWS = 3
"""Draws of labels whose validation accuracy chooses a setting."""

KNN_TEMPERATURE = 0.07

_CHUNK = 1024


@dataclass(frozen=True)
class Part:
    """Labelled rows of one part: which rows of the features, and their classes."""

    rows: Int[np.ndarray, " rows"]
    y: Int[np.ndarray, " rows"]


@dataclass(frozen=True)
class Task:
    """What all subjects share: the labelled parts and the draws of labels."""

    train: Part
    validation: Part
    test: Part
    classes: int
    draws: dict[Count, list[Int[np.ndarray, " shown"]]]


Predictions = Int[np.ndarray, "draw test"]

Outcome = dict[Count, tuple[Predictions, dict[str, float | int]]]


def linear_outcome(features: Features, task: Task) -> Outcome:
    """Return the linear probe's test predictions and setting for each number of labels."""
    train = as_rows(features.train)
    mean, scale = standardisation(train)
    dim = train.shape[1]
    basis = row_basis(standardised(train, mean, scale)) if len(train) < dim else None

    def rotated(part: FloatRows, rows: np.ndarray) -> Float[np.ndarray, "rows reduced"]:
        standard = standardised(as_rows(part)[rows], mean, scale)
        return standard if basis is None else standard @ basis

    train_h = rotated(features.train, task.train.rows)
    validation_h = rotated(features.validation, task.validation.rows)
    test_h = rotated(features.test, task.test.rows)
    outcome: Outcome = {}
    for count, draws in task.draws.items():
        fitted = [(train_h[rows], task.train.y[rows]) for rows in draws]
        settings = {"classes": task.classes, "dim": dim}
        best, fits = _choose(fitted[:TUNING_DRAWS], validation_h, task.validation.y, **settings)
        fits += [
            next(fit_path(h, y, strengths=[best], **settings)) for h, y in fitted[TUNING_DRAWS:]
        ]
        predicted = np.stack([(test_h @ w.T + b).argmax(axis=1) for w, b in fits])
        outcome[count] = predicted, {"strength": best}
    return outcome


def _choose(
    fitted: Sequence[tuple[np.ndarray, np.ndarray]],
    validation_h: np.ndarray,
    validation_y: np.ndarray,
    *,
    classes: int,
    dim: int,
) -> tuple[float, list[Fit]]:
    """Return the strength with the best mean validation accuracy and its fits, one a draw.

    The grid is walked from strong to weak regularisation until two steps bring no gain.
    """
    paths = [fit_path(h, y, classes=classes, strengths=STRENGTHS, dim=dim) for h, y in fitted]
    best, best_score, best_fits, idle = STRENGTHS[0], -1.0, list[Fit](), 0
    for strength, *fits in zip(STRENGTHS, *paths, strict=True):
        score = float(np.mean([_share(validation_h, w, b, validation_y) for w, b in fits]))
        idle += 1
        if score > best_score:
            best, best_score, best_fits, idle = strength, score, fits, 0
        if idle == 2:
            break
    return best, best_fits


def _share(h: np.ndarray, weight: np.ndarray, bias: np.ndarray, y: np.ndarray) -> float:
    return float(((h @ weight.T + bias).argmax(axis=1) == y).mean())


def knn_outcome(features: Features, task: Task) -> Outcome:
    """Return k-NN's test predictions and setting for each number of labels."""
    train = unit_rows(features.train)[task.train.rows]
    tuning = {n: rows[:TUNING_DRAWS] for n, rows in task.draws.items()}
    validation = _neighbour_votes(train, features.validation, task.validation, task, tuning, {})
    k = {
        n: NEIGHBOURS[int(np.argmax((votes == task.validation.y).mean(axis=(0, 2))))]
        for n, votes in validation.items()
    }
    test = _neighbour_votes(train, features.test, task.test, task, task.draws, k)
    return {n: (votes[:, 0], {"k": k[n]}) for n, votes in test.items()}


def _neighbour_votes(
    train: torch.Tensor,
    features: FloatRows,
    part: Part,
    task: Task,
    draws: Mapping[Count, Sequence[np.ndarray]],
    k: Mapping[Count, int],
) -> dict[Count, Int[np.ndarray, "draw k rows"]]:
    """Return votes for each number of labels, draw and k (the whole grid unless `k` has one)."""
    y = torch.from_numpy(task.train.y).to(train.device)
    chunks: dict[Count, list[torch.Tensor]] = {n: [] for n in draws}
    for h in torch.split(unit_rows(features)[part.rows].to(train.device), _CHUNK):
        similarities = h @ train.T
        for n, shown in draws.items():
            ks = [k[n]] if n in k else list(NEIGHBOURS)
            votes = [
                vote(
                    similarities[:, rows],
                    y[rows],
                    ks=ks,
                    temperature=KNN_TEMPERATURE,
                    classes=task.classes,
                )
                for rows in map(torch.from_numpy, shown)
            ]
            chunks[n].append(torch.stack(votes))
    return {n: torch.cat(found, dim=2).cpu().numpy() for n, found in chunks.items()}
