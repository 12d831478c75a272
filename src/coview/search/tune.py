"""Tuning of views: policies compared by short trainings that share work, within a budget of time.

Reading order: `tune_points` (what is compared), `tune_trials` (how one is trained and judged),
`two_lines` (the test of the inverted U), then `tune_views` here, stage by stage.
"""

import math
import shutil
import time
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from scipy.stats import kendalltau

from coview import data, views
from coview.data import Dataset, fingerprint, label_fingerprint
from coview.encoders import Encoder
from coview.probes.intervals import FEWEST_UNITS, interval, interval_of_difference
from coview.random import generator
from coview.search import tune_points
from coview.search.audit import LEAST_IMAGES
from coview.search.begun import begun
from coview.search.learn_game import Failed
from coview.search.learn_judge import judge_encoders, train_encoders
from coview.search.learn_watch import Held
from coview.search.progress import Bar, bar
from coview.search.tune_points import Point, Strengths
from coview.search.tune_settings import Tuning
from coview.search.tune_trials import FEWEST_LABELS, Judged, Mixture, Readings, Trials
from coview.search.two_lines import two_lines
from coview.training.devices import start
from coview.training.job import find_objective
from coview.training.learner import NonFinite
from coview.training.loop import Observer, Stopped
from coview.training.pretrain import default_views
from coview.training.run_folder import RunFolder, environment
from coview.views import Policy
from coview.views.generators import PixelFlow
from coview.warn import add_kept_warnings, kept_warnings, warn

FORMAT = 4

RUNGS = 3
"""Trainings of a point that survives all of them."""

FACTOR = 3
"""One in so many survives a rung. With `steps` it goes on so many times as long; with minutes the
rungs share the time, which comes to about as much."""

TRUNK = 0.2
"""Share of the training time that all points have in common."""

FEWEST_STEPS = 10

OF_LABELS = 2
"""Judgements that finding the number of labels to show takes as long as."""

PROVISIONAL = 100
"""Labels of each class while the work is planned, if the trunk is to tell: five probes of so many
take longest."""

DIVERGED = Judged(None, None, math.nan, math.nan, "diverged")

_SHOWN = 4

_OTHERWISE = "try another objective, a larger batch_size or larger images (size), in another folder"


@kept_warnings()
def tune_views(source: Any, **settings: Any) -> Path:  # noqa: ANN401
    """Compare policies by short trainings, and write the best one to a file.

    One encoder learns from the views of all starting points in turn. With it, the information that
    the views of each point share is measured on images it has not seen. Every point goes on from
    there with its own views, the best third goes on, and the best third of these again; each of
    the three rungs takes as much time in all. The default is never left behind, as the reference.
    Points are judged by linear probes, shown few labels, on validation images: by the mean over
    classes of the share found. The best and the default are read once more on test images, which
    can do no more than bring the default back. Without labels points are judged by the effective
    rank of their representations; a collapse counts as none.

    The same call goes on after an interruption.

    Args:
        source: A folder, an .npz or .npy file, arrays, tensors, a `Dataset`, or `sample`.
        **settings: The other fields of `coview.search.Tuning`.

    Returns:
        The folder: `tune.json`, `policy.json`, `pictures.npz`.

    Raises:
        ValueError: If there are fewer than 100 images, or an argument is out of range.
        FileNotFoundError: If there is no such source.
        FileExistsError: If the folder holds something else than this tuning.
        ImportError: If Optuna is not installed and points are to be proposed.
        RuntimeError: If the training of every point diverges, or that with which they begin.
        OSError: If the folder cannot be written.
    """
    if isinstance(one := settings.get("splits"), str):
        settings["splits"] = (one,)
    asked = Tuning(source=source, **settings)
    if find_objective(asked.objective).needs.labels:
        raise ValueError(
            f"objective: {asked.objective} learns from labels; a tuning trains without them, and "
            "judges by them"
        )
    fabric, _ = start(accelerator="auto", devices=1, nodes=1, precision="auto")
    dataset = _open(asked, largest=96 if fabric.device.type == "cpu" else 224)
    for name in asked.splits:
        PixelFlow(name, couplings=1).channels(dataset.channels)
    trials = Trials.of(
        dataset,
        objective=asked.objective,
        batch_size=asked.batch_size,
        labels_per_class=asked.labels_per_class or PROVISIONAL,
        seed=asked.seed,
        fabric=fabric,
    )
    tuning = _Tuning(RunFolder(asked.out), asked, trials)
    if tuning.record["status"] != "finished":
        try:
            tuning.run()
        except (Stopped, KeyboardInterrupt) as error:
            error.add_note(f"the tuning is in {asked.out}; the same command goes on with it")
            raise
        except NonFinite as error:  # of a point it would not come here
            raise RuntimeError(
                f"the training that all points begin with has diverged; {_OTHERWISE}"
            ) from error
    shutil.rmtree(tuning.trained, ignore_errors=True)
    return tuning.folder.path


def _open(asked: Tuning, *, largest: int) -> Dataset:
    unwanted = isinstance(asked.labels, str) and asked.labels == "none"
    dataset = data.open(
        asked.source,
        size=asked.size,
        largest=largest,
        labels=None if unwanted else asked.labels,
        missing_labels="unlabelled",
    )
    if len(dataset) < LEAST_IMAGES:
        raise ValueError(
            f"source: tuning needs at least {LEAST_IMAGES} images to train and to judge; "
            f"{dataset.name} has {len(dataset)}"
        )
    return dataset


class _Tuning:
    """A tuning and its record, which is written after each piece of work."""

    def __init__(self, folder: RunFolder, asked: Tuning, trials: Trials) -> None:
        self.folder, self.asked, self.trials = folder, asked, trials
        self.dataset = trials.dataset
        self.trained = folder.path / "trials"
        default = default_views(self.dataset.size)
        self.starting = tune_points.starting_points(default)[: asked.points]
        if asked.points > len(self.starting):
            tune_points.check_installed()
        trials.check(self._policy(self.starting[0]))
        self.record = self._begin(default)
        self._begun, self._before = time.perf_counter(), self.record["seconds"]

    def _begin(self, default: str) -> dict[str, Any]:
        """Return the record of this tuning: the one that was begun here, or a new one."""
        asked = {
            **{
                name: getattr(self.asked, name)
                for name in (
                    "points",
                    "steps",
                    "size",
                    "batch_size",
                    "labels_per_class",
                    "seed",
                )
            },
            "minutes": self.asked.minutes if self.asked.steps is None else None,
            "splits": list(self.asked.splits),
            "objective": str(self.asked.objective),
            "images": fingerprint(self.dataset),
            "labels": label_fingerprint(self.dataset),
        }
        record = begun(self.folder, "tune.json", asked, self.dataset, version=FORMAT)
        if "points" in record:
            return record
        labels = self.dataset.labels
        record["data"] |= {
            "training": len(self.trials.parts.fit),
            "validation": len(self.trials.looked),
            "labelled": 0 if labels is None else int((labels >= 0).sum()),
            "classes": list(self.dataset.classes),
        }
        record |= {
            "judge": "rank" if self.trials.readings is None else "accuracy",
            "default": default,
            "points": [],
            "splits": [],
        }
        add_kept_warnings(record)
        self.folder.write(record, "tune.json")
        return record

    def _save(self, **values: Any) -> None:  # noqa: ANN401
        seconds = self._before + time.perf_counter() - self._begun
        self.record.update(values, seconds=round(seconds, 2))
        add_kept_warnings(self.record)
        self.folder.write(self.record, "tune.json")

    def run(self) -> None:
        """Do what the record lacks."""
        if "lengths" not in self.record:
            self._save(lengths=self._lengths())
        lengths = self.record["lengths"]
        longest = lengths["trunk"] + lengths["work"][0] // self.asked.points
        total = lengths["trunk"] + sum(lengths["work"]) + longest * len(self.asked.splits)
        with bar("tune", total) as shown:
            self._train_trunk(shown)
            self._show_labels()
            self._rung(0, self.asked.points)
            for number in range(self.asked.points):
                self._first_rung(number, shown)
            for rung in range(1, RUNGS):
                survivors = self._survivors(rung)
                self._rung(rung, len(survivors))
                for row in survivors:
                    self._climb(row, rung, shown)
            if "best" not in self.record:
                self._conclude()
            for name in self.asked.splits:
                self._split(name, longest, shown)
        self._save(environment=environment(self.trials.fabric.device), status="finished")

    def _lengths(self) -> dict[str, Any]:
        """Return the steps of the trunk and of each rung in all, so that all ends in time.

        The steps of a point follow when a rung begins and its points are known.
        """
        if (steps := self.asked.steps) is None:
            trunk, work = self._steps_in(60 * self.asked.minutes - self.record["seconds"])
        else:
            trunk = FACTOR * steps
            work = [n * steps * FACTOR**rung for rung, n in enumerate(self._most())]
        batch_size = self.trials.settings.batch_size
        return {"batch_size": batch_size, "trunk": trunk, "work": work, "rungs": [], "points": []}

    def _most(self) -> list[int]:
        """Return how many points reach each rung, at most: the default may go along."""
        many = [self.asked.points]
        for _ in range(1, RUNGS):
            many.append(math.ceil(many[-1] / FACTOR) + (many[-1] > 1))
        return many

    def _rung(self, rung: int, points: int) -> None:
        """Set how long each point of a rung is trained."""
        lengths, steps = self.record["lengths"], self.asked.steps
        if len(lengths["rungs"]) <= rung:
            each = lengths["work"][rung] // points if steps is None else steps * FACTOR**rung
            lengths["rungs"].append(each)
            lengths["points"].append(points)
            self._save()

    def _steps_in(self, seconds: float) -> tuple[int, list[int]]:
        begun = time.perf_counter()
        many, policy = self._most(), self._policy(self.starting[0])
        of_step = self.trials.seconds_per_step(policy)
        started = time.perf_counter()
        encoder = self.trials.train(policy, 1, start=None, end=self.trained / "scratch.pt")
        self.trials.judge(encoder, policy)
        of_judging = time.perf_counter() - started - of_step
        started = time.perf_counter()
        self.trials.measure(encoder, policy)
        of_measuring = time.perf_counter() - started
        splits = len(self.asked.splits)
        judgings = sum(many) + 2 * splits + OF_LABELS
        fixed = judgings * of_judging + many[0] * of_measuring
        steps = (seconds - (time.perf_counter() - begun) - fixed) / of_step
        of_rung = (1 - TRUNK) / RUNGS
        steps /= 1 + splits * (TRUNK + of_rung / many[0])
        fewest = FEWEST_STEPS * many[0] / of_rung
        if steps < fewest:
            steps = fewest
            warn(
                f"minutes: too few for {many[0]} points; this will take about "
                f"{(fixed + steps * of_step) / 60:.0f} minutes",
                stacklevel=5,
            )
        return round(TRUNK * steps), [round(of_rung * steps)] * RUNGS

    @property
    def _trunk(self) -> Path:
        return self.trained / "trunk.pt"

    @cached_property
    def _trunk_encoder(self) -> Encoder:
        return self.trials.encoder(self._trunk)

    def _file(self, number: int, rung: int) -> Path:
        return self.trained / f"{number}-{rung}.pt"

    def _policy(self, point: Point) -> Policy:
        if point.made == "default":
            return views.get(point.name)
        return point.strengths.policy(point.name, channels=self.dataset.channels)

    def _train_trunk(self, shown: Bar) -> None:
        steps = self.record["lengths"]["trunk"]
        if self._trunk.is_file():
            shown.skip(steps)
            return
        if self._rows():
            raise FileNotFoundError(
                f"out: {self.trained}, from which this tuning would go on, is not there; give "
                "another folder"
            )
        mixture = Mixture(policies=tuple(self._policy(point) for point in self.starting))
        self.trials.train(
            mixture,
            steps,
            start=None,
            end=self._trunk,
            advance=lambda: shown.advance("trunk", 1),
            skip=shown.skip,
        )

    def _show_labels(self) -> None:
        """Show the probes as many labels as leave the trunk the most room, unless told how many.

        With too many all points read the labels alike, with too few all are at chance: what is
        wanted is an accuracy half-way between chance and 1.
        """
        if self.trials.readings is None:
            return
        if "shown" not in self.record:
            told = self.asked.labels_per_class
            tried = {} if told else self.trials.by_labels(self._trunk_encoder)
            halfway = (1 + self._chance(self.trials.readings.judged)) / 2
            rows = [{"per_class": n, "accuracy": round(a, 4)} for n, a in tried.items()]
            chosen = told or min(tried, key=lambda count: abs(tried[count] - halfway))
            self._save(shown={"per_class": chosen, "trunk": rows})
        self.trials = self.trials.showing(self.record["shown"]["per_class"])

    def _chance(self, rows: Int64[np.ndarray, " image"]) -> float:
        assert self.dataset.labels is not None
        return 1 / len(np.unique(self.dataset.labels[rows]))

    def _first_rung(self, number: int, shown: Bar) -> None:
        """Measure what the views of a point share, and give it its first training."""
        rows = self.record["points"]
        if number >= len(rows):
            point = self.starting[number] if number < len(self.starting) else self._proposed(number)
            policy = self._policy(point)
            measured = self.trials.measure(self._trunk_encoder, policy)
            row = {
                "name": point.name,
                "made": point.made,
                "strengths": point.strengths.to_dict(),
                "policy": policy.to_dict(),
                "information": measured.to_record(),
                "rungs": [],
            }
            self._save(points=[*rows, row])
        self._climb(self.record["points"][number], 0, shown)

    def _proposed(self, number: int) -> Point:
        tried = [
            (Strengths(**row["strengths"]), value)
            for row in self._rows()
            if math.isfinite(value := self._value(row, 0))
        ]
        strengths = tune_points.propose(
            tried,
            number=number + 1 - len(self.starting),
            channels=self.dataset.channels,
            seed=self.asked.seed,
        )
        return Point(name=f"point {number + 1}", made="proposed", strengths=strengths)

    def _rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.record["points"]
        return rows

    def _value(self, row: dict[str, Any], rung: int) -> float:
        """Return what points are ordered by; the least where the training diverged."""
        found, judge = row["rungs"][rung], self.record["judge"]
        if found[judge] is None:
            return -math.inf
        collapsed = judge == "rank" and "collapse" in found["verdict"]
        return 0.0 if collapsed else float(found[judge])

    def _survivors(self, rung: int) -> list[dict[str, Any]]:
        """Return the best points of the rung before, and the default."""
        before = [
            row
            for row in self._rows()
            if len(row["rungs"]) >= rung and math.isfinite(self._value(row, rung - 1))
        ]
        if not before:
            raise RuntimeError(f"the training of every point has diverged; {_OTHERWISE}")
        ranked = sorted(before, key=lambda row: -self._value(row, rung - 1))
        kept = ranked[: math.ceil(len(ranked) / FACTOR)]
        default = self.record["default"]
        return kept + [row for row in ranked if row["name"] == default and row not in kept]

    def _climb(self, row: dict[str, Any], rung: int, shown: Bar) -> None:
        """Train a point on this rung, if it has not been, and judge it."""
        number = self._rows().index(row)
        steps = self.record["lengths"]["rungs"][rung]
        if len(row["rungs"]) > rung:
            shown.skip(steps)
            return
        started = time.perf_counter()
        before = self._file(number, rung - 1) if rung else self._trunk
        policy, end = self._policy(_point(row)), self._file(number, rung)
        try:
            if end.is_file():  # trained, and stopped while it was judged
                encoder = self.trials.encoder(end)
                shown.skip(steps)
            else:
                encoder = self.trials.train(
                    policy,
                    steps,
                    start=before,
                    end=end,
                    advance=lambda: shown.advance(f"{row['name']}, rung {rung + 1}", 1),
                    skip=shown.skip,
                )
            judged = self.trials.judge(encoder, policy)
        except NonFinite:
            judged = DIVERGED
        row["rungs"].append(_judged(judged, steps, time.perf_counter() - started))
        self._save()
        if rung and judged is not DIVERGED:
            before.unlink(missing_ok=True)

    def _split(self, name: str, steps: int, shown: Bar) -> None:
        """Train two encoders on a colour split from scratch, as long as a point of the first rung.

        They see nothing but crops, flips and the split, and learn by InfoNCE.
        """
        if any(row["name"] == name for row in self.record["splits"]):
            shown.skip(steps)
            return
        started = time.perf_counter()
        try:
            found = self._judged_split(name, steps, lambda _: shown.advance(name, 1))
        except Failed:
            found = {"information": None, "accuracy": None, "standard_error": None}
        seconds = round(time.perf_counter() - started, 1)
        row = {"name": name, **found, "steps": steps, "seconds": seconds}
        self._save(splits=[*self.record["splits"], row])

    def _judged_split(self, name: str, steps: int, observer: Observer) -> dict[str, Any]:
        maker = PixelFlow(name, couplings=1).to(self.trials.fabric.device)
        players = train_encoders(
            maker,
            self.trials.settings.source,
            channels=maker.channels(self.dataset.channels),
            steps=steps,
            batch_size=self.trials.settings.batch_size,
            seed=self.asked.seed,
            checkpoint=self.trained / f"split-{len(self.record['splits'])}.pt",
            observers=(observer,),
        )
        looked = self.trials.looked
        fitted, judged = (
            (looked, looked)
            if self.trials.readings is None
            else (self.trials.readings.draws[0], self.trials.readings.judged)
        )
        train, validation = self._held(fitted), self._held(judged)
        found = judge_encoders(
            players, train=train, validation=validation, test=validation, seed=self.asked.seed
        )
        read, information = found.get("accuracy", {}), found["information"]
        return {
            "information": {"nats": information.pop("value"), **information},
            "accuracy": read.get("validation"),
            "standard_error": read.get("standard_error"),
        }

    def _held(self, rows: np.ndarray) -> Held:
        labels = None if self.trials.readings is None else self.dataset.labels
        return Held(
            images=self.dataset.fetch(rows),
            index=rows,
            labels=None if labels is None else labels[rows],
            classes=max(2, len(self.dataset.classes)),
            groups=None if self.dataset.groups is None else self.dataset.groups[rows],
        )

    def _conclude(self) -> None:
        """Put the points in order, read best and default on test images, write the policy."""
        ranked = sorted(self._rows(), key=self._standing, reverse=True)
        default = next(row for row in ranked if row["name"] == self.record["default"])
        best = ranked[0]
        tested, gain = self._test(best, default)
        if tested is not None and tested["interval"][0] <= tested["chance"]:
            best, gain = default, None
        if gain is not None and gain["interval"][1] < 0:
            best = default
        policy = replace(self._policy(_point(best)), name="tuned")
        policy.save(self.folder.path / "policy.json")
        self.folder.write_arrays("pictures.npz", **self._pictures())
        self._save(
            order=[row["name"] for row in ranked],
            tested=tested,
            gain=gain,
            two_lines=self._two_lines(),
            trust={judge: self._trust(judge) for judge in ("rank", "lidar")},
            notes=self._notes(),
            best=best["name"],
        )

    def _reached(self, row: dict[str, Any]) -> int:
        """Return how many rungs a point has come through."""
        return sum(math.isfinite(self._value(row, rung)) for rung in range(len(row["rungs"])))

    def _standing(self, row: dict[str, Any]) -> tuple[int, float]:
        """Return how far a point came, and how well it did there."""
        reached = self._reached(row)
        return reached, self._value(row, reached - 1) if reached else -math.inf

    def _test(
        self, best: dict[str, Any], default: dict[str, Any]
    ) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Return how well the best does on test images, and by how much it beats the default.

        The gain is paired over probes and images; there is none where both were not trained alike.
        """
        readings, rung = self.trials.readings, self._reached(best) - 1
        if readings is None or self._untested(readings):
            return None, None
        paired = (
            [best] if best is default or self._reached(default) != rung + 1 else [best, default]
        )
        found = [
            self.trials.test(self.trials.encoder(self._file(self._rows().index(row), rung)))
            for row in paired
        ]
        tested = {
            "name": best["name"],
            "images": len(readings.test),
            "chance": round(self._chance(readings.test), 4),
            "rung": rung + 1,
            **_rounded(found[0].value, interval(found[0].replicates.alone)),
        }
        if len(found) == 1:
            return tested, None
        ours, theirs = found
        edges = interval_of_difference(
            ours.replicates.paired, theirs.replicates.paired, units=ours.units
        )
        return tested, _rounded(ours.value - theirs.value, edges)

    def _two_lines(self) -> dict[str, Any] | None:
        """Test whether accuracy rises and then falls over information, after the first rung."""
        if self.trials.readings is None:
            return None
        rows = [
            row
            for row in self._rows()
            if not row["information"]["saturated"] and math.isfinite(self._value(row, 0))
        ]
        found = two_lines(
            np.array([row["information"]["nats"] for row in rows], dtype=float),
            np.array([self._value(row, 0) for row in rows], dtype=float),
        )
        if found is None:
            return None
        record = asdict(found)
        return {"break": record.pop("at"), **record}

    def _trust(self, judge: str) -> dict[str, Any] | None:
        """Return how well the points would have been chosen by a diagnostic, without labels."""
        rows = [
            row
            for row in self._rows()
            if math.isfinite(self._value(row, 0)) and row["rungs"][0][judge] is not None
        ]
        if self.trials.readings is None or len(rows) < 3:
            return None
        accuracy = [row["rungs"][0]["accuracy"] for row in rows]
        rank = [row["rungs"][0][judge] for row in rows]
        found = kendalltau(accuracy, rank)
        chosen = int(np.argmax(rank))
        return {
            "kendall": None if math.isnan(found.statistic) else round(float(found.statistic), 3),
            "p": None if math.isnan(found.pvalue) else round(float(found.pvalue), 4),
            "chosen": rows[chosen]["name"],
            "accuracy": accuracy[chosen],
            "best_accuracy": max(accuracy),
            "n": len(rows),
        }

    def _notes(self) -> list[str]:
        notes = [
            "One seed. All trainings start from one trunk; a long training from scratch with the "
            "same views can come out differently.",
        ]
        readings = self.trials.readings
        if readings is None:
            return notes
        notes.append(
            "Accuracies of points are of the images that chose: those of the best flatter."
        )
        if (few := len(readings.judged)) < 200:
            notes.append(
                f"Only {few} validation images have labels: differences of a few points are chance."
            )
        if why := self._untested(readings):
            notes.append(f"{why}: the gain is not measured.")
        if rare := self._rare(readings):
            notes.append(
                f"Of {', '.join(rare)} there are fewer than {FEWEST_UNITS} validation or test "
                "images: each class counts as much as another, so few images decide a part of the "
                "accuracy."
            )
        return notes

    def _rare(self, readings: Readings) -> list[str]:
        """Return the classes of which few images judge."""
        assert self.dataset.labels is not None
        found: set[int] = set()
        for rows in (readings.judged, readings.test):
            labels, counts = np.unique(self.dataset.labels[rows], return_counts=True)
            found |= set(labels[counts < FEWEST_UNITS].tolist())
        return [self.dataset.classes[label] for label in sorted(found)]

    def _untested(self, readings: Readings) -> str:
        """Return why the test images cannot tell a gain from chance, or nothing."""
        if (few := len(readings.test)) < FEWEST_LABELS:
            return f"Only {few} test images have labels"
        assert self.dataset.labels is not None
        if len(np.unique(self.dataset.labels[readings.test])) < 2:
            return "All test images are of one class"
        groups = self.dataset.groups
        if groups is not None and (few := len(np.unique(groups[readings.test]))) < FEWEST_UNITS:
            return f"Only {few} groups are among the test images"
        return ""

    def _pictures(self) -> dict[str, np.ndarray]:
        """Return a few images, and two views of each by every point."""
        order = generator(self.asked.seed, "tune pictures").permutation(len(self.dataset))
        rows = order[:_SHOWN]
        images = self.dataset.fetch(rows).cpu()
        views = []
        for row in self._rows():
            policy = self._policy(_point(row))
            made = policy(
                images, index=rows, seed=self.asked.seed, epoch=0, size=self.dataset.size
            ).views
            views.append((255 * made).round().byte().numpy().swapaxes(0, 1))
        return {"images": images.numpy(), "views": np.stack(views)}


def _judged(judged: Judged, steps: int, seconds: float) -> dict[str, Any]:
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 4)

    return {
        "steps": steps,
        "accuracy": rounded(judged.accuracy),
        "standard_error": rounded(judged.standard_error),
        "rank": rounded(None if math.isnan(judged.rank) else judged.rank),
        "lidar": rounded(None if math.isnan(judged.lidar) else judged.lidar),
        "verdict": judged.verdict,
        "seconds": round(seconds, 2),
    }


def _rounded(value: float, interval: tuple[float, float]) -> dict[str, Any]:
    return {"value": round(value, 4), "interval": [round(edge, 4) for edge in interval]}


def _point(row: dict[str, Any]) -> Point:
    return Point(name=row["name"], made=row["made"], strengths=Strengths(**row["strengths"]))
