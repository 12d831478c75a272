"""Views of scenes that share chosen factors and nothing else; called like a `Policy`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int

from coview.data.scenes import Scenes
from coview.data.scenes.factors import Factors, checked
from coview.typing import AnyImages, Views
from coview.views.operations import check_keys
from coview.views.record import Caption


@dataclass(frozen=True, kw_only=True)
class ScenePolicy:
    """Scenes rendered on the spot, the shared factors the same in all views of a datum.

    The images of a batch are only counted: datum i is the scene of (seed, i), whose shared factors
    stay and whose other factors are drawn anew for each view and epoch.

    Attributes:
        scenes: What is rendered.
        shared: Factors that the views have in common.
        count: Number of views.

    Raises:
        ValueError: If a factor is unknown or there is no view.
    """

    scenes: Scenes
    shared: tuple[str, ...]
    count: int = 2

    def __post_init__(self) -> None:
        checked(self.shared, self.scenes.factors)
        if self.count < 1:
            raise ValueError(f"count must be at least 1 view, got {self.count}")

    @property
    def name(self) -> str:
        """For people and records."""
        return f"{self.scenes.objects} that share {', '.join(self.shared) or 'nothing'}"

    @property
    def views(self) -> tuple[int, ...]:
        """One entry per view, its number: the loop counts them."""
        return tuple(range(self.count))

    @property
    def information(self) -> float:
        """The true mutual information of two views in nats."""
        return self.scenes.information(self.shared)

    def __call__(
        self,
        images: AnyImages,
        *,
        index: Int[np.ndarray, " entry"],
        seed: int,
        epoch: int,
        size: int,
    ) -> "SceneBatch":
        """Make the views of a batch.

        Args:
            images: As many as the batch has; gives the device.
            index: Number of each datum.
            seed: The run's seed.
            epoch: Pass over the data.
            size: Side of the views in pixels: that of the scenes.

        Returns:
            The views, float32 in [0, 1], and their record.

        Raises:
            ValueError: If the index does not fit the images, or the size not the scenes.
        """
        if len(index) != len(images):
            raise ValueError(f"index has {len(index)} entries for {len(images)} images")
        if size != self.scenes.size:
            raise ValueError(f"size is {size}, the scenes have {self.scenes.size} pixels")
        record = SceneRecord(
            policy=self, seed=seed, epoch=epoch, index=np.array(index, dtype=np.int64)
        )
        return SceneBatch(replay_scenes(record).to(images.device), record)

    def to_dict(self) -> dict[str, Any]:
        """Return the policy in plain JSON types."""
        return {
            "scenes": asdict(self.scenes),
            "shared": list(self.shared),
            "count": self.count,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ScenePolicy":
        """Return the policy of a dictionary.

        Raises:
            ValueError: If a key is missing or unknown, or a value out of range.
        """
        check_keys("scene policy", values, tuple(field.name for field in fields(cls)))
        check_keys("family of scenes", values["scenes"], tuple(f.name for f in fields(Scenes)))
        return cls(
            scenes=Scenes(**values["scenes"]),
            shared=tuple(values["shared"]),
            count=values["count"],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneRecord:
    """How a batch of views of scenes was made; enough to make them again.

    Attributes:
        policy: The scenes and what they share.
        seed: The run's seed.
        epoch: Pass over the data.
        index: Number of each datum.
    """

    policy: ScenePolicy
    seed: int
    epoch: int
    index: Int[np.ndarray, " batch"]

    def __len__(self) -> int:
        return len(self.index)

    def factors(self, view: int) -> Factors:
        """Return the factors of one view of each datum."""
        return self.policy.scenes.draw(
            self.index, seed=self.seed, view=view, shared=self.policy.shared, epoch=self.epoch
        )

    def captions(self) -> list[list[Caption]]:
        """Return for each view and datum {"scene": {factor: value}}, to be read."""
        found: list[list[Caption]] = []
        for view in self.policy.views:
            drawn = self.factors(view)
            rows = range(len(self))
            found.append(
                [{"scene": {name: int(v[row]) for name, v in drawn.items()}} for row in rows]
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return everything in plain JSON types, without loss."""
        return {
            "policy": self.policy.to_dict(),
            "seed": self.seed,
            "epoch": self.epoch,
            "index": self.index.tolist(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SceneRecord":
        """Return the record of a dictionary.

        Raises:
            ValueError: If a key is missing or unknown, or the policy is not valid.
        """
        check_keys("scene record", values, tuple(field.name for field in fields(cls)))
        return cls(
            policy=ScenePolicy.from_dict(values["policy"]),
            seed=values["seed"],
            epoch=values["epoch"],
            index=np.array(values["index"], dtype=np.int64),
        )


class SceneBatch(NamedTuple):
    """Views in [0, 1] and the record of how they were made."""

    views: Views
    record: SceneRecord


def replay_scenes(record: SceneRecord) -> Views:
    """Make the views of a record again, on the CPU."""
    scenes = record.policy.scenes
    made = [scenes.render(record.factors(view)).images for view in record.policy.views]
    return torch.stack(made).to(torch.float32).div_(255.0)
