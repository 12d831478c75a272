"""The one training loop: order, checkpoints, resume, progress and signals.

It knows nothing of losses or encoders. A step does the work; observers look at what came out.
"""

import signal
import threading
import time
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from coview.training import checkpoints
from coview.training.randomness import seed_all

BatchT = TypeVar("BatchT")


@runtime_checkable
class Stateful(Protocol):
    """Anything that can be put into a checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any], /) -> object:
        """Take a state back."""


@dataclass
class State:
    """Everything that a run must remember to go on bit for bit.

    Attributes:
        parts: What goes into the checkpoint, by name.
        step: Steps taken.
        seconds: Time trained, over all resumes.
    """

    parts: Mapping[str, Stateful]
    step: int = 0
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        checkpoints.save(path, {"step": self.step, "seconds": self.seconds, "parts": parts})

    def restore(self, path: Path) -> None:
        """Go back to a checkpoint.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is of another kind of run.
        """
        content = checkpoints.load(path)
        if content["parts"].keys() != self.parts.keys():
            raise ValueError(
                f"{path} holds {', '.join(content['parts'])}, expected {', '.join(self.parts)}"
            )
        for name, part in self.parts.items():
            part.load_state_dict(content["parts"][name])
        self.step, self.seconds = content["step"], content["seconds"]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a step lets observers see; tensors are detached.

    Attributes:
        loss: Value over all ranks.
        terms: Parts of the loss.
        learning_rate: Of this step.
        epoch: Passes over the data so far.
        images: Images of this step over all ranks.
        representations: Of the first view, [batch, dim].
        step: Steps taken, this one included; set by the loop.
        steps: Steps of the run; set by the loop.
        seconds: Time trained; set by the loop.
    """

    loss: float
    terms: Mapping[str, float]
    learning_rate: float
    epoch: float
    images: int
    representations: Tensor
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    notes: dict[str, float] = field(default_factory=dict)


@runtime_checkable
class Observer(Protocol):
    """Looks at each step and changes nothing in the training."""

    def __call__(self, seen: Seen) -> None:
        """Look at a step."""


class Stopped(Exception):
    """A run that ends before its last step with its state sound: the loop saves it first."""


class _Signals:
    """Turns SIGINT and SIGTERM into a wish to stop after the step."""

    def __init__(self) -> None:
        self.wish: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._wish)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _wish(self, number: int, _: types.FrameType | None) -> None:
        if self.wish is not None:  # asked twice: at once
            raise KeyboardInterrupt
        self.wish = signal.Signals(number).name


def run(
    step: Callable[[BatchT], Seen],
    state: State,
    *,
    steps: int,
    batches: Callable[[int], Iterable[BatchT]],
    observers: Sequence[Observer] = (),
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60.0,
    seed: int = 0,
    rank: int = 0,
    agree: Callable[[bool], bool] = bool,
) -> None:
    """Train until `steps` steps have been taken, starting from where the state is.

    Args:
        step: Takes a batch, changes the state's parts and returns what observers may see.
        state: Where the run is.
        steps: Steps of the whole run.
        batches: From the first step to take to the batches from there on.
        observers: Called after each step, in order.
        checkpoint: File to write at the start, now and then, at the end and when stopped. When a
            step raises anything else its last good content stays.
        checkpoint_seconds: Time between checkpoints.
        seed: Global generators are seeded from it and the step number before each step.
        rank: Only rank 0 writes.
        agree: From this process's wish to stop to whether any process has it.

    Raises:
        Stopped: After a signal, or from an observer.
    """
    last = started = time.monotonic()
    before = state.seconds

    def save() -> None:
        nonlocal last
        if checkpoint is not None and rank == 0:
            state.save(checkpoint)
            last = time.monotonic()

    if checkpoint is not None and not checkpoint.exists():
        save()
    with _Signals() as signals:
        try:
            for batch in batches(state.step) if state.step < steps else ():
                seed_all(seed, "step", state.step, rank)
                seen = step(batch)
                state.step += 1
                state.seconds = before + time.monotonic() - started
                for observer in observers:
                    observer(_placed(seen, state, steps))
                if state.step >= steps:
                    break
                if time.monotonic() - last >= checkpoint_seconds:
                    save()
                if agree(signals.wish is not None):
                    why = signals.wish or "a signal to another process"
                    raise Stopped(f"stopped by {why} after step {state.step} of {steps}")
        except Stopped:
            save()
            raise
    save()


def _placed(seen: Seen, state: State, steps: int) -> Seen:
    placed = {"step": state.step, "steps": steps, "seconds": state.seconds}
    return Seen(**{**vars(seen), **placed})


def to_float(value: Tensor | float) -> float:
    """Return a scalar as a Python number."""
    return float(value.detach()) if isinstance(value, torch.Tensor) else float(value)
