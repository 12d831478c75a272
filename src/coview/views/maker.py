"""Whatever makes views: a policy, a split of an image, rendered scenes, or a user's own object."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int
from torch import Tensor

from coview.typing import AnyImages, Views


@runtime_checkable
class Captioned(Protocol):
    """A record of how views were made."""

    def captions(self) -> list[Any]:
        """Return what was done to each image, view by view; plain JSON."""


@runtime_checkable
class Made(Protocol):
    """A batch of views and their record."""

    @property
    def views(self) -> Views | Sequence[Tensor]:
        """Views of one shape, or a tensor for each view where shapes differ."""

    @property
    def record(self) -> Captioned:
        """How they were made."""


@runtime_checkable
class ViewMaker(Protocol):
    """What training asks of a policy."""

    @property
    def name(self) -> str:
        """For people and records."""

    @property
    def views(self) -> Sequence[Any]:
        """One entry for each view."""

    def __call__(
        self,
        images: AnyImages,
        *,
        index: Int[np.ndarray, " entry"],
        seed: int,
        epoch: int,
        size: int,
    ) -> Made:
        """Make the views of a batch; see `Policy`."""


def takes_pictures(maker: ViewMaker) -> bool:
    """Tell whether a maker takes images of different sides in a list: it says `takes_pictures`."""
    return bool(getattr(maker, "takes_pictures", False))


def of_one_shape(made: Made, name: str) -> Views:
    """Return the views as one tensor.

    Args:
        made: What a view maker returned.
        name: Of the view maker.

    Raises:
        ValueError: If their shapes differ: one encoder cannot take them.
    """
    if isinstance(made.views, Tensor):
        return made.views
    shapes = [tuple(view.shape[1:]) for view in made.views]
    raise ValueError(
        f"views {name!r} have different shapes, {shapes}: one encoder takes views of one shape"
    )
