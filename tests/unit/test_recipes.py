"""Methods by name: what they set, that they train, resume and come back."""

import copy
import itertools
import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

import coview
from coview import data, encoders
from coview.cli import main
from coview.objectives import (
    MINC,
    Crosswise,
    InfoNCE,
    InstanceDiscrimination,
    Loss,
    Needs,
    Stateless,
    info_nce,
)
from coview.training import checkpoints, recipes
from coview.training.devices import start
from coview.training.job import Job, build_job, find_policy
from coview.training.loop import Stopped
from coview.training.pretrain import train
from coview.training.randomness import isolated
from coview.training.run_folder import RunFolder
from coview.training.settings import Pretraining
from coview.views import GaussianBlur, HorizontalFlip, Policy


class Tiny(nn.Module):
    """One convolution and a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)  # [batch, dim, height, width]: pooled by coview


class Stopping(Tiny):
    """Asks for a stop in the middle of training."""

    seen = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Stopping.seen += self.training
        if self.training and Stopping.seen == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().forward(x)


with torch.random.fork_rng():
    torch.manual_seed(0)
    START = Tiny()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    colours = rng.integers(30, 226, (24, 1, 1, 3))
    return (colours + rng.integers(-30, 30, (24, 16, 16, 3))).astype(np.uint8)


def asked(images: np.ndarray, out: Path, recipe: str, **changes: object) -> Pretraining:
    given = {
        "source": images,
        "out": out,
        "recipe": recipe,
        "steps": 3,
        "batch_size": 8,
        "encoder": "compact" if recipe.startswith("cmc") else START,
        "precision": "float32",
    }
    return Pretraining(**recipes.filled(given | changes))


def parts(folder: RunFolder) -> dict[str, dict[str, torch.Tensor]]:
    content: dict[str, dict[str, torch.Tensor]] = checkpoints.load(folder.checkpoint)["parts"]
    return {name: content[name] for name in content if name not in ("optimizer", "monitor")}


def same(a: RunFolder, b: RunFolder) -> bool:
    one, two = parts(a), parts(b)
    return one.keys() == two.keys() and all(
        one[part].keys() == two[part].keys()
        and all(torch.equal(one[part][name], two[part][name]) for name in one[part])
        for part in one
    )


SEVEN = {name: r for name, r in recipes.RECIPES.items() if isinstance(r, recipes.Recipe)}


@pytest.mark.parametrize("name", SEVEN)
def test_each_recipe_trains_and_its_encoder_comes_back(
    images: np.ndarray, tmp_path: Path, name: str
) -> None:
    trained = train(asked(images, tmp_path / "run", name))
    record = trained.folder.read()
    recipe, config = recipes.get(name), record["config"]
    assert record["status"] == "finished"
    assert config["recipe"] == name
    assert config["objective"] == recipe.objective(24)
    assert config["learning_rate"] == pytest.approx(0.03 * 8 / 256)
    assert any("memory was shrunk from 65,536 to 24" in note for note in record["notes"])
    terms = json.loads(trained.folder.metrics.read_text().splitlines()[-1])["terms"]
    assert ("jigsaw" in terms) == (name in ("pirl", "infomin"))
    assert ("0 against 1" in terms) == name.startswith("cmc")
    encoder = coview.load(trained.folder, backbone=None if name.startswith("cmc") else Tiny())
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        torch.testing.assert_close(encoder(pixels), trained.encoder(pixels))


def test_the_two_encoders_of_cmc_see_brightness_and_colour(
    images: np.ndarray, tmp_path: Path
) -> None:
    encoder = coview.load(train(asked(images, tmp_path / "run", "cmcv2")).folder)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    grey = pixels * 0 + (pixels * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, True)
    with torch.no_grad():
        one, two = encoder(pixels), encoder(grey)
    assert encoder.dim == 512
    assert torch.allclose(one[:, :256], two[:, :256], atol=1e-4)  # Y alone
    assert not torch.allclose(one[:, 256:], two[:, 256:], atol=1e-2)
    parameters = [sum(p.numel() for p in part.parameters()) for part in encoder.backbone.parts]
    full = sum(p.numel() for p in encoders.build("compact", channels=3, size=16)[0].parameters())
    assert sum(parameters) < 0.6 * full


@pytest.mark.parametrize("name", ["pirl", "infomin"])
def test_stop_and_resume_equals_no_stop(images: np.ndarray, tmp_path: Path, name: str) -> None:
    """PIRL: bank and jigsaw; InfoMin: queue and jigsaw."""
    whole = train(asked(images, tmp_path / "whole", name, steps=5)).folder
    stopping = Stopping()
    stopping.load_state_dict(START.state_dict())
    Stopping.seen = 0
    with pytest.raises(Stopped, match=r"after step [23] of 5"):
        train(asked(images, tmp_path / "parts", name, steps=5, encoder=stopping))
    resumed = Pretraining(
        source=images, out=tmp_path / "parts", resume=True, encoder=stopping
    )  # the recipe stands in the record
    assert same(whole, train(resumed).folder)
    other = Pretraining(**recipes.filled({"source": images, "recipe": "moco"}))
    with pytest.raises(ValueError, match=r"has .*, not"):
        train(replace(other, out=tmp_path / "parts", resume=True, encoder=stopping))


def test_what_the_user_gives_wins(images: np.ndarray, tmp_path: Path) -> None:
    given = {
        "optimizer": "adamw",
        "objective": "info_nce:memory=7",
        "projector": (12,),
        "jigsaw": 0.0,
        "target_decay": 0.5,
        "views": "small",
    }
    trained = train(asked(images, tmp_path / "run", "infomin", **given))
    config = trained.folder.read()["config"]
    assert {name: config[name] for name in given} == {**given, "projector": [12]}
    assert config["learning_rate"] is None
    assert config["target_schedule"] == "constant"
    assert not any("memory was shrunk" in note for note in trained.folder.read()["notes"])


def test_the_command_line_takes_a_recipe_and_its_flags_win(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["--size", "16", "--steps", "2", "--batch-size", "16", "--no-evaluate"]
    flags = ["--optimizer", "adamw", "--target-decay=0.9", "--projector-norm=layer"]
    main(["pretrain", "sample", "--recipe", "mocov2", "--out", str(out), *arguments, *flags])
    config = json.loads((out / "run.json").read_text())["config"]
    assert config["recipe"] == "mocov2"
    assert (config["optimizer"], config["target_decay"]) == ("adamw", 0.9)
    assert config["objective"].startswith("info_nce:temperature=0.2,")
    assert config["views"] == "pycontrast_b:smallest_crop=0.2,views=2,blur=false"


def test_settings_of_the_seven() -> None:
    """The table of infomin.md, 3.1."""
    expected = {
        "instdis": ("bank", 0.07, "a", "linear", 0.0, None),
        "cmc": ("bank", 0.07, "c", "linear", 0.0, "YDbDr:0|12"),
        "moco": ("queue", 0.07, "a", "linear", 0.0, None),
        "pirl": ("bank", 0.07, "a", "linear", 0.5, None),
        "mocov2": ("queue", 0.2, "b", "mlp", 0.0, None),
        "cmcv2": ("queue", 0.2, "e", "mlp", 0.0, "YDbDr:0|12"),
        "infomin": ("queue", 0.15, "d", "mlp", 0.5, None),
    }
    found = {
        name: (r.memory, r.temperature, r.views, r.head, r.jigsaw, r.split)
        for name, r in SEVEN.items()
    }
    assert found == expected
    keys = (Path(__file__).parents[2] / "references.bib").read_text()
    for recipe in SEVEN.values():
        large, small = (find_policy(recipe.policy(small=small)) for small in (False, True))
        assert len(large.views) == (2 if recipe.memory == "queue" else 1)
        blurs = [sum(isinstance(op, GaussianBlur) for op in p.views[0]) for p in (large, small)]
        assert blurs == [int(recipe.views in "bde"), 0]
        assert large.views[0][0].scale[0] == (0.2 if recipe.memory == "queue" else 0.08)
        assert f"{{{recipe.citation}," in keys
        Pretraining(source="x", **recipe.settings())


@pytest.mark.parametrize(
    ("name", "width", "parameters"), [("minc", 64, 23_508_032), ("minc-2x", 128, 66_834_240)]
)
def test_minc_on_imagenet(name: str, width: int, parameters: int) -> None:
    recipe = recipes.get(name)
    settings = Pretraining(source="x", **recipe.settings())
    assert (settings.objective, settings.views) == ("minc", "simsiam")
    assert (settings.projector, settings.batch_size) == ((4096, 256), 384)
    assert (settings.optimizer, settings.warmup, settings.clip) == ("sgd", 0.0, 0.0)
    assert (recipe.learning_rate, recipe.weight_decay) == (0.1, 5e-5)
    with torch.device("meta"):
        network = timm.create_model(str(settings.encoder), num_classes=0)
    assert network.layer1[0].conv2.out_channels == width
    assert sum(p.numel() for p in network.parameters()) == parameters
    keys = (Path(__file__).parents[2] / "references.bib").read_text()
    assert f"{{{recipe.citation}," in keys


def table_of_the_docs(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading of docs/howto/recipes.md."""
    text = (Path(__file__).parents[2] / "docs/howto/recipes.md").read_text()
    lines = text.partition(f"# {heading}\n")[2].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[first + 2 :])
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in rows]


def test_the_docs_have_the_numbers_of_minc() -> None:
    recipe, twice, objective = recipes.get("minc"), recipes.get("minc-2x"), MINC()
    settings = recipe.settings()
    assert twice.settings() == {**settings, "encoder": "wide_resnet50_2"}
    expected = settings | {
        "encoder": f"{settings['encoder']}; 2×: {twice.settings()['encoder']}",
        "objective": f"minc: batch_weight {objective.batch_weight}, memory {objective.memory:g}, "
        f"carried, {objective.normalization} of {objective.scale:g}",
        "projector": ", ".join(map(str, settings["projector"])),
        "learning_rate": f"{recipe.learning_rate} × batch_size / 256",
        "weight_decay": recipe.weight_decay,
    }
    shown = {k: f"{x:g}" if isinstance(x, float) else str(x) for k, x in expected.items()}
    rows = table_of_the_docs("MINC on ImageNet")
    assert {name: value for name, value, _ in rows if name != "epochs"} == shown
    batch, memory = settings["batch_size"], objective.memory
    kept = f"exp(−{batch}/{memory:g}) = {math.exp(-batch / memory):.2f}"
    assert kept in (Path(__file__).parents[2] / "docs/howto/recipes.md").read_text()


def test_the_docs_have_the_numbers_of_the_seven() -> None:
    shown = {
        name: [
            r.memory,
            str(r.temperature),
            r.views.upper() + ", one view" * (r.memory == "bank"),
            r.head.replace("mlp", "MLP"),
            ("two encoders: Y and DbDr" if r.split else "")
            + (f"jigsaw, β = {r.jigsaw}" if r.jigsaw else ""),
        ]
        for name, r in SEVEN.items()
    }
    assert {name: rest for name, *rest in table_of_the_docs("Published methods by name")} == shown


def test_the_recipe_of_minc_trains_on_small_images(images: np.ndarray, tmp_path: Path) -> None:
    trained = train(asked(images, tmp_path / "run", "minc"))
    record = trained.folder.read()
    assert (record["status"], record["config"]["views"]) == ("finished", "small")
    assert record["config"]["learning_rate"] == pytest.approx(0.1 * 8 / 256)
    assert record["config"]["weight_decay"] == 5e-5
    assert not any("shrunk" in note for note in record["notes"])
    terms = json.loads(trained.folder.metrics.read_text().splitlines()[-1])["terms"]
    total = terms["alignment"] + terms["repulsion"]
    assert terms["chi_squared"] == pytest.approx(-32 * total - 1, rel=0.1)  # but for the friction


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"jigsaw": 1.5}, r"jigsaw must be in \[0, 1\], got 1.5"),
        ({"jigsaw_grid": 1}, "jigsaw_grid must be at least 2, got 1"),
        ({"projector": (16, 0)}, "projector must be one or more widths"),
        ({"recipe": "moco3"}, r"'moco3'; did you mean 'moco'\? There are: instdis, cmc, moco, "),
    ],
    ids=["weight", "grid", "projector", "recipe"],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pretraining(source="x", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"jigsaw": 0.5, "objective": "nt_xent"}, "jigsaw needs an objective with targets"),
        ({"split": "Lab:0|12", "objective": "nt_xent"}, "split needs an objective with a memory"),
        ({"split": "Lab:0|12", "objective": "info_nce"}, "give encoder by name, not a Tiny"),
        (
            {"split": "patches", "objective": "info_nce", "encoder": "compact"},
            "'patches' is not one of colours",
        ),
        (
            {"split": "Lab:0|12", "objective": "info_nce", "encoder": "compact", "jigsaw": 0.5},
            "jigsaw and split do not go together",
        ),
        (
            {"jigsaw": 0.5, "objective": "info_nce", "encoder": "vit_tiny_patch16_224"},
            "jigsaw: its patches of 5 pixels are not for this encoder",
        ),
        ({"views": "small:flap=1"}, "views 'small' take no 'flap'; scale, flip"),
    ],
    ids=["jigsaw", "split", "module", "patches", "both", "vit", "views"],
)
def test_settings_that_do_not_go_together(
    images: np.ndarray, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    given = {
        "source": images,
        "out": tmp_path / "run",
        "encoder": START,
        "steps": 1,
        "batch_size": 8,
    }
    with pytest.raises(ValueError, match=message):
        train(Pretraining(**(given | settings)))  # type: ignore[arg-type]


def test_cmc_on_grey_images(images: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"YDbDr:0\|12 is of 3 channels, the images have 1"):
        train(asked(images[..., :1], tmp_path / "run", "cmc", views="small"))


def test_a_split_of_any_channels(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    five = rng.integers(0, 256, (24, 5, 16, 16)).astype(np.uint8)
    flip = Policy(name="flip", views=((HorizontalFlip(),),) * 2)
    settings = asked(
        five,
        tmp_path / "run",
        "cmcv2",
        split="channels:01|23|4",
        views=flip,
        source=data.open(five),
    )
    encoder = train(settings).encoder
    assert encoder.backbone.dims == (256, 256, 256)


def job_of(images: np.ndarray, **changes: object) -> Job:
    given = {"source": images, "encoder": START, "batch_size": 8, "precision": "float32"}
    settings = Pretraining(**(given | {"views": "small"} | changes))  # type: ignore[arg-type]
    fabric, _ = start(accelerator="cpu", devices=1, nodes=1, precision="float32")
    with isolated(0, "test"):
        return build_job(fabric, settings, data.open(images), steps=100)


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_the_loss_is_that_of_views_and_of_the_puzzle_with_the_same_keys(
    images: np.ndarray, weight: float
) -> None:
    job = job_of(images, objective="info_nce:memory=6", jigsaw=weight, jigsaw_grid=2)
    batch = next(iter(job.batches(0)))
    views, patches = job.step._seen(batch)
    assert patches is not None
    assert patches.shape[:2] == (8, 4)
    keys = job.step.objective_state.keys.clone()
    trunk = copy.deepcopy(job.learner)
    seen = job.step(batch)
    learned = trunk(views, patches)
    target = trunk(views).embeddings
    anchor = learned.puzzles[0]
    puzzle = sum(info_nce(anchor, target[v], keys, temperature=0.07) for v in range(2)) / 2
    pairs = ((0, 1), (1, 0))
    view = sum(info_nce(learned.embeddings[v], target[w], keys) for v, w in pairs) / 2
    assert seen.terms["jigsaw"] == pytest.approx(puzzle.item(), rel=1e-5)
    assert seen.terms["cross_entropy"] == pytest.approx(view.item(), rel=1e-5)
    expected = (1 - weight) * view.item() + weight * puzzle.item()
    assert seen.loss == pytest.approx(expected, rel=1e-5)
    entered = nn.functional.normalize(target, dim=-1).transpose(0, 1).flatten(0, 1)[-6:]
    torch.testing.assert_close(job.step.objective_state.keys, entered)


def test_patches_leave_the_running_statistics_alone(images: np.ndarray) -> None:
    job = job_of(images, objective="info_nce", jigsaw=0.5)
    views, patches = job.step._seen(next(iter(job.batches(0))))
    alone, both = copy.deepcopy(job.learner), copy.deepcopy(job.learner)
    alone(views)
    both(views, patches)
    norms = [n.encoder.backbone.module.layers[1] for n in (alone, both)]
    assert torch.equal(norms[0].running_mean, norms[1].running_mean)
    assert norms[1].momentum == 0.1
    with pytest.raises(ValueError, match="no head for patches"):
        job_of(images).learner(views, patches)


def test_a_puzzle_learns_through_the_encoder(images: np.ndarray) -> None:
    job = job_of(images, objective="info_nce:memory=6", jigsaw=1.0)
    job.step(next(iter(job.batches(0))))
    norms = {n: p.grad.abs().sum() for n, p in job.learner.named_parameters() if p.requires_grad}
    assert norms["encoder.backbone.module.layers.0.weight"] > 0
    assert norms["jigsaw.whole.weight"] > 0
    assert norms["projector.0.weight"] == 0


def test_the_network_before_the_last_step_is_at_hand(images: np.ndarray) -> None:
    job = job_of(images, objective=Previous())
    batches = iter(job.batches(0))
    for _ in range(3):
        before = {name: x.clone() for name, x in job.learner.trunk.state_dict().items()}
        job.step(next(batches))
        job.state.step += 1
        kept = job.step.target.network.state_dict()
        now = job.learner.trunk.state_dict()
        weight = "projector.0.weight"
        assert torch.equal(kept[weight], before[weight])
        assert not torch.equal(now[weight], before[weight])


class Previous(Stateless):
    """Agreement with the network of the step before."""

    needs = Needs(target="previous")

    def __call__(self, z: torch.Tensor, state: nn.Module, **given: torch.Tensor) -> Loss:
        return Loss((z - given["target"] + 1).square().mean())


class TestCrosswise:
    def test_each_against_the_memory_of_the_others(self) -> None:
        objective = Crosswise(objective=InfoNCE(memory=6, temperature=0.5), parts=3)
        generator = torch.Generator().manual_seed(0)
        z, target = torch.randn(2, 2, 5, 12, generator=generator, dtype=torch.float64)
        state = objective.init(12).double()
        with torch.no_grad():
            for number, memory in enumerate(state):
                memory.keys.mul_(-1 if number == 1 else 1).copy_(memory.keys.roll(number, 1))
        loss = objective(z, state, target=target)
        pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
        expected = sum(
            InfoNCE(memory=6, temperature=0.5)(
                z[..., 4 * a : 4 * a + 4], state[b], target=target[..., 4 * b : 4 * b + 4]
            ).total
            for a, b in pairs
        )
        torch.testing.assert_close(loss.total, expected)
        objective.update(state, [loss.statistics], progress=0.1)
        for part, memory in enumerate(state):
            own = nn.functional.normalize(target[..., 4 * part : 4 * part + 4], dim=-1)
            newest = own.transpose(0, 1).flatten(0, 1)[-6:]
            torch.testing.assert_close(memory.keys, newest)

    def test_the_rows_of_a_part_are_its_own_embeddings(self) -> None:
        bank = InstanceDiscrimination(images=4, negatives=3, momentum=0.0)
        objective = Crosswise(objective=bank)
        z = torch.arange(1.0, 13.0).reshape(1, 2, 6)
        state = objective.init(6)
        loss = objective(z, state, index=torch.tensor([3, 1]))
        objective.update(state, [loss.statistics], progress=0.1)
        for part, memory in enumerate(state):
            own = nn.functional.normalize(z[0, :, 3 * part : 3 * part + 3], dim=-1)
            torch.testing.assert_close(memory.rows[[3, 1]], own)

    def test_bad_input(self) -> None:
        with pytest.raises(ValueError, match="parts must be a whole number, at least 2"):
            Crosswise(objective=InfoNCE(), parts=1)
        with pytest.raises(ValueError, match="width 7 are not 2 equal parts"):
            Crosswise(objective=InfoNCE()).init(7)
