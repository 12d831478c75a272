"""Published methods as settings of a run; imports no torch.

A recipe fills in what was not asked for: whatever the user gives wins.

Seven are PyContrast's: its numbers (HobbitLong/PyContrast at 81b619b, options/base_options.py and
docs/RUN.md) are for ResNet-50 at 224 pixels. What is not: the learning rate falls along a cosine in
all (theirs: in steps, but for the three newest); weight decay spares biases and norms; every view
is an anchor and every other view's key its positive (theirs: one direction); below 100 pixels there
is no blur. Two are MINC's: see `MINC`.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

NEGATIVES = 65_536


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A method as a choice on a few axes.

    Attributes:
        memory: Where the negatives come from: a queue of the averaged network's keys, or a bank
            with a row for each image.
        temperature: Divides similarities.
        views: PyContrast's letter of the augmentations.
        head: A linear projector, or one with a hidden layer as wide as the representation.
        jigsaw: Weight of the jigsaw branch; 0 is none.
        split: Colour space and channels of two encoders; None is one encoder.
        citation: Key of references.bib.
        learning_rate: Peak at a batch of 256, linear in the batch; with SGD.
        weight_decay: With SGD.
    """

    learning_rate: ClassVar[float] = 0.03
    weight_decay: ClassVar[float] = 1e-4

    memory: Literal["queue", "bank"]
    temperature: float
    views: Literal["a", "b", "c", "d", "e"]
    head: Literal["linear", "mlp"]
    jigsaw: float = 0.0
    split: str | None = None
    citation: str

    def settings(self) -> dict[str, Any]:
        """Return the settings that stand for it, as for images of 224 pixels and any number."""
        return {
            "objective": self.objective(NEGATIVES),
            "views": self.policy(small=False),
            "projector": (128,) if self.head == "linear" else (0, 128),
            "projector_norm": "none",
            "target_decay": 0.999,
            "target_schedule": "constant",
            "statistics": "per-view",
            "batch_norm": "shuffled" if self.memory == "queue" else "synchronized",
            "jigsaw": self.jigsaw,
            "split": self.split,
            "optimizer": "sgd",
            "warmup": 0.0,
            "clip": 0.0,
        }

    def objective(self, negatives: int) -> str:
        """Return the objective with so many negatives, as the command line has it."""
        if self.memory == "queue":
            return f"info_nce:temperature={self.temperature},memory={negatives}"
        return f"instance_discrimination:temperature={self.temperature},negatives={negatives}"

    def policy(self, *, small: bool) -> str:
        """Return the views: crops from 0.2 for a queue, 0.08 and one view for a bank.

        Args:
            small: Leave out the blur.
        """
        parts = ["smallest_crop=0.2", "views=2"]
        if self.memory == "bank":
            parts = ["smallest_crop=0.08", "views=1"]
        if small and self.views in "bde":
            parts.append("blur=false")
        return f"pycontrast_{self.views}:{','.join(parts)}"


@dataclass(frozen=True, kw_only=True)
class MINC:
    """MINC on ImageNet at 224 pixels.

    Read in the paper's abstract and of it second-hand: ImageNet, ResNet-50 and ResNet-50 2x, a
    linear probe, several batch sizes; no further setting could be read. Of the spectral loss, its
    parent (jhaochenz/spectral_contrastive_learning, the ImageNet configuration, for 100 epochs):
    SGD, weight decay, batch, views as SimSiam's, no warm-up. Ours: the objective and its numbers
    (at this batch a memory of 512 images keeps exp(−384 / 512) = .47 of itself a step); twice the
    spectral loss's learning rate, since the gradient is half as long, and half its weight decay, so
    that weights decay as fast; the projector, after BYOL's;
    no clipping; batch norm over both views and all processes; that weight decay spares biases and
    norms; no blur below 100 pixels; and that 2x is torchvision's wide ResNet, whose blocks are
    twice as wide inside alone.

    Attributes:
        encoder: Backbone.
        citation: Key of references.bib.
        learning_rate: Peak at a batch of 256, linear in the batch; with SGD.
        weight_decay: With SGD.
    """

    learning_rate: ClassVar[float] = 0.1
    weight_decay: ClassVar[float] = 5e-5
    citation: ClassVar[str] = "guo2025minc"

    encoder: str

    def settings(self) -> dict[str, Any]:
        """Return the settings that stand for it, as for images of 224 pixels."""
        return {
            "objective": self.objective(NEGATIVES),
            "views": self.policy(small=False),
            "encoder": self.encoder,
            "projector": (4096, 256),
            "projector_norm": "batch",
            "statistics": "merged",
            "batch_norm": "synchronized",
            "batch_size": 384,
            "optimizer": "sgd",
            "warmup": 0.0,
            "clip": 0.0,
        }

    def objective(self, negatives: int) -> str:
        """Return the objective; it has no negatives."""
        del negatives
        return "minc"

    def policy(self, *, small: bool) -> str:
        """Return the views.

        Args:
            small: Leave out the blur, as the preset for small images does.
        """
        return "small" if small else "simsiam"


_YDBDR = "YDbDr:0|12"

RECIPES: Mapping[str, Recipe | MINC] = {
    "instdis": Recipe(
        memory="bank", temperature=0.07, views="a", head="linear", citation="wu2018instance"
    ),
    "cmc": Recipe(
        memory="bank",
        temperature=0.07,
        views="c",
        head="linear",
        split=_YDBDR,
        citation="tian2020cmc",
    ),
    "moco": Recipe(
        memory="queue", temperature=0.07, views="a", head="linear", citation="he2020moco"
    ),
    "pirl": Recipe(
        memory="bank",
        temperature=0.07,
        views="a",
        head="linear",
        jigsaw=0.5,
        citation="misra2020pirl",
    ),
    "mocov2": Recipe(
        memory="queue", temperature=0.2, views="b", head="mlp", citation="chen2020mocov2"
    ),
    "cmcv2": Recipe(
        memory="queue",
        temperature=0.2,
        views="e",
        head="mlp",
        split=_YDBDR,
        citation="tian2020infomin",
    ),
    "infomin": Recipe(
        memory="queue",
        temperature=0.15,
        views="d",
        head="mlp",
        jigsaw=0.5,
        citation="tian2020infomin",
    ),
    "minc": MINC(encoder="resnet50"),
    "minc-2x": MINC(encoder="wide_resnet50_2"),
}


def get(name: str) -> Recipe | MINC:
    """Return a recipe.

    Raises:
        ValueError: If there is none of that name; the message has all.
    """
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name.lower(), RECIPES, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"no recipe is called {name!r}{hint} There are: {', '.join(RECIPES)}")


def filled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that were given, and those of their recipe where nothing was.

    Raises:
        ValueError: If there is no such recipe.
    """
    name = given.get("recipe")
    return dict(given) if name is None else {**get(name).settings(), **given}
