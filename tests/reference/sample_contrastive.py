"""Sample-contrastive objectives in explicit loops over images and pairs."""

import math

from torch import Tensor, nn

from coview.objectives import NTXent, SpectralContrastive
from reference.rows import dot, placed, resized


def nt_xent(z: Tensor, objective: NTXent, state: nn.Module) -> float:
    """Cross-entropy of each of 2n anchors among the 2n − 1 others."""
    first, second = ([resized(row, 1) for row in view] for view in z.tolist())
    rows, n = first + second, len(first)
    losses = []
    for a in range(2 * n):
        others = [
            math.exp(dot(rows[a], rows[b]) / objective.temperature) for b in range(2 * n) if b != a
        ]
        positive = math.exp(dot(rows[a], rows[(a + n) % (2 * n)]) / objective.temperature)
        losses.append(-math.log(positive / sum(others)))
    return sum(losses) / (2 * n)


def spectral_contrastive(z: Tensor, objective: SpectralContrastive, state: nn.Module) -> float:
    """The official code's formula; negatives are pairs across the views."""
    first, second = placed(z, objective)
    n = len(first)
    positive = sum(dot(first[i], second[i]) for i in range(n)) / n
    pairs = [dot(first[i], second[j]) ** 2 for i in range(n) for j in range(n) if i != j]
    return (-2 * positive + sum(pairs) / len(pairs)) / objective.scale


REFERENCES = {"nt_xent": nt_xent, "spectral_contrastive": spectral_contrastive}
