"""Warnings that a person must not miss: shown at once, and kept for the record of the work."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_kept: ContextVar[list[str] | None] = ContextVar("kept", default=None)


def warn(text: str, *, stacklevel: int = 1) -> None:
    """Say something as a `RuntimeWarning`, and add it to what the work around keeps.

    Args:
        text: Begins with the argument that it is about.
        stacklevel: As of `warnings.warn`.
    """
    if (kept := _kept.get()) is not None and text not in kept:
        kept.append(text)
    warnings.warn(text, RuntimeWarning, stacklevel=stacklevel + 1)


@contextmanager
def kept_warnings() -> Iterator[list[str]]:
    """Keep each text that `warn` says, once, whatever the filters hide; also a decorator."""
    kept: list[str] = []
    token = _kept.set(kept)
    try:
        yield kept
    finally:
        _kept.reset(token)


def add_kept_warnings(record: dict[str, Any]) -> None:
    """Add what has been said since `kept_warnings` to a record's `warnings`, each text once."""
    record["warnings"] = list(dict.fromkeys([*record.get("warnings", []), *(_kept.get() or [])]))
