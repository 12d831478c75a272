"""The audit of views: known removals, nothing removed, repetition, interruption, bad input."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from coview import data
from coview.data import Scenes
from coview.encoders import Encoder, create
from coview.pages.audit_page import name_of, render, write_audit_page
from coview.search.audit import _Audit, _level, audit_views
from coview.search.audit_variants import FRAME, Variants
from coview.search.progress import Bar
from coview.training.loop import Stopped
from coview.views import (
    ColorJitter,
    Grayscale,
    HorizontalFlip,
    Policy,
    RandomResizedCrop,
    get,
    names,
)
from coview.views.splits import parse

SIDE = 16

pytestmark = pytest.mark.filterwarnings("ignore:source. .* images are")
IDLE = HorizontalFlip(probability=0.0)


def two(*view):
    return Policy(name="two", views=(view, view))


@pytest.fixture(scope="module")
def colours():
    """Images of one colour each in 4 channels, of the same mean: colour is all that is shared."""
    one, other = np.random.default_rng(0).integers(-100, 101, (2, 200))
    flat = np.stack([127 + one, 127 - one, 127 + other, 127 - other], 1).astype(np.uint8)
    images = flat[:, None, None] + np.zeros((1, SIDE, SIDE, 1), np.uint8)
    return data.open(images, layout="NHWC")


@pytest.fixture(scope="module")
def finished(colours, tmp_path_factory):
    view = (RandomResizedCrop(scale=(0.5, 1.0)), IDLE, Grayscale(probability=1.0))
    out = tmp_path_factory.mktemp("audit") / "audit"
    return audit_views(colours, views=two(*view), steps=4, out=out)


def read(folder):
    return json.loads((folder / "audit.json").read_text())


def lasting(record):
    """Return what the seed decides: no times and no machine."""
    operations = [
        {k: v for k, v in row.items() if k not in ("microseconds", "share_of_time")}
        for row in record["operations"]
    ]
    return {"variants": record["variants"], "operations": operations, "order": record["order"]}


def test_faults_of_the_images_are_on_the_page(finished):
    (fault,) = read(finished)["warnings"]
    assert fault.startswith("source: 200 of 200 images are of one colour")
    assert f'<p class="banner">S{fault[1:]}.</p>' in write_audit_page(finished).read_text()


def test_groups_that_are_not_kept_whole_are_told_on_the_page(colours, tmp_path):
    few = replace(colours, groups=np.arange(len(colours)) // 100)
    with pytest.warns(RuntimeWarning, match="groups: images are of 2, too few or too uneven"):
        folder = audit_views(few, views=two(FRAME, IDLE), steps=1, out=tmp_path / "audit")
    assert "Groups: images are of 2, too few" in write_audit_page(folder).read_text()


def test_what_destroys_all_that_is_shared_comes_first(finished):
    record = read(finished)
    assert record["order"][0] == "grayscale"
    grey = next(row for row in record["operations"] if row["name"] == "grayscale")
    for part in ("alone", "left_out"):
        assert grey[part]["nats"] > 1.0
        assert grey[part]["interval"][0] > 0.5
    assert record["variants"]["crop + flip + grayscale"]["nats"] < 0.7


def test_what_does_nothing_removes_exactly_nothing(finished):
    idle = next(row for row in read(finished)["operations"] if row["name"] == "flip")
    for part in ("alone", "left_out"):
        assert idle[part]["nats"] == 0
        assert idle[part]["standard_error"] == 0
    assert idle["readable"] == []


def test_operations_that_the_images_do_not_tell_apart_are_level():
    def row(name, alone, left_out, *, at_least=False):
        parts = {"alone": (f"no {name}", alone), "left_out": (f"others, no {name}", left_out)}
        made = {
            part: {"nats": nats, "at_least": at_least, "without": without, "having": name}
            for part, (without, nats) in parts.items()
        }
        counted = [max(alone, left_out)] if at_least else [alone, left_out]
        return {"name": name, "removes": float(np.mean(counted)), **made}

    noise = 0.03 * np.random.default_rng(0).normal(size=(12, 20))
    rows = [
        row("a", 2.0, 2.2),
        row("b", 2.1, 1.9),
        row("c", 0.4, 1.0),
        row("d", 0.3, 1, at_least=1),
    ]
    names = [f"{part}{one}" for one in "abcd" for part in ("", "no ", "others, no ")]
    measured = {name: {"replicates": list(each)} for name, each in zip(names, noise, strict=True)}
    order = [rows[i] for i in (0, 1, 3, 2)]
    assert _level(order, measured) == [["a", "b"], ["d", "c"]]
    quiet = {name: {"replicates": [1.0] * 20} for name in names}
    assert _level(order, quiet) == []


def test_level_operations_are_told_where_they_stand_side_by_side(finished):
    record, pictures = read(finished), np.load(finished / "pictures.npz")["pictures"]
    first, second, third = record["order"]
    text = render(record | {"level": [[first, third], [second, third]]}, pictures)
    assert text.count("remove as much as each other") == 1
    assert f"{name_of(second).capitalize()} and {name_of(third)} remove as much" in text
    without = {name: value for name, value in record.items() if name != "level"}
    assert "remove as much" not in render(without, pictures)


def test_the_record_holds_ceilings_parts_and_cost(finished):
    record = read(finished)
    whole = record["variants"][record["whole"]]
    assert whole["ceiling"] == pytest.approx(np.log(record["data"]["measure"]), abs=1e-3)
    assert record["variants"]["nothing"]["saturated"]
    assert next(r for r in record["operations"] if r["name"] == "crop")["alone"]["at_least"]
    assert record["data"]["fit"] + record["data"]["choose"] + record["data"]["measure"] == 200
    assert record["cost"].keys() == {"crop", "flip", "grayscale", "all"}
    assert record["cost"]["all"] > 0


def test_the_same_seed_finds_the_same(finished, colours, tmp_path):
    policy = Policy.from_dict(read(finished)["asked"]["policy"])
    before = torch.get_rng_state()
    again = audit_views(colours, views=policy, steps=4, out=tmp_path / "again")
    assert torch.equal(before, torch.get_rng_state())
    assert lasting(read(again)) == lasting(read(finished))


def test_an_interrupted_audit_goes_on_and_repeats_nothing(finished, colours, tmp_path):
    folder = tmp_path / "audit"
    shutil.copytree(finished, folder)
    record = read(folder)
    for name in ("operations", "order", "reader", "environment"):
        del record[name]
    del record["variants"]["crop + grayscale"]
    record["variants"]["crop"]["nats"] = 1.2345
    record["status"] = "running"
    (folder / "audit.json").write_text(json.dumps(record))
    stamp = (folder / "encoder.safetensors").stat().st_mtime_ns
    policy = Policy.from_dict(record["asked"]["policy"])
    audit_views(colours, views=policy, steps=4, out=folder)
    assert (folder / "encoder.safetensors").stat().st_mtime_ns == stamp
    now, before = read(folder)["variants"], read(finished)["variants"]
    assert now["crop"]["nats"] == 1.2345
    assert now["crop + grayscale"] == before["crop + grayscale"]
    assert read(folder)["status"] == "finished"


def test_warnings_outlive_an_early_stop(colours, tmp_path, monkeypatch):
    asked = {"views": two(FRAME, IDLE), "steps": 1, "out": tmp_path / "audit"}

    def stopping(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr(_Audit, "costs", stopping)
        with pytest.raises(KeyboardInterrupt):
            audit_views(colours, **asked)
    audit_views(colours, **asked)
    (fault,) = read(tmp_path / "audit")["warnings"]
    assert fault.startswith("source: 200 of 200")


def test_another_encoder_or_other_groups_are_another_audit(colours, tmp_path):
    asked = {"views": two(FRAME, IDLE), "steps": 1, "out": tmp_path / "audit"}
    encoders = [
        create("compact", channels=4, size=SIDE, mean=(0.5,) * 4, std=(0.25,) * 4) for _ in range(2)
    ]
    audit_views(colours, encoder=encoders[0], **asked)
    audit_views(colours, encoder=encoders[0], **asked)
    with pytest.raises(FileExistsError, match="differs in weights"):
        audit_views(colours, encoder=encoders[1], **asked)
    grouped = replace(colours, groups=np.arange(200) // 4)
    with pytest.raises(FileExistsError, match="differs in groups"):
        audit_views(grouped, encoder=encoders[0], **asked)


def test_an_encoder_that_was_stopped_part_way_goes_on(finished, colours, tmp_path, monkeypatch):
    advance, seen, stop = Bar.advance, [], [True]

    def stopping(self, what, work):
        advance(self, what, work)
        seen.append(what)
        if stop and seen.count("encoder") == 2:
            raise Stopped("enough")

    monkeypatch.setattr(Bar, "advance", stopping)
    policy = Policy.from_dict(read(finished)["asked"]["policy"])
    with pytest.raises(Stopped, match="enough") as stopped:
        audit_views(colours, views=policy, steps=4, out=tmp_path / "audit")
    assert "the same command goes on with it" in stopped.value.__notes__[0]
    seen.clear()
    stop.clear()
    audit_views(colours, views=policy, steps=4, out=tmp_path / "audit")
    assert seen.count("encoder") == 2
    assert lasting(read(tmp_path / "audit")) == lasting(read(finished))
    assert not list((tmp_path / "audit").glob("*.pt"))


def test_a_finished_audit_is_left_alone_and_another_is_refused(finished, colours):
    text = (finished / "audit.json").read_text()
    policy = Policy.from_dict(read(finished)["asked"]["policy"])
    audit_views(colours, views=policy, steps=4, out=finished)
    assert (finished / "audit.json").read_text() == text
    with pytest.raises(FileExistsError, match="differs in steps, seed"):
        audit_views(colours, views=policy, steps=5, seed=1, out=finished)


def test_many_channels_views_that_differ_and_no_crop(tmp_path):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (100, SIDE, SIDE, 5), dtype=np.uint8)
    policy = Policy(name="odd", views=((IDLE,), (ColorJitter(), HorizontalFlip()), (IDLE,)))
    folder = audit_views(
        data.open(images, layout="NHWC"), views=policy, steps=1, out=tmp_path / "odd"
    )
    record = read(folder)
    assert {row["name"] for row in record["operations"]} == {"flip", "jitter"}
    assert len(record["notes"]) == 2
    text = write_audit_page(folder).read_text()
    assert "The policy makes 3 views" in text
    assert "The policy has no crop" in text
    assert "5 channels" in text


def test_the_reader_may_be_given(colours, tmp_path):
    class Mean(torch.nn.Module):
        def forward(self, images):
            return images.float().mean((2, 3)) / (255 if images.dtype == torch.uint8 else 1)

    view = (RandomResizedCrop(), ColorJitter(saturation=0.0, contrast=0.0))
    folder = audit_views(colours, views=two(*view), steps=1, encoder=Mean(), out=tmp_path / "a")
    record = read(folder)
    assert record["reader"] == "Mean"
    jitter = next(row for row in record["operations"] if row["name"] == "jitter")
    found = {one["parameter"]: one["readable"] for one in jitter["readable"]}
    assert found["brightness"] > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"views": two(RandomResizedCrop()), "steps": 0}, "steps must be at least 1, got 0"),
        ({"views": two(RandomResizedCrop()), "minutes": 0.0}, "minutes must be above 0, got 0"),
        ({"views": Policy(name="one", views=((IDLE,),))}, "'one' makes 1 view"),
        ({"views": Policy(name="bare", views=((), ()))}, "'bare' has no operation"),
        ({"views": parse("YDbDr:0|12")}, "must be a Policy, not ColourSplit"),
        (
            {"views": Policy(name="mixed", views=((IDLE,), (IDLE,)), sizes=(1.0, 0.5))},
            r"'mixed': the first two have sizes \(1.0, 0.5\)",
        ),
    ],
    ids=["steps", "minutes", "one view", "no operation", "split", "sizes"],
)
def test_what_cannot_be_audited_is_refused(colours, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        audit_views(colours, **{"steps": 1, "out": tmp_path / "a", **arguments})
    assert not (tmp_path / "a").exists()


def test_an_encoder_of_other_images_is_refused_before_the_work(colours, tmp_path):
    half = (0.5, 0.5, 0.5)
    other = Encoder(torch.nn.Flatten(), dim=1, size=SIDE, mean=half, std=half)
    with pytest.raises(ValueError, match="images have 4 channels, the encoder 3"):
        audit_views(colours, steps=1, encoder=other, out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_bad_images_and_folders_are_refused(colours, tmp_path):
    few = np.zeros((99, SIDE, SIDE, 3), np.uint8)
    with pytest.raises(ValueError, match=r"at least 100 images .* has 99"):
        audit_views(few, out=tmp_path / "a")
    broken = np.full((120, SIDE, SIDE, 3), np.nan, np.float32)
    with pytest.raises(ValueError, match="120 of 120 images hold NaN"):
        audit_views(broken, out=tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="not empty"):
        audit_views(colours, steps=1, out=tmp_path / "b")


@pytest.mark.parametrize("name", [name for name in names() if len(get(name).views) > 1])
def test_every_preset_has_its_variants(name):
    variants = Variants.of(get(name))
    images = Scenes(size=32).dataset(3, seed=0).fetch(np.arange(3))
    for kept in variants.all():
        made = variants.keep(kept)(images, index=np.arange(3), seed=0, epoch=0, size=32)
        assert made.views.shape == (2, 3, 3, 32, 32)
    for key in variants.keys:
        without, having = variants.alone(key)
        assert {*having} - {*without} == {key}
        assert {*having} <= {*variants.crops, key}
        assert variants.left_out(key).having == variants.keys


def test_without_a_crop_every_variant_is_cropped_first():
    variants = Variants.of(two(IDLE, Grayscale()))
    assert all(variants.keep(kept).views[0][0] is FRAME for kept in variants.all())
    assert variants.all() == ((), ("flip",), ("grayscale",), ("flip", "grayscale"))
