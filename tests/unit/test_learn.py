"""`learn_views` as a whole, small: stages, resume, bad input."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from colour_problem import flat_colours
from coview import data
from coview.information.fit import divide
from coview.pages.learn_page import write_learn_page
from coview.search import learn
from coview.search.learn import learn_views, play
from coview.search.learn_judge import FAMILIES, fresh_critics, judge_encoders, train_encoders
from coview.search.learn_material import build_makers, prepare, resolve
from coview.search.learn_settings import Learning
from coview.search.learn_watch import Failure, Held
from coview.views.generators import load_generator
from half_labelled import half_labelled

TINY = {"steps": 4, "critic_steps": 3, "batch_size": 32}


def test_a_run_leaves_generator_record_and_pictures(tmp_path):
    folder = learn_views(flat_colours(200), out=tmp_path / "run", generator="affine", **TINY)
    record = json.loads((folder / "learn.json").read_text())
    fault = record["warnings"][-1]
    assert fault.startswith("source: 200 of 200 images are of one colour")
    assert f'<p class="banner">S{fault[1:]}.</p>' in write_learn_page(folder).read_text()
    assert record["config"]["objective"] == "semi-supervised"
    assert [row["critic"] for row in record["critics"]] == [critic for _, critic in FAMILIES]
    for row in record["critics"]:
        assert row["raw"]["n"] == row["learned"]["n"]
        assert row["raw"]["standard_error"] > 0
    accuracy = record["encoders"]["learned"]["accuracy"]
    assert {"test", "validation", "first view", "second view", "standard_error"} <= set(accuracy)
    assert record["games"][0]["inversion_error"] < 1e-5
    low, high = record["games"][0]["log_determinant_per_pixel"]
    assert low <= high
    last = record["games"][0]["history"][-1]
    assert last["step"] == 4
    assert last["information"]["ceiling"] > 0
    assert float((load_generator(folder).high - load_generator(folder).low).min()) > 0
    assert np.load(folder / "pictures.npz")["learned_second"].shape == (8, 2, 8, 8)
    assert not list((folder / "checkpoints").iterdir())
    with pytest.raises(ValueError, match="steps: the run in"):
        learn_views(
            flat_colours(200), out=folder, resume=True, generator="affine", **(TINY | {"steps": 7})
        )
    with pytest.raises(FileExistsError, match="resume"):
        learn_views(flat_colours(200), out=folder, **TINY)
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        learn_views(flat_colours(200), out=tmp_path / "none", resume=True, **TINY)


def test_an_early_failure_that_lasts_ends_the_first_game_only(monkeypatch):
    monkeypatch.setattr(
        "coview.search.learn_watch.failures",
        lambda row, *, classes: (
            [Failure("collapse", "a view is constant")] if row["step"] > 1 else []
        ),
    )
    colours = flat_colours(160)
    asked = resolve(Learning(source=colours, **(TINY | {"steps": 6})), colours)
    material = prepare(colours, asked)
    _, first = play(asked, material)
    assert first["failure"]["name"] == "collapse"
    assert first["failure"]["message"].startswith("step 3 of 6")
    _, second = play(asked, material, attempt=1)
    assert second["failure"] is None
    assert second["history"][-1]["step"] == 6
    assert second["seed"] != first["seed"]


def test_labels_are_shown_but_decide_nothing_without_supervision(monkeypatch):
    looked = []
    monkeypatch.setattr(
        "coview.search.learn_watch.failures",
        lambda row, *, classes: looked.append(set(row)) or [],
    )
    colours = flat_colours(160)
    for objective, hidden in (("unsupervised", True), ("semi-supervised", False)):
        asked = resolve(Learning(source=colours, objective=objective, **TINY), colours)
        _, record = play(asked, prepare(colours, asked))
        assert "knn" in record["history"][-1]
        assert ("knn" not in looked[-1]) == hidden


def test_images_without_a_label_are_looked_at_too(tmp_path):
    """Critics, curves and the bound take all held-out images; accuracies those with a label."""
    colours = flat_colours(300)
    colours = replace(colours, labels=np.where(np.arange(300) % 5 == 0, colours.labels, -1))
    asked = resolve(Learning(source=colours, **TINY), colours)
    material = prepare(colours, asked)
    assert len(material.unseen.index) == 300 - len(material.train)
    for part in (material.validation, material.test):
        assert 0 < len(part.known) < len(part.index) / 3
        assert (part.labels[part.known] >= 0).all()
    folder = learn_views(colours, out=tmp_path / "run", **TINY)
    record = json.loads((folder / "learn.json").read_text())
    accuracy = record["encoders"]["raw"]["accuracy"]
    assert accuracy["n"] == len(material.test.known)
    assert accuracy["n_validation"] == len(material.validation.known)
    assert record["encoders"]["raw"]["information"]["n"] == len(material.test.index)
    look = record["games"][0]["history"][-1]
    assert look["n"] == len(material.validation.known)
    for share in (*look["classifiers"], *look["knn"]):
        assert share * look["n"] == pytest.approx(round(share * look["n"]))
    assert record["critics"][0]["raw"]["n"] > len(material.unseen.index) / 5


def test_the_error_of_an_accuracy_keeps_groups_whole():
    colours = replace(flat_colours(300), groups=np.arange(300) // 5)
    asked = resolve(Learning(source=colours, **TINY), colours)
    material = prepare(colours, asked)
    raw, _ = build_makers(asked, colours)
    players = train_encoders(raw, material.train, channels=(1, 2), steps=1, batch_size=32, seed=0)
    parts = {"train": material.probe, "validation": material.validation}
    test = replace(material.test, labels=material.test.groups % 2)  # half of each group is right
    whole, alone = (
        judge_encoders(players, **parts, test=one, seed=0)["accuracy"]
        for one in (test, replace(test, groups=None))
    )
    assert whole["test"] == alone["test"] < 1
    assert whole["standard_error"] != pytest.approx(alone["standard_error"], rel=0.1)
    share = alone["test"]
    error = (share * (1 - share) / alone["n"]) ** 0.5
    assert alone["standard_error"] == pytest.approx(error, rel=0.1)


def test_a_table_may_label_some_images_only(tmp_path):
    source, labels = half_labelled(tmp_path, images=120, labelled=60, side=8)
    folder = learn_views(source, labels=labels, out=tmp_path / "run", **TINY)
    assert json.loads((folder / "learn.json").read_text())["encoders"]["raw"]["accuracy"]


def test_two_divergences_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "coview.search.learn_watch.failures",
        lambda row, *, classes: [Failure("divergence", "out of bounds")],
    )
    with pytest.raises(RuntimeError, match=r"failed with two seeds.*learning-rate"):
        learn_views(flat_colours(200), out=tmp_path / "run", **TINY)


def test_bad_input_is_named(tmp_path):
    colours = flat_colours(200)
    images = colours.fetch(np.arange(200))
    out = tmp_path / "run"
    with pytest.raises(ValueError, match="has 1: take perturbation"):
        learn_views(images[:, :1], out=out, **TINY)
    for objective in ("supervised", "semi-supervised"):
        with pytest.raises(ValueError, match="needs labels"):
            learn_views(images, out=out, objective=objective, **TINY)
    with pytest.raises(ValueError, match=r"nan|finite|NaN"):
        learn_views(torch.full((40, 3, 8, 8), math.nan), out=out, **TINY)
    with pytest.raises(ValueError, match="too few"):
        learn_views(images[:20], out=out, **TINY)
    with pytest.raises(ValueError, match="is of 2 channels"):
        learn_views(images, out=out, split="channels:0|1", **TINY)
    with pytest.raises(ValueError, match="two parts"):
        learn_views(images, out=out, split="frequency", **TINY)
    for name, value in (
        ("steps", 0), ("budget", 0.0), ("learning_rate", math.inf),
        ("labelled", 0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            Learning(source=images, **{name: value})
    with pytest.raises(ValueError, match="split is for"):
        Learning(source=images, generator="perturbation", split="RGB:0|12")
    assert not out.exists()


def test_parts_share_no_image_and_labels_are_as_many_as_asked():
    colours = flat_colours(400)
    asked = resolve(Learning(source=colours, labelled=7), colours)
    material = prepare(colours, asked)
    assert asked.split == "RGB:0|12"
    assert len(material.labelled) == 14
    both = np.concatenate([material.validation.index, material.test.index])
    assert len(np.unique(both)) == len(both) == 400 - len(material.train)
    raw, learned = build_makers(asked, colours)
    x = colours.fetch(np.arange(8)).float() / 255
    torch.testing.assert_close(raw(x)[0], x, atol=1e-6, rtol=0)
    assert learned.volume_preserving


def few_labels(count, labels):
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    known = np.full(count, -1)
    known[: len(labels)] = labels
    return data.open((images, known), layout="NHWC", missing_labels="unlabelled")


def test_a_look_has_all_labelled_images_where_they_are_few():
    labels = np.full(3000, -1)
    labels[[7, 1234, 2999]] = 0
    held = Held(
        images=torch.zeros(3000, 3, 8, 8).byte(), index=np.arange(3000), labels=labels, classes=2
    )
    some = learn._some(held, 100)
    assert len(some.index) == len(set(some.index.tolist())) == 100
    assert sorted(some.index[some.labels >= 0]) == [7, 1234, 2999]
    held.labels[1000:2000] = 1
    assert (learn._some(held, 100).labels >= 0).all()  # where they are many, no others
    plain = learn._some(replace(held, labels=None), 4)
    assert plain.index.tolist() == [0, 999, 1999, 2999]


def test_labels_of_too_few_training_images_are_refused_before_the_game(tmp_path):
    with pytest.raises(ValueError, match=r"labels: \d of 180 training images have one, and not of"):
        learn_views(
            few_labels(300, [0, 1]), objective="supervised", out=tmp_path / "x", seed=1, **TINY
        )


def test_few_groups_are_divided_at_the_end_and_that_is_said():
    colours = replace(flat_colours(160), groups=np.arange(160) // 40)
    asked = resolve(Learning(source=colours, **TINY), colours)
    material = prepare(replace(colours, groups=None), asked)
    unseen = replace(material.unseen, groups=np.arange(len(material.unseen.index)) // 20)
    raw, _ = build_makers(asked, material.train)
    with pytest.warns(
        RuntimeWarning,
        match=r"groups: .* cannot be kept whole .too few groups, 4",
    ):
        found = fresh_critics(
            {"raw": raw}, unseen, steps=1, seed=0, families=(("infonce", "separable"),)
        )
    assert found[0]["raw"]["n"] > 4


def test_uneven_groups_are_divided_at_the_end():
    colours = flat_colours(200)
    material = prepare(colours, resolve(Learning(source=colours, **TINY), colours))
    sizes = [len(material.unseen.index) - 29, *[1] * 29]  # the large one leaves few for a part
    unseen = replace(material.unseen, groups=np.repeat(np.arange(30), sizes))
    divide(60, np.arange(60) // 2, 0)  # as many of one size can be kept whole
    raw, _ = build_makers(Learning(source=colours, **TINY, generator="affine"), material.train)
    with pytest.warns(RuntimeWarning, match="groups: .* cannot be kept whole"):
        found = fresh_critics(
            {"raw": raw}, unseen, steps=1, seed=0, families=(("infonce", "separable"),)
        )
    assert found[0]["raw"]["n"] > 4


def test_an_accuracy_of_few_groups_has_no_error():
    colours = flat_colours(300)
    material = prepare(colours, resolve(Learning(source=colours, **TINY), colours))
    raw, _ = build_makers(resolve(Learning(source=colours, **TINY), colours), colours)
    players = train_encoders(raw, material.train, channels=(1, 2), steps=1, batch_size=32, seed=0)
    parts = {"train": material.probe, "validation": material.validation}
    one = replace(material.test, groups=np.zeros(len(material.test.index), np.int64))
    with pytest.warns(RuntimeWarning, match="labels: test images that have one are of 1: too few"):
        found = judge_encoders(players, **parts, test=one, seed=0)["accuracy"]
    assert found["standard_error"] is None


def test_labels_of_one_class_are_not_read(tmp_path):
    one = replace(flat_colours(120), labels=np.zeros(120, np.int64), classes=("all",))
    folder = learn_views(one, out=tmp_path / "run", generator="affine", **TINY)
    record = json.loads((folder / "learn.json").read_text())
    assert record["config"]["objective"] == "unsupervised"
    assert "accuracy" not in record["encoders"]["learned"]
    assert "Without labels" in record["verdict"]["why"]
    assert write_learn_page(folder).is_file()


def test_images_too_small_for_a_critic_are_refused_before_the_game(tmp_path):
    with pytest.raises(ValueError, match="size: 5 pixels are too few; critics need 8"):
        learn_views(np.zeros((200, 5, 5, 3), np.uint8), out=tmp_path / "x", **TINY)


def test_other_labels_are_another_run(tmp_path):
    colours = flat_colours(200)
    folder = learn_views(colours, out=tmp_path / "run", generator="affine", **TINY)
    other = replace(colours, labels=1 - colours.labels)
    with pytest.raises(ValueError, match="label_fingerprint: the run in"):
        learn_views(other, out=folder, resume=True, generator="affine", **TINY)


def test_accuracies_are_balanced():
    colours = flat_colours(400)
    asked = resolve(Learning(source=colours, **TINY), colours)
    material = prepare(colours, asked)
    raw, _ = build_makers(asked, colours)
    players = train_encoders(raw, material.train, channels=(1, 2), steps=1, batch_size=32, seed=0)
    rare = np.flatnonzero(material.test.labels == 1)[:6]
    rows = np.concatenate([np.flatnonzero(material.test.labels == 0), rare])
    test = material.test.some(rows)
    rng = np.random.default_rng(0)
    parts = {"train": replace(material.probe, labels=rng.permutation(material.probe.labels))}
    parts |= {"validation": material.validation}

    def read(rows):
        found = judge_encoders(players, **parts, test=test.some(rows), seed=0)
        return found["accuracy"]["test"]

    shares = [read(np.flatnonzero(test.labels == label)) for label in (0, 1)]
    assert read(np.arange(len(rows))) == pytest.approx(np.mean(shares))
    assert shares[0] != shares[1]  # so that the plain share would differ
