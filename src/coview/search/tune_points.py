"""The policies that a tuning compares: one family, its starting points, and proposals by Optuna."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from typing import Any, Literal

from coview.views import (
    ChannelJitter,
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Policy,
    RandomResizedCrop,
)
from coview.views.operation import Operation

Made = Literal["default", "ladder", "left out", "proposed"]

STRONGEST = {"jitter": 1.5, "grey": 0.4, "blur": 0.5}
"""Of the ladder and of what is proposed; the weakest is none."""

CROPS = (0.05, 0.9)
"""Smallest area of a crop, of the strongest and of the weakest view."""

_LADDER = (0.0, 0.5, 1.0)
_STARTUP = 5


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """How strong each operation is.

    Attributes:
        smallest_crop: Lower bound of the crop's area, as a share of the image's; 1 is all of it.
        flip: Probability.
        jitter: InfoMin's x, as in `coview.views.dial`; of the gain of each channel where there are
            not 1 or 3.
        grey: Probability.
        blur: Probability.
    """

    smallest_crop: float
    flip: float
    jitter: float
    grey: float
    blur: float

    def policy(self, name: str, *, channels: int) -> Policy:
        """Return two such views; an operation without strength or meaning is left out."""
        x = self.jitter
        colours: dict[bool, Operation] = {
            True: ColorJitter(
                brightness=0.8 * x, contrast=0.8 * x, saturation=0.8 * x, hue=min(0.2 * x, 0.5)
            ),
            False: ChannelJitter(gain=0.8 * x, offset=0.2 * x),
        }
        asked: list[tuple[bool, Operation]] = [
            (True, RandomResizedCrop(scale=(self.smallest_crop, 1.0))),
            (self.flip > 0, HorizontalFlip(probability=self.flip)),
            (x > 0, colours[channels in (1, 3)]),
            (self.grey > 0 and channels == 3, Grayscale(probability=self.grey)),
            (self.blur > 0, GaussianBlur(probability=self.blur)),
        ]
        view = tuple(operation for wanted, operation in asked if wanted)
        return Policy(name=name, views=(view, view))

    def to_dict(self) -> dict[str, float]:
        """Return the strengths by name."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A policy on trial."""

    name: str
    made: Made
    strengths: Strengths


DEFAULTS = {
    "small": Strengths(smallest_crop=0.2, flip=0.5, jitter=0.5, grey=0.2, blur=0.0),
    "simclr": Strengths(smallest_crop=0.08, flip=0.5, jitter=1.0, grey=0.2, blur=0.5),
}
"""Strengths of the presets that `pretrain` takes by default; `simclr` is bicubic there."""


def starting_points(default: str) -> list[Point]:
    """Return the default, what has only places or only colours changed, and a ladder.

    Places (crop, flip) and colours (jitter, grey, blur) are crossed: none, as the default has them,
    or the strongest. The ladder has both, from hardly any to the strongest.

    Args:
        default: Name of the preset that `pretrain` would take.
    """
    strengths = DEFAULTS[default]
    still = {"smallest_crop": 1.0, "flip": 0.0}
    plain = {"jitter": 0.0, "grey": 0.0, "blur": 0.0}
    left_out = {
        "no colour": replace(strengths, **plain),
        "no crop": replace(strengths, smallest_crop=1.0),
        "no crop, no flip": replace(strengths, **still),
        "strong colour alone": replace(_rung(1.0), **still),
        "strong crop, no colour": replace(_rung(1.0), **plain),
    }
    return [
        Point(name=default, made="default", strengths=strengths),
        *(Point(name=name, made="left out", strengths=s) for name, s in left_out.items()),
        *(
            Point(name=f"ladder {number}", made="ladder", strengths=_rung(share))
            for number, share in enumerate(_LADDER, 1)
        ),
    ]


def _rung(share: float) -> Strengths:
    strong, weak = CROPS
    return Strengths(
        smallest_crop=round(weak * (strong / weak) ** share, 3),
        flip=0.5 if share > 0 else 0.0,
        **{name: round(share * most, 3) for name, most in STRONGEST.items()},
    )


def check_installed() -> None:
    """Check that there is Optuna.

    Raises:
        ImportError: If there is not.
    """
    if find_spec("optuna") is None:
        raise ImportError(
            "views tune needs Optuna for its proposals: pip install 'coview[tune]', or at most "
            "nine points"
        )


def propose(
    tried: Sequence[tuple[Strengths, float]], *, number: int, channels: int, seed: int
) -> Strengths:
    """Return strengths worth a trial, by Optuna's tree-structured Parzen estimator.

    Args:
        tried: Strengths and how well they did; more is better.
        number: Of the proposal, from 1.
        channels: Of the images; only three can be made grey.
        seed: Of the estimator; the same with the same arguments.

    Raises:
        ImportError: If Optuna is not installed.
    """
    check_installed()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(
        seed=seed + number, multivariate=True, n_startup_trials=_STARTUP
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    strong, _ = CROPS
    space: dict[str, Any] = {
        "smallest_crop": optuna.distributions.FloatDistribution(strong, 1.0, log=True),
        "flip": optuna.distributions.CategoricalDistribution([0.0, 0.5]),
        **{
            name: optuna.distributions.FloatDistribution(0.0, most)
            for name, most in STRONGEST.items()
            if channels == 3 or name != "grey"
        },
    }
    for strengths, value in tried:
        study.add_trial(
            optuna.trial.create_trial(
                params={name: strengths.to_dict()[name] for name in space},
                distributions=space,
                value=value,
            )
        )
    found = study.ask(space).params
    return Strengths(**{"grey": 0.0} | {name: _rounded(value) for name, value in found.items()})


def _rounded(value: float) -> float:
    """Return three digits, for a policy file that people read."""
    return 0.0 if abs(value) < 0.01 else round(value, 2 - math.floor(math.log10(abs(value))))
