"""The table of operations, and operations as plain dictionaries."""

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from coview.views.affine import Affine
from coview.views.blur import GaussianBlur
from coview.views.channels import ChannelDrop, ChannelJitter
from coview.views.crop import RandomResizedCrop
from coview.views.flip import HorizontalFlip
from coview.views.grayscale import Grayscale
from coview.views.jitter import ColorJitter
from coview.views.operation import Operation
from coview.views.randaugment import RandAugment
from coview.views.solarize import Solarize

BuiltIn = (
    RandomResizedCrop
    | HorizontalFlip
    | Affine
    | ColorJitter
    | ChannelJitter
    | ChannelDrop
    | Grayscale
    | GaussianBlur
    | Solarize
    | RandAugment
)

OPERATIONS: Mapping[str, type[BuiltIn]] = {kind.name: kind for kind in get_args(BuiltIn)}
"""Operations by the name that records and dictionaries use."""


def unknown(what: str, name: object, known: Iterable[str]) -> ValueError:
    """Return the error for a name that is not known; it names the nearest one and all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.0)
    return ValueError(
        f"unknown {what} {name!r}; nearest is {near[0]!r}, all are {', '.join(names)}"
        if near
        else f"unknown {what} {name!r}; there are none"
    )


def operation_to_dict(operation: Operation) -> dict[str, Any]:
    """Return {"operation": name, field: value, ...} in plain JSON types.

    Raises:
        ValueError: If the operation is not a dataclass.
    """
    if not dataclasses.is_dataclass(operation) or isinstance(operation, type):
        raise ValueError(f"operation {operation!r} is not a dataclass and cannot be written down")
    fields = {field.name: getattr(operation, field.name) for field in dataclasses.fields(operation)}
    plain = {name: list(v) if isinstance(v, tuple) else v for name, v in fields.items()}
    return {"operation": operation.name, **plain}


def operation_from_dict(values: Mapping[str, Any]) -> BuiltIn:
    """Return the operation of a dictionary; fields that are left out have their defaults.

    Raises:
        ValueError: If the operation or a field is unknown, or a value out of range.
    """
    settings = dict(values)
    name = settings.pop("operation", None)
    if name not in OPERATIONS:
        raise unknown("operation", name, OPERATIONS)
    kind: Callable[..., BuiltIn] = OPERATIONS[name]
    defaults = {field.name: field.default for field in dataclasses.fields(OPERATIONS[name])}
    for field in settings:
        if field not in defaults:
            raise unknown(f"setting of operation {name!r}", field, defaults)
    return kind(**{k: _like(defaults[k], v, f"{name}.{k}") for k, v in settings.items()})


def _like(default: object, value: object, name: str) -> object:
    """Return a value of a file as a setting: lists as tuples, whole numbers as floats."""
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(_like(0.0, part, name) for part in value)
    if isinstance(default, float) and type(value) in (int, float):
        return float(value)  # type: ignore[arg-type]
    if isinstance(default, float | tuple):
        kind = "a number" if isinstance(default, float) else "a list"
        raise ValueError(f"{name} must be {kind}, got {value!r}")
    if isinstance(default, bool) and not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value!r}")
    whole = type(default) is int or (default is None and value is not None)
    if whole and type(value) is not int:
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    return value


def check_keys(
    what: str, values: Mapping[str, Any], known: tuple[str, ...], optional: tuple[str, ...] = ()
) -> None:
    """Raise ValueError if a key is unknown or missing."""
    for key in values:
        if key not in known + optional:
            raise unknown(f"key of a {what}", key, known + optional)
    for key in known:
        if key not in values:
            raise ValueError(f"the {what} has no {key!r}")
