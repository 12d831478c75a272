"""Multinomial logistic regression on frozen representations."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.linalg import solve_triangular
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from coview.probes.knn import FloatRows, Labels, check_labels

Matrix = Float[np.ndarray, "_ _"]

Fit = tuple[Float[np.ndarray, "class dim"], Float[np.ndarray, " class"]]
"""Weight and bias."""

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)
"""Grid of inverse regularisation, from strong to weak; see `linear_probe`."""

_CHUNK = 4096

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
    mean = h.mean(axis=0, dtype=np.float64)
    squares = np.zeros_like(mean)
    for first in range(0, len(h), _CHUNK):
        squares += np.square(h[first : first + _CHUNK] - mean).sum(axis=0)
    scale = np.sqrt(squares / max(1, len(h)))
    scale[scale <= 1e-6 * max(float(scale.max(initial=0.0)), 1e-30)] = 1.0
    return mean.astype(h.dtype), scale.astype(h.dtype)


def standardised(h: Matrix, mean: np.ndarray, scale: np.ndarray) -> Matrix:
    """Return (h - mean) / scale."""
    rows: np.ndarray = h - mean
    rows /= scale
    return rows


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
    basis = row_basis(h) if 2 * len(h) <= h.shape[1] else None  # else it costs more than it saves
    reduced = h if basis is None else h @ basis
    found, targets = np.unique(y, return_inverse=True)
    fit: Fit | None = None
    threads = 1 if reduced.size < _SMALL else None
    with _thread_pools().limit(limits=threads):
        gram = (reduced.T @ reduced).astype(np.float64)
    for strength in strengths:
        # Both rows of two classes are shrunk, each half as long as the one of the binary form.
        penalty = dim / strength * (2 if len(found) == 2 else 1)
        with _thread_pools().limit(limits=threads):
            fit = _minimise(reduced, targets, len(found), gram, penalty, start=fit)
        weight = np.zeros((classes, h.shape[1]), dtype=h.dtype)
        bias = np.full(classes, -np.inf, dtype=h.dtype)
        weight[found] = fit[0] if basis is None else fit[0] @ basis.T
        bias[found] = fit[1]
        yield weight, bias


def _minimise(
    h: Matrix,
    y: Int[np.ndarray, " rows"],
    classes: int,
    gram: Matrix,
    penalty: float,
    *,
    start: Fit | None,
) -> Fit:
    """Minimise the sum of cross-entropies + penalty / 2 ||weight||^2 by preconditioned L-BFGS.

    The Hessian is about the Kronecker product of hᵀh p (1 - p), plus the penalty, with a
    projection over the classes. In the coordinates of its Cholesky factor a few tens of steps are
    enough, however the columns of `h` are correlated.
    """
    rows, dim = h.shape
    share = (1 - 1 / classes) / classes
    factor = np.linalg.cholesky(share * gram + penalty * np.eye(dim))
    unit = math.sqrt(share * rows)
    target = np.zeros((rows, classes), dtype=h.dtype)
    target[np.arange(rows), y] = 1

    def weights(u: np.ndarray) -> Fit:
        packed = u.reshape(dim + 1, classes)
        return solve_triangular(factor, packed[:dim], trans=1, lower=True).T, packed[dim] / unit

    def value(u: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = weights(u)
        logits = h @ weight.T.astype(h.dtype) + bias.astype(h.dtype)
        logits -= logits.max(axis=1, keepdims=True)
        fitted = (logits * target).sum(axis=1, dtype=np.float64)
        np.exp(logits, out=logits)
        total = logits.sum(axis=1, keepdims=True)
        loss = np.log(total, dtype=np.float64).sum() - fitted.sum()
        loss += penalty / 2 * float(np.square(weight).sum())
        residual = logits / total - target
        to_weight = (h.T @ residual).astype(np.float64) + penalty * weight.T
        to_bias = residual.sum(axis=0, dtype=np.float64) / unit
        packed = np.vstack([solve_triangular(factor, to_weight, lower=True), to_bias])
        return loss / rows, packed.ravel() / rows

    if start is None:
        u = np.zeros((dim + 1) * classes)
    else:
        u = np.vstack([factor.T @ start[0].T, start[1] * unit]).ravel()
    precise = h.dtype == np.float64
    options = {"maxiter": 500, "ftol": 1e-12 if precise else 1e-7, "gtol": 1e-9}
    return weights(minimize(value, u, jac=True, method="L-BFGS-B", options=options).x)


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
    path = fit_path(
        standardised(h, mean, scale), y, classes=classes, strengths=strengths, dim=h.shape[1]
    )
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
