"""What looks on while a run trains: progress, metrics, effective rank, k-NN, collapse."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from coview.diagnostics import Verdict, collapse, effective_rank
from coview.training.loop import Seen, Stopped
from coview.training.run_folder import RunFolder
from coview.warn import warn


class Collapsed(Stopped):
    """The representations have stayed collapsed after the warm-up."""


@dataclass
class Latest:
    """The newest measurements, shared by the observers that show them."""

    effective_rank: float | None = None
    knn: float | None = None


def due(seen: Seen, every: int) -> bool:
    """Tell whether a step is one of those to look at closely: every n-th, the first and last."""
    return seen.step % every == 0 or seen.step in (1, seen.steps)


class Monitor:
    """Writes metrics.jsonl, and warns of collapse or stops because of it.

    Args:
        folder: Where to write; None writes nothing (other ranks).
        every: Steps between rows.
        knn: Measures k-NN accuracy; None without labels.
        knn_every: Steps between k-NN measurements.
        warmup_steps: Collapse never stops a run before these.
        patience: Rows in a row that must be collapsed before the run stops.
        latest: Where the newest measurements are put.
    """

    def __init__(
        self,
        *,
        folder: RunFolder | None,
        every: int,
        knn: Callable[[], float] | None,
        knn_every: int,
        warmup_steps: int,
        latest: Latest,
        patience: int = 5,
    ) -> None:
        self.folder = folder
        self.every = every
        self.knn = knn
        self.knn_every = knn_every
        self.warmup_steps = warmup_steps
        self.latest = latest
        self.patience = patience
        self.collapsed_rows = 0

    def state_dict(self) -> dict[str, Any]:
        """Return how long the collapse has lasted."""
        return {"collapsed_rows": self.collapsed_rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.collapsed_rows = state["collapsed_rows"]

    def __call__(self, seen: Seen) -> None:
        """Measure if it is time to."""
        if due(seen, self.every):
            representations = seen.representations.float()
            self.latest.effective_rank = effective_rank(representations)
            verdict = collapse(representations)
            row = {
                "step": seen.step,
                "epoch": round(seen.epoch, 4),
                "loss": seen.loss,
                "terms": dict(seen.terms),
                "learning_rate": seen.learning_rate,
                "effective_rank": self.latest.effective_rank,
                "standard_deviation_ratio": verdict.evidence["standard_deviation_ratio"],
                "images_per_second": round(seen.step * seen.images / max(seen.seconds, 1e-9), 1),
                "seconds": round(seen.seconds, 3),
            }
            if self.knn is not None and due(seen, self.knn_every) and seen.step > 1:
                row["knn"] = self.latest.knn = self.knn()
            if self.folder is not None:
                self.folder.append_metrics(row)
            self._watch(seen, verdict)

    def _watch(self, seen: Seen, verdict: Verdict) -> None:
        self.collapsed_rows = self.collapsed_rows + 1 if verdict.collapsed else 0
        if self.collapsed_rows == 1:
            warn(f"step {seen.step}: {verdict.reason}", stacklevel=2)
        if self.collapsed_rows >= self.patience and seen.step > self.warmup_steps:
            raise Collapsed(
                f"the representations have been collapsed for {self.collapsed_rows} measurements, "
                f"up to step {seen.step} of {seen.steps} ({verdict.reason}). Try a lower "
                "--learning-rate, a larger --batch-size, stronger views or another objective."
            )


class Bar:
    """A progress bar with time left, loss, effective rank and k-NN; plain lines when redirected.

    Args:
        title: What is running.
        latest: The newest measurements.
        done: Steps taken before.
        console: Where to draw; stderr by default.
    """

    def __init__(
        self, title: str, latest: Latest, *, done: int = 0, console: Console | None = None
    ) -> None:
        self.latest = latest
        self.done = done
        self.console = console or Console(stderr=True)
        self.title = title
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[seen]}"),
            console=self.console,
            transient=False,
        )
        self.task = self.progress.add_task(title, total=None, completed=done, seen="")
        self.started_at: float | None = None

    def __enter__(self) -> "Bar":
        if self.console.is_terminal:
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def __call__(self, seen: Seen) -> None:
        """Move the bar."""
        text = self._text(seen)
        self.progress.update(self.task, total=seen.steps, completed=seen.step, seen=text)
        if self.started_at is None:
            self.started_at = seen.seconds
            self.done = seen.step
        if not self.console.is_terminal and due(seen, max(1, seen.steps // 10)):
            rate = (seen.seconds - self.started_at) / max(1, seen.step - self.done)
            left = rate * (seen.steps - seen.step)
            self.console.print(
                f"{self.title} {seen.step}/{seen.steps}  {left:.0f} s left  {text}", highlight=False
            )

    def _text(self, seen: Seen) -> str:
        text = f"loss {seen.loss:.3f}"
        if self.latest.effective_rank is not None:
            text += f"  rank {self.latest.effective_rank:.0f}"
        if self.latest.knn is not None:
            text += f"  k-NN {self.latest.knn:.3f}"
        return text
