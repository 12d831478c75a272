"""Tuning of views: its points, what it finds where the answer is known, interruption, bad input."""

import copy
import json
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from coview import data, views
from coview.diagnostics import effective_rank
from coview.encoders import Encoder
from coview.information import Estimate
from coview.pages.tune_page import write_tune_page
from coview.probes import linear_probe
from coview.probes.intervals import Replicates
from coview.search import tune
from coview.search.audit_critic import Measured, divide
from coview.search.tune import tune_views
from coview.search.tune_points import DEFAULTS, Strengths, propose, starting_points
from coview.search.tune_trials import Accuracy, Judged, Mixture, Trials
from coview.training import checkpoints
from coview.training.devices import start
from coview.training.features import extract
from coview.training.learner import NonFinite
from coview.training.loop import Stopped
from coview.training.pretrain import splits_of
from coview.views import Policy
from half_labelled import half_labelled

SIDE = 16

pytestmark = pytest.mark.filterwarnings("ignore:source. .* images are")
SMALL = DEFAULTS["small"]
POINTS = ["small", "no colour", "no crop", "no crop, no flip"]


def read(folder):
    return json.loads((folder / "tune.json").read_text())


@pytest.fixture(scope="module")
def colours():
    """Flat images whose hue is the class: colour is all that there is."""
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 3
    pixels = np.full((240, SIDE, SIDE, 3), 60, np.uint8)
    pixels[np.arange(240), :, :, labels] = rng.integers(100, 250, (240, 1, 1))
    return data.open(pixels, labels=labels, layout="NHWC")


@pytest.fixture(scope="module")
def finished(colours, tmp_path_factory):
    out = tmp_path_factory.mktemp("tune") / "tune"
    return tune_views(colours, points=4, steps=2, batch_size=32, out=out)


def trials_of(dataset, *, labels_per_class=20):
    fabric, _ = start(accelerator="cpu", devices=1, nodes=1, precision="float32")
    return Trials.of(
        dataset,
        objective="spectral_contrastive",
        batch_size=32,
        labels_per_class=labels_per_class,
        seed=0,
        fabric=fabric,
    )


def lasting(record):
    """Return what the seed decides: no times and no machine."""
    rows = [
        row
        | {"rungs": [{k: v for k, v in rung.items() if k != "seconds"} for rung in row["rungs"]]}
        for row in record["points"]
    ]
    return {"points": rows} | {
        name: record[name]
        for name in ("order", "best", "tested", "gain", "two_lines", "trust", "lengths")
    }


@pytest.mark.parametrize("preset", DEFAULTS)
def test_the_default_is_the_preset(preset):
    policy, wanted = DEFAULTS[preset].policy(preset, channels=3), views.get(preset)
    assert [op.name for op in policy.views[0]] == [op.name for op in wanted.views[0]]
    for ours, theirs in zip(policy.views[1], wanted.views[1], strict=True):
        if ours.name == "crop":
            assert ours.scale == theirs.scale
        else:
            assert ours == theirs


def test_points_that_leave_out_and_a_ladder_that_rises():
    points = starting_points("small")
    assert [point.name for point in points[:4]] == POINTS
    assert [op.name for op in points[1].strengths.policy("x", channels=3).views[0]] == [
        "crop",
        "flip",
    ]
    ladder = [point.strengths for point in points if point.made == "ladder"]
    for weak, strong in pairwise(ladder):
        assert weak.smallest_crop > strong.smallest_crop
        assert weak.jitter < strong.jitter
        assert weak.grey < strong.grey


def test_channels_without_colour_get_their_own_jitter(tmp_path):
    policy = SMALL.policy("bands", channels=5)
    assert [op.name for op in policy.views[0]] == ["crop", "flip", "channel_jitter"]
    policy.save(tmp_path / "policy.json")
    assert Policy.load(tmp_path / "policy.json") == policy
    grey = SMALL.policy("grey", channels=1)
    assert [op.name for op in grey.views[0]] == ["crop", "flip", "jitter"]


def test_proposals_go_where_it_was_good_and_can_be_repeated():
    rng = np.random.default_rng(0)
    tried = []
    for _ in range(30):
        jitter, crop = rng.uniform(0, 1.5), rng.uniform(0.05, 1)
        strengths = Strengths(smallest_crop=crop, flip=0.5, jitter=jitter, grey=0.1, blur=0.1)
        tried.append((strengths, -abs(jitter - 1.2)))
    found = [propose(tried, number=number, channels=3, seed=0) for number in range(1, 13)]
    assert np.mean([abs(one.jitter - 1.2) for one in found]) < 0.25  # .5 by chance
    assert found[3] == propose(tried, number=4, channels=3, seed=0)
    assert len(set(found)) == len(found)


def test_a_mixture_takes_every_policy():
    named = [SMALL.policy(name, channels=3) for name in "abc"]
    mixture = Mixture(policies=tuple(named))
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    drawn = {
        mixture(images, index=np.array([i, i + 1]), seed=0, epoch=0, size=8).record.policy.name
        for i in range(20)
    }
    assert drawn == {"a", "b", "c"}


def test_what_is_jittered_away_is_not_shared(finished):
    rows = {row["name"]: row for row in read(finished)["points"]}
    nats = {name: row["information"]["nats"] for name, row in rows.items()}
    assert nats["no colour"] > nats["small"] + 0.2
    assert rows["no colour"]["information"]["ceiling"] > 0


def test_the_record_of_a_search(finished, colours):
    record = read(finished)
    assert [row["name"] for row in record["points"]] == POINTS
    assert record["judge"] == "accuracy"
    assert sorted(record["order"]) == sorted(POINTS)
    assert record["order"][0] == record["best"]
    rows = {row["name"]: row for row in record["points"]}
    assert [rung["steps"] for rung in rows["small"]["rungs"]] == [2, 6, 18]
    climbed = [row for row in rows.values() if len(row["rungs"]) == 3]
    assert 1 <= len(climbed) <= 3
    best = max(climbed, key=lambda row: row["rungs"][-1]["accuracy"])
    assert rows[record["best"]]["rungs"][-1]["accuracy"] == best["rungs"][-1]["accuracy"]
    assert record["tested"]["images"] == 0.2 * len(colours)
    assert record["tested"]["chance"] == pytest.approx(1 / 3, abs=1e-4)
    assert rows["small"]["policy"] == views.get("small").to_dict()
    pictures = np.load(finished / "pictures.npz")
    assert pictures["views"].shape == (4, 4, 2, 3, SIDE, SIDE)
    assert not (finished / "trials").exists()
    tuned = Policy.load(finished / "policy.json")
    assert tuned.to_dict()["views"] == rows[record["best"]]["policy"]["views"]
    assert record["data"]["training"] + record["data"]["validation"] == 0.8 * len(colours)


def test_the_test_images_are_not_touched(colours):
    trials = trials_of(colours)
    test = set(splits_of(colours, seed=0).test.tolist())
    for rows in (*trials.parts, *trials.readings.draws, trials.readings.judged, trials.looked):
        assert not test & set(rows.tolist())
    assert set(trials.readings.test.tolist()) == test
    fit = set(trials.parts.fit.tolist())
    assert not fit & set(trials.parts.measure.tolist())
    assert not fit & set(trials.readings.judged.tolist())
    assert not fit & set(trials.looked.tolist())
    assert not set(trials.parts.choose.tolist()) & set(trials.parts.measure.tolist())
    assert trials.settings.source.labels is None


def test_with_fewer_labels_than_asked_one_probe_is_shown_them_all(colours):
    trials = trials_of(colours, labels_per_class=1000)
    (only,) = trials.readings.draws
    assert set(only.tolist()) == set(splits_of(colours, seed=0).train.tolist())


def test_accuracy_by_labels_is_that_of_trials_shown_so_many(colours, tmp_path):
    labels = np.random.default_rng(0).permutation(colours.labels)
    trials = trials_of(replace(colours, labels=labels))
    encoder = trials.train(SMALL.policy("small", channels=3), 1, start=None, end=tmp_path / "x.pt")
    found = trials.by_labels(encoder)
    assert list(found) == [5, 20, "all"]  # no class has 100
    for count, accuracy in found.items():
        apart = trials_of(replace(colours, labels=labels), labels_per_class=count)
        policy = SMALL.policy("small", channels=3)
        assert accuracy == pytest.approx(apart.judge(encoder, policy).accuracy)
    shown = trials.showing(5).readings
    assert [len(draw) for draw in shown.draws] == [15] * 5
    assert shown.judged is trials.readings.judged


@pytest.mark.parametrize(
    ("told", "read", "chosen"),
    [
        (None, {5: 0.34, 20: 0.40, 100: 0.69, "all": 0.99}, 100),
        (None, {5: 0.97, 20: 1.0, "all": 1.0}, 5),
        (None, {5: 0.33, 20: 0.34, "all": 0.4}, "all"),
        (7, {5: 0.6}, 7),
    ],
)
def test_labels_shown_leave_the_trunk_the_most_room(
    colours, tmp_path, monkeypatch, told, read, chosen
):
    def stop(self, rung, points):
        raise Stopped("seen enough")

    monkeypatch.setattr(Trials, "by_labels", lambda self, encoder: read)
    monkeypatch.setattr(tune._Tuning, "_rung", stop)
    with pytest.raises(Stopped):
        tune_views(
            colours, points=1, steps=1, batch_size=32, labels_per_class=told, out=tmp_path / "t"
        )
    shown = json.loads((tmp_path / "t" / "tune.json").read_text())["shown"]
    assert shown["per_class"] == chosen
    assert [row["per_class"] for row in shown["trunk"]] == ([] if told else list(read))


def test_groups_are_in_one_part_and_side_by_side(colours):
    trials = trials_of(replace(colours, groups=np.arange(240) // 4))
    groups = {name: trials.dataset.groups[rows] for name, rows in trials.parts._asdict().items()}
    assert not set(groups["fit"]) & set(groups["measure"])
    assert not set(groups["choose"]) & set(groups["measure"])
    assert (np.diff(groups["measure"]) >= 0).all()


def test_with_few_groups_images_are_divided_and_that_is_said(colours):
    with pytest.warns(RuntimeWarning, match="groups: images are of 1, too few or too uneven"):
        trials = trials_of(replace(colours, groups=np.arange(240) // 48))
    assert not set(trials.parts.choose.tolist()) & set(trials.parts.measure.tolist())
    with pytest.warns(RuntimeWarning, match="groups: images are of 2, too few"):
        divide(replace(colours, labels=None, groups=np.arange(240) // 120), seed=0)


def test_uneven_groups_are_not_kept_whole():
    sizes = np.repeat([0, 1, 2], [65, 34, 1])  # one image would choose
    images = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), dtype=np.uint8)
    dataset = replace(data.open(images), groups=sizes)
    with pytest.warns(RuntimeWarning, match="groups: images are of 3, too few or too uneven"):
        parts = divide(dataset, seed=0)
    assert (len(parts.choose), len(parts.measure)) == (10, 20)


def test_few_groups_that_measure_are_told():
    images = np.random.default_rng(0).integers(0, 256, (240, 8, 8, 3), dtype=np.uint8)
    dataset = replace(data.open(images), groups=np.arange(240) // 24)
    with pytest.warns(RuntimeWarning, match="groups: images that measure are of 2; that others"):
        parts = divide(dataset, seed=0)
    assert len(np.unique(dataset.groups[parts.measure])) == 2


def test_a_training_that_was_stopped_goes_on_part_way(colours, tmp_path):
    trials, policy = trials_of(colours), SMALL.policy("small", channels=3)
    trials.train(policy, 5, start=None, end=tmp_path / "whole.pt")
    steps, skipped, end = [], [], tmp_path / "parts.pt"

    def stop():
        steps.append(1)
        if len(steps) == 3:
            raise Stopped("a signal")

    with pytest.raises(Stopped):
        trials.train(policy, 5, start=None, end=end, advance=stop)
    assert not end.exists()
    trials.train(policy, 5, start=None, end=end, advance=stop, skip=skipped.append)
    assert skipped == [3]
    assert len(steps) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.pt", "whole.pt"]
    ours, whole = (checkpoints.load(path)["learner"] for path in (end, tmp_path / "whole.pt"))
    assert all(torch.equal(ours[name], whole[name]) for name in whole)


def test_a_branch_goes_on_with_other_images_and_views(colours, tmp_path, monkeypatch):
    trials, seen = trials_of(colours), []
    make = Policy.__call__

    def watched(self, images, **when):
        seen.append((when["epoch"], when["index"].tolist()))
        return make(self, images, **when)

    monkeypatch.setattr(Policy, "__call__", watched)
    policy, files = SMALL.policy("small", channels=3), [tmp_path / f"{i}.pt" for i in range(3)]
    trials.train(policy, 2, start=None, end=files[0])
    trials.train(policy, 3, start=files[0], end=files[1])
    in_parts, seen = list(seen), []
    trials.train(policy, 5, start=None, end=files[2])
    assert in_parts == seen
    assert len({str(batch) for batch in seen}) == 5


def mean_of_classes(right, labels):
    return np.mean([right[:, labels == one].mean() for one in np.unique(labels)])


def test_a_judgement_is_of_probes_with_few_labels_on_validation_images(colours, tmp_path):
    labels = np.random.default_rng(0).permutation(colours.labels)  # read badly
    labels[labels == 2] = np.where(np.arange(80) < 30, 2, 1)  # unbalanced
    trials = trials_of(replace(colours, labels=labels), labels_per_class=7)
    policy = SMALL.policy("small", channels=3)
    encoder = trials.train(policy, 1, start=None, end=tmp_path / "x.pt")
    validation, test = trials.readings.judged, trials.readings.test
    known, y = extract(encoder, trials.dataset, validation), torch.from_numpy(labels)
    seen = extract(encoder, trials.dataset, test)
    right, right_of_test = [], []
    for rows in trials.readings.draws:
        assert np.bincount(labels[rows]).tolist() == [7, 7, 7]
        probe = linear_probe(
            extract(encoder, trials.dataset, rows),
            y[rows],
            classes=3,
            validation=(known, y[validation]),
        )
        right.append(probe.predict(known) == labels[validation])
        right_of_test.append(probe.predict(seen) == labels[test])
    judged = trials.judge(encoder, policy)
    assert len(right) == 5
    assert not np.array_equal(right[0], right[1])
    assert judged.accuracy == pytest.approx(mean_of_classes(np.stack(right), labels[validation]))
    assert judged.accuracy != pytest.approx(np.mean(right), abs=1e-3)
    assert 0 < judged.accuracy < 1
    tested = trials.test(encoder)
    assert tested.value == pytest.approx(mean_of_classes(np.stack(right_of_test), labels[test]))
    assert np.mean(tested.replicates.alone) == pytest.approx(tested.value, abs=0.02)
    assert 0.02 < np.std(tested.replicates.alone) < 0.2
    again = trials.test(encoder).replicates
    np.testing.assert_array_equal(tested.replicates.paired, again.paired)
    whole = extract(encoder, trials.dataset, trials.looked)
    assert judged.rank == pytest.approx(effective_rank(whole), rel=1e-3)
    assert judged.lidar > 0


def script(monkeypatch, accuracies, tested=(), *, ranks=None, verdicts=None):
    """Judge by a script: what validation images say of each policy, what test images say."""
    tested = iter(tested)

    def judge(self, encoder, policy):
        rank = 3.0 if ranks is None else ranks[policy.name]
        verdict = "healthy" if verdicts is None else verdicts[policy.name]
        accuracy = accuracies and accuracies[policy.name]
        return Judged(accuracy, accuracy and 0.01, rank, 2.0, verdict)

    monkeypatch.setattr(Trials, "judge", judge)
    monkeypatch.setattr(Trials, "by_labels", lambda self, encoder: {20: 0.5})
    monkeypatch.setattr(Trials, "test", lambda self, encoder: next(tested))


def around(value, spread=0.02):
    drawn = value + spread * np.linspace(-2, 2, 101)
    return Accuracy(value, Replicates(drawn, drawn), 100)


MEASURED = Measured(
    estimate=Estimate(
        value=2.0,
        standard_error=0.1,
        kind="lower bound",
        ceiling=4.0,
        ceiling_name="log 55",
        n=55,
        estimator="infonce",
    ),
    replicates=np.full(32, 2.0),
)
SHARES = {"small": 0.4, "no colour": 0.8, "no crop": 0.6, "no crop, no flip": 0.2}


def test_the_best_is_first_and_the_default_goes_along(colours, tmp_path, monkeypatch):
    ours, theirs = around(0.75), around(0.5, -0.02)
    script(monkeypatch, SHARES, [ours, theirs])
    folder = tune_views(colours, points=4, steps=1, batch_size=32, out=tmp_path / "tune")
    record = read(folder)
    reached = {row["name"]: len(row["rungs"]) for row in record["points"]}
    assert reached == {"small": 3, "no colour": 3, "no crop": 2, "no crop, no flip": 1}
    assert record["order"] == ["no colour", "small", "no crop", "no crop, no flip"]
    assert Policy.load(folder / "policy.json").views[0][-1].name == "flip"
    assert record["tested"] | {"images": 0} == {
        "name": "no colour",
        "images": 0,
        "chance": 0.3333,
        "rung": 3,
        "value": 0.75,
        "interval": [0.712, 0.788],
    }
    assert record["gain"] == {"value": 0.25, "interval": [0.174, 0.326]}  # spreads add
    assert "+25.0 points" in write_tune_page(folder).read_text()


def test_labels_that_cannot_be_read_choose_nothing(colours, tmp_path, monkeypatch):
    script(monkeypatch, SHARES, [around(0.36), around(0.34)])
    folder = tune_views(colours, points=4, steps=1, batch_size=32, out=tmp_path / "tune")
    record = read(folder)
    assert record["order"][0] == record["tested"]["name"] == "no colour"
    assert record["best"] == "small"
    assert record["gain"] is None
    assert Policy.load(folder / "policy.json").views == views.get("small").views
    assert "the labels are not told from chance" in write_tune_page(folder).read_text()


def test_a_best_that_is_behind_on_test_images_gives_way(colours, tmp_path, monkeypatch):
    script(monkeypatch, SHARES, [around(0.6), around(0.75)])
    folder = tune_views(colours, points=4, steps=1, batch_size=32, out=tmp_path / "tune")
    record = read(folder)
    assert record["tested"]["name"] == "no colour"
    assert record["gain"]["interval"][1] == pytest.approx(-0.15)
    assert record["best"] == "small"
    assert Policy.load(folder / "policy.json").views == views.get("small").views
    assert "Keep the default, small" in write_tune_page(folder).read_text()


def test_without_labels_a_collapse_does_not_win(colours, tmp_path, monkeypatch):
    ranks = {"small": 5.0, "no colour": 50.0, "no crop": 6.0}
    verdicts = dict.fromkeys(ranks, "healthy") | {"no colour": "cluster collapse"}
    script(monkeypatch, None, ranks=ranks, verdicts=verdicts)
    unlabelled = replace(colours, labels=None)
    folder = tune_views(unlabelled, points=3, steps=1, batch_size=32, out=tmp_path / "tune")
    assert read(folder)["order"] == ["no crop", "small", "no colour"]


@pytest.mark.parametrize("length", [{"steps": 1}, {"minutes": 0.1}])
def test_a_trunk_that_diverges_says_what_to_change(length, colours, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise NonFinite("the loss is nan")

    monkeypatch.setattr(Trials, "train", fails)
    with pytest.raises(RuntimeError, match=r"all points begin with has diverged; .* \(size\)"):
        tune_views(colours, points=3, batch_size=32, out=tmp_path / "tune", **length)


def one_class(dataset, part, monkeypatch):
    """Return the images with one class alone in a part, divided as before."""
    splits = splits_of(dataset, seed=0)
    monkeypatch.setattr("coview.search.tune_trials.splits_of", lambda *_, **__: splits)
    labels = dataset.labels.copy()
    labels[getattr(splits, part)] = 0
    return replace(dataset, labels=labels)


@pytest.mark.parametrize("part", ["train", "validation"])
def test_labels_of_one_class_judge_nothing(part, colours, monkeypatch):
    with pytest.warns(RuntimeWarning, match=f"labels: {part}.* images have labels of 1 class: too"):
        assert trials_of(one_class(colours, part, monkeypatch)).readings is None


def test_test_images_of_one_class_measure_no_gain(colours, tmp_path, monkeypatch):
    dataset = one_class(colours, "test", monkeypatch)
    folder = tune_views(dataset, points=1, steps=1, batch_size=32, out=tmp_path / "tune")
    record = read(folder)
    assert record["tested"] is None
    assert "All test images are of one class: the gain is not measured." in record["notes"]


def test_what_has_diverged_is_left_behind(colours, tmp_path, monkeypatch):
    train = Trials.train

    def fails(self, maker, steps, **files):
        if maker.name == "no crop":
            raise NonFinite("the loss is nan")
        return train(self, maker, steps, **files)

    monkeypatch.setattr(Trials, "train", fails)
    folder = tune_views(colours, points=4, steps=1, batch_size=32, out=tmp_path / "tune")
    record = read(folder)
    row = next(row for row in record["points"] if row["name"] == "no crop")
    assert [rung["verdict"] for rung in row["rungs"]] == ["diverged"]
    assert record["order"][-1] == "no crop"
    assert "diverged" in write_tune_page(folder).read_text()


@pytest.mark.parametrize("kept", [9, 60])
def test_too_few_labels_do_not_judge(colours, tmp_path, kept):
    few = replace(colours, labels=np.where(np.arange(240) < kept, colours.labels, -1))
    with pytest.warns(RuntimeWarning, match="labels"):
        folder = tune_views(few, points=2, steps=1, batch_size=32, out=tmp_path / "tune")
    assert read(folder)["judge"] == "rank"
    page = write_tune_page(folder).read_text()
    assert "too few, points are judged without labels.</p>" in page
    assert "There were no labels to judge by" in page


def test_other_labels_are_another_tuning(finished, colours):
    other = replace(colours, labels=(colours.labels + 1) % 3)
    with pytest.raises(FileExistsError, match="differs in labels"):
        tune_views(other, points=4, steps=2, batch_size=32, out=finished)


def test_a_table_may_label_some_images_only(tmp_path):
    source, labels = half_labelled(tmp_path, images=150, labelled=120, side=16)
    folder = tune_views(
        source,
        labels=labels,
        points=1,
        steps=1,
        batch_size=32,
        out=tmp_path / "tune",
    )
    record = read(folder)
    assert record["data"]["labelled"] == 120
    assert record["judge"] == "accuracy"


def test_the_page_of_a_real_search(finished):
    text = write_tune_page(finished).read_text()
    assert "policy.json" in text
    assert "no crop, no flip" in text
    faults = read(finished)["warnings"]
    assert ["copies" in fault for fault in faults] == [True, False]
    assert all(f'<p class="banner">S{fault[1:]}.</p>' in text for fault in faults)


def test_an_interrupted_search_goes_on_to_the_same_end(finished, colours, tmp_path, monkeypatch):
    calls = []
    judge = Trials.judge

    def interrupted(self, encoder, policy):
        calls.append(policy.name)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return judge(self, encoder, policy)

    trained, train = [], Trials.train

    def counted(self, maker, steps, **where):
        trained.append(where["end"].name)
        return train(self, maker, steps, **where)

    monkeypatch.setattr(Trials, "judge", interrupted)
    monkeypatch.setattr(Trials, "train", counted)
    before = torch.get_rng_state()
    asked = {"points": 4, "steps": 2, "batch_size": 32, "out": tmp_path / "tune"}
    with pytest.raises(KeyboardInterrupt) as stopped:
        tune_views(colours, **asked)
    assert "the same command goes on" in stopped.value.__notes__[0]
    assert read(tmp_path / "tune")["status"] == "running"
    tune_views(colours, **asked)
    assert torch.equal(before, torch.get_rng_state())
    assert lasting(read(tmp_path / "tune")) == lasting(read(finished))
    total = sum(len(row["rungs"]) for row in read(finished)["points"])
    assert len(calls) == total + 1  # the interrupted judgement is all that is done twice
    assert len(trained) == len(set(trained)) == total + 1  # and the trunk


def test_a_finished_search_is_left_alone_and_another_is_refused(finished, colours):
    text = (finished / "tune.json").read_text()
    tune_views(colours, points=4, steps=2, batch_size=32, out=finished)
    assert (finished / "tune.json").read_text() == text
    with pytest.raises(FileExistsError, match="differs in steps, seed"):
        tune_views(colours, points=4, steps=3, seed=1, batch_size=32, out=finished)


def test_without_labels_with_bands_and_a_proposal(tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (120, SIDE, SIDE, 5), dtype=np.uint8)
    folder = tune_views(
        data.open(images, layout="NHWC"),
        points=10,
        steps=1,
        batch_size=32,
        splits=("channels:0,1|2,3,4",),
        out=tmp_path / "tune",
    )
    record = read(folder)
    assert record["judge"] == "rank"
    assert record["gain"] is None
    assert record["two_lines"] is None
    assert record["points"][9]["made"] == "proposed"
    assert record["points"][0]["policy"] == views.get("small").to_dict()
    assert "photographs" in write_tune_page(folder).read_text()
    assert record["splits"][0]["accuracy"] is None
    assert record["splits"][0]["steps"] == 4
    assert np.isfinite(record["splits"][0]["information"]["nats"])


@pytest.mark.parametrize("splits", [(), ("RGB:0|12",)])
def test_a_tuning_takes_its_minutes(colours, tmp_path, monkeypatch, splits):
    """By a clock: a step takes 0.05 s, a judgement 6, the labels to show 12, a measurement 3."""
    now = [0.0]

    def taking(seconds, result=None):
        def call(*_, **__):
            now[0] += seconds
            return result

        return call

    def train(self, maker, steps, *, start, end, **_):
        now[0] += 0.05 * steps
        checkpoints.save(end, {})

    def train_encoders(*_, steps, **__):
        now[0] += 0.05 * steps

    read = {"information": {"value": 1.0}, "accuracy": {"validation": 0.5, "standard_error": 0.1}}
    monkeypatch.setattr(tune, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(Trials, "train", train)
    monkeypatch.setattr(Trials, "seconds_per_step", taking(1.0, 0.05))
    script(monkeypatch, dict.fromkeys([p.name for p in starting_points("small")], 0.5))
    monkeypatch.setattr(Trials, "judge", taking(6.0, Judged(0.5, 0.1, 3.0, 2.0, "healthy")))
    monkeypatch.setattr(Trials, "by_labels", taking(12.0, {20: 0.5}))
    monkeypatch.setattr(Trials, "measure", taking(3.0, MEASURED))
    monkeypatch.setattr(Trials, "encoder", taking(0.0, object.__new__(Encoder)))
    monkeypatch.setattr(Trials, "test", taking(2.0, around(0.6)))
    monkeypatch.setattr(tune, "train_encoders", train_encoders)
    monkeypatch.setattr(tune, "judge_encoders", lambda *_, **__: copy.deepcopy(read))
    tune_views(colours, points=9, minutes=10.0, splits=splits, batch_size=32, out=tmp_path / "tune")
    assert 9.5 < now[0] / 60 < 10.3


def test_minutes_become_steps(colours, tmp_path):
    with pytest.warns(RuntimeWarning, match="too few for 2 points"):
        folder = tune_views(colours, points=2, minutes=0.001, batch_size=16, out=tmp_path / "tune")
    lengths = read(folder)["lengths"]
    assert lengths["work"] == [20, 20, 20]
    assert lengths["rungs"][0] == 10
    for steps, points in zip(lengths["rungs"], lengths["points"], strict=True):
        assert steps * points == 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"minutes": 0.0}, "minutes must be above 0"),
        ({"points": 0}, "points must be at least 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"splits": ("YDbDr",)}, "YDbDr"),
        ({"objective": "nosuch"}, "nosuch"),
        ({"objective": "supervised_contrastive"}, "objective: supervised_contrastive learns from"),
    ],
)
def test_bad_settings_are_refused_at_once(colours, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        tune_views(colours, out=tmp_path / "tune", **settings)
    assert not (tmp_path / "tune").exists()


def test_few_images_are_refused(colours, tmp_path):
    with pytest.raises(ValueError, match="at least 100 images"):
        tune_views(colours.subset(np.arange(50)), out=tmp_path / "tune")


def test_few_groups_among_the_test_images_measure_no_gain(colours, tmp_path, monkeypatch):
    script(monkeypatch, SHARES, [around(0.75), around(0.5, -0.02)])
    monkeypatch.setattr(tune, "FEWEST_UNITS", 1000)
    grouped = replace(colours, groups=np.arange(240) // 2)
    folder = tune_views(grouped, points=4, steps=1, batch_size=32, out=tmp_path / "tune")
    record = read(folder)
    assert (record["tested"], record["gain"]) == (None, None)
    told = "groups are among the test images: the gain is not measured."
    assert any(note.endswith(told) for note in record["notes"])
    rare = "Of 0, 1, 2 there are fewer than 1000 validation or test images"
    assert record["notes"][-1].startswith(rare)


def test_one_split_may_be_a_word(colours, tmp_path):
    with pytest.raises(ValueError, match="'nosuch'"):
        tune_views(colours, points=1, steps=1, splits="nosuch:0|12", out=tmp_path / "tune")


def test_an_open_dataset_keeps_its_labels_and_size(colours, tmp_path):
    for changed in ({"labels": "none"}, {"size": 8}):
        with pytest.raises(ValueError, match="already open"):
            tune_views(colours, points=1, steps=1, out=tmp_path / "tune", **changed)


def test_what_cannot_be_read_is_named_before_a_search(tmp_path):
    images, _ = half_labelled(tmp_path, images=104, labelled=2, side=8)
    (images / "3.png").write_bytes(b"no picture")
    with pytest.warns(RuntimeWarning, match=r"source: 1 file could not be read and is left out"):
        tune_views(images, labels="none", points=1, steps=1, batch_size=32, out=tmp_path / "tune")
