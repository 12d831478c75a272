"""A bar with the time left for a search, in units of work; plain lines when redirected."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

Advance = Callable[[str, int], None]
"""Takes what is being done now, and how much work has been done since the last call."""


@contextmanager
def bar(title: str, total: int) -> Iterator[Advance]:
    """Show progress with the time left.

    Args:
        title: What is running.
        total: Work until the end.
    """
    console = Console(stderr=True)
    progress = Progress(
        TextColumn(f"{title}: {{task.description}}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
    task = progress.add_task("", total=total)
    started, shown = time.perf_counter(), ""

    def advance(what: str, work: int) -> None:
        nonlocal shown
        progress.update(task, description=what, advance=work)
        if not console.is_terminal and what != shown:
            done = progress.tasks[0].completed
            spent = time.perf_counter() - started
            left = f", {spent * (total - done) / done:.0f} s left" if done and spent > 1 else ""
            console.print(f"{title}: {what}{left}", highlight=False)
            shown = what

    if console.is_terminal:
        progress.start()
    try:
        yield advance
    finally:
        progress.stop()
