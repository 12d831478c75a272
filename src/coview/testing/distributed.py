"""Run a function in several processes, without a way for a dead or hung one to pass."""

import os
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import multiprocessing

Result = TypeVar("Result")


def run_ranks(
    function: Callable[..., Result], world_size: int, *args: object, timeout: float = 120.0
) -> list[Result]:
    """Return what `function(*args)` returns in each of `world_size` gloo processes.

    The processes are fresh, have one thread each, and meet over a file, so no port is taken.

    Args:
        function: A function that pickle finds by name, as are `args` and the results.
        world_size: Number of processes.
        *args: Its arguments.
        timeout: Seconds for everything, start-up included.

    Returns:
        The results in rank order.

    Raises:
        RuntimeError: If a process raises, exits with another code than 0, or leaves no result; the
            message names the rank and has its traceback.
        TimeoutError: If a process still lives after `timeout`.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        context = multiprocessing.get_context("spawn")
        processes = [
            context.Process(target=_work, args=(function, rank, world_size, folder, args))
            for rank in range(world_size)
        ]
        try:
            for process in processes:
                process.start()
            _wait(processes, time.monotonic() + timeout, folder)
            return [_result(rank, folder) for rank in range(world_size)]
        finally:
            for process in processes:
                process.kill()
                process.join()


def _work(
    function: Callable[..., object], rank: int, world_size: int, folder: Path, args: tuple[object]
) -> None:
    """Run in the child: join the others, call the function, leave its result."""
    try:
        torch.set_num_threads(1)
        meeting_point = f"file://{folder / 'meeting'}"
        dist.init_process_group("gloo", meeting_point, rank=rank, world_size=world_size)
        result = function(*args)
        dist.barrier()
        dist.destroy_process_group()
        torch.save(result, folder / f"{rank}.result")
    except BaseException:
        (folder / f"{rank}.error").write_text(traceback.format_exc())
        os._exit(1)  # at once: the usual way out would wait for the others


def _wait(processes: Sequence[SpawnProcess], deadline: float, folder: Path) -> None:
    """Return when all processes have ended with code 0; raise as soon as one has not."""
    living = dict(enumerate(processes))
    while living:
        wait([process.sentinel for process in living.values()], deadline - time.monotonic())
        codes = {rank: process.exitcode for rank, process in living.items()}  # read once: they live
        for rank, code in codes.items():
            if code not in (None, 0):
                raise RuntimeError(_story(rank, code, folder))
        living = {rank: living[rank] for rank, code in codes.items() if code is None}
        if living and time.monotonic() > deadline:
            raise TimeoutError(f"still running when time was up: ranks {list(living)}")


def _story(rank: int, exitcode: int | None, folder: Path) -> str:
    error = folder / f"{rank}.error"
    story = error.read_text() if error.exists() else "no traceback"
    return f"rank {rank} ended with code {exitcode}\n{story}"


def _result(rank: int, folder: Path) -> Result:  # type: ignore[type-var]
    path = folder / f"{rank}.result"
    if not path.exists():
        raise RuntimeError(f"rank {rank} ended with code 0 but left no result")
    result: Result = torch.load(path, weights_only=False)
    return result
