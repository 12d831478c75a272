"""The encoder in a file, and back."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from coview import encoders
from coview.data import Scaling
from coview.encoders import Encoder, SplitBackbone
from coview.training import checkpoints
from coview.training.run_folder import RunFolder
from coview.views.generators import PixelFlow, build
from coview.views.splits import ColourSplit, parse

_PREPROCESSING = ("mean", "std", "low", "high", "backbone.mean", "backbone.std")


def save_encoder(encoder: Encoder, path: Path, *, backbone: str) -> None:
    """Write the weights with what is needed to build the encoder again.

    Args:
        encoder: The encoder.
        path: File to write, `.safetensors`.
        backbone: Its name for `encoders.build`, or the class of a user's own module.
    """
    about = _about(encoder, backbone)
    tensors = {name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}
    with checkpoints.atomic(path) as file:
        file.write(save(tensors, metadata={"coview": json.dumps(about)}))


def load(run: RunFolder | Path | str, *, backbone: nn.Module | None = None) -> Encoder:
    """Return the encoder of a run: an `nn.Module` from images to representations.

    It takes uint8 images in [0, 255] or floats in [0, 1], [batch, channel, height, width], any
    batch size; its preprocessing is inside. It is in evaluation mode, on the CPU.

    Args:
        run: A run folder, or an `encoder.safetensors` file.
        backbone: For a run with a module of your own: such a module, freshly built.

    Raises:
        FileNotFoundError: If there is no encoder.
        ValueError: If the backbone is not one that coview can build and none was given.
    """
    path = _file(run)
    with safe_open(path, framework="pt") as file:
        about: dict[str, Any] = json.loads((file.metadata() or {}).get("coview", "null"))
    if about is None:
        raise ValueError(f"{path} was not written by coview; use --weights to start from it")
    if backbone is None and not encoders.is_known(about["backbone"]):
        raise ValueError(
            f"{path} holds a {about['backbone']} of yours: load(run, backbone=that module) makes "
            "the encoder, which evaluate(run, encoder=...) and embed(encoder, ...) take"
        )
    encoder = _build(about, about["backbone"] if backbone is None else backbone)
    encoder.load_state_dict(encoders.read_weights(path))
    return encoder.eval()


def fresh_like(encoder: Encoder, backbone: str) -> Encoder:
    """Return an encoder of the same kind and preprocessing with weights drawn anew.

    Args:
        encoder: The model.
        backbone: The name of its backbone.
    """
    fresh = _build(_about(encoder, backbone), backbone)
    kept = {
        name: value
        for name, value in encoder.state_dict().items()
        if name in _PREPROCESSING or name.startswith("backbone.split.")
    }
    fresh.load_state_dict(kept, strict=False)
    return fresh


def _about(encoder: Encoder, backbone: str) -> dict[str, Any]:
    """Return what it takes to build an encoder of the same kind; plain JSON."""
    about: dict[str, Any] = {"backbone": backbone, "channels": encoder.channels}
    about |= {"size": encoder.size, "wide": encoder.is_wide}
    if isinstance(encoder.backbone, SplitBackbone):
        split = encoder.backbone.split
        about |= {"flow": split.config()} if isinstance(split, PixelFlow) else {"split": str(split)}
    return about


def _build(about: dict[str, Any], backbone: str | nn.Module) -> Encoder:
    """Return an encoder of a kind; its preprocessing has yet to be filled in."""
    channels = about["channels"]
    given: dict[str, Any] = {"size": about["size"]}
    given |= {"mean": [0.0] * channels, "std": [1.0] * channels}
    if about["wide"]:
        given["scaling"] = Scaling(low=[0.0], high=[1.0], percentiles=None, images=0)
    split: object = parse(about["split"]) if "split" in about else None
    if "flow" in about:
        split = build(about["flow"]).requires_grad_(False)
    if isinstance(split, ColourSplit | PixelFlow) and isinstance(backbone, str):
        return encoders.create_split(backbone, split, **given)
    return encoders.create(backbone, channels=channels, **given)


def _file(run: RunFolder | Path | str) -> Path:
    path = run.path if isinstance(run, RunFolder) else Path(run)
    if path.is_dir():
        path = RunFolder.open(path).encoder
    if not path.is_file():
        raise FileNotFoundError(f"no encoder at {path}: the run has not finished")
    return path
