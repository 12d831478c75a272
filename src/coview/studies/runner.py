"""Running a study: finished trials are skipped, records survive kills, a report at the end."""

import json
import math
import os
import shutil
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast, get_args

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from coview.data import fingerprint, label_fingerprint
from coview.data import open as open_images
from coview.studies.study import Scale, Settings, Study, Trial, key
from coview.training import checkpoints
from coview.training.run_folder import environment

FORMAT = 1


def run_study(
    study: Study | str,
    *,
    scale: str = "smoke",
    out: Path | str | None = None,
    data: Path | str | None = None,
    workers: int | None = None,
) -> Path:
    """Run the trials of a study that are not finished, and report.

    Trials run in processes of their own, one thread each. A trial is a file in `trials/`, named by
    the hash of its settings: a study that was killed goes on where it stopped, a larger scale
    reuses what a smaller one has, and trials are never run twice. The same images count as the
    same wherever they lie. One that fails leaves its error beside the others, which go on.

    Args:
        study: A study or the name of one of ours.
        scale: `smoke` (minutes on 2 cores), `laptop` (an hour; minc-batch-size three), `full` (a
            night or more) or `paper` (as many images as papers show).
        out: Folder; default `runs/studies/NAME`.
        data: Images for the studies that need them, as for `coview.data.open`; else ignored.
        workers: Processes; default one a core.

    Returns:
        The folder: `report.json` and `trials/`.

    Raises:
        ValueError: If there is no such study or scale, or images are needed and not given; or as
            `coview.data.open`.
        FileNotFoundError: If there are no images at that path.
        RuntimeError: If trials failed; the message has the first error. The report of the others
            is written.
    """
    if isinstance(study, str):
        from coview.studies.table import get

        study = get(study)
    wanted = _checked(study, scale, data, workers)
    folder = folder_of(study, out)
    (folder / "trials").mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    images = _images(data) if study.data and data is not None else {}
    asked = [{**settings, **images} for settings in study.trials(wanted)]
    errors = _finish(study, asked, folder, workers)
    if not errors:  # what is chosen from some of the trials may not be the choice of all
        more = study.confirm(wanted, finished(study, asked, folder))
        asked += [{**settings, **images} for settings in more]
        errors = _finish(study, asked, folder, workers) if more else []
    _write_report(study, scale, asked, folder, time.monotonic() - started, images)
    if errors:
        raise RuntimeError(
            f"{len(errors)} of {len(asked)} trials failed and will be tried again next time; "
            f"errors are in {folder / 'trials'}. The first: {errors[0]}"
        )
    return folder


def _finish(
    study: Study, asked: Sequence[Settings], folder: Path, workers: int | None
) -> list[str]:
    """Run the trials that are not finished; return the errors."""
    from joblib import Parallel, delayed

    pending = [settings for settings in asked if not _record(study, settings, folder).is_file()]
    errors = []
    with _progress(len(asked), len(asked) - len(pending), study.name) as advance:
        jobs = (delayed(_run)(study, settings, folder) for settings in pending)
        runner = Parallel(n_jobs=workers or os.cpu_count(), return_as="generator_unordered")
        for error in runner(jobs):
            advance()
            errors += [error] if error else []
    return errors


def folder_of(study: Study, out: Path | str | None) -> Path:
    """Return where a study is written."""
    return Path(out) if out is not None else Path("runs/studies") / study.name


def finished(study: Study, asked: Sequence[Settings], folder: Path) -> list[Trial]:
    """Return the finished trials among those asked for, in their order."""
    records = [_record(study, settings, folder) for settings in asked]
    return [
        Trial(**{name: stored[name] for name in ("settings", "measured", "seconds")})
        for stored in (json.loads(file.read_text()) for file in records if file.is_file())
    ]


def _checked(study: Study, scale: str, data: object, workers: int | None) -> Scale:
    if scale not in get_args(Scale):
        raise ValueError(f"scale must be one of {', '.join(get_args(Scale))}; got {scale!r}")
    if study.data and data is None:
        raise ValueError(f"data: {study.name} needs images (a folder or an .npz file)")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1; got {workers}")
    return cast(Scale, scale)


def _images(data: Path | str) -> Settings:
    """Return what trials are told of their images: where they lie, and which they are."""
    place = "sample" if str(data) == "sample" else str(Path(data).expanduser().absolute())
    dataset = open_images(place)
    return {
        "data": place,
        "data_fingerprint": f"{fingerprint(dataset)}-{label_fingerprint(dataset)}",
    }


def _record(study: Study, settings: Settings, folder: Path) -> Path:
    return folder / "trials" / f"{key(study, settings)}.json"


def _run(study: Study, settings: Settings, out: Path) -> str | None:
    """Run one trial in a worker; return its error, if there was one."""
    import torch

    torch.set_num_threads(1)
    record = _record(study, settings, out)
    error = record.with_suffix(".error.txt")
    folder = record.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)  # of a trial that was killed
    started = time.monotonic()
    try:
        measured = study.run(settings, folder)
    except Exception as problem:
        error.write_text(f"{json.dumps(dict(settings))}\n\n{traceback.format_exc()}")
        return f"{type(problem).__name__}: {problem}"
    trial = {
        "format": FORMAT,
        "study": study.name,
        "version": study.version,
        "settings": dict(settings),
        "measured": _plain(measured),
        "seconds": round(time.monotonic() - started, 2),
        "environment": environment("cpu"),
    }
    checkpoints.write_text(record, json.dumps(trial, indent=1) + "\n")
    error.unlink(missing_ok=True)
    return None


def _write_report(
    study: Study,
    scale: str,
    asked: Sequence[Settings],
    folder: Path,
    seconds: float,
    images: Settings,
) -> None:
    trials = finished(study, asked, folder)
    record: dict[str, Any] = {
        "format": FORMAT,
        "study": study.name,
        "scale": scale,
        "claim": study.claim,
        "source": study.source,
        "command": f"coview study {study.name} --scale {scale}"
        + (f" --data {Path(images['data']).name}" if images else ""),
        "trials": {"asked": len(asked), "finished": len(trials)},
        "seconds": round(seconds, 1),
        "trial_seconds": round(sum(trial.seconds for trial in trials), 1),
        "environment": environment("cpu"),
        **(_plain(asdict(study.report(trials))) if trials else {}),
    }
    checkpoints.write_text(folder / "report.json", json.dumps(record, indent=1) + "\n")


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Return a value as JSON has it: numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def _progress(total: int, done: int, name: str) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("trials, left"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=3600) as progress:
        task = progress.add_task(name, total=total, completed=done)
        yield lambda: progress.advance(task)
