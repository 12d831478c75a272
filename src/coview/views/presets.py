"""Policies with the numbers of their papers, and one of ours for small images.

The papers train at 224 pixels. Common to all here, whatever their code does: the jitter's steps in
fixed order (theirs: permuted for every image), torchvision's colour arithmetic, a blur kernel of a
tenth of the view with reflected borders, sigma in pixels of the view.
"""

from collections.abc import Callable, Mapping

from coview.views.blur import GaussianBlur
from coview.views.crop import RandomResizedCrop
from coview.views.flip import HorizontalFlip
from coview.views.grayscale import Grayscale
from coview.views.jitter import ColorJitter
from coview.views.operation import Operation
from coview.views.operations import unknown
from coview.views.policy import Policy
from coview.views.solarize import Solarize


def simclr() -> Policy:
    """Return SimCLR's views for ImageNet, colour strength 1.0.

    The official code differs from the paper and from this: one sigma of the blur per device batch
    and zeros beyond the border; width / height uniform rather than its logarithm; contrast keeps
    the mean of each channel. Its crops are bicubic, as here. For CIFAR-10 the paper has strength
    0.5 and no blur.

    References:
        chen2020simclr, section 3 and appendix A; official code, data_util.py at 244e712.
    """
    view = (
        RandomResizedCrop(scale=(0.08, 1.0), interpolation="bicubic"),
        HorizontalFlip(probability=0.5),
        ColorJitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, probability=0.8),
        Grayscale(probability=0.2),
        GaussianBlur(sigma=(0.1, 2.0), probability=0.5),
    )
    return Policy(name="simclr", views=(view, view))


def _byol_view(*, blur: float, solarize: float, threshold: float) -> tuple[Operation, ...]:
    return (
        RandomResizedCrop(scale=(0.08, 1.0), interpolation="bicubic"),
        HorizontalFlip(probability=0.5),
        ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, probability=0.8),
        Grayscale(probability=0.2),
        GaussianBlur(sigma=(0.1, 2.0), probability=blur),
        Solarize(threshold=threshold, probability=solarize),
    )


def byol() -> Policy:
    """Return BYOL's views: the first always blurred, the second seldom, but sometimes solarised.

    The official code adds to the brightness rather than multiplying, multiplies the saturation of
    HSV rather than blending with grey, and its contrast keeps the mean of each channel. Its
    kernel of 23 pixels at 224 is the rule used here.

    References:
        grill2020byol, appendix B; official code, byol/utils/augmentations.py at 923ad3c.
    """
    first = _byol_view(blur=1.0, solarize=0.0, threshold=0.5)
    second = _byol_view(blur=0.1, solarize=0.2, threshold=0.5)
    return Policy(name="byol", views=(first, second))


def vicreg() -> Policy:
    """Return VICReg's views as its official code has them: BYOL's, asymmetric.

    The paper's text has both views alike, blur 0.5 and solarise 0.1; the code, and the duality
    paper (garrido2023duality, table S1), have 1.0 / 0.1 and 0.0 / 0.2. The code blurs with Pillow
    (no kernel size) and solarises at 128 of 255.

    References:
        bardes2022vicreg; official code, augmentations.py at cc1ef4f.
    """
    first = _byol_view(blur=1.0, solarize=0.0, threshold=128 / 255)
    second = _byol_view(blur=0.1, solarize=0.2, threshold=128 / 255)
    return Policy(name="vicreg", views=(first, second))


def simsiam() -> Policy:
    """Return SimSiam's views for ImageNet, which are MoCo v2's; the flip comes last.

    The code blurs with Pillow (no kernel size). For CIFAR-10 the paper leaves the blur out.

    References:
        chen2021simsiam, section 3; official code, main_simsiam.py at 39ac33e.
    """
    view = (
        RandomResizedCrop(scale=(0.2, 1.0)),
        ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, probability=0.8),
        Grayscale(probability=0.2),
        GaussianBlur(sigma=(0.1, 2.0), probability=0.5),
        HorizontalFlip(probability=0.5),
    )
    return Policy(name="simsiam", views=(view, view))


def small(
    *,
    scale: tuple[float, float] = (0.2, 1.0),
    flip: float = 0.5,
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1),
    jitter_probability: float = 0.8,
    grayscale: float = 0.2,
) -> Policy:
    """Return our views for images under 100 pixels: SimSiam's numbers without the blur.

    These numbers are ours, not a paper's.

    Args:
        scale: Range of the crop's area, as a fraction of the image's.
        flip: Probability of mirroring; 0 where left and right differ in meaning.
        jitter: Strengths of brightness, contrast, saturation and hue.
        jitter_probability: Probability of the jitter.
        grayscale: Probability of grey.
    """
    brightness, contrast, saturation, hue = jitter
    view = (
        RandomResizedCrop(scale=scale),
        HorizontalFlip(probability=flip),
        ColorJitter(
            brightness=brightness,
            contrast=contrast,
            saturation=saturation,
            hue=hue,
            probability=jitter_probability,
        ),
        Grayscale(probability=grayscale),
    )
    return Policy(name="small", views=(view, view))


_PRESETS: Mapping[str, Callable[[], Policy]] = {
    "simclr": simclr,
    "byol": byol,
    "vicreg": vicreg,
    "simsiam": simsiam,
    "small": small,
}


def names() -> tuple[str, ...]:
    """Return the names of the presets."""
    return tuple(_PRESETS)


def get(policy: str | Policy) -> Policy:
    """Return the preset of a name; a policy is returned as it is.

    Raises:
        ValueError: If there is no preset of that name; the message has the nearest one.
    """
    if isinstance(policy, Policy):
        return policy
    if policy not in _PRESETS:
        raise unknown("policy", policy, _PRESETS)
    return _PRESETS[policy]()
