"""What an estimator returns: a number, what kind of number it is, and what to doubt about it."""

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor

Kind = Literal["lower bound", "point", "upper bound"]

Rows = Shaped[Tensor, "_ ..."] | Shaped[np.ndarray, "_ ..."]
"""Samples of one variable, a row each; row i of x belongs to row i of y."""

SATURATION = 0.5
"""An estimate this close to its ceiling, in its unit, may be the ceiling's and not the data's."""

VAGUE = 1.0
"""A standard error above this, in nats, tells that few pairs decide."""

_BLOCK = 512


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A measured amount of information.

    Attributes:
        value: The estimate, never clipped: it may be negative.
        standard_error: Of the value over samples of this size, the critic held fixed if there is
            one; it knows nothing of the bias.
        kind: What the value is on average. A lower bound may be far below.
        ceiling: What the estimator cannot exceed here whatever the data, or None.
        n: Pairs that the value was measured on.
        unit: "nats", or "chi-squared" for that divergence.
        estimator: Its name.
        ceiling_name: The ceiling as a formula, such as "log 64".
        warnings: Reasons to doubt the value.
    """

    value: float
    standard_error: float
    kind: Kind
    ceiling: float | None
    n: int
    unit: str = "nats"
    estimator: str
    ceiling_name: str = ""
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        notes: list[str] = [self.kind]
        if self.ceiling is not None:
            name = f"{self.ceiling_name} = " if self.ceiling_name else ""
            notes.append(f"ceiling {name}{self.ceiling:.2f}")
        line = f"{self.value:.2f} ± {self.standard_error:.2f} {self.unit} ({', '.join(notes)})"
        return "\n".join([line, *(f"  warning: {warning}" for warning in self.warnings)])


def value_warnings(
    value: float,
    standard_error: float,
    ceiling: float | None,
    n: int,
    kind: Kind,
    unit: str = "nats",
) -> tuple[str, ...]:
    """Return what the number itself gives reason to doubt.

    A distribution-free lower bound of nats from n pairs cannot exceed about log n with confidence
    (mcallester2020limitations).
    """
    found = []
    if not (math.isfinite(value) and math.isfinite(standard_error)):
        found.append("not finite: the scores, or the dependence, are too extreme to measure")
    if ceiling is not None and value > ceiling - SATURATION:
        found.append(
            f"saturated: within {SATURATION} of the ceiling {ceiling:.2f}; the truth may be far "
            "above"
        )
    elif kind == "upper bound" and value < 0:
        found.append("below 0, which no upper bound can be: the fitted q(y given x) is wrong")
    elif kind == "lower bound" and value + 3 * standard_error < 0:
        found.append("below 0, less than knowing nothing would give: the scores are wrong")
    elif kind == "lower bound" and unit == "nats" and value > math.log(n):
        found.append(f"above log n = {math.log(n):.2f}: no lower bound from {n} pairs is that sure")
    if unit == "nats" and math.isfinite(standard_error) and standard_error > VAGUE:
        found.append(f"the error is above {VAGUE:g} nat: a few pairs decide the value")
    return tuple(found)


def paired_rows(x: Rows, y: Rows) -> tuple[Tensor, Tensor]:
    """Return both sides as tensors with an axis of columns.

    Raises:
        ValueError: If the lengths differ, there are fewer than 4 pairs or no columns, or values
            are complex or not finite.
    """
    sides = _rows("x", x), _rows("y", y)
    if len(sides[0]) != len(sides[1]):
        raise ValueError(
            f"x and y must be paired, row by row; got {len(sides[0])} and {len(sides[1])} rows"
        )
    return sides


def _rows(name: str, values: Rows) -> Tensor:
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(f"{name} has masked values: leave these rows out")
    if isinstance(values, np.ndarray):
        values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    try:
        rows = torch.as_tensor(values).detach()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{name} must be [n >= 4, ...] of real numbers: {error}") from error
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.ndim < 2 or len(rows) < 4 or rows[0].numel() < 1 or rows.is_complex():
        raise ValueError(
            f"{name} must be [n >= 4, ...] of real numbers, got {tuple(rows.shape)} {rows.dtype}"
        )
    if rows.is_floating_point() and not bool(torch.isfinite(rows).all()):
        bad = (~torch.isfinite(rows.flatten(1)).all(1)).nonzero().flatten()[:5].tolist()
        raise ValueError(f"{name} has values that are not finite, first in rows {bad}")
    return rows


def flat_rows(x: Rows, y: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return both sides as float64 arrays [n, columns]; raise what `paired_rows` raises."""
    sides = paired_rows(x, y)
    return sides[0].flatten(1).double().cpu().numpy(), sides[1].flatten(1).double().cpu().numpy()


def data_warnings(x: Tensor, y: Tensor) -> tuple[str, ...]:
    """Return what the samples give reason to doubt: few, constant, repeated."""
    found = [*side_warnings(x=x.flatten(1), y=y.flatten(1))]
    if repeated := repeats(x, y):
        found.append(
            f"{repeated} of {len(x)} pairs repeat another: a copy in two parts inflates the "
            "estimate, a tie between neighbours distorts it"
        )
    return tuple(found)


def side_warnings(**sides: Shaped[Tensor, "n _"]) -> tuple[str, ...]:
    """Return what rows of one or two variables, by name, give reason to doubt: few, constant."""
    found = []
    n, dims = len(next(iter(sides.values()))), sum(rows.shape[1] for rows in sides.values())
    if n <= dims:
        found.append(
            f"{n} pairs are too few for {dims} dimensions: they hardly show how they depend"
        )
    for name, rows in sides.items():
        if constant := int((rows == rows[0]).all(0).sum()):
            found.append(f"{name} has {constant} constant of {rows.shape[1]} columns")
    return tuple(found)


def repeats(*sides: Shaped[Tensor, "n ..."]) -> int:
    """Return how many rows equal an earlier one on every side, by digests of 128 bits."""
    seen = set()
    for blocks in zip(*(torch.split(side.flatten(1), _BLOCK) for side in sides), strict=True):
        for row in np.hstack([_as_bytes(block) for block in blocks]):
            seen.add(hashlib.blake2b(row, digest_size=16).digest())
    return len(sides[0]) - len(seen)


def _as_bytes(rows: Shaped[Tensor, "n dim"]) -> UInt8[np.ndarray, "n bytes"]:
    """Return the bytes of each row in its own type; -0.0 has those of 0.0."""
    same = rows + 0 if rows.is_floating_point() else rows
    found: UInt8[np.ndarray, "n bytes"] = same.cpu().contiguous().view(torch.uint8).numpy()
    return found
