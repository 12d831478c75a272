"""Prediction objectives in explicit loops over images and pairs of views."""

from itertools import product

import numpy as np

from reference.rows import dot, resized


def pairs(z, target):
    """Predictions and targets of other views, as unit rows of Python floats."""
    predictions, targets = ([[resized(r, 1) for r in v] for v in x.tolist()] for x in (z, target))
    return [
        (predictions[v][i], targets[w][i])
        for v, w, i in product(range(len(z)), range(len(target)), range(z.shape[1]))
        if v != w
    ]


def byol(z, objective, state, *, target):
    """Squared distance of unit rows, as in the official code; twice the mean over directions."""
    distances = [sum((a - b) ** 2 for a, b in zip(p, t, strict=True)) for p, t in pairs(z, target)]
    return 2 * sum(distances) / len(distances)


def simsiam(z, objective, state, *, target):
    """Minus the mean cosine."""
    cosines = [dot(p, t) for p, t in pairs(z, target)]
    return -sum(cosines) / len(cosines)


def linear_byol(z, objective, state, *, target):
    """Least squares with the ridge stacked below the rows."""
    if objective.predictor == "learned":
        return byol(z, objective, state, target=target)
    rows = pairs(z, target)
    dim = z.shape[-1]
    ridge = np.sqrt(objective.ridge / dim * len(rows)) * np.eye(dim)
    inputs = np.concatenate([[p for p, _ in rows], ridge])
    outputs = np.concatenate([[t for _, t in rows], np.zeros((dim, dim))])
    matrix = np.linalg.lstsq(inputs, outputs, rcond=None)[0]
    cosines = [dot(resized((np.array(p) @ matrix).tolist(), 1), t) for p, t in rows]
    return 4 - 4 * sum(cosines) / len(cosines)


REFERENCES = {"byol": byol, "simsiam": simsiam, "linear_byol": linear_byol}
