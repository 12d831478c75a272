"""The diagnosis of a run: its encoder under the views that it was trained with."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from coview import encoders
from coview.data import Dataset, Splits
from coview.diagnostics import diagnose
from coview.encoders import Encoder
from coview.evaluation.subjects import untrained
from coview.random import generator
from coview.training.run_folder import RunFolder
from coview.typing import Views
from coview.views import Policy, of_one_shape, takes_pictures

IMAGES = 1000
"""Images of a diagnosis at most."""

DRAWS = 2
"""Times that the policy makes its views of each image."""

_FEWEST = 40
_CHUNK = 128
_PIXELS = 32


def write_diagnosis(
    folder: RunFolder, encoder: nn.Module, dataset: Dataset, splits: Splits | None, *, seed: int = 0
) -> None:
    """Write `diagnosis.json`: what `diagnose` says of an encoder and of the run's views.

    The run's own policy makes its views twice of each image. Whether they are too weak is judged by
    raw pixels (averaged down to 32) and by an untrained encoder of the same kind. A policy that is
    not a `Policy` leaves the images as they are, and no word on the views.

    Args:
        folder: The run, and where the record goes.
        encoder: Images to representations.
        dataset: The images.
        splits: With at least 40 test images these are taken, else any; at most 1,000.
        seed: Of the images, their views and the untrained weights.
    """
    held = splits is not None and len(splits.test) >= _FEWEST
    pool = splits.test if splits is not None and held else np.arange(len(dataset))
    index = np.sort(generator(seed, "diagnosis").permutation(pool)[:IMAGES])
    record = folder.read()
    policy = _policy(record.get("policy"))
    knowing: dict[str, nn.Module] = {"the encoder": encoder}
    if policy is not None:
        knowing["raw pixels"] = _Pixels()
        backbone = record.get("encoder", {}).get("backbone", "")
        if isinstance(encoder, Encoder) and encoders.is_known(backbone):
            fresh = untrained(encoder, backbone, dataset, seed=seed)
            knowing["an untrained encoder"] = fresh.to(_device(encoder))
    before = _encoded(knowing, dataset, index, policy, seed)
    h = before.pop("the encoder")
    about = {
        "images_from": dataset.name,
        "held_out": held,
        "policy": None if policy is None else policy.name,
        "draws": None if policy is None else DRAWS,
        "seed": seed,
    }
    folder.write(diagnose(h, before=before, seed=seed).to_record() | about, "diagnosis.json")


class _Pixels(nn.Module):
    """Pixels as one row, averaged down to 32 x 32."""

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-1] > _PIXELS:
            images = functional.interpolate(images, (_PIXELS, _PIXELS), mode="area")
        return images.flatten(1)


def _policy(record: dict[str, Any] | None) -> Policy | None:
    """Return the policy of a run's record; None if it is none of ours with views of one size."""
    try:
        policy = Policy.from_dict({} if record is None else record)
    except ValueError:
        return None
    return policy if len(set(policy.sizes)) < 2 else None


@torch.no_grad()
def _encoded(
    modules: dict[str, nn.Module],
    dataset: Dataset,
    index: Int[np.ndarray, " n"],
    policy: Policy | None,
    seed: int,
) -> dict[str, Float[Tensor, "view n _"]]:
    """Return what each module makes of the views of some images, or of the images as one view."""
    parts: dict[str, list[Tensor]] = {name: [] for name in modules}
    was_training = {name: module.training for name, module in modules.items()}
    try:
        for first in range(0, len(index), _CHUNK):
            chunk = index[first : first + _CHUNK]
            views = _views(dataset, chunk, policy, seed)
            for name, module in modules.items():
                h = module.eval()(views.flatten(0, 1).to(_device(module))).float().cpu()
                parts[name].append(h.reshape(len(views), len(chunk), -1))
    finally:
        for name, module in modules.items():
            module.train(was_training[name])
    return {name: torch.cat(found, dim=1) for name, found in parts.items()}


def _device(module: nn.Module) -> torch.device:
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def _views(
    dataset: Dataset, index: Int[np.ndarray, " n"], policy: Policy | None, seed: int
) -> Views:
    if policy is None:
        return dataset.fetch(index)[None].float() / 255
    images: Any = dataset.pictures(index) if takes_pictures(policy) else dataset.fetch(index)
    draws = [
        of_one_shape(
            policy(images, index=index, seed=seed, epoch=epoch, size=dataset.size), policy.name
        )
        for epoch in range(DRAWS)
    ]
    return torch.cat(draws)
