"""`learn_views` with every kind of generator, resumed, begun again; and a truth it must find."""

import json
import math

import numpy as np
import pytest

from colour_problem import flat_colours
from coview.search import learn as module
from coview.search.learn import learn_views, play
from coview.search.learn_judge import fresh_critics
from coview.search.learn_material import build_makers, prepare, resolve
from coview.search.learn_settings import Learning
from coview.search.learn_watch import Failure
from coview.training.loop import Stopped
from coview.views.generators import PixelFlow, load_generator

pytestmark = pytest.mark.slow
TINY = {"steps": 6, "critic_steps": 3, "batch_size": 32}


def read(folder):
    return json.loads((folder / "learn.json").read_text())


@pytest.mark.parametrize(
    ("objective", "generator"),
    [
        ("semi-supervised", "affine"),
        ("unsupervised", "perturbation"),
        ("supervised", "volume-preserving"),
    ],
)
def test_a_run_leaves_generator_record_and_pictures(objective, generator, tmp_path):
    folder = learn_views(
        flat_colours(300), out=tmp_path / "run", objective=objective, generator=generator, **TINY
    )
    record = read(folder)
    assert record["config"]["objective"] == objective
    assert len(record["critics"]) == 4
    assert all(row["raw"]["n"] == row["learned"]["n"] for row in record["critics"])
    accuracy = record["encoders"]["learned"]["accuracy"]
    assert {"test", "validation", "first view", "second view", "standard_error"} <= set(accuracy)
    history = record["games"][0]["history"]
    assert history[-1]["step"] == 6
    assert ("information" in history[-1]) == (objective != "supervised")
    assert ("classifiers" in history[-1]) == (objective != "unsupervised")
    loaded = load_generator(folder)
    if isinstance(loaded, PixelFlow):
        assert record["games"][0]["inversion_error"] < 1e-5
        if loaded.volume_preserving:
            assert record["games"][0]["log_determinant_per_pixel"] == [0.0, 0.0]
        assert float((loaded.high - loaded.low).min()) > 0
    pictures = np.load(folder / "pictures.npz")
    assert pictures["learned_second"].shape[1] == (3 if generator == "perturbation" else 2)
    assert not list((folder / "checkpoints").iterdir())


def test_without_labels_there_is_no_accuracy(tmp_path):
    images = flat_colours(200).fetch(np.arange(200))
    record = read(learn_views(images, out=tmp_path / "run", **TINY))
    assert record["config"]["objective"] == "unsupervised"
    assert "accuracy" not in record["encoders"]["raw"]
    assert "Without labels" in record["verdict"]["why"]


def test_a_stopped_run_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    source = flat_colours(240)
    whole = read(learn_views(source, out=tmp_path / "whole", **TINY))

    def stop(*_, **__):
        raise Stopped("stopped by a test")

    with monkeypatch.context() as patch:
        patch.setattr(module, "fresh_critics", stop)
        with pytest.raises(Stopped) as caught:
            learn_views(source, out=tmp_path / "parts", **TINY)
    assert "--resume" in caught.value.__notes__[0]
    before = (tmp_path / "parts/stages/encoders-raw.json").stat().st_mtime_ns
    parts = read(learn_views(source, out=tmp_path / "parts", resume=True, **TINY))
    assert (tmp_path / "parts/stages/encoders-raw.json").stat().st_mtime_ns == before
    for name in ("critics", "encoders", "verdict"):
        assert parts[name] == whole[name]
    with pytest.raises(ValueError, match="steps: the run in"):
        learn_views(source, out=tmp_path / "parts", resume=True, **(TINY | {"steps": 7}))
    with pytest.raises(FileExistsError, match="resume"):
        learn_views(source, out=tmp_path / "parts", **TINY)
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        learn_views(source, out=tmp_path / "none", resume=True, **TINY)


def test_an_early_failure_begins_again_with_another_seed(tmp_path, monkeypatch):
    calls = []

    def failing(row, *, classes):
        calls.append(row["step"])
        return [Failure("collapse", "a view is constant")] if len(calls) <= 2 else []

    monkeypatch.setattr("coview.search.learn_watch.failures", failing)
    record = read(learn_views(flat_colours(200), out=tmp_path / "run", **TINY))
    first, second = record["games"]
    assert first["failure"]["name"] == "collapse"
    assert first["history"][-1]["step"] == 2
    assert second["failure"] is None
    assert second["seed"] != first["seed"]
    assert record["failures"][0]["name"] == "collapse"


def test_it_finds_what_must_be_shared():
    """The label, log 2 = 0.69 nats, and not the shared shift of the colours."""
    colours = flat_colours(3000)
    settings = {"steps": 300, "batch_size": 96, "learning_rate": 4e-3}
    asked = resolve(Learning(source=colours, **settings), colours)
    material = prepare(colours, asked)
    learned, record = play(asked, material)
    raw, _ = build_makers(asked, colours)
    assert record["failure"] is None
    assert min(record["history"][-1]["classifiers"]) > 0.95
    (row,) = fresh_critics(
        {"raw": raw, "learned": learned},
        material.unseen,
        steps=300,
        seed=0,
        families=(("infonce", "separable"),),
    )
    assert row["raw"]["value"] > 1.05
    assert row["learned"]["value"] == pytest.approx(math.log(2), abs=0.2)
