"""Learn views: a generator is trained, frozen, and judged by fresh encoders and fresh critics.

Stages, each kept in the folder once it is finished, on what `learn_material` lays out: the game
(`learn_game`, watched by `learn_watch`), fresh encoders on the raw and on the learned split, fresh
critics (`learn_judge`).
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from coview import data
from coview.data import (
    Dataset,
    effective_batch_size,
    fingerprint,
    label_fingerprint,
    warn_of_faults,
)
from coview.random import generator as random_generator
from coview.search.learn_game import (
    Failed,
    GameStep,
    Maker,
    Players,
    Turn,
    pair_of,
    sources,
)
from coview.search.learn_judge import channels_of, fresh_critics, judge_encoders, train_encoders
from coview.search.learn_material import Material, build_makers, prepare, resolve
from coview.search.learn_settings import Learning
from coview.search.learn_watch import (
    Failure,
    Held,
    Watch,
    failures,
    one_sided,
    verdict,
)
from coview.training.loop import State, Stopped, run
from coview.training.observers import Bar, Latest
from coview.training.pretrain import default_folder
from coview.training.randomness import isolated
from coview.training.run_folder import RunFolder, command_line, environment, now
from coview.views.generators import Generator, PixelFlow, save_generator
from coview.views.generators.files import FILE
from coview.warn import add_kept_warnings, kept_warnings

FORMAT = 1
LOOKS = 10
"""Looks at the held-out images during a game."""

_MOST_HELD, _MOST_MEMORY, _PICTURES = 1024, 1000, 8
_ATTEMPTS = 2


@kept_warnings()
def learn_views(source: Any, **settings: Any) -> Path:  # noqa: ANN401
    """Learn views of images, and measure on images never seen what they share before and after.

    Args:
        source: A folder, an .npz or .npy file, arrays, tensors, a `Dataset`, or `sample`.
        **settings: The other fields of `Learning`.

    Returns:
        The folder: generator.safetensors, config.json, learn.json and pictures.npz;
        `coview.views.generators.load_generator` gives the frozen generator.

    Raises:
        ValueError: If a setting is out of range, there are no labels for an objective that needs
            them, or images of one channel are to be split.
        FileNotFoundError: If there is no such source, or nothing to resume.
        FileExistsError: If the folder exists and `resume` was not asked for.
        RuntimeError: If the game has failed with two seeds.
        coview.training.loop.Stopped: After a signal; `resume` goes on.
    """
    asked = Learning(source=source, **settings)
    with isolated(asked.seed, "learn views"), warnings.catch_warnings():
        warnings.simplefilter("default", RuntimeWarning)
        return _learn(asked)


def _learn(asked: Learning) -> Path:
    folder = RunFolder(asked.out or _default_folder(asked))
    if not asked.resume:
        folder.check_free()
    asked = replace(asked, resume=asked.resume and not folder.is_empty_start())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = _open(asked)
    asked = resolve(asked, dataset)
    raw, _ = build_makers(asked, dataset)
    material = prepare(dataset.to(device), asked)
    _start(folder, asked, dataset)
    console = Console(stderr=True)
    console.print(
        f"{len(material.train):,} images of {dataset.channels} x {dataset.size} x {dataset.size}, "
        f"{asked.objective}, {asked.generator}, {asked.steps:,} steps -> {folder.path}",
        highlight=False,
    )
    try:
        game, learned = _play_stages(folder, asked, material, console)
        encoders = {
            name: _stage(
                folder,
                f"encoders-{name}",
                lambda name=name, maker=maker, place=place: _fresh(  # type: ignore[misc]
                    f"{place}/4 encoders, {name} split", folder, asked, material, maker, console
                ),
            )
            for place, (name, maker) in enumerate((("raw", raw), ("learned", learned)), 2)
        }
        critics = _stage(
            folder,
            "critics",
            lambda: {
                "critics": fresh_critics(
                    {"raw": raw.to(device), "learned": learned},
                    material.unseen,
                    steps=asked.critic_steps,
                    seed=asked.seed,
                    told=lambda name: console.print(f"4/4 fresh critics: {name}", highlight=False),
                )
            },
        )
    except (Stopped, KeyboardInterrupt) as error:
        error.add_note(f"the run is in {folder.path}; --resume goes on with what is left")
        raise
    _write_pictures(folder, {"raw": raw, "learned": learned}, material, asked.seed)
    _finish(folder, asked, material, game, {"encoders": encoders, **critics})
    return folder.path


def play(
    asked: Learning,
    material: Material,
    *,
    attempt: int = 0,
    checkpoint: Path | None = None,
    console: Console | None = None,
) -> tuple[Generator, dict[str, Any]]:
    """Train a generator once and return it frozen, with the record of the game.

    Args:
        asked: The settings, resolved.
        material: The images.
        attempt: Each has another seed; only the first is ended by an early failure.
        checkpoint: Where to keep the state, and to go on from.
        console: Where the progress is shown; nowhere by default.
    """
    seed = asked.seed + 7919 * attempt
    train = material.train
    with isolated(seed, "game"):
        _, generator = build_makers(asked, train)
        players = Players(
            generator,
            channels=channels_of(generator, train),
            size=train.size,
            classes=0 if asked.objective == "unsupervised" else material.test.classes,
            contrast=asked.objective != "supervised",
        )
    players.to(material.test.images.device).train()
    latest = Latest()
    watch = Watch(
        players,
        held=_some(material.validation, _MOST_HELD),
        memory=None if material.labelled is None else _some(material.probe, _MOST_MEMORY),
        looks=LOOKS,
        restarts=attempt == 0,
        blind=asked.objective == "unsupervised",
        latest=latest,
        seed=seed,
    )
    state = State({})
    step = GameStep(
        players,
        state=state,
        steps=asked.steps,
        learning_rate=asked.learning_rate,
        label_weight=asked.label_weight,
        seed=seed,
    )
    state.parts = {"players": players, "watch": watch, **step.optimizers}
    if checkpoint is not None and checkpoint.is_file():
        state.restore(checkpoint)
    quiet = Console(stderr=True, quiet=True) if console is None else console
    failure = None
    try:
        with Bar("1/4 game", latest, done=state.step, console=quiet) as bar:
            run(
                step,
                state,
                steps=asked.steps,
                batches=lambda start: _turns(asked, material, start, seed),
                observers=(watch, bar),
                checkpoint=checkpoint,
                seed=seed,
            )
    except Failed as error:
        failure = Failure(error.name, str(error))
    generator.eval().requires_grad_(False)
    record: dict[str, Any] = {
        "seed": seed,
        "history": watch.history,
        "failure": None if failure is None else vars(failure),
        "seconds": round(state.seconds, 2),
    }
    if isinstance(generator, PixelFlow) and failure is None:
        record |= _checked(generator, material)
    return generator, record


def _turns(asked: Learning, material: Material, start: int, seed: int) -> Any:  # noqa: ANN401
    """Return the endless stream of turns from a step on."""

    def stream(part: Dataset, name: int) -> Any:  # noqa: ANN401
        size = effective_batch_size(min(asked.batch_size, len(part)), len(part))
        device = material.test.images.device
        return part.batches(size, seed=seed + name, start_step=start, device=device)

    if material.labelled is None or asked.objective == "unsupervised":
        return (Turn(batch=batch) for batch in stream(material.train, 0))
    if asked.objective == "supervised":
        return (Turn(batch=batch, labelled=batch) for batch in stream(material.labelled, 0))
    pairs = zip(stream(material.train, 0), stream(material.labelled, 1), strict=True)
    return (Turn(batch=batch, labelled=labelled) for batch, labelled in pairs)


def _checked(generator: PixelFlow, material: Material) -> dict[str, Any]:
    """Calibrate a trained flow, and return its largest error of inversion and its volume."""
    rows = np.linspace(0, len(material.train) - 1, min(len(material.train), 2000)).astype(np.int64)
    generator.calibrate(material.train.fetch(rows).float() / 255)
    some = material.test.images[:64].float() / 255
    with torch.no_grad():
        x = generator.coordinates(some)
        latent, log_determinant = generator(x)
        error = (generator.inverse(latent) - x).abs().max()
    pixels = some.shape[-1] * some.shape[-2]
    return {
        "inversion_error": float(error),
        "log_determinant_per_pixel": [
            float(value) / pixels for value in (log_determinant.min(), log_determinant.max())
        ],
    }


def _some(held: Held, most: int) -> Held:
    """Return at most so many images, evenly spread, those with labels first."""

    def spread(rows: np.ndarray, count: int) -> np.ndarray:
        places = np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(np.int64)
        return rows[places]

    known = spread(held.known, most)
    others = np.setdiff1d(np.arange(len(held.index)), held.known)
    return held.some(np.sort(np.concatenate([known, spread(others, most - len(known))])))


def _play_stages(
    folder: RunFolder, asked: Learning, material: Material, console: Console
) -> tuple[list[dict[str, Any]], Generator]:
    """Play until a game ends well, at most twice; return the records and the frozen generator."""
    from coview.views.generators import load_generator

    games: list[dict[str, Any]] = []
    for attempt in range(_ATTEMPTS):
        checkpoint = folder.path / "checkpoints" / f"game-{attempt}.pt"

        def played(attempt: int = attempt, checkpoint: Path = checkpoint) -> dict[str, Any]:
            generator, record = play(
                asked, material, attempt=attempt, checkpoint=checkpoint, console=console
            )
            if record["failure"] is None:
                save_generator(generator, folder.path / FILE)
            return record

        games.append(_stage(folder, f"game-{attempt}", played))
        checkpoint.unlink(missing_ok=True)
        failure = games[-1]["failure"]
        if failure is None:
            learned = load_generator(folder.path)
            return games, learned.to(material.test.images.device)
        console.print(f"{failure['name']}: {failure['message']}", highlight=False)
    raise RuntimeError(
        f"the game has failed with two seeds ({failure['message']}); try a lower --learning-rate "
        f"than {asked.learning_rate:g}"
    )


def _fresh(
    title: str,
    folder: RunFolder,
    asked: Learning,
    material: Material,
    maker: Maker,
    console: Console,
) -> dict[str, Any]:
    """Train fresh encoders on the views of a frozen maker and judge them."""
    checkpoint = folder.path / "checkpoints" / f"{title.split(',')[1].split()[0]}.pt"
    device = material.test.images.device
    with Bar(title, Latest(), console=console) as bar:
        players = train_encoders(
            maker.to(device),
            material.train,
            channels=channels_of(maker, material.train),
            steps=asked.steps,
            batch_size=asked.batch_size,
            seed=asked.seed,
            checkpoint=checkpoint,
            observers=(bar,),
        )
    record = judge_encoders(
        players,
        train=material.probe,
        validation=material.validation,
        test=material.test,
        seed=asked.seed,
    )
    checkpoint.unlink(missing_ok=True)
    return record


def _stage(folder: RunFolder, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the record of a stage, made only if it is not there yet."""
    file = folder.path / "stages" / f"{name}.json"
    if file.is_file():
        done: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return done
    record = make()
    start = folder.read("config.json")
    add_kept_warnings(start)
    folder.write(start, "config.json")
    folder.write(record, f"stages/{name}.json")
    return record


def _open(asked: Learning) -> Dataset:
    labels = None if isinstance(asked.labels, str) and asked.labels == "none" else asked.labels
    return data.open(
        asked.source, size=asked.size, largest=96, labels=labels, missing_labels="unlabelled"
    )


def _default_folder(asked: Learning) -> Path:
    folder = default_folder(asked.source)
    return folder.with_name(f"{folder.name}-views")


def _start(folder: RunFolder, asked: Learning, dataset: Dataset) -> None:
    """Write what was asked for, or check that a run to resume was asked for the same.

    Raises:
        FileNotFoundError: If there is nothing to resume.
        ValueError: If it was another run.
    """
    settings = {k: v for k, v in asked.record().items() if k != "source"}
    settings |= {
        "fingerprint": fingerprint(dataset),
        "label_fingerprint": label_fingerprint(dataset),
    }
    file = folder.path / "config.json"
    if asked.resume:
        if not file.is_file():
            raise FileNotFoundError(f"out: nothing to resume at {folder.path}")
        recorded = folder.read("config.json")["config"]
        for name, value in settings.items():
            if recorded.get(name) != value:
                raise ValueError(
                    f"{name}: the run in {folder.path} has {recorded.get(name)!r}, not {value!r}"
                )
        return
    warn_of_faults(dataset)
    folder.create()
    start = {
        "format": FORMAT,
        "command": command_line(),
        "created": now(),
        "config": settings,
        "environment": environment("cuda" if torch.cuda.is_available() else "cpu"),
    }
    add_kept_warnings(start)
    folder.write(start, "config.json")


def _finish(
    folder: RunFolder,
    asked: Learning,
    material: Material,
    games: list[dict[str, Any]],
    measured: dict[str, Any],
) -> None:
    start, train = folder.read("config.json"), material.train
    record = {
        **start,
        "data": {
            "name": train.name,
            "trained_on": len(train),
            "labelled": 0 if material.labelled is None else len(material.labelled),
            "held_out": [len(material.validation.index), len(material.test.index)],
            "channels": train.channels,
            "size": train.size,
            "classes": list(train.classes),
        },
        "games": games,
        **measured,
    }
    record["verdict"] = verdict(record)
    record["failures"] = _failures(record, material)
    folder.write(record, "learn.json")


def _failures(record: dict[str, Any], material: Material) -> list[dict[str, str]]:
    """Return every failure of the run by name, what ended a game first."""
    games = record["games"]
    found = [Failure(**game["failure"]) for game in games if game["failure"]]
    if games[-1]["history"]:
        found += failures(games[-1]["history"][-1], classes=material.test.classes)
    accuracy = record["encoders"]["learned"].get("accuracy")
    if accuracy:
        chance, n = 1 / material.test.classes, accuracy["n_validation"]
        sides = [accuracy["first view"], accuracy["second view"]]
        one = one_sided(sides, chance=chance, error=(chance * (1 - chance) / n) ** 0.5)
        if one is not None and one.name not in {failure.name for failure in found}:
            found.append(one)
        if "lose part of the labels" in record["verdict"]["word"]:
            found.append(Failure("labels lost", record["verdict"]["why"]))
    return [vars(failure) for failure in found]


def _write_pictures(
    folder: RunFolder, makers: dict[str, Maker], material: Material, seed: int
) -> None:
    """Keep some test images and both views of each, every channel scaled to what it shows."""
    order = random_generator(seed, "pictures").permutation(len(material.test.index))[:_PICTURES]
    images = material.test.images[torch.from_numpy(order)]
    arrays = {"images": images.cpu().numpy()}
    for name, maker in makers.items():
        seen = sources(
            maker, images, index=material.test.index[order], seed=seed, epoch=-1, augmented=False
        )
        with torch.no_grad():
            for side, view in zip(("first", "second"), pair_of(maker, seen), strict=True):
                arrays[f"{name}_{side}"] = _bytes(view, stretched=isinstance(maker, PixelFlow))
    folder.write_arrays("pictures.npz", **arrays)


def _bytes(view: torch.Tensor, *, stretched: bool) -> np.ndarray:
    if stretched:
        values = view.transpose(0, 1).flatten(1)
        low, high = (torch.quantile(values, q, dim=1)[None, :, None, None] for q in (0.01, 0.99))
        view = (view - low) / (high - low).clamp(min=1e-6)
    made: np.ndarray = (255 * view.clamp(0, 1)).round().byte().cpu().numpy()
    return made
