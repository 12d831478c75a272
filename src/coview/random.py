"""Counter-based randomness: a draw is a pure function of what it is for.

Nothing here reads or writes a global generator. The same (seed, epoch, source index, view,
operation) gives the same numbers on any number of processes, in any order and after a resume.

The mixing function is SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), applied once per key part.
"""

import hashlib

import numpy as np
import torch
from jaxtyping import Float64, Int, UInt64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLY_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLY_2 = np.uint64(0x94D049BB133111EB)


def _mix(state: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """Return the SplitMix64 output of each state (arithmetic modulo 2**64)."""
    with np.errstate(over="ignore"):
        state = state + _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * _MULTIPLY_1
        state = (state ^ (state >> np.uint64(27))) * _MULTIPLY_2
        mixed: UInt64[np.ndarray, ...] = state ^ (state >> np.uint64(31))
        return mixed


def key(*parts: int | str) -> int:
    """Fold integers and names into one 64-bit key; the order of the parts counts."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(f"{type(part).__name__}:{part};".encode())
    return int.from_bytes(digest.digest(), "little")


def uniform(
    seed: int, epoch: int, index: Int[np.ndarray, " batch"], view: int, operation: str, count: int
) -> Float64[np.ndarray, "batch count"]:
    """Draw `count` numbers in [0, 1) for each image.

    Args:
        seed: The run's seed.
        epoch: Pass over the data.
        index: Source index of each image, int64.
        view: Which view of the image.
        operation: Name of what the numbers are for.
        count: Numbers per image.

    Returns:
        Float64 array, uniform with 53 random bits; row i depends on `index[i]` alone.
    """
    stream = np.uint64(key(seed, epoch, view, operation))
    with np.errstate(over="ignore"):
        per_image = _mix(_mix(np.asarray(index).astype(np.uint64)) ^ stream)
        counters = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        bits = _mix(per_image[:, None] + counters[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def generator(*parts: int | str) -> np.random.Generator:
    """Return a NumPy generator whose stream depends on the parts alone."""
    return np.random.Generator(np.random.Philox(key=key(*parts)))


def torch_generator(*parts: int | str) -> torch.Generator:
    """Return a CPU torch generator whose stream depends on the parts alone."""
    return torch.Generator().manual_seed(key(*parts) >> 1)


def permutation(seed: int, epoch: int, count: int) -> Int[np.ndarray, " count"]:
    """Return the order in which an epoch visits `count` images."""
    order: Int[np.ndarray, " count"] = generator(seed, "order", epoch).permutation(count)
    return order
