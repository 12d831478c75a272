"""Audit of a policy: what each operation removes, what stays readable of it, and what it costs.

Reading order: `audit_variants` (what is compared), `audit_critic` (how information is measured),
`audit_reading` (what a probe reads), then `audit_views` here.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from lightning_fabric import Fabric
from torch import nn

from coview import data
from coview.data import Dataset, fingerprint, label_fingerprint
from coview.encoders import Encoder
from coview.random import generator
from coview.search import audit_critic as critic
from coview.search.audit_critic import Measured, Parts
from coview.search.audit_reading import Reading, read_parameters
from coview.search.audit_variants import FRAME, Comparison, Kept, Variants, name_of
from coview.search.begun import begun
from coview.search.progress import bar
from coview.training.devices import start
from coview.training.features import extract
from coview.training.job import find_policy
from coview.training.loading import load, save_encoder
from coview.training.loop import Stopped
from coview.training.pretrain import default_views
from coview.training.run_folder import RunFolder, environment
from coview.warn import add_kept_warnings, kept_warnings, warn

FORMAT = 1
LEAST_IMAGES = 100
FEWEST_STEPS = 30

_REPEATS = 9
_TIMED = 256
_SHOWN, _DRAWS = 6, 24
_WARM = 3


@kept_warnings()
def audit_views(
    source: Any,  # noqa: ANN401
    *,
    views: Any = "auto",  # noqa: ANN401
    size: int | None = None,
    minutes: float = 4.0,
    steps: int | None = None,
    encoder: "nn.Module | Path | str | None" = None,
    out: Path | str = Path("audit"),
    seed: int = 0,
) -> Path:
    """Measure what each operation of a policy does to the information that two views share.

    Alone, an operation is added to the crop; left out, it is taken from the whole policy. Both are
    differences of two lower bounds by the same critic in nats, "at least" where the larger one has
    reached its ceiling. The same call goes on after an interruption.

    Args:
        source: A folder, an .npz or .npy file, arrays, tensors, a `Dataset`, or `sample`.
        views: A preset, a policy file or a `Policy`; `auto` is what `pretrain` would take. Of more
            than two views the first two are looked at.
        size: Side of images and views in pixels; default: as stored.
        minutes: Time for all of it: measured once and turned into steps, which are recorded.
        steps: Of the critic's encoder, instead of minutes.
        encoder: Whose representations are asked for the parameters: a run folder or a module;
            default: the critic's own encoder.
        out: Folder for `audit.json`, `pictures.npz` and `encoder.safetensors`.
        seed: Of split, weights, batches and views.

    Returns:
        The folder.

    Raises:
        ValueError: If there are fewer than 100 images, the views are no policy of two views with
            operations, or an argument is out of range.
        FileNotFoundError: If there is no such source, policy file or run.
        FileExistsError: If the folder holds something else than this audit.
        OSError: If the folder cannot be written.
        coview.training.loop.Stopped: After a signal.
    """
    if not 0 < minutes < float("inf"):
        raise ValueError(f"minutes must be above 0, got {minutes}")
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    fabric, _ = start(accelerator="auto", devices=1, nodes=1, precision="auto")
    dataset = data.open(source, size=size, largest=96 if fabric.device.type == "cpu" else 224)
    if len(dataset) < LEAST_IMAGES:
        raise ValueError(
            f"source: an audit needs at least {LEAST_IMAGES} images to fit, choose and measure; "
            f"{dataset.name} has {len(dataset)}"
        )
    if isinstance(views, str) and views == "auto":
        views = default_views(dataset.size)
    policy = find_policy(views) if isinstance(views, str) else views
    variants = Variants.of(policy)
    reader = load(encoder) if isinstance(encoder, str | Path) else encoder
    if reader is not None:
        extract(reader.to(fabric.device), dataset, np.arange(2))  # errors come before the work
    folder = RunFolder(out)
    asked = {
        "policy": variants.policy.to_dict(),
        "images": fingerprint(dataset),
        "size": dataset.size,
        "steps": steps,
        "minutes": minutes if steps is None else None,
        "groups": None
        if dataset.groups is None
        else label_fingerprint(replace(dataset, labels=None, classes=())),
        "encoder": None if encoder is None else _name(encoder),
        "weights": None if reader is None else _digest(reader),
        "seed": seed,
    }
    record = _begin(folder, asked, dataset, variants, of=len(policy.views))
    if record["status"] != "finished":
        try:
            _run(folder, record, dataset, variants, reader, fabric)
        except (Stopped, KeyboardInterrupt) as error:
            error.add_note(f"the audit is in {folder.path}; the same command goes on with it")
            raise
    return folder.path


def _name(encoder: "nn.Module | Path | str") -> str:
    return type(encoder).__name__ if isinstance(encoder, nn.Module) else str(encoder)


def _digest(reader: nn.Module) -> str:
    """Return a short hash of an encoder's weights."""
    found = hashlib.sha256()
    for name, values in reader.state_dict().items():
        found.update(name.encode())
        found.update(values.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def _begin(
    folder: RunFolder, asked: dict[str, Any], dataset: Dataset, variants: Variants, *, of: int
) -> dict[str, Any]:
    """Return the record of this audit: the one that was begun here, or a new one."""
    record = begun(folder, "audit.json", asked, dataset, version=FORMAT)
    if "variants" in record:
        return record
    notes = []
    if of > 2:
        notes.append(f"The policy makes {of} views; the first two are looked at.")
    if not variants.crops:
        low, high = (round(100 * share) for share in FRAME.scale)
        notes.append(
            f"The policy has no crop. Every view was first cropped to {low} to {high} % of the "
            "image: without one, two views share all there is to measure."
        )
    record |= {
        "policy": variants.policy.name,
        "crops": list(variants.crops),
        "whole": name_of(variants.keys),
        "notes": notes,
        "variants": {},
    }
    add_kept_warnings(record)
    folder.write(record, "audit.json")
    return record


def _run(
    folder: RunFolder,
    record: dict[str, Any],
    dataset: Dataset,
    variants: Variants,
    reader: nn.Module | None,
    fabric: Fabric,
) -> None:
    """Do what the record lacks, writing it after each part."""
    begun, before, seed = time.perf_counter(), record["seconds"], record["asked"]["seed"]

    def save(**values: Any) -> None:  # noqa: ANN401
        record.update(values, seconds=round(before + time.perf_counter() - begun, 2))
        add_kept_warnings(record)
        folder.write(record, "audit.json")

    parts = critic.divide(dataset, seed=seed)
    record["data"] |= {name: len(rows) for name, rows in parts._asdict().items()}
    audit = _Audit(dataset=dataset, variants=variants, parts=parts, seed=seed, fabric=fabric)
    if "pictures" not in record:
        folder.write_arrays("pictures.npz", pictures=audit.pictures())
        save(pictures="pictures.npz", cost=audit.costs())
    if "steps" not in record:
        wanted = record["asked"]["steps"]
        save(steps=wanted or audit.steps_in(record["asked"]["minutes"] - record["seconds"] / 60))
    every = variants.all()
    work = record["steps"] * audit.step_work + (len(every) + 1) * audit.variant_work
    with bar("audit", work) as shown:
        if folder.encoder.is_file():
            encoder = load(folder.encoder)
            shown.skip(record["steps"] * audit.step_work)
        else:
            part_way = folder.path / "encoder.part-way.pt"
            encoder = audit.train(
                record["steps"],
                checkpoint=part_way,
                advance=lambda: shown.advance("encoder", audit.step_work),
                skip=lambda steps: shown.skip(steps * audit.step_work),
            )
            save_encoder(encoder, folder.encoder, backbone="compact")
            part_way.unlink()
        encoder = encoder.to(fabric.device)
        for kept in every:
            name = name_of(kept)
            if name in record["variants"]:
                shown.skip(audit.variant_work)
                continue
            shown.advance(name, 0)
            record["variants"][name] = _measured(kept, audit.measure(encoder, kept))
            save()
            shown.advance(name, audit.variant_work)
        shown.advance("reading", 0)
        readings = audit.read(encoder if reader is None else reader)
        shown.advance("reading", audit.variant_work)
    operations = [_operation(key, record, variants, readings) for key in variants.keys]
    order = sorted(operations, key=lambda row: -row["removes"])
    save(
        operations=operations,
        order=[row["name"] for row in order],
        level=_level(order, record["variants"]),
        reader=record["asked"]["encoder"] or "the audit’s own encoder",
        environment=environment(fabric.device),
        status="finished",
    )


@dataclass(frozen=True, kw_only=True)
class _Audit:
    """The parts of an audit that need images."""

    dataset: Dataset
    variants: Variants
    parts: Parts
    seed: int
    fabric: Fabric

    @property
    def step_work(self) -> int:
        """Passes of a view through the encoder in a step; one back costs as much as two."""
        return 3 * 2 * sum(critic.BATCHES)

    @property
    def variant_work(self) -> int:
        """Passes of a view through the encoder for a variant."""
        fitted, measured = len(self.parts.critics), len(self.parts.measure)
        return 2 * (critic.PASSES * (fitted + measured) + len(self.parts.choose))

    def train(
        self,
        steps: int,
        *,
        advance: Callable[[], object],
        checkpoint: Path | None = None,
        skip: Callable[[int], object] = lambda _: None,
    ) -> Encoder:
        weakest, strongest = self.variants.crops, self.variants.keys
        return critic.train_encoder(
            self.dataset,
            (self.variants.keep(weakest), self.variants.keep(strongest)),
            self.parts.fit,
            size=self.dataset.size,
            steps=steps,
            seed=self.seed,
            fabric=self.fabric,
            checkpoint=checkpoint,
            advance=advance,
            skip=skip,
        )

    def measure(self, encoder: Encoder, kept: Kept) -> Measured:
        return critic.measure(
            encoder,
            self.dataset,
            self.variants.keep(kept),
            self.parts,
            size=self.dataset.size,
            seed=self.seed,
            fabric=self.fabric,
        )

    def read(self, encoder: nn.Module) -> list[Reading]:
        return read_parameters(
            encoder.eval(),
            self.dataset,
            self.variants.policy,
            fit=self.parts.critics,
            choose=self.parts.choose,
            measure=self.parts.measure,
            size=self.dataset.size,
            seed=self.seed,
        )

    def steps_in(self, minutes: float) -> int:
        """Return the steps for which there is time, after measuring a step and a variant."""
        begun = time.perf_counter()
        times: list[float] = []
        encoder = self.train(_WARM + 6, advance=lambda: times.append(time.perf_counter()))
        of_step = float(np.median(np.diff(times[_WARM:])))
        started = time.perf_counter()
        self.measure(encoder, self.variants.crops)
        now_at = time.perf_counter()
        parts = (len(self.variants.all()) + 1.5) * (now_at - started)
        steps = int((60 * minutes - (now_at - begun) - parts) / of_step)
        if steps < FEWEST_STEPS:
            need = (FEWEST_STEPS * of_step + parts + now_at - begun) / 60
            warn(
                f"minutes: too few for a critic, {FEWEST_STEPS} steps are taken; this will take "
                f"about {need:.1f} minutes",
                stacklevel=4,
            )
        return max(FEWEST_STEPS, steps)

    def costs(self) -> dict[str, float]:
        """Return microseconds a view: of the whole policy, and how many less without each one."""
        rows = self.parts.fit[:_TIMED]
        images = self.dataset.fetch(rows)
        policies = {"": self.variants.policy}
        for key in self.variants.keys:
            policies[key] = self.variants.without(key)
        seconds: dict[str, list[float]] = {key: [] for key in policies}
        for repeat in range(-1, _REPEATS):
            for key, policy in policies.items():
                started = time.perf_counter()
                policy(images, index=rows, seed=self.seed, epoch=repeat, size=self.dataset.size)
                if repeat >= 0:
                    seconds[key].append(time.perf_counter() - started)
        table = 1e6 / (2 * len(rows)) * np.array(list(seconds.values()))
        saved = np.median(table[0] - table[1:], axis=1)
        found = dict(zip(self.variants.keys, saved.tolist(), strict=True))
        return {key: round(value, 2) for key, value in found.items()} | {
            "all": round(float(np.median(table[0])), 2)
        }

    def pictures(self) -> UInt8[np.ndarray, "operation picture channel size size"]:
        """Return for each operation an image and views by that operation alone, weak to strong."""
        order = generator(self.seed, "audit pictures").permutation(len(self.dataset))
        shown = []
        for place, key in enumerate(self.variants.keys):
            one = order[[place % len(order)]]
            image = self.dataset.fetch(one).cpu()
            made = self.variants.only(key)(
                image.expand(_DRAWS, -1, -1, -1),
                index=np.arange(_DRAWS),
                seed=self.seed,
                epoch=0,
                size=self.dataset.size,
            ).views.flatten(0, 1)
            change = (made - image / 255).abs().mean((1, 2, 3)).numpy()
            chosen = np.argsort(change)[np.linspace(0, len(change) - 1, _SHOWN).astype(int)]
            views = (255 * made[chosen]).round().byte().numpy()
            shown.append(np.concatenate([image.numpy(), views]))
        return np.stack(shown)


def _measured(kept: Kept, measured: Measured) -> dict[str, Any]:
    return {
        "operations": list(kept),
        **measured.to_record(),
        "replicates": [round(value, 6) for value in measured.replicates.tolist()],
    }


def _operation(
    key: str, record: dict[str, Any], variants: Variants, readings: list[Reading]
) -> dict[str, Any]:
    """Return the row of an operation."""
    alone = _removed(variants.alone(key), record["variants"])
    left_out = _removed(variants.left_out(key), record["variants"])
    cost = record["cost"][key]
    return {
        "name": key,
        "alone": alone,
        "left_out": left_out,
        "removes": round(float(np.mean([one["nats"] for one in _counting(alone, left_out)])), 4),
        "microseconds": cost,
        "share_of_time": round(max(0.0, cost) / record["cost"]["all"], 4),
        "readable": [
            {
                "parameter": reading.parameter,
                "measure": reading.measure,
                "value": round(reading.value, 4),
                "interval": [round(edge, 4) for edge in reading.interval],
                "chance": round(reading.chance, 4),
                "readable": round(reading.readable, 4),
                "n": reading.n,
            }
            for reading in readings
            if reading.operation == key
        ],
    }


def _removed(comparison: Comparison, measured: dict[str, Any]) -> dict[str, Any]:
    """Return the information that an operation removes; its error is paired over the images."""
    without, having = (measured[name_of(kept)] for kept in comparison)
    nats = without["nats"] - having["nats"]
    error = critic.spread(_replicates(without, having))
    return {
        "nats": round(nats, 4),
        "standard_error": round(error, 4),
        "interval": [round(nats + side * 1.96 * error, 4) for side in (-1, 1)],
        "at_least": without["saturated"],
        "without": name_of(comparison.without),
        "having": name_of(comparison.having),
    }


def _replicates(without: dict[str, Any], having: dict[str, Any]) -> np.ndarray:
    found: np.ndarray = np.subtract(without["replicates"], having["replicates"])
    return found


def _counting(alone: dict[str, Any], left_out: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the amounts that count: one that is only "at least" does not lower the other."""
    low, high = sorted((alone, left_out), key=lambda removed: removed["nats"])
    return [high] if low["at_least"] else [low, high]


def _level(order: list[dict[str, Any]], measured: dict[str, Any]) -> list[list[str]]:
    """Return the pairs of operations whose amounts the images do not tell apart."""

    def replicates(row: dict[str, Any]) -> np.ndarray:
        counted = _counting(row["alone"], row["left_out"])
        each = [_replicates(measured[one["without"]], measured[one["having"]]) for one in counted]
        counting: np.ndarray = np.stack(each).mean(0)
        return counting

    return [
        [more["name"], less["name"]]
        for more, less in combinations(order, 2)
        if more["removes"] - less["removes"]
        <= 1.96 * critic.spread(replicates(more) - replicates(less))
    ]
