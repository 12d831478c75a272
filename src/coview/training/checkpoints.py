"""Checkpoints that are whole or not there."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Write a file under a temporary name and put it in place when it is whole and on disk.

    Raises:
        OSError: With the file's name, if it cannot be written (a full disk, no permission); what
            stood there before is untouched.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or str(error)
        raise OSError(f"cannot write {path}: {reason}; what was written before is kept") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as file:
        file.write(text.encode())


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically.

    Raises:
        OSError: If it cannot be written; the checkpoint before it is untouched.
    """
    with atomic(path) as file:
        torch.save(dict(content), file)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        FileNotFoundError: If there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content
