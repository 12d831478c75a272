"""Reading the records of a run folder (format 1)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

FORMAT = 1

Json = dict[str, Any]
"""A decoded JSON object."""


@dataclass(frozen=True, kw_only=True)
class ViewPictures:
    """Views as the encoder saw them, their source images and how each was made."""

    views: UInt8[np.ndarray, "view n channel height width"]
    images: UInt8[np.ndarray, "n channel image_height image_width"]
    captions: list[list[Json]]


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """Thumbnails with their places on a 2-D map, neighbours and the spectrum."""

    thumbnails: UInt8[np.ndarray, "n height width 3"]
    map: Float[np.ndarray, "n 2"]
    labels: Int[np.ndarray, " n"]
    queries: Int[np.ndarray, " query"]
    neighbours: Int[np.ndarray, "query k"]
    similarities: Float[np.ndarray, "query k"]
    spectrum: Float[np.ndarray, " direction"]
    names: list[str]


@dataclass(frozen=True, kw_only=True)
class Records:
    """All records of one run; None or empty where the folder has none."""

    folder: Path
    run: Json
    metrics: list[Json]
    skipped: list[Json]
    evaluation: Json | None
    diagnosis: Json | None
    views: ViewPictures | None
    atlas: Atlas | None

    @property
    def classes(self) -> list[str]:
        """Class names, empty without labels."""
        found = self.run.get("data", {}).get("classes") or (self.evaluation or {}).get("classes")
        return [str(name) for name in found or []]


def read_records(run: Path) -> Records:
    """Read a run folder.

    Args:
        run: Folder written by `pretrain` or `evaluate`.

    Raises:
        FileNotFoundError: If there is no `run.json` in it.
        ValueError: If its format is not 1 or a record is not valid JSON.
    """
    run = Path(run)
    if not (run / "run.json").is_file():
        raise FileNotFoundError(f"{run / 'run.json'} does not exist: {run} is not a run folder")
    head = _json(run / "run.json")
    if head.get("format") != FORMAT:
        raise ValueError(f"{run / 'run.json'} has format {head.get('format')!r}, expected {FORMAT}")
    evaluation, diagnosis = run / "evaluation.json", run / "diagnosis.json"
    return Records(
        folder=run,
        run=head,
        metrics=_lines(run / "metrics.jsonl"),
        skipped=_lines(run / "skipped.jsonl"),
        evaluation=_json(evaluation) if evaluation.is_file() else None,
        diagnosis=_json(diagnosis) if diagnosis.is_file() else None,
        views=_views(run / "pictures" / "views.npz"),
        atlas=_atlas(run / "pictures" / "atlas.npz"),
    )


def _json(path: Path) -> Json:
    try:
        found: Json = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    return found


def _lines(path: Path) -> list[Json]:
    """Return the objects of a JSON-lines file; a last line cut short by a kill is dropped."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    rows: list[Json] = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f"{path}, line {number} is not valid JSON: {error}") from error
    return rows


def _views(path: Path) -> ViewPictures | None:
    if not path.is_file():
        return None
    with np.load(path) as stored:
        return ViewPictures(
            views=stored["views"],
            images=stored["images"],
            captions=json.loads(str(stored["captions"])),
        )


def _atlas(path: Path) -> Atlas | None:
    if not path.is_file():
        return None
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files if name != "names"}
        return Atlas(**arrays, names=json.loads(str(stored["names"])))
