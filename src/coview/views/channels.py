"""Operations for images of any number of channels: each channel jittered, some dropped."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from coview.typing import Images
from coview.views import steps
from coview.views.operation import Parameters, Shape, change_rows, check_probability
from coview.views.tones import scale_channel

_MOST = 64


def _check_channels(channels: int, operation: str) -> None:
    if channels > _MOST:
        raise ValueError(f"{operation} takes at most {_MOST} channels, the images have {channels}")


@dataclass(frozen=True, kw_only=True)
class ChannelJitter:
    """Multiply each channel by its own factor and add its own offset, then clamp.

    The jitter for spectral bands, stains and sensors, where hue and saturation have no meaning.
    Factors are uniform in [max(0, 1 - gain), 1 + gain], offsets in [-offset, offset]. At most 64
    channels.

    Raises:
        ValueError: If a strength is negative or the probability outside [0, 1].
    """

    name: ClassVar[str] = "channel_jitter"
    count: ClassVar[int] = 1 + 2 * _MOST

    gain: float = 0.4
    offset: float = 0.1
    probability: float = 0.8

    def __post_init__(self) -> None:
        check_probability(self.probability)
        for name in ("gain", "offset"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be finite and >= 0, got {getattr(self, name)}")

    def draw(self, uniforms: Float64[np.ndarray, "batch count"], shape: Shape) -> Parameters:
        """Return `applied` and for each channel, from 1, `gain N` and `offset N`.

        Raises:
            ValueError: If there are more than 64 channels.
        """
        _check_channels(shape[0], "channel_jitter")
        parameters: Parameters = {"applied": uniforms[:, 0] < self.probability}
        low = max(0.0, 1.0 - self.gain)
        for channel in range(shape[0]):
            gain, offset = uniforms[:, 1 + 2 * channel], uniforms[:, 2 + 2 * channel]
            parameters[f"gain {channel + 1}"] = low + (1.0 + self.gain - low) * gain
            parameters[f"offset {channel + 1}"] = self.offset * (2.0 * offset - 1.0)
        return parameters

    def apply(self, images: Images, parameters: Parameters, *, size: int) -> Images:
        """Return the images, jittered where `applied`."""

        def change(rows: Images, touched: Parameters) -> Images:
            names = range(1, rows.shape[1] + 1)
            gain = np.stack([touched[f"gain {n}"] for n in names], axis=1)
            offset = np.stack([touched[f"offset {n}"] for n in names], axis=1)
            return scale_channel(rows, gain, offset)

        return change_rows(images, parameters, change)

    def fused(self, parameters: Parameters, shape: Shape) -> tuple[steps.Step, ...]:
        """Return what the fused path does."""
        return tuple(
            steps.step(
                steps.GAIN,
                parameters["applied"],
                n - 1,
                parameters[f"gain {n}"],
                255.0 * parameters[f"offset {n}"],
            )
            for n in range(1, shape[0] + 1)
        )


@dataclass(frozen=True, kw_only=True)
class ChannelDrop:
    """Replace each channel by a constant with a probability, but never all of them.

    Where the draw would drop every channel, the one with the largest draw stays. One channel is
    never dropped. At most 64 channels.

    Attributes:
        value: The constant, in [0, 1].
        probability: Of each channel.

    Raises:
        ValueError: If value or probability are outside [0, 1].
    """

    name: ClassVar[str] = "channel_drop"
    count: ClassVar[int] = _MOST

    value: float = 0.0
    probability: float = 0.2

    def __post_init__(self) -> None:
        check_probability(self.value, "value")
        check_probability(self.probability)

    def draw(self, uniforms: Float64[np.ndarray, "batch count"], shape: Shape) -> Parameters:
        """Return `applied` and, for each channel from 1, whether it is dropped: `drop N`.

        Raises:
            ValueError: If there are more than 64 channels.
        """
        _check_channels(shape[0], "channel_drop")
        numbers = uniforms[:, : shape[0]]
        drop = numbers < self.probability
        drop[np.arange(len(drop)), numbers.argmax(axis=1)] &= ~drop.all(axis=1)
        parameters: Parameters = {"applied": np.any(drop, axis=1)}
        return parameters | {f"drop {n + 1}": drop[:, n] for n in range(shape[0])}

    def apply(self, images: Images, parameters: Parameters, *, size: int) -> Images:
        """Return the images without the dropped channels."""

        def change(rows: Images, touched: Parameters) -> Images:
            drop = np.stack([touched[f"drop {n + 1}"] for n in range(rows.shape[1])], axis=1)
            return scale_channel(rows, 1.0 - drop, self.value * drop)

        return change_rows(images, parameters, change)

    def fused(self, parameters: Parameters, shape: Shape) -> tuple[steps.Step, ...]:
        """Return what the fused path does."""
        value = 255.0 * self.value
        return tuple(
            steps.step(steps.GAIN, parameters[f"drop {n + 1}"], n, 0.0, value)
            for n in range(shape[0])
        )
