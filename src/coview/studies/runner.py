"""Running a study: finished trials are skipped, records survive kills, a report at the end."""

import json
import math
import os
import shutil
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import cache
from multiprocessing import current_process
from pathlib import Path
from typing import Any, cast, get_args

import torch

from coview.data import fingerprint, label_fingerprint
from coview.data import open as open_images
from coview.search.progress import bar
from coview.studies.study import Scale, Settings, Study, Trial, Verdict, key
from coview.training import checkpoints
from coview.training.run_folder import environment

FORMAT = 1

UNSAID = "the process of this trial ended without a word: out of memory?"
"""The error of a trial from its start until there is a better one, or none."""


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
    the hash of its settings: a study that was killed goes on where it stopped, and a trial that two
    scales share is run once. The same images count as the same wherever they lie. A trial that
    fails leaves its error beside the others, which go on; so do those beside one that the system
    kills, in new processes: those that were at work with it are tried once more, each alone.

    Studies that train on images do so on CUDA devices where there are any, the processes spread
    over them; elsewhere on the CPU, as do all others.

    Args:
        study: A study or the name of one of ours.
        scale: `smoke` (minutes on 2 cores), `laptop` (an hour; minc-batch-size four), `full` (days)
            or `paper` (as many images as papers show).
        out: Folder; default `runs/studies/NAME`.
        data: Labelled images for the studies that need them, as for `coview.data.open`.
        workers: Processes; default one a CUDA device that is used, else one a core.

    Returns:
        The folder: `report.json` and `trials/`.

    Raises:
        ValueError: If there is no such study or scale, or images are needed and not given or have
            no labels; or as `coview.data.open`.
        FileNotFoundError: If there are no images at that path.
        RuntimeError: If another study is running in the folder; or if trials failed or no process
            could start: the message has the first error, and the report of the others is written.
    """
    if isinstance(study, str):
        from coview.studies.table import get

        study = get(study)
    wanted = _checked(study, scale, data, workers)
    folder = folder_of(study, out)
    (folder / "trials").mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        _run_all(study, wanted, folder, data, workers)
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder until the end, or until the process dies; on Windows it is not held."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"another study is running in {folder}") from None
        yield


def _run_all(
    study: Study, scale: Scale, folder: Path, data: Path | str | None, workers: int | None
) -> None:
    """Run the trials and write the report.

    Raises:
        RuntimeError: If trials failed.
    """
    started = time.monotonic()
    images = _images(data) if study.data and data is not None else {}
    asked = [{**settings, **images} for settings in study.trials(scale)]
    try:
        errors = _finish(study, asked, folder, workers)
        if not errors:  # what is chosen from some of the trials may not be the choice of all
            more = study.confirm(scale, finished(study, asked, folder))
            asked += [{**settings, **images} for settings in more]
            errors = _finish(study, asked, folder, workers) if more else []
    finally:
        _write_report(study, scale, asked, folder, time.monotonic() - started, images)
    if errors:
        raise RuntimeError(
            f"{len(errors)} of {len(asked)} trials failed and will be tried again next time; "
            f"errors are in {folder / 'trials'}. The first: {errors[0]}"
        )


def _finish(
    study: Study, asked: Sequence[Settings], folder: Path, workers: int | None
) -> list[str]:
    """Run the trials that are not finished; return the errors.

    joblib runs a single job in this process, which the system might kill with all that is to come:
    so there are at least two processes, and as many trials at a time as were asked for.
    """
    from joblib import Parallel, delayed

    records = {_record(study, settings, folder): settings for settings in asked}

    def left() -> list[Path]:
        return [r for r in records if not r.is_file() and not _error(r).is_file()]

    for record in records:
        _error(record).unlink(missing_ok=True)
    devices = _devices() if study.data else []
    waiting, workers = left(), workers or len(devices) or os.cpu_count() or 1
    total, done = len(records), len(records) - len(waiting)
    runner = Parallel(
        n_jobs=max(2, workers),
        pre_dispatch=workers,
        batch_size=1,
        return_as="generator_unordered",
    )
    with bar(study.name, len(waiting)) as shown:

        def show(ended: int) -> None:
            shown.advance(f"{ended} of {total} trials", ended - done - shown.done)

        show(done)
        while waiting:
            jobs = (
                delayed(_run)(study, records[record], record, devices, os.getpid())
                for record in waiting
            )
            try:
                for ended, _ in enumerate(runner(jobs), total - len(waiting) + 1):
                    show(ended)
            except BrokenProcessPool:  # one process was killed, and joblib has ended the others
                if left() == waiting:
                    raise  # none could start: nor would the next
            waiting = left()
            show(total - len(waiting))
        alone = Parallel(n_jobs=2, pre_dispatch=1, batch_size=1)
        for record in [r for r in records if _said(r) == UNSAID]:  # killed, or beside one that was
            with suppress(BrokenProcessPool):
                alone([delayed(_run)(study, records[record], record, devices, os.getpid())])
    return [said for r in records if (said := _said(r))]


def folder_of(study: Study, out: Path | str | None) -> Path:
    """Return where a study is written."""
    return Path(out) if out is not None else Path("runs/studies") / study.name


def finished(study: Study, asked: Sequence[Settings], folder: Path) -> list[Trial]:
    """Return the finished trials among those asked for, in their order."""
    return [
        Trial(**{name: stored[name] for name in ("settings", "measured", "seconds")})
        for stored in _stored(study, asked, folder)
    ]


def _stored(study: Study, asked: Sequence[Settings], folder: Path) -> list[dict[str, Any]]:
    records = [_record(study, settings, folder) for settings in asked]
    return [json.loads(file.read_text()) for file in records if file.is_file()]


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
    if dataset.labels is None:
        raise ValueError(f"data: {data} has no labels to judge by")
    return {
        "data": place,
        "data_fingerprint": f"{fingerprint(dataset)}-{label_fingerprint(dataset)}",
    }


def _record(study: Study, settings: Settings, folder: Path) -> Path:
    return folder / "trials" / f"{key(study, settings)}.json"


def _error(record: Path) -> Path:
    return record.with_suffix(".error.txt")


def _said(record: Path) -> str:
    """Return the error of a trial, or nothing."""
    file = _error(record)
    return file.read_text().partition("\n\n")[0] if file.is_file() else ""


def _devices() -> list[str]:
    """Return the CUDA devices by the names that they have in CUDA_VISIBLE_DEVICES."""
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


def _claim(devices: Sequence[str]) -> str:
    """Let this process see one of the devices only, the same each time; return what it is on."""
    if not devices:
        return "cpu"
    device = devices[sum(current_process()._identity) % len(devices)]
    os.environ["CUDA_VISIBLE_DEVICES"] = device
    return f"cuda:{device}"


@cache
def _end_with(parent: int) -> None:
    """Let this process end soon after its parent: joblib's outlive one that was killed.

    Else they would go on writing to a folder that the next run has begun to use.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run(
    study: Study, settings: Settings, record: Path, devices: Sequence[str], parent: int
) -> None:
    """Run one trial in a worker; its record is left, or its error."""
    _end_with(parent)
    device = _claim(devices)  # before anything initialises CUDA
    torch.set_num_threads(1)
    asked = json.dumps(dict(settings))
    _error(record).write_text(f"{UNSAID}\n\n{asked}\n")
    folder = record.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)  # of a trial that was killed
    started = time.monotonic()
    try:
        measured = study.run(settings, folder)
    except Exception as problem:
        said = f"{type(problem).__name__}: {problem}"
        _error(record).write_text(f"{said}\n\n{asked}\n\n{traceback.format_exc()}")
        return
    trial = {
        "format": FORMAT,
        "study": study.name,
        "version": study.version,
        "settings": dict(settings),
        "measured": _plain(measured),
        "seconds": round(time.monotonic() - started, 2),
        "environment": environment(device),
    }
    checkpoints.write_text(record, json.dumps(trial, indent=1) + "\n")
    _error(record).unlink(missing_ok=True)


def _write_report(
    study: Study,
    scale: str,
    asked: Sequence[Settings],
    folder: Path,
    seconds: float,
    images: Settings,
) -> None:
    trials = finished(study, asked, folder)
    report = study.report(trials) if trials else None
    if report and (missing := len(asked) - len(trials)):
        why = f"{missing} of {len(asked)} trials are missing. {report.verdict.why}"
        report = replace(report, verdict=Verdict(word="undecided at this budget", why=why))
    where = [stored["environment"] for stored in _stored(study, asked, folder)]
    commits = Counter(at["commit"] or "unknown" for at in where)
    devices = sorted({at["device"] for at in where})
    record: dict[str, Any] = {
        "format": FORMAT,
        "study": study.name,
        "version": study.version,
        "scale": scale,
        "claim": study.claim,
        "source": study.source,
        "command": f"coview study {study.name} --scale {scale}"
        + (f" --data {Path(images['data']).name}" if images else ""),
        "trials": {"asked": len(asked), "finished": len(trials)},
        "seconds": round(seconds, 1),
        "trial_seconds": round(sum(trial.seconds for trial in trials), 1),
        "environment": environment(", ".join(devices) or "cpu"),
        "commits": dict(commits.most_common()),
        **(_plain(asdict(report)) if report else {}),
    }
    checkpoints.write_text(folder / "report.json", json.dumps(record, indent=1) + "\n")


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Return a value as JSON has it: numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
