"""Pictures of the representation space: a map, neighbours and the spectrum."""

import json
import warnings

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import nn
from torch.nn import functional

from coview.data import Dataset, Splits
from coview.diagnostics import spectrum
from coview.random import generator
from coview.training.features import extract
from coview.training.run_folder import RunFolder

_IMAGES = 600
_QUERIES = 8
_FEWEST = 20
_NEIGHBOURS = 6
_THUMBNAIL = 48


def write_atlas(
    folder: RunFolder, encoder: nn.Module, dataset: Dataset, splits: Splits | None, *, seed: int = 0
) -> None:
    """Write thumbnails with a 2-D map, some queries with their neighbours, and the spectrum.

    Args:
        folder: Where `pictures/atlas.npz` goes.
        encoder: Images to representations.
        dataset: The images.
        splits: With at least 20 test images these are shown, else any; at most 600.
        seed: Of which images are shown.
    """
    few = splits is None or len(splits.test) < _FEWEST
    pool = np.arange(len(dataset)) if splits is None or few else splits.test
    shown = generator(seed, "atlas").permutation(pool)[:_IMAGES]
    h = extract(encoder, dataset, shown)
    unit = functional.normalize(h - h.mean(0), dim=1)
    similarity = unit @ unit.T
    similarity.fill_diagonal_(-np.inf)
    queries = np.arange(min(_QUERIES, len(shown)))
    near = similarity[queries].topk(min(_NEIGHBOURS, len(shown) - 1))
    labels = np.full(len(shown), -1) if dataset.labels is None else dataset.labels[shown]
    folder.write_arrays(
        "pictures/atlas.npz",
        thumbnails=thumbnails(dataset, shown),
        map=_map(unit.numpy(), seed),
        labels=labels.astype(np.int64),
        queries=queries.astype(np.int64),
        neighbours=near.indices.numpy().astype(np.int64),
        similarities=near.values.numpy().astype(np.float32),
        spectrum=np.asarray(spectrum(h), dtype=np.float32),
        names=np.asarray(json.dumps([dataset.names[i] for i in shown])),
    )


def thumbnails(dataset: Dataset, indices: np.ndarray) -> UInt8[np.ndarray, "n height width 3"]:
    """Return small RGB pictures; grey is repeated, of more channels the first three are shown."""
    images = dataset.fetch(indices).cpu()
    if dataset.size > _THUMBNAIL:
        scaled = functional.interpolate(
            images.float(), (_THUMBNAIL, _THUMBNAIL), mode="bilinear", antialias=True
        )
        images = scaled.round().clamp(0, 255).byte()
    channels = (
        [min(c, dataset.channels - 1) for c in range(3)] if dataset.channels != 2 else [0] * 3
    )
    return images[:, channels].permute(0, 2, 3, 1).contiguous().numpy()


def _map(unit: Float[np.ndarray, "n dim"], seed: int) -> Float[np.ndarray, "n 2"]:
    """Place the images in the plane by t-SNE, or on a line when there are too few."""
    if len(unit) < 10:
        return np.stack([np.arange(len(unit)), np.zeros(len(unit))], 1).astype(np.float32)
    from sklearn.manifold import TSNE

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        placed = TSNE(
            perplexity=min(30.0, (len(unit) - 1) / 3),
            init="pca",
            random_state=seed,
            max_iter=500,
            n_jobs=torch.get_num_threads(),
        ).fit_transform(unit)
    return np.asarray(placed, dtype=np.float32)
