"""One dial for each strength: a policy with weaker or stronger views."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from coview.views.blur import GaussianBlur
from coview.views.crop import RandomResizedCrop
from coview.views.jitter import ColorJitter
from coview.views.operation import Operation
from coview.views.operations import BuiltIn
from coview.views.policy import Policy
from coview.views.randaugment import RandAugment

_LARGEST_HUE = 0.5


def dial(
    policy: Policy,
    *,
    smallest_crop: float | None = None,
    jitter: float | None = None,
    blur: float | None = None,
    magnitude: float | None = None,
) -> Policy:
    """Return the policy with some strengths set, in every view; None leaves one as it is.

    Args:
        policy: Where to start.
        smallest_crop: Lower bound of the crop's area; an upper bound below it is raised to it.
        jitter: InfoMin's x: brightness, contrast and saturation 0.8 x, hue 0.2 x (at most 0.5).
            0 is none.
        blur: Largest sigma in pixels; the least stays, or is the same if larger. 0 is none.
        magnitude: Of RandAugment, 0 to 10. Not a strength in all its operations: at 0 posterise is
            black, solarise inverts and factors are 0.1, unless it is `increasing`; invert,
            autocontrast and equalise have none. For no RandAugment leave it out of the policy.

    Raises:
        ValueError: If a value is out of range, or the policy has no operation that it is of.

    References:
        tian2020infomin, section 3 and appendix C.
    """
    for name, value in (("jitter", jitter), ("blur", blur)):
        if value is not None and not 0.0 <= value < float("inf"):
            raise ValueError(f"{name} must be finite and >= 0, got {value}")
    if smallest_crop is not None:
        policy = _change(policy, "smallest_crop", RandomResizedCrop, _crop(smallest_crop))
    if jitter is not None:
        policy = _change(policy, "jitter", ColorJitter, _jitter(jitter))
    if blur is not None:
        policy = _change(policy, "blur", GaussianBlur, _blur(blur))
    if magnitude is not None:
        policy = _change(policy, "magnitude", RandAugment, _magnitude(magnitude))
    return policy


def _change(
    policy: Policy, name: str, kind: type[BuiltIn], change: Callable[[Any], Operation]
) -> Policy:
    if not any(isinstance(op, kind) for view in policy.views for op in view):
        raise ValueError(f"{name}: policy {policy.name!r} has no operation {kind.name!r}")
    views = tuple(
        tuple(change(op) if isinstance(op, kind) else op for op in view) for view in policy.views
    )
    return replace(policy, views=views)


def _crop(smallest: float) -> Callable[[RandomResizedCrop], RandomResizedCrop]:
    return lambda op: replace(op, scale=(smallest, max(smallest, op.scale[1])))


def _jitter(x: float) -> Callable[[ColorJitter], ColorJitter]:
    strengths = dict.fromkeys(("brightness", "contrast", "saturation"), 0.8 * x)
    return lambda op: replace(op, **strengths, hue=min(0.2 * x, _LARGEST_HUE))


def _blur(sigma: float) -> Callable[[GaussianBlur], GaussianBlur]:
    if sigma == 0.0:
        return lambda op: replace(op, probability=0.0)
    return lambda op: replace(op, sigma=(min(op.sigma[0], sigma), sigma))


def _magnitude(magnitude: float) -> Callable[[RandAugment], RandAugment]:
    return lambda op: replace(op, magnitude=magnitude)
