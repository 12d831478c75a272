"""What every objective asks of its arguments: ranges, shapes and precision."""

import math
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import signature
from numbers import Real
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def check_range(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Raise ValueError unless `value` is finite and in [low, high]."""
    if not (isinstance(value, Real) and low <= value <= high and math.isfinite(value)):
        allowed = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"{name} must be a finite number, {allowed}; got {value!r}")


def check_positive(name: str, value: float) -> None:
    """Raise ValueError unless `value` is finite and above 0."""
    if not (isinstance(value, Real) and 0 < value < math.inf):
        raise ValueError(f"{name} must be a finite number above 0; got {value!r}")


def check_count(name: str, value: int, low: int) -> None:
    """Raise ValueError unless `value` is a whole number of at least `low`."""
    if not isinstance(value, int) or value < low:
        raise ValueError(f"{name} must be a whole number, at least {low}; got {value!r}")


def check_bool(name: str, value: bool) -> None:
    """Raise ValueError unless `value` is True or False: a word such as "no" would be true."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false; got {value!r}")


def check_two_views(z: Tensor) -> None:
    """Raise ValueError unless `z` is [view batch dim] with two views."""
    if z.ndim != 3 or len(z) != 2:
        raise ValueError(f"z must be [view batch dim] with 2 views; got shape {tuple(z.shape)}")


def check_views(z: Tensor) -> None:
    """Raise ValueError unless `z` is [view batch dim] with two views or more."""
    if z.ndim != 3 or len(z) < 2:
        raise ValueError(
            f"z must be [view batch dim] with at least 2 views; got shape {tuple(z.shape)}"
        )


def total_images(counts: Sequence[int]) -> int:
    """Return the number of images over all ranks; raise ValueError if there are fewer than two."""
    total = sum(counts)
    if total < 2:
        raise ValueError(f"z must hold a batch of at least 2 images over all ranks; got {total}")
    return total


def widen(x: Tensor, name: str = "z") -> Tensor:
    """Return float64 as it is and any shorter float as float32.

    Raises:
        ValueError: If the numbers are whole or complex, or the width is 0.
    """
    if not x.is_floating_point():
        raise ValueError(f"{name} must hold floating-point numbers; got {x.dtype}")
    if x.ndim and x.shape[-1] == 0:
        raise ValueError(f"{name} must have a width of at least 1; got shape {tuple(x.shape)}")
    return x if x.dtype == torch.float64 else x.float()


def full_precision(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Run a function whose first argument is embeddings with autocast off and at least 32 bits.

    The backward pass runs under the autocast of its caller: call it outside, as torch advises.
    """
    first = next(iter(signature(function).parameters))

    @wraps(function)
    def widened(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        if args:
            z, *others = args
        elif first in kwargs:
            z, others = kwargs.pop(first), []
        else:
            raise TypeError(f"{function.__name__}() needs {first!r}")
        if not isinstance(z, Tensor):
            raise TypeError(f"{first} must be a tensor; got {type(z).__name__}")
        with torch.autocast(z.device.type, enabled=False):
            return function(widen(z, first), *others, **kwargs)  # type: ignore[arg-type]

    return widened
