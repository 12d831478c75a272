"""A bar with the time left for a search, in units of work; plain lines when redirected."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class Bar:
    """Shows what is being done, how much of it is done, and the time left."""

    def __init__(self, title: str, total: int, console: Console) -> None:
        self.console, self.total, self.done = console, total, 0
        self.progress = Progress(
            TextColumn(f"{title}: {{task.description}}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=3600,
        )
        self._title, self._shown = title, ""
        self._task = self.progress.add_task("", total=total)
        self._started = time.perf_counter()

    def advance(self, what: str, work: int) -> None:
        """Tell what is being done now, and how much work has been done since the last call."""
        self.done += work
        self.progress.update(self._task, description=what, advance=work)
        if not self.console.is_terminal and what != self._shown:
            spent = time.perf_counter() - self._started
            left = spent * (self.total - self.done) / max(1, self.done)
            told = f", {left:.0f} s left" if self.done and spent > 1 else ""
            self.console.print(f"{self._title}: {what}{told}", highlight=False)
            self._shown = what

    def skip(self, work: int) -> None:
        """Leave out work that was done before: it says nothing about the pace."""
        self.total -= work
        self.progress.update(self._task, total=self.total)


@contextmanager
def bar(title: str, total: int) -> Iterator[Bar]:
    """Show progress with the time left.

    Args:
        title: What is running.
        total: Work until the end.
    """
    shown = Bar(title, total, Console(stderr=True))
    with shown.progress if shown.console.is_terminal else nullcontext():
        yield shown
