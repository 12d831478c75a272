"""The diagnosis of a run: what is written, from which images and views."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import coview
import coview.data
from coview.diagnostics import diagnose
from coview.evaluation.diagnosis import write_diagnosis
from coview.random import generator
from coview.training.run_folder import RunFolder
from coview.views import get, of_one_shape

QUICK = {"steps": 3, "batch_size": 16, "projector": (16, 8), "precision": "float32", "size": 16}


def images(count=120):
    rng = generator("diagnosis images")
    blocks = rng.integers(0, 256, (count, 3, 4, 4)).repeat(4, axis=2).repeat(4, axis=3)
    return blocks.astype(np.uint8)


class Flips:
    """A policy of the user's own."""

    name = "mine"
    views = (0, 1)

    def __call__(self, images, *, index, seed, epoch, size):
        small = get("small")
        return small(images, index=index, seed=seed, epoch=epoch, size=size)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    source = coview.data.open((images(240), np.arange(240) % 2))
    out = tmp_path_factory.mktemp("runs") / "labelled"
    run = coview.pretrain(source, out=out, evaluate=False, **QUICK)
    coview.evaluate(run, source, labels_per_class=(2,), draws=1)
    return run, source


def record_of(run):
    return json.loads((run.path / "diagnosis.json").read_text())


def test_evaluation_leaves_a_diagnosis_of_the_held_out_images(labelled):
    run, _ = labelled
    found = record_of(run)
    splits = json.loads((run.path / "splits.json").read_text())
    assert (found["images"], found["views"], found["dim"]) == (
        len(splits["test"]), 4, run.read()["encoder"]["dim"],
    )  # fmt: skip
    assert (found["held_out"], found["policy"], found["draws"]) == (True, "small", 2)
    judged = [check["against"] for check in found["checks"]]
    assert judged[-2:] == ["views too weak"] * 2
    assert found["sentence"].split(":")[0].lower() == found["verdict"]
    page = coview.page(run).read_text()
    assert '<section id="diagnosis">' in page


def test_the_record_is_diagnose_of_the_runs_own_views(labelled):
    run, source = labelled
    index = np.array(json.loads((run.path / "splits.json").read_text())["test"])
    encoder, policy = coview.load(run), get("small")
    index = np.sort(index)
    with torch.no_grad():
        draws = [
            of_one_shape(
                policy(source.fetch(index), index=index, seed=0, epoch=epoch, size=16), "small"
            )
            for epoch in (0, 1)
        ]
        h = torch.stack([encoder(view) for view in torch.cat(draws)])
        before = {"raw pixels": torch.cat(draws).flatten(2)}
    expected = diagnose(h, before=before).to_record()
    found = record_of(run)
    assert [m["name"] for m in found["measures"]] == [m["name"] for m in expected["measures"]]
    for mine, theirs in zip(found["measures"], expected["measures"], strict=True):
        assert mine["value"] == pytest.approx(theirs["value"], rel=1e-2), mine["name"]
    assert found["checks"][-2]["value"] == pytest.approx(expected["checks"][-1]["value"], rel=1e-6)


def test_it_is_written_again_alike_and_the_encoder_is_left_as_it_was(labelled):
    run, source = labelled
    encoder = coview.load(run).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    write_diagnosis(run, encoder, source, None, seed=3)
    first = record_of(run)
    assert (first["images"], first["held_out"]) == (240, False)
    write_diagnosis(run, encoder, source, None, seed=3)
    assert record_of(run) == first
    assert encoder.training
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_policy_of_ones_own_leaves_the_plain_images(labelled, tmp_path):
    _, source = labelled
    plain = replace(source, labels=None, classes=())
    run = coview.pretrain(plain, out=tmp_path / "own", views=Flips(), **QUICK)
    assert run.read()["policy"] is None
    write_diagnosis(run, coview.load(run), plain, None)
    found = record_of(run)
    assert (found["views"], found["policy"], found["draws"]) == (1, None, None)
    assert any("strength of the views was not judged" in text for text in found["cautions"])


def test_the_loop_records_the_spread(labelled):
    run, _ = labelled
    rows = [json.loads(line) for line in RunFolder(run.path).metrics.read_text().splitlines()]
    assert all(0 < row["standard_deviation_ratio"] <= 1 for row in rows)
