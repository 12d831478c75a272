"""Weighted nearest neighbours under the cosine similarity."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

FloatRows = Float[Tensor, "_ dim"] | Float[np.ndarray, "_ dim"]
"""Representations as a tensor or an array."""

Labels = Int[Tensor, " _"] | Int[np.ndarray, " _"]
"""Class numbers as a tensor or an array."""


def unit_rows(h: FloatRows) -> Float[Tensor, "_ dim"]:
    """Return the rows at length 1 in at least float32; rows of zeros stay zero."""
    h = torch.as_tensor(h)
    return torch.nn.functional.normalize(h if h.dtype == torch.float64 else h.float(), dim=1)


def vote(
    similarities: Float[Tensor, "test train"],
    train_y: Int[Tensor, " train"],
    *,
    ks: Sequence[int],
    temperature: float,
    classes: int,
) -> Int[Tensor, "k test"]:
    """Return the winning class of each test row for each number of neighbours in `ks`.

    A neighbour votes with weight exp(similarity / temperature); a tie between classes goes to the
    lowest class number. A `k` above the number of training rows means all of them.
    """
    most = min(max(ks), similarities.shape[1])
    near, where = similarities.topk(most, dim=1)
    weights = ((near - near[:, :1]) / temperature).exp()
    cast = train_y[where]
    votes = torch.zeros(len(similarities), classes, dtype=near.dtype, device=near.device)
    winners, counted = {}, 0
    for k in sorted({min(k, most) for k in ks}):
        votes.scatter_add_(1, cast[:, counted:k], weights[:, counted:k])
        winners[k], counted = votes.argmax(dim=1), k
    return torch.stack([winners[min(k, most)] for k in ks])


def knn_predict(
    train_h: FloatRows,
    train_y: Labels,
    test_h: FloatRows,
    *,
    k: int = 20,
    temperature: float = 0.07,
    classes: int,
    chunk: int = 1024,
) -> Int[Tensor, " test"]:
    """Predict classes by a vote of the `k` most similar training rows.

    Args:
        train_h: Training representations [train, dim]; not centred, only scaled to length 1.
        train_y: Their classes, 0 to `classes` - 1.
        test_h: Representations to classify [test, dim].
        k: Neighbours; more than there are training rows means all of them.
        temperature: Divides similarities; a vote weighs exp(similarity / temperature).
        classes: Number of classes.
        chunk: Test rows per matrix product; bounds the memory to chunk x train.

    Returns:
        Class of each test row, int64, on the device of `test_h`.

    Raises:
        ValueError: If an argument is outside its range, or labels and rows differ in number.

    Convention: A tie between classes goes to the lowest class number. Of training rows with equal
        similarity at rank k, `torch.topk` chooses.

    References:
        wu2018instance (arXiv 1805.01978), section 3.4, eq. 7 and the text below it.
    """
    train, test = unit_rows(train_h), unit_rows(test_h)
    labels = torch.as_tensor(train_y, device=train.device).long()
    if not (k >= 1 and temperature > 0 and chunk >= 1):
        raise ValueError(
            f"k >= 1, temperature > 0 and chunk >= 1 are needed, got {k}, {temperature}, {chunk}"
        )
    check_labels("train_y", labels, len(train), classes)
    found = [
        vote(rows @ train.T, labels, ks=[k], temperature=temperature, classes=classes)[0]
        for rows in torch.split(test.to(train.device), chunk)
    ]
    return torch.cat(found).to(test.device) if found else labels.new_zeros(0)


def check_labels(name: str, labels: Int[Tensor, " _"], rows: int, classes: int) -> None:
    """Raise ValueError unless there is one class number in range for each of `rows` rows."""
    if len(labels) != rows or rows == 0:
        raise ValueError(f"{name} has {len(labels)} labels for {rows} representations")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(f"{name} must be in 0 to {classes - 1}, got {low} to {high}")
