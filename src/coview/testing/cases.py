"""What the checks call an objective with: embeddings, the further inputs it needs, a state."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from coview.objectives import Loss, Objective
from coview.random import torch_generator
from coview.ranks import Ranks
from coview.typing import Embeddings

SHAPES = ((7, 3), (4, 9))
"""Images and width: more images than dimensions, and fewer."""


def embeddings(
    images: int, dim: int, *, views: int = 2, seed: int = 0, distance: float = 0.5
) -> Embeddings:
    """Return float64 embeddings whose views differ by about `distance` from their image."""
    generator = torch_generator("embeddings", images, dim, views, seed)
    image = torch.randn(1, images, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(views, images, dim, generator=generator, dtype=torch.float64)
    return image + distance * noise + 0.3


def near(z: Embeddings) -> Embeddings:
    """Return targets near `z`: not equal to it, and not independent of it."""
    return (0.9 * z + 0.2 * z.flip(1)).detach()


@dataclass(frozen=True, kw_only=True)
class Case:
    """The arguments of one call; `given` holds target, labels and index where they are needed."""

    z: Embeddings
    state: nn.Module
    given: Mapping[str, Tensor] = field(default_factory=dict)

    def loss(self, objective: Objective) -> Loss:
        """Return the objective's loss in one process."""
        return objective(self.z, self.state, ranks=Ranks(), **self.given)

    def value(self, objective: Objective) -> float:
        """Return its value."""
        return self.loss(objective).total.item()

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Case":
        """Return the case with embeddings and targets changed alike."""
        target = {name: change(x) for name, x in self.given.items() if name == "target"}
        return replace(self, z=change(self.z), given={**self.given, **target})

    def images(self, rows: slice | Tensor) -> "Case":
        """Return the case of some images only, or in another order."""
        given = {n: x[:, rows] if n == "target" else x[rows] for n, x in self.given.items()}
        return replace(self, z=self.z[:, rows], given=given)


def case_of(
    objective: Objective, z: Embeddings, state: nn.Module, *, target: Embeddings | None = None
) -> Case:
    """Return embeddings with what the objective needs besides.

    Args:
        objective: What to call.
        z: Embeddings.
        state: The objective's.
        target: Targets, if it needs any; None for `z` itself.
    """
    needs, count = objective.needs, z.shape[1]
    given: dict[str, Tensor] = {}
    if needs.target:
        given["target"] = (z if target is None else target).detach()
    if needs.labels:
        given["labels"] = torch.arange(count)
    if needs.source_index:
        given["index"] = torch.arange(count)
    return Case(z=z, state=state, given=given)


def random_case(objective: Objective, z: Embeddings, state: nn.Module) -> Case:
    """Return embeddings with targets near them and classes of several images."""
    case = case_of(objective, z, state, target=near(z))
    if "labels" not in case.given:
        return case
    return replace(case, given={**case.given, "labels": torch.arange(z.shape[1]) % 3})


def enough_images(objective: Objective, images: int, dim: int) -> int:
    """Return `images`, or twice as many as there are dimensions, and 2, if it must exceed them."""
    return max(images, 2 * dim + 2) if objective.needs.more_images_than_dims else images


def cases(objective: Objective) -> Iterator[Case]:
    """Yield random cases: both shapes, with the fewest views and with three if it takes them."""
    needs = objective.needs
    most = 3 if needs.max_views is None else min(3, needs.max_views)
    for views in sorted({needs.min_views, max(needs.min_views, most)}):
        for images, dim in SHAPES:
            z = embeddings(enough_images(objective, images, dim), dim, views=views)
            yield random_case(objective, z, warmed_state(objective, dim))


def warmed_state(objective: Objective, dim: int, seed: int = 100) -> nn.Module:
    """Return a float64 state after two updates, so that it is nothing special."""
    state = objective.init(dim).double()
    for step in range(2):
        images = enough_images(objective, 7, dim)
        z = embeddings(images, dim, views=objective.needs.min_views, seed=seed + step)
        loss = random_case(objective, z, state).loss(objective)
        objective.update(state, [loss.statistics], progress=0.5)
    return state
