"""Multinomial logistic regression on frozen representations."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from coview.probes.knn import FloatRows, Labels, check_labels

Matrix = Float[np.ndarray, "_ _"]

Fit = tuple[Float[np.ndarray, "class dim"], Float[np.ndarray, " class"]]
"""Weight and bias."""

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)
"""Grid of inverse regularisation, from strong to weak; see `linear_probe`."""

_SMALL = 2_000_000
"""Numbers in a training matrix below which a second thread costs more than it gains."""


@dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """A linear classifier of standardised representations.

    `weight` [class, dim] and `bias` [class] act on (h - mean) / scale; `strength` is the inverse
    regularisation used.
    """

    mean: Float[np.ndarray, " dim"]
    scale: Float[np.ndarray, " dim"]
    weight: Float[np.ndarray, "class dim"]
    bias: Float[np.ndarray, " class"]
    strength: float

    def logits(self, h: FloatRows) -> Float[np.ndarray, "rows class"]:
        """Return the unnormalised log-probabilities of the classes."""
        logits: np.ndarray = ((as_rows(h) - self.mean) / self.scale) @ self.weight.T + self.bias
        return logits

    def predict(self, h: FloatRows) -> Int[np.ndarray, " rows"]:
        """Return the most probable class of each row; a tie goes to the lowest number."""
        best: np.ndarray = self.logits(h).argmax(axis=1)
        return best


def as_rows(h: FloatRows) -> Matrix:
    """Return representations as an array of float32 (or float64 when they are)."""
    h = torch.as_tensor(h).detach().cpu()
    rows: np.ndarray = (h if h.dtype == torch.float64 else h.float()).numpy()
    return rows


def standardisation(h: Matrix) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
    """Return mean and standard deviation of each coordinate; constant ones get deviation 1."""
    scale = h.std(axis=0, dtype=np.float64)
    scale[scale <= 1e-6 * max(float(scale.max(initial=0.0)), 1e-30)] = 1.0
    return h.mean(axis=0, dtype=np.float64).astype(h.dtype), scale.astype(h.dtype)


def row_basis(h: Matrix) -> Matrix | None:
    """Return an orthonormal basis [dim, reduced] of the span of the rows, if smaller than dim.

    The L2-regularised solution lies in the span of the training rows, so a probe fitted on
    `h @ basis` is the probe fitted on `h`. None when there are as many rows as coordinates.
    Eigenvectors of the gram in float64 (much cheaper than QR); directions below 1e-6 of the
    strongest singular value are dropped.
    """
    if len(h) >= h.shape[1]:
        return None
    double = h.astype(np.float64)
    values, vectors = np.linalg.eigh(double @ double.T)
    kept = values > 1e-12 * max(float(values[-1]), 1e-300)
    basis: np.ndarray = double.T @ (vectors[:, kept] / np.sqrt(values[kept]))
    return basis.astype(h.dtype)


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()


def fit_path(
    h: Matrix, y: Int[np.ndarray, " rows"], *, classes: int, strengths: Sequence[float], dim: int
) -> Iterator[Fit]:
    """Fit logistic regressions from the first to the last strength, each started at the one before.

    Args:
        h: Standardised (and perhaps rotated) rows.
        y: Classes; those that do not occur get a bias of -inf.
        classes: Number of classes.
        strengths: Inverse regularisation; scikit-learn's C is strength / dim.
        dim: Width of the representations before any rotation.

    Yields:
        Weight [class, columns of h] and bias [class] for each strength, when asked for.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    basis = row_basis(h)
    reduced = h if basis is None else h @ basis
    model = LogisticRegression(max_iter=500, tol=1e-4, warm_start=True)
    threads = 1 if reduced.size < _SMALL else None
    for strength in strengths:
        model.C = strength / dim
        with warnings.catch_warnings(), _thread_pools().limit(limits=threads):
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(reduced, y)
        weight, bias = _over_all_classes(model.coef_, model.intercept_, model.classes_, classes)
        yield (weight if basis is None else weight @ basis.T), bias


def _over_all_classes(
    coefficients: Matrix, intercepts: Float[np.ndarray, " found"], found: np.ndarray, classes: int
) -> tuple[Matrix, Float[np.ndarray, " class"]]:
    """Spread fitted rows over all classes; two classes come as one row, for the second."""
    if len(found) == 2:
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weight = np.zeros((classes, coefficients.shape[1]), dtype=coefficients.dtype)
    bias = np.full(classes, -np.inf, dtype=coefficients.dtype)
    weight[found], bias[found] = coefficients, intercepts
    return weight, bias


def linear_probe(
    train_h: FloatRows,
    train_y: Labels,
    *,
    classes: int,
    strengths: Sequence[float] = STRENGTHS,
    validation: tuple[FloatRows, Labels] | None = None,
) -> LinearProbe:
    """Fit an L2-regularised multinomial logistic regression on standardised representations.

    Minimises sum of cross-entropies + dim / (2 strength) * ||weight||^2; dividing by the width
    makes one grid fair to representations of any width (the row norm is about sqrt(dim)).

    Args:
        train_h: Training representations [train, dim]; they also give mean and deviation.
        train_y: Their classes, 0 to `classes` - 1; at least two different ones.
        classes: Number of classes.
        strengths: Inverse regularisation to try, rising.
        validation: Representations and classes that choose among several strengths by accuracy;
            a tie goes to the stronger regularisation.

    Returns:
        The fitted probe.

    Raises:
        ValueError: If there are several strengths and no validation split, labels do not fit, or
            only one class occurs.

    Convention: With two classes the penalty is scikit-learn's binary one. The bias is free.
    """
    h, y = as_rows(train_h), np.asarray(torch.as_tensor(train_y).cpu())
    check_labels("train_y", torch.as_tensor(y), len(h), classes)
    if len(np.unique(y)) < 2:
        raise ValueError(f"train_y: only class {int(y[0])} occurs, at least two are needed")
    if not strengths or min(strengths) <= 0 or list(strengths) != sorted(strengths):
        raise ValueError(f"strengths must be positive and rising, got {tuple(strengths)}")
    if validation is None and len(strengths) > 1:
        raise ValueError("validation is needed to choose among several strengths")
    mean, scale = standardisation(h)
    path = fit_path((h - mean) / scale, y, classes=classes, strengths=strengths, dim=h.shape[1])
    probes = [
        LinearProbe(mean=mean, scale=scale, weight=weight, bias=bias, strength=float(strength))
        for strength, (weight, bias) in zip(strengths, path, strict=True)
    ]
    if validation is None:
        return probes[0]
    validation_h, validation_y = validation[0], np.asarray(torch.as_tensor(validation[1]).cpu())
    check_labels("validation labels", torch.as_tensor(validation_y), len(validation_h), classes)
    scores = [float((probe.predict(validation_h) == validation_y).mean()) for probe in probes]
    return probes[int(np.argmax(scores))]
