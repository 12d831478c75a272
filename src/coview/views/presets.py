"""Policies with the numbers of their papers, and one of ours for small images.

The papers train at 224 pixels. Common to all here, whatever their code does: the jitter's steps in
fixed order (theirs: permuted for every image), torchvision's colour arithmetic, a blur kernel of a
tenth of the view with reflected borders, sigma in pixels of the view.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from coview.views.blur import GaussianBlur
from coview.views.crop import RandomResizedCrop
from coview.views.flip import HorizontalFlip
from coview.views.grayscale import Grayscale
from coview.views.jitter import ColorJitter
from coview.views.operation import Operation
from coview.views.operations import unknown
from coview.views.policy import Policy
from coview.views.randaugment import RandAugment
from coview.views.resampling import Interpolation
from coview.views.solarize import Solarize

_BLUR = GaussianBlur(sigma=(0.1, 2.0), probability=0.5)
_GREY = Grayscale(probability=0.2)
_FLIP = HorizontalFlip(probability=0.5)


def _crop(smallest: float, interpolation: Interpolation = "bilinear") -> RandomResizedCrop:
    return RandomResizedCrop(scale=(smallest, 1.0), interpolation=interpolation)


def _jitter(
    brightness: float, contrast: float, saturation: float, hue: float, *, probability: float = 0.8
) -> ColorJitter:
    return ColorJitter(
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        hue=hue,
        probability=probability,
    )


def _two(name: str, *view: Operation) -> Policy:
    return Policy(name=name, views=(view, view))


def _pycontrast(letter: str, views: int, *view: Operation | None) -> Policy:
    """Return one kind of view so many times; what is None is left out."""
    if views < 1:
        raise ValueError(f"views must be at least 1, got {views}")
    return Policy(
        name=f"pycontrast_{letter}", views=(tuple(op for op in view if op is not None),) * views
    )


def simclr() -> Policy:
    """Return SimCLR's views for ImageNet, colour strength 1.0.

    The official code differs from the paper and from this: one sigma of the blur per device batch
    and zeros beyond the border; width / height uniform rather than its logarithm; contrast keeps
    the mean of each channel. Its crops are bicubic, as here. For CIFAR-10 the paper has strength
    0.5 and no blur.

    References:
        chen2020simclr, section 3 and appendix A; official code, data_util.py at 244e712.
    """
    jitter = _jitter(0.8, 0.8, 0.8, 0.2)
    return _two("simclr", _crop(0.08, "bicubic"), _FLIP, jitter, _GREY, _BLUR)


def simclr_strong() -> Policy:
    """Return SimCLR's views with PyContrast's RandAugment before the grey: simclr and InfoMin's."""
    jitter = _jitter(0.8, 0.8, 0.8, 0.2)
    return _two("simclr_strong", _crop(0.08, "bicubic"), _FLIP, jitter, _BLUR, RandAugment(), _GREY)


def _byol_view(*, blur: float, solarize: float, threshold: float) -> tuple[Operation, ...]:
    return (
        _crop(0.08, "bicubic"),
        _FLIP,
        _jitter(0.4, 0.4, 0.2, 0.1),
        _GREY,
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
    return _two("simsiam", _crop(0.2), _jitter(0.4, 0.4, 0.4, 0.1), _GREY, _BLUR, _FLIP)


def mocov2() -> Policy:
    """Return MoCo v2's views: SimSiam's numbers and order.

    References:
        chen2020mocov2; official code, main_moco.py (`--aug-plus`).
    """
    return _two("mocov2", _crop(0.2), _jitter(0.4, 0.4, 0.4, 0.1), _GREY, _BLUR, _FLIP)


def infomin() -> Policy:
    """Return InfoMin's views without the jigsaw: PyContrast's D with the crop of the queue, 0.2.

    References:
        tian2020infomin; PyContrast at 81b619b, datasets/util.py.
    """
    jitter = _jitter(0.8, 0.8, 0.8, 0.2)
    return _two("infomin", _crop(0.2), _FLIP, jitter, _BLUR, RandAugment(), _GREY)


def cmc() -> Policy:
    """Return CMC's views before the colours are split: crop and flip.

    The lower bound of the crop is 0.2; the official README has 0.08 for ResNets on ImageNet.

    References:
        tian2020cmc; official code, train_CMC.py.
    """
    return _two("cmc", _crop(0.2), _FLIP)


def pycontrast_a(*, smallest_crop: float = 0.08, views: int = 2) -> Policy:
    """Return PyContrast's A, for InstDis, MoCo and PIRL.

    The crop's lower bound is 0.08 with a memory bank and 0.2 with a queue, in A to E. Those with a
    memory bank make one view of an image.

    References:
        PyContrast at 81b619b, datasets/util.py.
    """
    jitter = _jitter(0.4, 0.4, 0.4, 0.4, probability=1.0)
    return _pycontrast("a", views, _crop(smallest_crop), _FLIP, jitter, _GREY)


def pycontrast_b(*, smallest_crop: float = 0.2, views: int = 2, blur: bool = True) -> Policy:
    """Return PyContrast's B, for MoCo v2; see `pycontrast_a`. Its blur is Pillow's."""
    jitter, blurred = _jitter(0.4, 0.4, 0.4, 0.1), _BLUR if blur else None
    return _pycontrast("b", views, _crop(smallest_crop), _FLIP, jitter, _GREY, blurred)


def pycontrast_c(*, smallest_crop: float = 0.08, views: int = 2) -> Policy:
    """Return PyContrast's C, for CMC; see `pycontrast_a`. The colour split comes after it."""
    jitter = _jitter(0.4, 0.4, 0.4, 0.1, probability=1.0)
    return _pycontrast("c", views, _crop(smallest_crop), _FLIP, jitter)


def pycontrast_d(*, smallest_crop: float = 0.2, views: int = 2, blur: bool = True) -> Policy:
    """Return PyContrast's D, for InfoMin; see `pycontrast_a`."""
    jitter, blurred = _jitter(0.8, 0.8, 0.8, 0.2), _BLUR if blur else None
    augment = RandAugment()
    return _pycontrast("d", views, _crop(smallest_crop), _FLIP, jitter, blurred, augment, _GREY)


def pycontrast_e(*, smallest_crop: float = 0.2, views: int = 2, blur: bool = True) -> Policy:
    """Return PyContrast's E, for CMC v2, with the operations safe for colours."""
    jitter, blurred = _jitter(0.4, 0.4, 0.4, 0.1), _BLUR if blur else None
    augment = RandAugment(pool="colour-safe")
    return _pycontrast("e", views, _crop(smallest_crop), _FLIP, jitter, blurred, augment)


def multicrop() -> Policy:
    """Return SwAV's views: two of the size asked for and six of 3/7 of it (224 and 96 pixels).

    Crops see 0.14 to 1 and 0.05 to 0.14 of the image; the jitter is SimCLR's. `Policy.groups` makes
    views of several sizes. The code blurs with OpenCV or Pillow.

    References:
        caron2020swav; official code, src/multicropdataset.py.
    """
    rest = (_FLIP, _jitter(0.8, 0.8, 0.8, 0.2), _GREY, _BLUR)
    large = (RandomResizedCrop(scale=(0.14, 1.0)), *rest)
    little = (RandomResizedCrop(scale=(0.05, 0.14)), *rest)
    return Policy(
        name="multicrop", views=(large,) * 2 + (little,) * 6, sizes=(1.0,) * 2 + (3 / 7,) * 6
    )


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
    return _two(
        "small",
        RandomResizedCrop(scale=scale),
        HorizontalFlip(probability=flip),
        _jitter(*jitter, probability=jitter_probability),
        Grayscale(probability=grayscale),
    )


_PRESETS: Mapping[str, Callable[[], Policy]] = {
    preset.__name__: preset
    for preset in (
        simclr,
        simclr_strong,
        byol,
        vicreg,
        simsiam,
        mocov2,
        infomin,
        cmc,
        pycontrast_a,
        pycontrast_b,
        pycontrast_c,
        pycontrast_d,
        pycontrast_e,
        multicrop,
        small,
    )
}


def names() -> tuple[str, ...]:
    """Return the names of the presets."""
    return tuple(_PRESETS)


def get(policy: str | Policy, **parameters: Any) -> Policy:  # noqa: ANN401
    """Return the preset of a name or the policy of a .json or .toml file; a policy is returned.

    Args:
        policy: Name, file or policy.
        **parameters: Arguments of the preset, as `flip` of `small`.

    Raises:
        ValueError: If there is no preset of that name (the message has the nearest one), it does
            not take such parameters, or the file is not a policy.
        FileNotFoundError: If there is no such file.
    """
    if isinstance(policy, Policy):
        return policy
    if Path(policy).suffix.lower() in (".json", ".toml"):
        return Policy.load(policy)
    if policy not in _PRESETS:
        raise unknown("policy", policy, _PRESETS)
    allowed = inspect.signature(_PRESETS[policy]).parameters
    if wrong := sorted(parameters.keys() - allowed.keys()):
        raise ValueError(
            f"views {policy!r} take no {wrong[0]!r}; {', '.join(allowed) or 'no parameters'}"
        )
    try:
        return _PRESETS[policy](**parameters)
    except TypeError as error:
        raise ValueError(f"views {policy!r}: {error}") from error
