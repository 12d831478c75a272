"""Schedules, settings, checkpoints, the loop and one step of training."""

import json
import math
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import coview
from coview import data, encoders
from coview.data import Scenes
from coview.encoders import Compact
from coview.objectives import Loss, Needs
from coview.training import checkpoints
from coview.training.learner import NonFinite
from coview.training.loop import Seen, State, Stopped, run
from coview.training.observers import Collapsed
from coview.training.optimizers import build_optimizer, peak_learning_rate
from coview.training.pretrain import splits_of, train
from coview.training.randomness import isolated
from coview.training.run_folder import RunFolder
from coview.training.schedules import default_epochs, warmup_cosine
from coview.training.settings import Pretraining, parse
from coview.views import ViewBatch, get
from coview.views.splits import ScenePolicy, split_policy


class Tiny(nn.Module):
    """One convolution: quick to train."""

    def __init__(self, channels: int = 3, dim: int = 16) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, dim, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.convolution(x))  # [batch, dim, height, width]: pooled by coview


with torch.random.fork_rng():
    torch.manual_seed(0)
    START = Tiny()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    colours = rng.integers(30, 226, (40, 1, 1, 3))
    return (colours + rng.integers(-30, 30, (40, 12, 12, 3))).astype(np.uint8)


def quick(images: np.ndarray, out: Path, **changes: object) -> Pretraining:
    settings = {
        "source": images,
        "out": out,
        "steps": 4,
        "batch_size": 8,
        "encoder": START,
        "projector": (16, 8),
        "precision": "float32",
    }
    return Pretraining(**(settings | changes))  # type: ignore[arg-type]


def parameters(folder: RunFolder) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = checkpoints.load(folder.checkpoint)["parts"]["learner"]
    return state


def same(a: RunFolder, b: RunFolder) -> bool:
    one, two = parameters(a), parameters(b)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_warmup_rises_linearly_then_follows_half_a_cosine() -> None:
    rates = [warmup_cosine(step, 100, warmup=0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] == pytest.approx((1 + math.cos(math.pi * 89 / 90)) / 2)
    assert warmup_cosine(0, 1, warmup=1.0) == 1


def test_default_length_is_bounded() -> None:
    assert [default_epochs(n) for n in (100, 10_000_000)] == [200, 10]


def test_weight_decay_spares_biases_and_norms() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    groups = build_optimizer(module, "adamw", learning_rate=1.0).param_groups
    assert [(g["weight_decay"], len(g["params"])) for g in groups] == [(0.05, 1), (0.0, 3)]
    assert peak_learning_rate("adamw", 1024) == 2 * peak_learning_rate("adamw", 256)
    assert peak_learning_rate("sgd", 1024) == 4 * peak_learning_rate("sgd", 256)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0.0}, "epochs must be above 0, got 0.0"),
        ({"steps": -1}, "steps must be above 0, got -1"),
        ({"steps": 3, "epochs": 1.0}, "one of epochs, steps and minutes, not epochs and steps"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"warmup": 1.5}, r"warmup must be in \[0, 1\], got 1.5"),
        ({"learning_rate": math.nan}, "learning_rate must be 0 or more, got nan"),
    ],
)
def test_settings_out_of_range(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pretraining(source="x", **setting)  # type: ignore[arg-type]


def test_parse_reads_json_values_and_words() -> None:
    assert parse("minc:decay=0.9,normalization=ball,flag=true") == (
        "minc",
        {"decay": 0.9, "normalization": "ball", "flag": True},
    )
    with pytest.raises(ValueError, match="expected key=value"):
        parse("nt_xent:0.2")


def test_checkpoint_on_a_full_disk_keeps_the_one_before(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    path = tmp_path / "last.pt"
    checkpoints.save(path, {"step": 1})
    (tmp_path / "last.pt.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"cannot write .*last\.pt.*kept"):
        checkpoints.save(path, {"step": 2, "big": torch.zeros(100_000)})
    assert checkpoints.load(path) == {"step": 1}
    assert not (tmp_path / "last.pt.part").exists()


def test_full_disk_in_a_run_names_the_file_and_keeps_the_checkpoint(
    images: np.ndarray, tmp_path: Path
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    out = tmp_path / "run"

    class Filling(nn.Module):
        """Fills the disk once it has seen a few batches."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = Tiny()
            self.seen = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen += self.training
            if self.seen == 3:
                (out / "checkpoints" / "last.pt.part").symlink_to("/dev/full")
            return self.inner(x)

    with pytest.raises(OSError, match=r"cannot write .*last\.pt"):
        train(quick(images, out, encoder=Filling(), checkpoint_seconds=0.0))
    assert checkpoints.load(out / "checkpoints" / "last.pt")["step"] == 2


def test_same_seed_same_encoder_and_the_callers_randomness_is_untouched(
    images: np.ndarray, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    encoder = "torchvision/squeezenet1_1"  # has dropout: draws from the global generator
    runs = [
        train(quick(images, tmp_path / str(i), encoder=encoder, seed=i // 2, size=32)).folder
        for i in range(3)
    ]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


def test_a_users_module_is_not_changed(images: np.ndarray, tmp_path: Path) -> None:
    mine = Tiny()
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    folder = train(quick(images, tmp_path / "run", encoder=mine)).folder
    assert all(torch.equal(before[name], value) for name, value in mine.state_dict().items())
    with pytest.raises(ValueError, match="holds a Tiny of yours"):
        coview.load(folder)
    encoder = coview.load(folder, backbone=Tiny())
    assert encoder(torch.zeros(3, 3, 12, 12)).shape == (3, 16)


@pytest.mark.parametrize("objective", ["minc", "byol"])
def test_stop_by_a_signal_and_resume_equals_no_stop(
    images: np.ndarray, tmp_path: Path, objective: str
) -> None:
    class Interrupting(Tiny):
        count = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Interrupting.count += self.training
            if self.training and Interrupting.count == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().forward(x)

    interrupting = Interrupting()
    interrupting.load_state_dict(START.state_dict())
    whole = train(quick(images, tmp_path / "whole", steps=6, objective=objective)).folder
    settings = quick(images, tmp_path / "parts", steps=6, objective=objective, encoder=interrupting)
    with pytest.raises(Stopped, match=r"SIGTERM after step [23] of 6"):
        train(settings)
    parts = train(replace(settings, resume=True)).folder
    assert same(whole, parts)
    steps = [
        [row["step"] for row in map(json.loads, f.metrics.read_text().splitlines())]
        for f in (whole, parts)
    ]
    assert steps[0] == steps[1] == [1, 2, 3, 4, 5, 6]


def test_resume_refuses_other_settings_and_other_images(images: np.ndarray, tmp_path: Path) -> None:
    settings = quick(images, tmp_path / "run", encoder="compact")
    train(settings)
    with pytest.raises(ValueError, match=r"seed: the run in .* has 0, not 5"):
        train(replace(settings, resume=True, seed=5))
    with pytest.raises(ValueError, match="source: its images are not those"):
        train(replace(settings, resume=True, source=images[:30]))
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        train(replace(settings, resume=True, out=tmp_path / "none"))


class Poisoned(Tiny):
    """Not a number for black images."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels = x.flatten(2)
        flat = (pixels.amax(2) - pixels.amin(2)).amax(1) < 1e-3
        return super().forward(x) / torch.where(flat, 0.0, 1.0)[:, None, None, None] * 1.0


@pytest.mark.parametrize("statistics", ["merged", "per-view"])
def test_a_non_finite_loss_names_the_rows_and_keeps_the_last_good_checkpoint(
    images: np.ndarray, tmp_path: Path, statistics: str
) -> None:
    poisoned = images.copy()
    poisoned[17] = 0
    dataset = data.open(poisoned)
    backbone = nn.Sequential(Poisoned())
    with pytest.raises(NonFinite, match=rf"{dataset.names[17]}\b.*learning-rate") as caught:
        train(quick(poisoned, tmp_path / "run", encoder=backbone, steps=20, statistics=statistics))
    assert "alone, 1 images have" in str(caught.value)
    kept = parameters(RunFolder(tmp_path / "run"))
    assert all(torch.isfinite(value).all() for value in kept.values())
    assert RunFolder(tmp_path / "run").read()["status"] == "stopped"


@dataclass(frozen=True)
class Shrink:
    """An objective whose only optimum is collapse."""

    needs = Needs()

    def init(self, dim: int) -> nn.Module:
        return nn.Module()

    def __call__(self, z: torch.Tensor, state: nn.Module, **_: object) -> Loss:
        return Loss(z.float().square().mean())

    def update(self, state: nn.Module, statistics: object, *, progress: float) -> None:
        pass


class Constant(Tiny):
    """Collapsed from the start."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 0 + 1


def test_collapse_warns_and_stops_only_after_the_warmup(images: np.ndarray, tmp_path: Path) -> None:
    settings = quick(
        images, tmp_path / "run", encoder=Constant(), objective=Shrink(), steps=40, warmup=0.5
    )
    with (
        pytest.warns(RuntimeWarning, match="step 1: full collapse"),
        pytest.raises(Collapsed, match=r"up to step 21 of 40"),
    ):
        train(settings)
    assert checkpoints.load(tmp_path / "run/checkpoints/last.pt")["step"] == 21


def test_a_batch_larger_than_the_data_is_shrunk_and_said(
    images: np.ndarray, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match="40"):
        folder = train(quick(images, tmp_path / "run", batch_size=64)).folder
    record = folder.read()
    assert record["batch_size"] == 40
    assert any("shrunk from 64 to 40" in note for note in record["notes"])


def test_minutes_become_steps_once(images: np.ndarray, tmp_path: Path) -> None:
    folder = train(quick(images, tmp_path / "run", steps=None, minutes=0.002)).folder
    steps = folder.read()["steps"]
    assert steps >= 1
    assert json.loads(folder.metrics.read_text().splitlines()[-1])["step"] == steps


def test_an_existing_folder_is_never_overwritten(images: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"exists and is not empty.*--resume"):
        train(quick(images, tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(OSError, match="out: cannot write"):
        train(quick(images, tmp_path / "notes.txt" / "run"))


def test_too_few_views_for_the_objective(images: np.ndarray, tmp_path: Path) -> None:
    from coview.views import HorizontalFlip, Policy

    single = Policy(name="single", views=((HorizontalFlip(probability=0.5),),))
    with pytest.raises(ValueError, match="'single' makes 1 views, the objective compares 2"):
        train(quick(images, tmp_path / "run", views=single))


def test_the_loop_saves_at_the_start_and_at_the_end_only(tmp_path: Path) -> None:
    module = nn.Linear(1, 1)
    state = State({"module": module})
    path = tmp_path / "last.pt"
    found: list[int] = []

    def step(batch: int) -> Seen:
        found.append(checkpoints.load(path)["step"])
        return Seen(
            loss=0.0,
            terms={},
            learning_rate=0.0,
            epoch=0.0,
            images=1,
            representations=torch.zeros(2, 2),
        )

    def batches(start: int) -> Iterator[int]:
        yield from range(start, 10)

    with torch.random.fork_rng():
        run(step, state, steps=3, batches=batches, checkpoint=path)
    assert found == [0, 0, 0]
    assert checkpoints.load(path)["step"] == 3


@pytest.mark.parametrize(
    "objective",
    [
        "nt_xent",
        "spectral_contrastive",
        "vicreg",
        "byol",
        "simsiam",
        "linear_byol",
        "minc",
    ],
)
def test_every_objective_trains(images: np.ndarray, tmp_path: Path, objective: str) -> None:
    settings = quick(images, tmp_path / "run", objective=objective, steps=60, learning_rate=0.01)
    folder = train(settings).folder
    losses = [json.loads(line)["loss"] for line in folder.metrics.read_text().splitlines()]
    assert np.mean(losses[-20:]) < np.mean(losses[:20])


@dataclass(frozen=True)
class Recorder:
    """An objective that keeps what it is given."""

    needs: Needs
    seen: list[dict[str, torch.Tensor]] = field(default_factory=list)

    def init(self, dim: int) -> nn.Module:
        return nn.Module()

    def __call__(self, z: torch.Tensor, state: nn.Module, **given: object) -> Loss:
        self.seen.append({"z": z, **given})  # type: ignore[dict-item]
        return Loss(z.square().mean())

    def update(self, state: nn.Module, statistics: object, *, progress: float) -> None:
        pass


@pytest.mark.parametrize("target", ["online", "average"])
@pytest.mark.parametrize("kind", ["mlp", "bottleneck", "linear"])
def test_predictions_and_targets(
    images: np.ndarray, tmp_path: Path, kind: str, target: str
) -> None:
    recorder = Recorder(Needs(predictor=kind, target=target))
    settings = quick(images, tmp_path / "run", objective=recorder, projector=(16, 12), steps=2)
    folder = train(settings).folder
    first, second = recorder.seen
    assert first["z"].requires_grad
    assert not first["target"].requires_grad
    assert first.keys() == {"z", "target", "ranks"}
    assert not torch.equal(first["z"], first["target"])
    parts = checkpoints.load(folder.checkpoint)["parts"]
    own = {name: x for name, x in parts["learner"].items() if name.startswith("predictor.")}
    assert own["predictor.0.weight"].shape[1] == 12
    assert ("target" in parts) == (target == "average")
    assert not any("predictor" in name for name in parts.get("target", {}))
    if kind == "linear":  # the target is what the predictor gets
        with isolated(settings.seed, "predictor"):
            weight = encoders.predictor("linear", 12, hidden=16)[0].weight.detach()
        predicted = [seen["z"].detach() for seen in (first, second)]
        if target == "online":
            torch.testing.assert_close(predicted[0], first["target"] @ weight.T)
            assert not torch.allclose(predicted[1], second["target"] @ weight.T)  # it was trained
        else:  # the networks are still the same, then the target lags
            torch.testing.assert_close(predicted[0], first["target"] @ weight.T)
    assert coview.load(folder, backbone=Tiny())(torch.zeros(2, 3, 12, 12)).shape == (2, 16)


def test_labels_and_index_are_those_of_the_batch(images: np.ndarray, tmp_path: Path) -> None:
    recorder = Recorder(Needs(labels=True, source_index=True))
    labels = np.arange(40) % 3
    source = data.open(images, labels=labels.tolist())
    train(quick(source, tmp_path / "run", objective=recorder))
    splits = json.loads((tmp_path / "run" / "splits.json").read_text())
    order = np.sort(splits["train"] + splits["validation"])
    assert recorder.seen[0].keys() == {"z", "labels", "index", "ranks"}
    for seen in recorder.seen:
        assert seen["labels"].tolist() == labels[order][seen["index"].numpy()].tolist()
    with pytest.raises(ValueError, match=r"learns from labels and .* has none"):
        train(quick(images, tmp_path / "none", objective=recorder))


def test_a_batch_too_small_for_the_objective_is_refused(images: np.ndarray, tmp_path: Path) -> None:
    recorder = Recorder(Needs(more_images_than_dims=True))
    with pytest.raises(ValueError, match="batch_size 8 must exceed the 8 dimensions"):
        train(quick(images, tmp_path / "run", objective=recorder))
    train(quick(images, tmp_path / "run", objective=recorder, batch_size=9))


def test_per_view_statistics_differ_from_merged(images: np.ndarray, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        runs = [
            train(
                quick(
                    images,
                    tmp_path / kind,
                    encoder=Compact(3, 12, widths=(8,), depths=(1,)),
                    statistics=kind,
                )
            ).folder
            for kind in ("merged", "per-view")
        ]
    assert not same(*runs)


def test_a_module_given_in_evaluation_mode_is_trained_in_training_mode(
    images: np.ndarray, tmp_path: Path
) -> None:
    module = Compact(3, 12, widths=(8,), depths=(1,), dim=8)
    runs = [
        train(quick(images, tmp_path / str(mode), encoder=module.train(mode))).folder
        for mode in (True, False)
    ]
    assert same(*runs)


def test_resume_of_a_run_killed_before_it_wrote_what_it_is(
    images: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "splits.json").write_text("{")
    folder = train(quick(images, tmp_path / "run", resume=True)).folder
    assert folder.read()["status"] == "finished"


def test_any_failure_is_recorded_as_a_stop(images: np.ndarray, tmp_path: Path) -> None:
    class Failing(Tiny):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                raise OSError("no space left")
            return super().forward(x)

    with pytest.raises(OSError, match="no space left") as caught:
        train(quick(images, tmp_path / "run", encoder=Failing()))
    assert "--resume goes on" in caught.value.__notes__[0]
    assert RunFolder(tmp_path / "run").read()["status"] == "stopped"


def test_scenes_rendered_as_views_train(tmp_path: Path) -> None:
    scenes = Scenes(size=16)
    policy = ScenePolicy(scenes=scenes, shared=("shape",))
    settings = quick(scenes.dataset(40, seed=1), tmp_path / "run", views=policy, steps=2)
    assert train(settings).folder.read()["status"] == "finished"


def test_views_of_different_shapes_are_refused_with_the_reason(tmp_path: Path) -> None:
    scenes = Scenes(size=16).dataset(40, seed=1)
    settings = quick(scenes, tmp_path / "run", views=split_policy("Lab:0|1,2"), steps=2)
    with pytest.raises(ValueError, match=r"different shapes.*one encoder takes views of one shape"):
        train(settings)


def test_one_image_is_refused_before_anything_is_written(
    images: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="at least 2 images"):
        train(quick(images[:1], tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_an_output_below_a_file_is_refused_at_once(images: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"out: cannot write .*file is a file"):
        train(quick(images, tmp_path / "file" / "run"))


def test_labels_of_one_class_are_said_to_be_useless(images: np.ndarray, tmp_path: Path) -> None:
    source = data.open((images, ["cat"] * len(images)))
    with pytest.warns(RuntimeWarning, match="only the class 'cat' occurs"):
        assert splits_of(source, seed=0) is None


def test_images_decoded_on_demand_are_cropped_whole(tmp_path: Path) -> None:
    """The views reach the margins that the stored squares have lost."""
    rows, columns = np.mgrid[:40, :120]
    for number in range(8):
        wide = np.stack([rows + number, 2 * columns, 0 * rows], 2).astype(np.uint8)
        Image.fromarray(wide).save(tmp_path / f"{number}.png")
    dataset = data.open(tmp_path, size=20, resident_bytes=0, workers=0)
    asked = quick(dataset, tmp_path / "run", views=Margins(), objective="nt_xent", steps=2)
    with pytest.warns(RuntimeWarning, match="collapse"):  # the images are all alike
        folder = train(asked).folder
    assert folder.read()["status"] == "finished"
    assert Margins.widest == 120


class Margins:
    """Views that note how wide the images are."""

    name = "margins"
    views = ((), ())
    takes_pictures = True
    widest = 0

    def __call__(
        self, images: Any, *, index: np.ndarray, seed: int, epoch: int, size: int
    ) -> ViewBatch:
        Margins.widest = max(Margins.widest, *(image.shape[-1] for image in images))
        return get("small")(images, index=index, seed=seed, epoch=epoch, size=size)


def test_the_first_run_of_a_process_leaves_every_generator_alone(tmp_path: Path) -> None:
    program = (
        "import random, coview; before = random.getstate();"
        "coview.pretrain('sample', steps=1, batch_size=8, evaluate=False, size=16, "
        f"out={str(tmp_path / 'x')!r}); assert random.getstate() == before"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)
