"""The run folder: the only thing a run writes."""

import io
import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coview.training import checkpoints

FORMAT = 1


class RunFolder:
    """Names and formats of what a run writes.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.checkpoint = self.path / "checkpoints" / "last.pt"
        self.encoder = self.path / "encoder.safetensors"
        self.metrics = self.path / "metrics.jsonl"

    def is_empty_start(self) -> bool:
        """Tell whether a run was killed here before it had written what it is."""
        ours = {"checkpoints", "pictures", "skipped.jsonl", "splits.json", "run.json.part"}
        if not self.path.is_dir() or not (self.path / "checkpoints").is_dir():
            return False
        return {entry.name for entry in self.path.iterdir()} <= ours

    def check_free(self, *, resumes: bool = True) -> None:
        """Check that there is nothing in the folder yet and that it can be written.

        Args:
            resumes: The command has `--resume`, for the message.

        Raises:
            FileExistsError: If there is something.
            PermissionError: If it cannot be written.
            NotADirectoryError: If it lies below a file.
        """
        nearest = next(place for place in (self.path, *self.path.parents) if place.exists())
        if nearest != self.path and not nearest.is_dir():
            raise NotADirectoryError(f"out: cannot write {self.path}: {nearest} is a file")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(f"out: cannot write {self.path}: {nearest} allows no writing")
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            resume = ", or --resume to go on with it" if resumes else ""
            raise FileExistsError(
                f"out: {self.path} exists and is not empty; give another folder{resume}"
            )

    def create(self) -> None:
        """Make the folder.

        Raises:
            OSError: If it cannot be written.
        """
        try:
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            (self.path / "pictures").mkdir(exist_ok=True)
        except OSError as error:
            raise OSError(f"out: cannot write {self.path}: {error.strerror}") from error

    @classmethod
    def open(cls, path: Path | str) -> "RunFolder":
        """Open a run folder that exists.

        Raises:
            FileNotFoundError: If it is not there or holds no run.
            ValueError: If it has a newer format.
        """
        folder = cls(path)
        if not (folder.path / "run.json").is_file():
            raise FileNotFoundError(f"{folder.path} is not a run folder: it has no run.json")
        if (found := folder.read()["format"]) != FORMAT:
            raise ValueError(f"{folder.path} has format {found}, this coview reads {FORMAT}")
        return folder

    def read(self, name: str = "run.json") -> dict[str, Any]:
        """Read one of the JSON records."""
        record: dict[str, Any] = json.loads((self.path / name).read_text())
        return record

    def write(self, record: dict[str, Any], name: str = "run.json") -> None:
        """Write one of the JSON records, whole or not at all."""
        checkpoints.write_text(self.path / name, json.dumps(record, indent=1) + "\n")

    def update(self, **values: Any) -> None:  # noqa: ANN401
        """Change some values of run.json."""
        self.write(self.read() | values)

    def write_lines(self, name: str, records: list[dict[str, Any]]) -> None:
        """Write records as JSON lines."""
        text = "".join(json.dumps(record) + "\n" for record in records)
        checkpoints.write_text(self.path / name, text)

    def write_arrays(self, name: str, **arrays: np.ndarray) -> None:
        """Write arrays into one compressed .npz file."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        with checkpoints.atomic(self.path / name) as file:
            file.write(buffer.getvalue())

    def cut_metrics(self, step: int) -> None:
        """Drop the metrics of steps after `step`, which will be written again on resume."""
        if self.metrics.is_file():
            rows = [
                json.loads(line) for line in self.metrics.read_text().splitlines() if _whole(line)
            ]
            self.write_lines(self.metrics.name, [row for row in rows if row["step"] <= step])

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add one row to metrics.jsonl."""
        with self.metrics.open("a") as file:
            file.write(json.dumps(row) + "\n")


def _whole(line: str) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True


def environment(device: torch.device | str) -> dict[str, Any]:
    """Return versions, hardware and commit, for a record."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "coview": version("coview"),
        "commit": _commit(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _commit() -> str | None:
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def command_line() -> str:
    """Return the command that is running."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
