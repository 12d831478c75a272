"""The caller's random state is the caller's."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

from coview.random import key


@contextlib.contextmanager
def isolated(*parts: int | str) -> Iterator[None]:
    """Seed the global generators from the parts, and put them back as they were afterwards.

    For code that can draw from nowhere else: parameter initialisation and dropout.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    cuda = list(range(torch.cuda.device_count()))
    try:
        with torch.random.fork_rng(devices=cuda):
            seed_all(*parts)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def seed_all(*parts: int | str) -> None:
    """Seed the global generators from the parts; only ever inside `isolated`."""
    value = key(*parts)
    random.seed(value)
    np.random.seed(value % 2**32)  # noqa: NPY002
    torch.manual_seed(value >> 1)
