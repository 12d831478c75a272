"""Time and memory of the sample-contrastive objectives, forward and backward.

usage: python benchmarks/objectives.py [--quick]

One run, on two threads: NT-Xent against lightly's at 8,192 pairs of width 128; NT-Xent alone at
65,536 pairs of width 256; the spectral loss by moments against its matrix products, against its own
Gram form and against lightly's NT-Xent. Times are medians of rounds in which all take turns. Extra
memory is the highest resident memory of a fresh process during one forward and backward pass, less
that just before it; the gradient of the embeddings counts, they themselves do not. `--quick` checks
that everything runs, at sizes that show nothing. Writes records/objectives.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from records import alone, load, write
from torch import Tensor

from coview.objectives import nt_xent, spectral_contrastive
from coview.objectives.rows import normalized
from coview.training.run_folder import environment

TEMPERATURE = 0.1
THREADS = 2
MIB = 2**20

Function = Callable[[Tensor], Tensor]


def lightly_nt_xent(z: Tensor) -> Tensor:
    from lightly.loss import NTXentLoss

    return NTXentLoss(temperature=TEMPERATURE)(z[0], z[1])


def our_nt_xent(z: Tensor) -> Tensor:
    return nt_xent(z, temperature=TEMPERATURE)


def spectral_gram(z: Tensor) -> Tensor:
    """The spectral loss from the matrix of all pairs."""
    first, second = normalized(z, "sphere", 32.0)
    products = first @ second.T
    images = len(first)
    own = products.diagonal()
    squares = (products.square().sum() - own.square().sum()) / (images * (images - 1))
    return (squares - 2 * own.mean()) / 32


def matrix_products(z: Tensor) -> Tensor:
    """Only the products of the spectral loss: a moment of each view and what autograd makes of it.

    The sum has a gradient of ones, which costs next to nothing.
    """
    return (z.mT @ z).sum()


def own_products(z: Tensor) -> Tensor:
    """Form the fewest products of value and gradient: a moment of each view, applied to a view."""
    with torch.no_grad():
        z @ (z.mT @ z).flip(0)
    return z[0, 0, 0] * 0


FUNCTIONS: dict[str, Function] = {
    "nt_xent": our_nt_xent,
    "lightly nt_xent": lightly_nt_xent,
    "spectral by moments": spectral_contrastive,
    "spectral by moments, not normalised": lambda z: spectral_contrastive(z, normalization="none"),
    "spectral by Gram matrix": spectral_gram,
    "matrix products": matrix_products,
    "own products": own_products,
}


def seconds(function: Function, z: Tensor) -> float:
    leaf = z.clone().requires_grad_()
    start = time.perf_counter()
    function(leaf).backward()
    return time.perf_counter() - start


def times(z: Tensor, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each function in each round; the short ones run ten times a round."""
    taken: dict[str, list[float]] = {name: [] for name in FUNCTIONS}
    for function in FUNCTIONS.values():
        seconds(function, z[:, :64])
    for _ in range(rounds):
        for name, function in FUNCTIONS.items():
            repeats = 10 if "moments" in name or "products" in name else 1
            taken[name] += [seconds(function, z) for _ in range(repeats)]
    return taken


def embeddings(pairs: int, dim: int) -> Tensor:
    return torch.randn(2, pairs, dim, generator=torch.Generator().manual_seed(0))


def memory(name: str, pairs: int, dim: int) -> dict[str, Any]:
    """Return what one pass takes in a process of its own: MiB and seconds."""
    command = [sys.executable, __file__, "--child", name, str(pairs), str(dim)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"pairs": pairs, "dim": dim, **result}


def child(name: str, pairs: int, dim: int) -> None:
    function, z = FUNCTIONS[name], embeddings(pairs, dim).requires_grad_()
    seconds(function, embeddings(64, dim))
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident size begins anew
    before, start = _status("VmRSS"), time.perf_counter()
    function(z).backward()
    taken = time.perf_counter() - start
    extra = (_status("VmHWM") - before) / MIB
    print(json.dumps({"extra_mib": round(extra, 1), "seconds": round(taken, 2)}))


def _status(field: str) -> int:
    """Return a size of this process in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def ratios(middle: dict[str, float], extra: dict[str, dict[str, Any]]) -> dict[str, float]:
    lightly, moments = middle["lightly nt_xent"], middle["spectral by moments"]
    mib = {name: max(measured["extra_mib"], 0.1) for name, measured in extra.items()}
    return {
        "lightly nt_xent / nt_xent, time": lightly / middle["nt_xent"],
        "lightly nt_xent / nt_xent, extra memory": mib["lightly nt_xent"] / mib["nt_xent"],
        "spectral by moments / matrix products of autograd": moments / middle["matrix products"],
        "spectral by moments / its own products": moments / middle["own products"],
        "spectral by Gram matrix / by moments": middle["spectral by Gram matrix"] / moments,
        "lightly nt_xent / spectral by moments": lightly / moments,
    }


def run(*, quick: bool) -> None:
    pairs, large, rounds = (256, 512, 2) if quick else (8192, 65536, 5)
    with alone():
        before = load()
        taken = times(embeddings(pairs, 128), rounds)
        extra = {name: memory(name, pairs, 128) for name in ("nt_xent", "lightly nt_xent")}
        at_large = memory("nt_xent", large, 256)
    middle = {name: statistics.median(values) for name, values in taken.items()}
    record = {
        "benchmark": "objectives",
        "pairs": pairs,
        "dim": 128,
        "threads": THREADS,
        "load_before": before,
        "environment": environment("cpu"),
        "seconds": {name: [round(value, 5) for value in values] for name, values in taken.items()},
        "median_seconds": {name: round(value, 5) for name, value in middle.items()},
        "memory": extra,
        "large": at_large,
        "ratios": {name: round(value, 2) for name, value in ratios(middle, extra).items()},
    }
    for name, ratio in record["ratios"].items():
        print(f"{name:45} {ratio:8.2f}")
    print(f"nt_xent at {large} pairs of width 256: {at_large}")
    print("nothing written" if quick else write("objectives", record))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes; writes nothing")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    if options.child:
        name, pairs, dim = options.child
        child(name, int(pairs), int(dim))
    else:
        run(quick=options.quick)


if __name__ == "__main__":
    main()
