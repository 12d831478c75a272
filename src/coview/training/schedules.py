"""Learning rate and length of a run as pure functions."""

import math


def warmup_cosine(step: int, steps: int, *, warmup: float) -> float:
    """Return the share of the peak learning rate at a step.

    Rises linearly over the first `warmup` share of the steps, then falls to 0 along half a cosine.

    Args:
        step: Steps already taken, from 0.
        steps: Steps of the whole run.
        warmup: Share of the steps, in [0, 1].
    """
    rise = round(warmup * steps)
    if step < rise:
        return (step + 1) / rise
    return (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2


def default_epochs(images: int) -> float:
    """Return the passes over a set when nothing is asked for: about 300,000 images, 10 to 200."""
    return min(200.0, max(10.0, 300_000 / images))
