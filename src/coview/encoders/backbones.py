"""Backbones by name: the compact one, timm's and torchvision's, or a user's own module.

A backbone maps normalised images [batch, channel, height, width] to [batch, dim]. timm and
torchvision are imported where they are needed: that takes longer than importing the rest.
"""

import difflib

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coview.encoders.compact import Compact

SMALL = 100
"""Images narrower than this many pixels get the small-image stem of ResNets."""

_HEADS = ("fc", "classifier", "head", "heads")


class Pooled(nn.Module):
    """A module whose feature maps [batch, dim, height, width] are averaged over positions."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch dim"]:
        """Return one vector an image."""
        pooled: Tensor = self.module(x).mean((2, 3))
        return pooled


def names() -> tuple[str, ...]:
    """Return every backbone that can be asked for by name."""
    import timm
    from torchvision import models

    return ("compact", *models.list_models(models), *timm.list_models())


def is_known(name: str) -> bool:
    """Tell whether `build` knows a name."""
    model = name.removeprefix("timm/").removeprefix("torchvision/")
    return model == "compact" or model in names()


def build(backbone: str | nn.Module, *, channels: int, size: int) -> tuple[nn.Module, int]:
    """Build a backbone for images of `channels` x `size` x `size`.

    Args:
        backbone: `compact`; the name of a timm or torchvision model, where `timm/NAME` and
            `torchvision/NAME` choose between the two (timm first otherwise); or a module of the
            user's that maps images to [batch, dim] or to [batch, dim, height, width].
        channels: Channels of the images.
        size: Width and height of the images in pixels.

    Returns:
        The module, randomly initialised from torch's generator, and the dimension of its output.

    Raises:
        ValueError: If no backbone has that name, or the module cannot take such images.
    """
    if not isinstance(backbone, str):
        return _with_dim(backbone, type(backbone).__name__, channels, size)
    return _with_dim(_named(backbone, channels, size), backbone, channels, size)


def _named(name: str, channels: int, size: int) -> nn.Module:
    if name == "compact":
        return Compact(channels, size)
    import timm
    from torchvision import models

    library, _, model = name.rpartition("/")
    if library in ("", "timm") and timm.is_model(model):
        return _from_timm(model, channels, size)
    if library in ("", "torchvision") and model in models.list_models(models):
        return _from_torchvision(model, channels, size)
    near = difflib.get_close_matches(name, names(), n=3)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise ValueError(f"encoder {name!r} is neither compact nor a timm or torchvision model{hint}")


def _from_timm(name: str, channels: int, size: int) -> nn.Module:
    import timm

    try:
        module = timm.create_model(name, num_classes=0, in_chans=channels, img_size=size)
    except TypeError:  # convolutional models take any size and no such argument
        module = timm.create_model(name, num_classes=0, in_chans=channels)
    return with_small_stem(module, channels, size)


def _from_torchvision(name: str, channels: int, size: int) -> nn.Module:
    from torchvision import models

    options = {"image_size": size} if name.startswith("vit_") else {}
    module: nn.Module = models.get_model(name, weights=None, **options)
    for head in _HEADS:
        if hasattr(module, head):
            setattr(module, head, nn.Identity())
    if channels != 3:
        _replace_first_convolution(module, channels)
    return with_small_stem(module, channels, size)


def _replace_first_convolution(module: nn.Module, channels: int) -> None:
    for path, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d):
            parent = module.get_submodule(path.rpartition(".")[0])
            replacement = nn.Conv2d(
                channels,
                layer.out_channels,
                layer.kernel_size,  # type: ignore[arg-type]
                layer.stride,  # type: ignore[arg-type]
                layer.padding,  # type: ignore[arg-type]
                bias=layer.bias is not None,
            )
            setattr(parent, path.rpartition(".")[2], replacement)
            return


def with_small_stem(module: nn.Module, channels: int, size: int) -> nn.Module:
    """Give a ResNet the stem for small images: 3x3, stride 1, no pooling (SimCLR, appendix B.9)."""
    is_resnet = type(module).__name__ == "ResNet" and hasattr(module, "maxpool")
    if is_resnet and size < SMALL and isinstance(module.conv1, nn.Conv2d):
        module.conv1 = nn.Conv2d(channels, module.conv1.out_channels, 3, 1, 1, bias=False)
        nn.init.kaiming_normal_(module.conv1.weight, mode="fan_out", nonlinearity="relu")
        module.maxpool = nn.Identity()
    return module


def _with_dim(module: nn.Module, name: str, channels: int, size: int) -> tuple[nn.Module, int]:
    was_training = module.training
    parameter = next(module.parameters(), torch.empty(0))
    probe = torch.zeros(2, channels, size, size, device=parameter.device, dtype=parameter.dtype)
    try:
        with torch.no_grad():
            output = module.eval()(probe)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ValueError(
            f"encoder {name!r} cannot take images of {channels} x {size} x {size}: {error}"
        ) from error
    finally:
        module.train(was_training)
    if not isinstance(output, Tensor) or output.ndim not in (2, 4):
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"encoder {name!r} returns {got}; expected [batch, dim] or [batch, dim, height, width]"
        )
    return (Pooled(module) if output.ndim == 4 else module), output.shape[1]
