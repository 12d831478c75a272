"""Any row of the table on given embeddings."""

import torch
from torch import nn

from coview.objectives import Loss, Objective
from coview.ranks import Ranks
from coview.typing import Embeddings, Indices


def call(
    objective: Objective,
    z: Embeddings,
    *,
    labels: Indices | None = None,
    state: nn.Module | None = None,
) -> Loss:
    """Return the loss; the embeddings are their own targets, without gradient, where there are any.

    Args:
        objective: Any.
        z: Embeddings.
        labels: Where the objective needs them; by default each image is a class of its own.
        state: By default a fresh one.
    """
    needs, index = objective.needs, torch.arange(z.shape[1])
    return objective(
        z,
        objective.init(z.shape[-1]).to(z.dtype) if state is None else state,
        target=z.detach() if needs.target else None,
        labels=(index if labels is None else labels) if needs.labels else None,
        index=index if needs.source_index else None,
        ranks=Ranks(),
    )
