"""What a representation still tells of how a view was made: record parameters by ridge regression.

A probe sees how the representation of a view differs from that of the untouched image, with sign
and without: an encoder that ignores an operation leaves it nothing to read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, Shaped
from torch import Tensor, nn

from coview.data import Dataset
from coview.probes.intervals import interval, resample
from coview.views import Policy, Record

STRENGTHS = tuple(10.0**power for power in range(-3, 5))
"""Penalties of the ridge for each row and unit of variance, one of which is chosen."""

RAREST = 0.03
"""A class rarer than this among the rows that fit is not asked for."""

Weights = Float[np.ndarray, "draw row"]

_RESAMPLES = 400
_FEWEST = 8
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How well one parameter of an operation can be read.

    Attributes:
        operation: Name of the operation in the record.
        parameter: Name of the parameter; a crop's are `area`, `across` and `down` (its centre).
        measure: R² for numbers, balanced accuracy for what is either so or so.
        value: On images that neither encoder nor probe has seen.
        interval: 95 %, bootstrap over images.
        chance: The value of a probe that knows nothing.
        n: Views that it was measured on.
    """

    operation: str
    parameter: str
    measure: Literal["R²", "balanced accuracy"]
    value: float
    interval: tuple[float, float]
    chance: float
    n: int

    @property
    def readable(self) -> float:
        """The value on a scale on which 0 is chance and 1 is perfect."""
        return (self.value - self.chance) / (1 - self.chance)


@dataclass(frozen=True)
class _Rows:
    """Features of views, what was drawn for them, and the image that each is of."""

    features: Float[Tensor, "row dim"]
    columns: Mapping[str, Shaped[np.ndarray, " row"]]
    image: Int64[np.ndarray, " row"]


def read_parameters(
    encoder: nn.Module,
    dataset: Dataset,
    policy: Policy,
    *,
    fit: Int64[np.ndarray, " fit"],
    choose: Int64[np.ndarray, " choose"],
    measure: Int64[np.ndarray, " measure"],
    size: int,
    seed: int = 0,
) -> list[Reading]:
    """Return how well each parameter that varies can be read from the representations.

    Parameters of an operation that was not applied do not count: only whether it was.

    Args:
        encoder: Images to representations [batch, dim], in evaluation mode.
        dataset: The images.
        policy: How the views are made; rows of all its views are taken together.
        fit: Images whose views fit the ridge.
        choose: Images whose views choose its strength.
        measure: Images whose views measure.
        size: Side of the views in pixels.
        seed: Of the views and the bootstrap.
    """
    parts = [
        _rows(encoder, dataset, policy, rows, size=size, seed=seed)
        for rows in (fit, choose, measure)
    ]
    mean, scale = parts[0].features.mean(0), parts[0].features.std(0)
    scale = torch.where(scale > 1e-6 * scale.max().clamp(min=1e-30), scale, 1.0)
    scaled = [_Rows((p.features - mean) / scale, p.columns, p.image) for p in parts]
    names = [name for name in parts[0].columns if all(_varies(p.columns[name]) for p in parts)]
    return [_read(name, *scaled, seed=seed) for name in names]


@torch.no_grad()
def _rows(
    encoder: nn.Module,
    dataset: Dataset,
    policy: Policy,
    rows: Int64[np.ndarray, " image"],
    *,
    size: int,
    seed: int,
) -> _Rows:
    """Make views and take them in, a few at a time."""
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    features: list[Tensor] = []
    columns: list[dict[str, np.ndarray]] = []
    for index in np.array_split(rows, -(-len(rows) // _BATCH)):
        images = dataset.fetch(index)
        made, record = policy(images, index=index, seed=seed, epoch=0, size=size)
        untouched = encoder(images.to(device)).float().cpu()
        of_views = encoder(made.to(device).flatten(0, 1)).float().cpu()
        moved = of_views - untouched.repeat(len(made), 1)
        features.append(torch.cat([moved, moved.abs()], 1))
        columns.append(targets(record) | {"image": np.tile(index, len(made))})
    joined = {name: np.concatenate([part[name] for part in columns]) for name in columns[0]}
    return _Rows(torch.cat(features), joined, joined.pop("image"))


def targets(record: Record) -> dict[str, Shaped[np.ndarray, " row"]]:
    """Return what is asked of the probe, {operation.parameter: value of each view}.

    A crop's box becomes its share of the image's area and its centre; amounts that mean something
    else for each choice of an operation are left out. Numbers are NaN where the operation was not
    applied.
    """
    table = record.table()
    found: dict[str, np.ndarray] = {}
    sides = [
        np.tile(np.broadcast_to(side, len(record)), len(record.numbers))
        for side in record.shape[1:]
    ]
    for name in dict.fromkeys(column.partition(".")[0] for column in table if "." in column):
        own = {c.partition(".")[2]: v for c, v in table.items() if c.startswith(f"{name}.")}
        if {"top", "left", "height", "width"} <= own.keys():
            found[f"{name}.area"] = own["height"] * own["width"] / (sides[0] * sides[1])
            found[f"{name}.across"] = (own["left"] + own["width"] / 2) / sides[1]
            found[f"{name}.down"] = (own["top"] + own["height"] / 2) / sides[0]
            continue
        chosen = any(values.dtype.kind == "U" for values in own.values())
        for parameter, values in own.items():
            if values.dtype.kind in "fiu":
                if chosen:
                    continue
                values = np.where(own.get("applied", True), values, np.nan)
            found[f"{name}.{parameter}"] = values
    return found


def _varies(values: Shaped[np.ndarray, " row"]) -> bool:
    if values.dtype.kind == "f":
        known = values[np.isfinite(values)]
        return len(known) >= _FEWEST and float(np.ptp(known)) > 1e-6 * float(np.abs(known).max())
    return len(_classes(values)) > 1


def _classes(values: Shaped[np.ndarray, " row"]) -> list[bool | str]:
    found, counts = np.unique(values, return_counts=True)
    common: list[bool | str] = found[counts >= RAREST * len(values)].tolist()
    return common


def _read(name: str, fit: _Rows, choose: _Rows, measure: _Rows, *, seed: int) -> Reading:
    operation, _, parameter = name.partition(".")
    numeric = fit.columns[name].dtype.kind == "f"
    classes = [] if numeric else _classes(fit.columns[name])
    goals = [_goals(part.columns[name], classes) for part in (fit, choose, measure)]
    kept = [torch.from_numpy(np.isfinite(goal).all(1)) for goal in goals]
    rows = [part.features[keep] for part, keep in zip((fit, choose, measure), kept, strict=True)]
    wanted = [torch.from_numpy(g)[keep] for g, keep in zip(goals, kept, strict=True)]
    guesses = _ridge(rows, wanted, weigh=not numeric)
    score = _r_squared if numeric else _balanced_accuracy
    image = measure.image[kept[2].numpy()]
    drawn = resample(len(image), groups=image, resamples=_RESAMPLES, seed=seed).test
    once = np.ones((1, len(image)), np.float32)
    return Reading(
        operation=operation,
        parameter=parameter,
        measure="R²" if numeric else "balanced accuracy",
        value=float(score(guesses, wanted[2], once)[0]),
        interval=interval(score(guesses, wanted[2], drawn)),
        chance=0.0 if numeric else 1 / len(classes),
        n=len(image),
    )


def _r_squared(guesses: Tensor, wanted: Tensor, weights: Weights) -> Float[np.ndarray, " draw"]:
    """Return 1 - squared error / squared distance to the mean, for each weighting of the rows."""
    errors = (guesses - wanted).square().sum(1).numpy()
    spread = (wanted - wanted.mean(0)).square().sum(1).numpy()
    found: np.ndarray = 1 - (weights @ errors) / (weights @ spread)
    return found


def _balanced_accuracy(
    guesses: Tensor, wanted: Tensor, weights: Weights
) -> Float[np.ndarray, " draw"]:
    """Return the mean over the classes of the share that is right, of those that occur."""
    member = wanted.argmax(1).numpy()
    right = guesses.argmax(1).numpy() == member
    of_class = member[:, None] == np.unique(member)
    shares = (weights @ (right[:, None] & of_class)) / np.maximum(weights @ of_class, 1e-9)
    found: np.ndarray = shares.mean(1)
    return found


def _goals(
    values: Shaped[np.ndarray, " row"], classes: list[bool | str]
) -> Float64[np.ndarray, "row goal"]:
    """Return numbers as one column, classes as one each: 1, 0, or NaN for a class not asked for."""
    if not classes:
        return values.astype(np.float64)[:, None]
    goals: Float64[np.ndarray, "row goal"] = np.equal(values[:, None], np.array(classes)).astype(
        np.float64
    )
    goals[goals.sum(1) == 0] = np.nan
    return goals


def _ridge(rows: list[Tensor], wanted: list[Tensor], *, weigh: bool) -> Tensor:
    """Fit on the first rows, choose the strength by the second, predict the third."""
    x, y = rows[0].double(), wanted[0]
    weight = torch.full((len(x),), 1 / len(x), dtype=x.dtype)
    if weigh:
        weight = (1 / (y.sum(0) * y.shape[1]))[y.argmax(1)]
    means = (weight @ x, weight @ y)
    x, y = x - means[0], y - means[1]
    gram = (x * weight[:, None]).T @ x
    values, vectors = torch.linalg.eigh(gram)
    turned = vectors.T @ ((x * weight[:, None]).T @ y)

    def predict(part: Tensor, strength: float) -> Tensor:
        solved = vectors @ (turned / (values.clamp(min=0) + strength)[:, None])
        predicted: Tensor = (part.double() - means[0]) @ solved + means[1]
        return predicted

    def loss(strength: float) -> float:
        error = (predict(rows[1], strength) - wanted[1]).square().sum(1)
        if not weigh:
            return float(error.mean())
        member = wanted[1].argmax(1)
        return float(torch.stack([error[member == c].mean() for c in torch.unique(member)]).mean())

    return predict(rows[2], min(STRENGTHS, key=loss))
