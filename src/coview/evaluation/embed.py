"""`coview.embed`: the representations of a folder in a file."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from torch.nn import functional

from coview import data
from coview.encoders import Encoder
from coview.training import checkpoints
from coview.training.features import extract
from coview.training.loading import load
from coview.training.run_folder import RunFolder


def embed(
    subject: RunFolder | Path | str | nn.Module,
    source: Any,  # noqa: ANN401
    out: Path | str = "embeddings.parquet",
    *,
    neighbours: int = 5,
    size: int | None = None,
) -> Path:
    """Write the representation of each image, and its nearest neighbours among them.

    Args:
        subject: A run folder, or a module from images to representations.
        source: Images as for `coview.data.open`.
        out: `.parquet` with the columns name, label, representation (float32 list), neighbours
            (names) and similarities (cosine), or `.npz` with arrays of the same names.
        neighbours: Neighbours of each image; 0 for none.
        size: Width in pixels at which to read the images; default: the encoder's.

    Returns:
        The file.

    Raises:
        ValueError: If `out` has another ending or `neighbours` is negative.
        FileExistsError: If `out` exists.
        ImportError: If a Parquet file is asked for and pyarrow is not installed.
    """
    path = Path(out)
    if path.suffix not in (".parquet", ".npz"):
        raise ValueError(f"out must end in .parquet or .npz, got {path.name}")
    if path.exists():
        raise FileExistsError(f"out: {path} exists; give another name")
    if neighbours < 0:
        raise ValueError(f"neighbours must be 0 or more, got {neighbours}")
    if path.suffix == ".parquet":
        _require_pyarrow()
    encoder = subject if isinstance(subject, nn.Module) else load(subject)
    scaling = None
    if not isinstance(subject, nn.Module):
        run = subject if isinstance(subject, RunFolder) else RunFolder(subject)
        if (run.path / "run.json").is_file():
            scaling = run.read()["data"]["scaling"]
    if size is None and isinstance(encoder, Encoder):
        size = encoder.size
    dataset = data.open(source, size=size, scaling=scaling)
    h = extract(encoder, dataset)
    columns: dict[str, np.ndarray] = {
        "name": np.asarray(dataset.names),
        "representation": h.numpy(),
    }
    if dataset.labels is not None:
        columns["label"] = np.asarray([*dataset.classes, ""])[dataset.labels]
    if count := min(neighbours, len(dataset) - 1):
        near, similarity = _nearest(h.numpy(), count)
        columns["neighbours"] = columns["name"][near]
        columns["similarities"] = similarity
    _write(path, columns)
    return path


def _nearest(h: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    import torch

    unit = functional.normalize(torch.from_numpy(h), dim=1)
    where, similarity = [], []
    for first in range(0, len(unit), 1024):
        rows = unit[first : first + 1024] @ unit.T
        rows[torch.arange(len(rows)), torch.arange(first, first + len(rows))] = -torch.inf
        top = rows.topk(count)
        where.append(top.indices)
        similarity.append(top.values)
    return torch.cat(where).numpy(), torch.cat(similarity).numpy()


def _require_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "writing Parquet needs pyarrow: pip install 'coview[data]', or give a .npz file"
        ) from error


def _write(path: Path, columns: dict[str, np.ndarray]) -> None:
    with checkpoints.atomic(path) as file:
        if path.suffix == ".npz":
            np.savez_compressed(file, **columns)  # type: ignore[arg-type]
            return
        import pyarrow
        from pyarrow import parquet

        table = {k: v.tolist() if v.ndim == 1 else list(v) for k, v in columns.items()}
        parquet.write_table(pyarrow.table(table), file)
