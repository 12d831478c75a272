"""The game of learned views: a generator against encoders, with classifiers on its side.

    min over g, c1, c2   max over f1, f2   I_NCE(g(x)_1; g(x)_2) + CE(c1(g(x)_1)) + CE(c2(g(x)_2))

(tian2020infomin, section 4.2). Unsupervised leaves the classifiers out, supervised the encoders;
the same step with a generator that is frozen trains fresh encoders on its views.

With the paper's weights the value is the same whether both views keep labels of entropy H (H is
shared, no mistakes) or one loses them (nothing shared, mistakes H): the generator may do either.
`label_weight` above 1 decides for keeping.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from coview.data import Batch
from coview.information import infonce
from coview.training.loop import Seen, State, Stopped
from coview.training.optimizers import build_optimizer
from coview.training.schedules import warmup_cosine
from coview.typing import AnyImages, Images, Representations, Views
from coview.views import HorizontalFlip, Policy, RandomResizedCrop
from coview.views.generators import Perturbation, PixelFlow
from coview.views.generators.perturbation import Noise

TEMPERATURE = 0.1
"""Divides cosines: the bound cannot exceed 1/0.1 = 10 nats, nor log K."""

PLAYER_RATE = 2e-3
"""Peak of AdamW's rate for encoders and classifiers."""

WARMUP = 0.1

GENERATOR_EVERY = 2
"""Steps of the encoders and classifiers for each of the generator."""

_RIVALS = ("players",)

WIDTHS, EMBEDDING = (16, 32, 64), 128

_CROP = (RandomResizedCrop(scale=(0.2, 1.0)), HorizontalFlip(probability=0.5))
ONE_CROP = Policy(name="crop and flip", views=(_CROP,))
TWO_CROPS = Policy(name="crop and flip", views=(_CROP, _CROP))

Maker = PixelFlow | Perturbation | nn.Identity
"""What makes two views: a generator, or nothing that changes two crops."""

View = Float[Tensor, "batch _ height width"]

Pair = tuple[View, View]


class Failed(Stopped):
    """A game that cannot go on; `name` is the failure's."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Sources(NamedTuple):
    """What a generator makes views of: one crop of each image or two, and noise for each view."""

    views: Views
    noise: tuple[Noise, Noise] | None = None


def sources(
    maker: Maker,
    images: AnyImages,
    *,
    index: Int[np.ndarray, " batch"],
    seed: int,
    epoch: int,
    augmented: bool = True,
) -> Sources:
    """Return crops of uint8 images, with noise where the generator draws.

    Args:
        maker: The generator.
        images: The images, square.
        index: Source index of each image.
        seed: Of crops and noise.
        epoch: Pass over the data.
        augmented: Whether a split's images are cropped and flipped; two crops always are.
    """
    size = images.shape[-1]
    when: dict[str, Any] = {"index": index, "seed": seed, "epoch": epoch, "size": size}
    if isinstance(maker, PixelFlow):
        if not augmented:
            return Sources(images[None].float() / 255)
        return Sources(ONE_CROP(images, **when).views)
    views = TWO_CROPS(images, **when).views
    if isinstance(maker, nn.Identity):
        return Sources(views)
    first, second = (maker.noise(view=view, **when).to(images.device) for view in (0, 1))
    return Sources(views, (first, second))


def pair_of(maker: Maker, seen: Sources) -> Pair:
    """Return the two views that a generator makes of each image."""
    if isinstance(maker, PixelFlow):
        return maker.parts_of(maker(maker.coordinates(seen.views[0]))[0])
    if isinstance(maker, Perturbation) and seen.noise is not None:
        first, second = (
            maker(view, noise) for view, noise in zip(seen.views, seen.noise, strict=True)
        )
        return first, second
    return seen.views[0], seen.views[1]


class Sight(nn.Module):
    """A small encoder of one view and a linear head: three strided convolutions, 2 x 2 means.

    Each channel is normalised over the batch first, so that a generator gains nothing by scale.
    A `Compact` of the same widths takes four times as long on CPUs, which the game cannot afford.
    """

    def __init__(self, channels: int, size: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.BatchNorm2d(channels, affine=False)]
        strides = (2 if size < 56 else 4, 2, 2)
        for width, stride in zip(WIDTHS, strides, strict=True):
            convolution = nn.Conv2d(channels, width, stride + 1, stride, stride // 2, bias=False)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(4 * WIDTHS[-1], outputs)

    def represent(self, view: Images) -> Representations:
        """Return the representations."""
        h: Tensor = self.trunk(view)
        return h

    def forward(self, view: Images) -> Float[Tensor, "batch outputs"]:
        """Return the head's outputs."""
        z: Tensor = self.head(self.represent(view))
        return z


class Players(nn.Module):
    """A generator, the encoders that look for what its views share, and a classifier a view.

    Views of the same kind (two perturbations) share their networks.

    Args:
        maker: The generator.
        channels: Of each view.
        size: Width of the views in pixels.
        classes: Of the classifiers; 0 is no classifiers.
        contrast: Whether there are encoders.
    """

    def __init__(
        self, maker: Maker, *, channels: tuple[int, ...], size: int, classes: int, contrast: bool
    ) -> None:
        super().__init__()
        self.maker = maker
        self.channels, self.size = channels, size
        self.shared = not isinstance(maker, PixelFlow)
        self.encoders = self._two(EMBEDDING) if contrast else nn.ModuleList()
        self.classifiers = self._two(classes) if classes else nn.ModuleList()

    def _two(self, outputs: int) -> nn.ModuleList:
        first = Sight(self.channels[0], self.size, outputs)
        return nn.ModuleList(
            [first, first if self.shared else Sight(self.channels[1], self.size, outputs)]
        )

    def scores(self, views: Pair) -> Float[Tensor, "row column"]:
        """Return the cosines of the embeddings of all pairs, over the temperature."""
        first, second = (
            normalize(encoder(view), dim=1)
            for encoder, view in zip(self.encoders, views, strict=True)
        )
        return first @ second.mT / TEMPERATURE

    def represent(self, views: Pair) -> tuple[Representations, Representations]:
        """Return what the encoders, or else the classifiers, make of each view."""
        networks = self.encoders if len(self.encoders) else self.classifiers
        first, second = (
            network.represent(view)  # type: ignore[operator]
            for network, view in zip(networks, views, strict=True)
        )
        return first, second

    def mistakes(
        self, views: Pair, labels: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the cross-entropy of each classifier."""
        first, second = (
            cross_entropy(classifier(view), labels)
            for classifier, view in zip(self.classifiers, views, strict=True)
        )
        return first, second


def bound(scores: Float[Tensor, "row column"]) -> Float[Tensor, ""]:
    """Return I_NCE in nats, the mean over both directions."""
    return (infonce(scores) + infonce(scores.mT)) / 2


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one step is taken on: unlabelled images, and labelled ones for the classifiers."""

    batch: Batch
    labelled: Batch | None = None


class GameStep:
    """One step: all players move at once, the encoders uphill on what the generator goes down.

    One backward pass serves both: the gradients of the encoders change their sign. The generator
    moves in every second step only, so that the encoders keep up with it.

    Args:
        players: Who moves; a generator whose parameters are frozen does not.
        state: Where the run is.
        steps: Steps of the run.
        learning_rate: Peak rate of the generator.
        player_rate: Peak rate of encoders and classifiers.
        label_weight: Of the cross-entropies.
        seed: Of crops and noise.
    """

    def __init__(
        self,
        players: Players,
        *,
        state: State,
        steps: int,
        learning_rate: float,
        player_rate: float = PLAYER_RATE,
        label_weight: float = 1.0,
        seed: int,
    ) -> None:
        self.players, self.state, self.steps, self.seed = players, state, steps, seed
        self.label_weight = label_weight
        self.free = [p for p in players.maker.parameters() if p.requires_grad]
        self.rivals = list(players.encoders.parameters())
        both = nn.ModuleList([players.encoders, players.classifiers])
        self.optimizers = {"players": build_optimizer(both, "adamw", learning_rate=player_rate)}
        self.rates = {"players": player_rate, "generator": learning_rate}
        if self.free:
            self.optimizers["generator"] = torch.optim.Adam(self.free, lr=learning_rate)

    def __call__(self, turn: Turn) -> Seen:
        """Take a step.

        Raises:
            Failed: If the value or a gradient is not finite; nothing was updated.
        """
        progress = warmup_cosine(self.state.step, self.steps, warmup=WARMUP)
        movers = self.optimizers if self.state.step % GENERATOR_EVERY else _RIVALS
        for name, optimizer in self.optimizers.items():
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = self.rates[name] * progress
        terms = self.terms(turn, frozen="generator" not in movers)
        weights = [1.0 if name == "information" else self.label_weight for name in terms]
        total = torch.stack([w * x for w, x in zip(weights, terms.values(), strict=True)]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.free, 1.0) if self.free else total.detach()
        if not bool(torch.isfinite(total) & torch.isfinite(norm)):
            raise Failed(
                "divergence", f"step {self.state.step + 1}: the value of the game is not finite"
            )
        for parameter in self.rivals:
            if parameter.grad is not None:
                parameter.grad.neg_()
        for name in movers:
            self.optimizers[name].step()
        return Seen(
            loss=float(total.detach()),
            terms={name: float(value.detach()) for name, value in terms.items()},
            learning_rate=self.rates["generator"] * progress,
            epoch=float(turn.batch.epoch),
            images=len(turn.batch.index),
            representations=total.detach()[None],
        )

    def terms(self, turn: Turn, *, frozen: bool = False) -> dict[str, Float[Tensor, ""]]:
        """Return what the game is about, term by term: information in nats, cross-entropies.

        Args:
            turn: The images.
            frozen: Whether the generator is spared its gradient.
        """
        found: dict[str, Tensor] = {}
        if len(self.players.encoders):
            views = self._pair(turn.batch, frozen=frozen)
            found["information"] = bound(self.players.scores(views))
        if turn.labelled is not None and turn.labelled.labels is not None:
            views = self._pair(turn.labelled, frozen=frozen)
            wrong = self.players.mistakes(views, turn.labelled.labels)
            found |= dict(zip(("first view", "second view"), wrong, strict=True))
        return found

    def _pair(self, batch: Batch, *, frozen: bool) -> Pair:
        images = batch.images
        if not isinstance(images, Tensor):
            raise TypeError("images must be a tensor of one size")
        index = batch.index.cpu().numpy()
        seen = sources(self.players.maker, images, index=index, seed=self.seed, epoch=batch.epoch)
        with torch.set_grad_enabled(not frozen and torch.is_grad_enabled()):
            return pair_of(self.players.maker, seen)
