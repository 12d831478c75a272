"""What a game is watched for: the failures of the paper, each by name and with its evidence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from coview.information import Estimate
from coview.information.estimate import SATURATION
from coview.information.fit import CANDIDATES, FEW_GROUPS, matrices
from coview.information.scores import estimate_from_scores
from coview.probes import knn_predict
from coview.probes.intervals import class_weights
from coview.search.learn_game import TEMPERATURE, Failed, Maker, Pair, Players, pair_of, sources
from coview.training.loop import Seen
from coview.training.observers import Latest, due
from coview.typing import Pixels

CONSTANT = 1e-3
"""Standard deviation of every channel below which a view is called constant."""

FAR = 100.0
"""Standard deviation of a channel above which the generator has diverged."""

NOTHING = 0.05
"""Nats below which views are said to share nothing."""

SAME_NATS, SAME_SHARE = 0.2, 0.05
"""Losses of information and accuracy that must be ruled out for "no less" and "as well"."""

EARLY = 0.5
"""Share of the steps up to which a failed game is begun again."""

_CHUNK = 512


@dataclass(frozen=True)
class Failure:
    """A named failure and what shows it."""

    name: str
    message: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Held:
    """Images to look at, on the device of the game.

    Attributes:
        images: uint8.
        index: Source index of each image.
        labels: Class of each, -1 where it is not known; or None.
        classes: How many there are.
        groups: Group of each, or None.
    """

    images: Pixels
    index: Int[np.ndarray, " image"]
    labels: Int[np.ndarray, " image"] | None
    classes: int
    groups: Int[np.ndarray, " image"] | None = None

    @property
    def known(self) -> Int[np.ndarray, " known"]:
        """Places of the images whose class is known."""
        known: np.ndarray = np.flatnonzero([] if self.labels is None else self.labels >= 0)
        return known

    def some(self, places: Int[np.ndarray, " chosen"]) -> "Held":
        """Return some of the images."""
        return Held(
            images=self.images[torch.from_numpy(places)],
            index=self.index[places],
            labels=None if self.labels is None else self.labels[places],
            classes=self.classes,
            groups=None if self.groups is None else self.groups[places],
        )


class Outlook(NamedTuple):
    """What the players make of held images; what they do not have is empty."""

    first: Float[Tensor, "image dim"]
    second: Float[Tensor, "image dim"]
    embeddings: tuple[Tensor, ...]
    predicted: tuple[Tensor, ...]
    spread: tuple[float, float]


@torch.no_grad()
def outlook(players: Players, held: Held, *, seed: int) -> Outlook:
    """Return representations, embeddings and predictions of each view, in evaluation mode."""
    was_training = players.training
    players.eval()
    found: list[tuple[Tensor, ...]] = []
    spreads: list[tuple[float, float]] = []
    try:
        for views in chunks(players.maker, held, seed=seed):
            heads = [*players.encoders, *players.classifiers]
            pairs = [heads[start : start + 2] for start in range(0, len(heads), 2)]
            made = [head(view) for two in pairs for head, view in zip(two, views, strict=True)]
            found.append(tuple(x.cpu() for x in (*players.represent(views), *made)))
            spreads.append((spread(views[0]), spread(views[1])))
    finally:
        players.train(was_training)
    first, second, *heads_out = (torch.cat(part) for part in zip(*found, strict=True))
    encoders = len(players.encoders)
    low = tuple(min(side) for side in zip(*spreads, strict=True))
    return Outlook(
        first,
        second,
        tuple(heads_out[:encoders]),
        tuple(out.argmax(1) for out in heads_out[encoders:]),
        (low[0], low[1]) if all(map(math.isfinite, low)) else (math.nan, math.nan),
    )


def chunks(maker: Maker, held: Held, *, seed: int) -> "list[Pair]":
    """Return the pairs of views of held images, without crops where there is a split."""
    made = []
    for start in range(0, len(held.images), _CHUNK):
        rows = slice(start, start + _CHUNK)
        seen = sources(
            maker, held.images[rows], index=held.index[rows], seed=seed, epoch=-1, augmented=False
        )
        made.append(pair_of(maker, seen))
    return made


def spread(view: Float[Tensor, "batch channel height width"]) -> float:
    """Return the largest standard deviation of a channel."""
    return float(view.transpose(0, 1).flatten(1).std(1).max())


def information(
    embeddings: Sequence[Tensor], groups: Int[np.ndarray, " image"] | None = None
) -> Estimate:
    """Return I_NCE of embeddings, by cosines, in matrices of about 1,024 pairs drawn at random.

    With many groups a matrix has one image of each; few are not looked at.
    """
    if groups is not None and len(np.unique(groups)) < FEW_GROUPS:
        groups = None
    first, second = (nn.functional.normalize(z.float(), dim=1) for z in embeddings)
    rows, aligned = matrices(torch.arange(len(first)), groups, CANDIDATES, seed=0)
    rows = rows.to(first.device)
    scores = torch.stack([first[one] @ second[one].mT / TEMPERATURE for one in rows])
    return estimate_from_scores(scores, "infonce", temperature=TEMPERATURE, aligned=aligned)


def estimate_record(estimate: Estimate) -> dict[str, Any]:
    """Return an estimate as plain JSON values."""
    return {**asdict(estimate), "warnings": list(estimate.warnings)}


class Watch:
    """Looks at the held-out images now and then, keeps the curve, and ends a failed game.

    Args:
        players: Whose game it is.
        held: Held-out images.
        memory: Labelled training images for a k-NN vote; None without labels.
        looks: How many times.
        restarts: Whether an early failure ends the game, so that another can begin.
        blind: Whether labels are shown only, and decide nothing: the unsupervised objective.
        latest: Where the bar finds the newest accuracy.
        seed: Of crops and noise.
    """

    def __init__(
        self,
        players: Players,
        *,
        held: Held,
        memory: Held | None,
        looks: int,
        restarts: bool,
        blind: bool,
        latest: Latest,
        seed: int,
    ) -> None:
        self.players, self.held, self.memory = players, held, memory
        self.looks, self.restarts, self.latest, self.seed = looks, restarts, latest, seed
        self.hidden = ("knn", "classifiers") if blind else ()
        self.history: list[dict[str, Any]] = []
        self.failing: dict[str, str] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the curve so far."""
        return {"history": self.history, "failing": self.failing}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.history, self.failing = list(state["history"]), dict(state["failing"])

    def __call__(self, seen: Seen) -> None:
        """Look if it is time to.

        Raises:
            Failed: If the game has failed early and for two looks, or diverged at all.
        """
        if not due(seen, max(1, seen.steps // self.looks)):
            return
        row = {"step": seen.step, "loss": seen.loss, "terms": dict(seen.terms)} | self.look()
        self.history.append(row)
        lasting = self.failing
        known = {name: value for name, value in row.items() if name not in self.hidden}
        self.failing = {f.name: f.message for f in failures(known, classes=self.held.classes)}
        early = self.restarts and 0.2 <= seen.step / seen.steps <= EARLY
        for name, message in self.failing.items():
            if name == "divergence" or (early and name in lasting and name != "saturation"):
                raise Failed(name, f"step {seen.step} of {seen.steps}: {message}")

    def look(self) -> dict[str, Any]:
        """Return what the held-out images show: information, accuracies, spread of each view.

        Accuracies are balanced: the mean over classes of the share found.
        """
        seen = outlook(self.players, self.held, seed=self.seed)
        known = self.held.known
        row: dict[str, Any] = {"n": len(known), "spread": list(seen.spread)}
        if not all(torch.isfinite(x).all() for x in (seen.first, seen.second)):
            return row | {"spread": [math.inf, math.inf]}
        if seen.embeddings:
            row["information"] = estimate_record(information(seen.embeddings, self.held.groups))
        labels = self.held.labels
        if labels is not None and seen.predicted:
            row["classifiers"] = [
                _balanced(p.numpy()[known], labels[known]) for p in seen.predicted
            ]
        if labels is not None and self.memory is not None and self.memory.labels is not None:
            memory = outlook(self.players, self.memory, seed=self.seed)
            row["knn"] = [
                _balanced(
                    knn_predict(
                        h, self.memory.labels, queries[known], classes=self.held.classes
                    ).numpy(),
                    labels[known],
                )
                for h, queries in ((memory.first, seen.first), (memory.second, seen.second))
            ]
            self.latest.knn = max(row["knn"])
        return row


def _balanced(predicted: Int[np.ndarray, " row"], labels: Int[np.ndarray, " row"]) -> float:
    """Return the balanced accuracy."""
    return float((predicted == labels) @ class_weights(labels))


def failures(row: Mapping[str, Any], *, classes: int) -> list[Failure]:
    """Return what has failed at a look.

    - divergence: values that are not finite, or a channel's deviation above 100.
    - collapse: a view is constant, or the views share nothing and the labels cannot be read.
    - saturation: the bound is at its ceiling, so that the generator's gradient says little.
    - one-sided: one view's accuracy is chance while the other's is well above it.
    """
    found = []
    low, high = min(row["spread"]), max(row["spread"])
    if not math.isfinite(high) or high > FAR:
        return [Failure("divergence", "the generator's channels have left every bound")]
    if low < CONSTANT:
        found.append(Failure("collapse", f"a view is constant (deviation {low:.1e})"))
    both = [row[key] for key in ("classifiers", "knn") if key in row]
    read = [max(views) for views in zip(*both, strict=True)]
    known = row.get("information")
    if known and known["value"] > known["ceiling"] - SATURATION:
        found.append(
            Failure(
                "saturation",
                f"the bound, {known['value']:.2f} nats, is at its ceiling {known['ceiling']:.2f} "
                f"({known['ceiling_name']}): what the views share beyond it is not seen",
            )
        )
    if not read:
        return found
    chance, error = 1 / classes, math.sqrt((1 - 1 / classes) / classes / row["n"])
    if known and known["value"] < NOTHING and max(read) < chance + 2 * error:
        found.append(
            Failure(
                "collapse",
                f"the views share {known['value']:.2f} nats and the labels cannot be read from "
                "either",
            )
        )
    one = one_sided(read, chance=chance, error=error)
    return found if one is None else [*found, one]


def one_sided(accuracies: Sequence[float], *, chance: float, error: float) -> Failure | None:
    """Return the failure of one view that carries everything about the labels."""
    low, high = min(accuracies), max(accuracies)
    if low > chance + 2 * error or high < chance + 6 * error:
        return None
    weak = "first" if accuracies[0] == low else "second"
    return Failure(
        "one-sided",
        f"one view carries everything: the labels are read from the {weak} view with accuracy "
        f"{low:.3f} (chance {chance:.3f}), from the other with {high:.3f}",
    )


def verdict(record: Mapping[str, Any]) -> dict[str, str]:
    """Return a word and the reason, from the fresh critics and encoders of a finished record."""
    rows = record["critics"]
    gaps = [row["learned"]["value"] - row["raw"]["value"] for row in rows]
    errors = [
        math.hypot(row["learned"]["standard_error"], row["raw"]["standard_error"]) for row in rows
    ]
    ceilings = [
        any("saturated" in warning for warning in row["raw"]["warnings"])
        for row in rows
        if row["raw"]["ceiling"] is not None
    ]
    fell = [gap < -2 * error for gap, error in zip(gaps, errors, strict=True)]
    rose = [gap > 2 * error for gap, error in zip(gaps, errors, strict=True)]
    ranged = f"{min(gaps):+.2f} to {max(gaps):+.2f} nats".replace("-", "−")
    ranged += f" over {len(rows)} fresh critics"
    if all(fell):
        word = "the learned views share less"
    elif all(rose):
        word = "the learned views share more"
    elif any(fell) and any(rose):
        word = "the fresh critics contradict each other"
    elif any(fell):
        word = "not every fresh critic finds that the learned views share less"
    elif ceilings and all(ceilings):
        word = "whether less is shared cannot be told, at the ceiling"
    elif all(g - 2 * e > -SAME_NATS for g, e in zip(gaps, errors, strict=True)):
        word = "no less is shared"
    else:
        word = "whether less is shared cannot be told"
    saturated = sum(ceilings)
    why = f"Learned minus raw: {ranged}, on images that the generator never saw"
    why += f"; {saturated} of them at their ceiling on the raw split." if saturated else "."
    raw, learned = (record["encoders"][name].get("accuracy") for name in ("raw", "learned"))
    if raw is None or learned is None:
        return {"word": word, "why": f"{why} Without labels nobody knows whether it was noise."}
    gain = 100 * (learned["test"] - raw["test"])
    errors_of_labels = [one["standard_error"] for one in (learned, raw)]
    error = math.inf if None in errors_of_labels else 100 * math.hypot(*errors_of_labels)
    word += _of_labels(gain, error)
    why += (
        f" A linear probe on fresh encoders reads the labels of {learned['n']:,} test images with "
        f"{100 * learned['test']:.1f} % balanced accuracy on the learned and "
        f"{100 * raw['test']:.1f} % on the raw split ({gain:+.1f} points, "
        f"{f'± {1.96 * error:.1f}' if math.isfinite(error) else 'how sure is not known'}, one "
        "training each)."
    )
    return {"word": word, "why": why}


def _of_labels(gain: float, error: float) -> str:
    """Say what became of the labels, from points gained and their standard error."""
    if gain < -2 * error:
        return ", and lose part of the labels"
    if gain > 2 * error:
        return ", and serve the labels better"
    if gain - 2 * error > -100 * SAME_SHARE:
        return "; the labels are read as well as before"
    return "; whether the labels are read as well cannot be told"
