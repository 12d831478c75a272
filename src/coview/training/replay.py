"""The views of a run made again, from its folder."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from coview import data
from coview.data import Dataset, fingerprint
from coview.training.pretrain import seen_in_training
from coview.training.run_folder import RunFolder
from coview.views import Policy, ViewBatch


def replay_run(
    run: RunFolder | Path | str,
    index: Int[np.ndarray, " image"],
    *,
    epoch: int = 0,
    source: Any = None,  # noqa: ANN401
) -> ViewBatch:
    """Return the views that a run made of some images in an epoch, and their record.

    Bit for bit those of the training on the CPU with the same extras installed, for whatever order,
    batch and number of processes it had; within rounding of those of another device. Puzzles of a
    jigsaw are not among them.

    Args:
        run: The run folder, or what `coview.pretrain` returned.
        index: Positions among the images trained on: all but the test split, in order.
        epoch: Pass over the data, from 0.
        source: The images, as the run had them; default: those that the run names.

    Raises:
        FileNotFoundError: If there is no run, or its images are not at hand.
        ValueError: If the images are others, or the run's policy is not one of built-in operations.
        IndexError: If an index is not among the images.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder.open(run)
    record = folder.read()
    try:
        policy = Policy.from_dict(record["policy"] or {})
    except ValueError as error:
        raise ValueError(f"run: the views of {folder.path} are not a policy: {error}") from error
    images = _images(folder, record, source)
    whole = record["config"]["jigsaw"] == 0
    return policy(
        images.pictures(index) if whole else images.fetch(index),
        index=index,
        seed=record["config"]["seed"],
        epoch=epoch,
        size=images.size,
    )


def _images(folder: RunFolder, record: dict[str, Any], source: Any) -> Dataset:  # noqa: ANN401
    """Open the images that the run was trained on."""
    config, about = record["config"], record["data"]
    if source is None:
        source = config["source"]
        if source != "sample" and not Path(source).exists():
            raise FileNotFoundError(f"source: the images of the run ({source}) are not at hand")
    images = data.open(
        source,
        size=about["size"],
        labels=None,
        max_broken=config["max_broken"],
        scaling=about["scaling"],
    )
    if (folder.path / "splits.json").is_file():
        parts = {k: np.asarray(v, np.int64) for k, v in folder.read("splits.json").items()}
        if len(images) == sum(map(len, parts.values())):
            images = images.subset(seen_in_training(data.Splits(**parts)))
    if fingerprint(images) != about["fingerprint"]:
        raise ValueError(f"source: these are not the images of the run in {folder.path}")
    return images
