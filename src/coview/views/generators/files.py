"""A frozen generator in a file, and back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from coview.views.generators.flow import PixelFlow
from coview.views.generators.perturbation import Perturbation

Generator = PixelFlow | Perturbation

FILE = "generator.safetensors"


def build(config: Mapping[str, Any]) -> Generator:
    """Return an untrained generator from its `config`; weights come from the global generator.

    Raises:
        ValueError: If the kind is unknown or an argument out of range.
    """
    given = dict(config)
    kind = given.pop("kind", None)
    if kind == "flow":
        return PixelFlow(given.pop("split"), **given)
    if kind == "perturbation":
        return Perturbation(given.pop("channels"), **given)
    raise ValueError(f"kind of a generator must be flow or perturbation, got {kind!r}")


def save_generator(generator: Generator, path: Path) -> None:
    """Write weights and config into one file, whole or not at all."""
    tensors = {name: tensor.contiguous() for name, tensor in generator.state_dict().items()}
    part = path.with_name(path.name + ".part")
    save_file(tensors, part, metadata={"generator": json.dumps(generator.config())})
    part.replace(path)


def load_generator(path: Path | str) -> Generator:
    """Return the frozen generator of a file or of the run folder it lies in, on the CPU.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file is not one of a generator.
    """
    file = Path(path) / FILE if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no generator at {file}: `coview views learn` writes one")
    with safe_open(file, framework="pt") as opened:
        config = json.loads((opened.metadata() or {}).get("generator", "null"))
    if config is None:
        raise ValueError(f"{file} holds no generator: `coview views learn` writes one")
    with torch.random.fork_rng():
        generator = build(config)
    generator.load_state_dict(load_file(file))
    return generator.eval().requires_grad_(False)
