"""Short hashes of what a dataset holds, to tell whether another is the same."""

import hashlib
import json

import numpy as np

from coview.data.dataset import Dataset


def fingerprint(dataset: Dataset) -> str:
    """Return a short hash of which images there are and in what order: names, and 64 of them."""
    about = [dataset.size, dataset.channels, list(dataset.names)]
    digest = hashlib.sha256(json.dumps(about).encode())
    some = np.linspace(0, len(dataset) - 1, min(64, len(dataset))).astype(np.int64)
    digest.update(dataset.fetch(some).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def label_fingerprint(dataset: Dataset) -> str:
    """Return a short hash of labels and groups."""
    about = [
        None if values is None else values.tolist() for values in (dataset.labels, dataset.groups)
    ]
    text = json.dumps([list(dataset.classes), *about])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
