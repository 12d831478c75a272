import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from coview.probes import Features, judge, knn_predict
from coview.probes.draws import label_draws
from coview.probes.intervals import (
    interval,
    interval_of_difference,
    resample,
    resampled_accuracy,
    resampled_balanced_accuracy,
)
from coview.probes.outcomes import NEIGHBOURS
from coview.random import generator

CLASSES = ("a", "b", "c", "d")


@dataclass(frozen=True)
class Parts:
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


LABELS = np.tile(np.arange(4), 100)
SPLIT = Parts(np.arange(240), np.arange(240, 320), np.arange(320, 400))


def features(name, signal, dim=16):
    centres = generator("judge", "centres").normal(size=(4, dim))
    noise = generator("judge", name).normal(size=(400, dim))
    h = (signal * centres[LABELS] + noise).astype(np.float32)
    return Features(train=h[SPLIT.train], validation=h[SPLIT.validation], test=h[SPLIT.test])


@pytest.fixture(scope="module")
def judgement():
    subjects = {"trained": features("t", 1.0), "raw pixels": features("r", 0.1, 300)}
    return judge(
        {**subjects, "same": subjects["trained"]},
        LABELS,
        SPLIT,
        classes=CLASSES,
        labels_per_class=(5, 20, 1000, "all"),
        resamples=500,
    )


def find(rows, **wanted):
    (row,) = [r for r in rows if all(getattr(r, k) == v for k, v in wanted.items())]
    return row


def test_a_judgement_has_every_row_and_is_plain_json(judgement):
    record = json.loads(json.dumps(judgement.to_record()))
    assert len(record["results"]) == 3 * 2 * 3
    assert len(record["differences"]) == 2 * 2 * 3
    assert record["classes"] == list(CLASSES)
    assert record["split"] == {"train": 240, "validation": 80, "test": 80, "disjoint_by": None}
    assert set(record["results"][0]) == {
        "subject", "probe", "labels_per_class", "accuracy", "interval",
        "balanced_accuracy", "n", "draws", "setting",
    }  # fmt: skip
    assert set(record["differences"][0]) == {
        "subject", "against", "probe", "labels_per_class", "difference", "interval"
    }  # fmt: skip
    assert record["settings"]["notes"] == [
        "1000 labels a class: left out, no class has more (see all)"
    ]


def test_accuracies_are_right_and_inside_their_intervals(judgement):
    t = features("t", 1.0)
    row = find(judgement.results, subject="trained", probe="k-NN", labels_per_class="all")
    predicted = knn_predict(t.train, LABELS[SPLIT.train], t.test, k=row.setting["k"], classes=4)
    assert row.accuracy == pytest.approx((predicted.numpy() == LABELS[SPLIT.test]).mean())
    assert row.draws == 1
    for r in judgement.results:
        assert 0 <= r.interval[0] <= r.accuracy <= r.interval[1] <= 1
        assert r.balanced_accuracy == pytest.approx(r.accuracy)  # the test split is balanced
    few = find(judgement.results, subject="trained", probe="linear", labels_per_class=5)
    many = find(judgement.results, subject="trained", probe="linear", labels_per_class="all")
    assert (few.draws, few.n) == (10, 80)
    assert few.accuracy < many.accuracy


def test_paired_differences(judgement):
    for probe in ("k-NN", "linear"):
        same = find(judgement.differences, against="same", probe=probe, labels_per_class=5)
        assert (same.difference, same.interval) == (0.0, (-3 / 80, 3 / 80))
        row = find(judgement.differences, against="raw pixels", probe=probe, labels_per_class=20)
        ours = find(judgement.results, subject="trained", probe=probe, labels_per_class=20)
        theirs = find(judgement.results, subject="raw pixels", probe=probe, labels_per_class=20)
        assert row.difference == pytest.approx(ours.accuracy - theirs.accuracy)
        assert row.interval[0] > 0


def test_the_test_split_does_not_choose_settings():
    t = features("t", 0.5)
    shuffled = replace(t, test=np.ascontiguousarray(t.test[::-1]))
    one = judge({"x": t}, LABELS, SPLIT, classes=CLASSES, resamples=20)
    two = judge({"x": shuffled}, LABELS, SPLIT, classes=CLASSES, resamples=20)
    assert [r.setting for r in one.results] == [r.setting for r in two.results]
    assert [r.accuracy for r in one.results] != [r.accuracy for r in two.results]


def test_k_is_the_best_on_the_validation_split():
    t = features("t", 0.4)
    (row,) = [
        r
        for r in judge({"x": t}, LABELS, SPLIT, classes=CLASSES, resamples=20).results
        if (r.probe, r.labels_per_class) == ("k-NN", "all")
    ]
    scores = {}
    for k in NEIGHBOURS:
        predicted = knn_predict(t.train, LABELS[SPLIT.train], t.validation, k=k, classes=4)
        scores[k] = (predicted.numpy() == LABELS[SPLIT.validation]).mean()
    assert scores[row.setting["k"]] == max(scores.values()) > min(scores.values())
    assert row.setting["k"] != NEIGHBOURS[0]


def test_balanced_accuracy_weighs_classes_equally():
    keep = np.concatenate([SPLIT.test[LABELS[SPLIT.test] == 0], SPLIT.test[:4]])
    split = replace(SPLIT, test=keep)
    h = np.zeros((400, 4), np.float32)
    h[np.arange(400), np.where(np.isin(np.arange(400), SPLIT.test), 0, LABELS)] = 1.0
    f = Features(train=h[split.train], validation=h[split.validation], test=h[split.test])
    result = judge(
        {"always a": f}, LABELS, split, classes=CLASSES, labels_per_class=("all",), resamples=20
    ).results[0]
    assert result.accuracy == pytest.approx(21 / 24)
    assert result.balanced_accuracy == pytest.approx(1 / 4)


def test_draws_are_nested_balanced_and_do_not_depend_on_order_of_asking():
    few = label_draws(LABELS, per_class=3, draws=4, seed=1)
    many = label_draws(LABELS, per_class=30, draws=4, seed=1)
    for a, b in zip(few, many, strict=True):
        assert np.bincount(LABELS[a]).tolist() == [3] * 4
        assert set(a) < set(b)
    assert len({tuple(a) for a in few}) == 4
    assert not np.array_equal(few[0], label_draws(LABELS, per_class=3, draws=1, seed=2)[0])
    assert len(label_draws(LABELS, per_class="all", draws=4, seed=1)) == 1


def test_small_classes_give_what_they_have_and_it_is_said():
    labels = LABELS.copy()
    labels[np.flatnonzero(labels[:240] == 2)[5:]] = -1
    shown = labels[:240][labels[:240] >= 0]
    (draw,) = label_draws(shown, per_class=10, draws=1, seed=0)
    assert np.bincount(shown[draw]).tolist() == [10, 10, 5, 10]
    judged = judge({"x": features("t", 1.0)}, labels, SPLIT, classes=CLASSES, resamples=20)
    assert judged.settings["notes"][0] == "10 labels a class: fewer exist for c (5)"
    assert judged.split["train"] == 240 - 55


def covered(rng, *, draws, groups, per_group, resamples):
    """Simulate a subject whose true accuracy is known; return whether the interval holds it."""
    truth = 0.7
    shift = rng.normal(scale=0.04, size=(draws, 1, 1))
    group = rng.uniform(-0.25, 0.25, size=(1, groups, 1))
    chance = np.clip(truth + shift + group, 0, 1)
    correct = rng.uniform(size=(draws, groups, per_group)) < chance
    rows = np.repeat(np.arange(groups), per_group)
    shared = resample(len(rows), groups=rows, resamples=resamples, seed=int(rng.integers(2**31)))
    low, high = interval(resampled_accuracy(correct.reshape(draws, -1), shared).alone)
    return low <= truth <= high


def test_intervals_cover_the_truth_about_95_times_in_100():
    """400 trials: the binomial error is 1.1 points; 91.5 to 99 % passes (percentiles of 10 draws
    are a little narrow, the crossed bootstrap a little wide)."""
    rng = generator("coverage")
    hits = [covered(rng, draws=10, groups=40, per_group=5, resamples=300) for _ in range(400)]
    assert 0.915 <= np.mean(hits) <= 0.99


def test_ignoring_groups_would_be_too_narrow():
    groups = generator("order").permutation(np.repeat(np.arange(30), 10))
    correct = (generator("clusters").uniform(size=(1, 30)) < 0.6)[:, groups]
    widths = []
    for g in (groups, None):
        low, high = interval(
            resampled_accuracy(correct, resample(300, groups=g, resamples=1000, seed=0)).paired
        )
        widths.append(high - low)
    assert widths[0] == pytest.approx(widths[1] * np.sqrt(10), rel=0.2)


def test_bootstrap_error_is_the_formulas():
    correct = generator("simple").uniform(size=(1, 200)) < 0.3
    p = correct.mean()
    found = resampled_accuracy(correct, resample(200, groups=None, resamples=20000, seed=3)).alone
    assert found.std() == pytest.approx(np.sqrt(p * (1 - p) / 199), rel=0.03)
    assert found.mean() == pytest.approx(p, abs=0.002)
    draws = generator("draws").uniform(0, 1, size=(8, 1)) > np.linspace(0, 1, 50)[None]
    same_rows = np.repeat(draws.mean(1, keepdims=True) > 0.5, 50, axis=1)
    found = resampled_accuracy(same_rows, resample(50, groups=None, resamples=20000, seed=3)).alone
    assert found.std() == pytest.approx(same_rows[:, 0].std(ddof=1) / np.sqrt(8), rel=0.03)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("groups", [None, np.arange(40) // 2])
def test_perfect_accuracy_is_not_sure(right, groups):
    correct = np.full((5, 40), right)
    units = 40 if groups is None else 20
    shared = resample(40, groups=groups, resamples=20000, seed=0)
    low, high = interval(resampled_accuracy(correct, shared).alone)
    assert (low, high) == pytest.approx((1 - 3 / units, 1) if right else (0, 3 / units))
    correct[0, 0] = not right
    replicates = resampled_accuracy(correct, shared).alone
    assert (replicates.max() if right else 1 - replicates.min()) == 1.0  # the bootstrap again


def test_a_rare_class_makes_a_balanced_accuracy_unsure():
    labels = np.repeat([0, 1], [198, 2])  # half of the mean rests on two rows
    shared = resample(200, groups=None, resamples=4000, seed=0)
    correct = np.ones((1, 200), bool)
    for wrong in (slice(0, 0), slice(0, 1)):  # none, one of the frequent class
        correct[:, wrong] = False
        low, high = interval(resampled_balanced_accuracy(correct, labels, shared).alone)
        assert low < 0.6
        assert high > 0.99
    even = resampled_balanced_accuracy(correct, np.zeros(200, np.int64), shared)
    np.testing.assert_array_equal(even.paired, resampled_accuracy(correct, shared).paired)


def test_a_balanced_error_is_that_of_repetition():
    rng = generator("balanced")
    labels = np.repeat([0, 1, 2], [40, 120, 240])
    shares = np.array([0.5, 0.7, 0.9])[labels]
    found, errors = [], []
    for _ in range(200):
        correct = rng.uniform(size=(1, 400)) < shares
        found.append(np.mean([correct[0, labels == c].mean() for c in range(3)]))
        shared = resample(400, groups=None, resamples=200, seed=int(rng.integers(2**31)))
        errors.append(resampled_balanced_accuracy(correct, labels, shared).alone.std())
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.12)


def test_a_difference_of_nothing_is_not_sure():
    shared = resample(60, groups=None, resamples=400, seed=0)
    one = resampled_accuracy(np.ones((2, 60), bool), shared).paired
    found = interval_of_difference(one, one.copy(), units=shared.units)
    assert found == pytest.approx((-0.05, 0.05))
    other = one - 0.1
    assert interval_of_difference(one, other, units=60) == pytest.approx((0.1, 0.1))


def test_a_difference_from_a_perfect_subject_is_paired():
    shared = resample(100, groups=None, resamples=2000, seed=0)
    perfect, other = np.ones((5, 100), bool), np.ones((5, 100), bool)
    other[:, :8] = False
    ours, theirs = (resampled_accuracy(one, shared).paired for one in (perfect, other))
    low, high = interval_of_difference(ours, theirs, units=100)
    assert 0.02 < low < 0.08 < high < 0.16


def test_few_groups_of_test_images_are_noted():
    found = judge(
        {"x": features("t", 1.0)}, LABELS, SPLIT, classes=CLASSES, resamples=20,
        groups=np.arange(len(LABELS)) % 3,
    )  # fmt: skip
    assert (
        "test images are of 3 groups: intervals over so few say little" in found.settings["notes"]
    )


def test_a_difference_is_paired_and_exact():
    ours = generator("pair").uniform(size=(3, 100)) < 0.5
    theirs = ~ours
    shared = resample(100, groups=None, resamples=50, seed=0)
    total = resampled_accuracy(ours, shared).paired + resampled_accuracy(theirs, shared).paired
    np.testing.assert_allclose(total, 1.0, atol=1e-12)


def bad(**changes):
    arguments = {"subjects": {"x": features("t", 1.0)}, "labels": LABELS, "split": SPLIT}
    arguments |= changes
    return judge(classes=CLASSES, resamples=20, **arguments)


def test_bad_input_is_named():
    f = features("t", 1.0)
    with pytest.raises(ValueError, match="train split shows one class"):
        bad(labels=np.where(np.arange(400) < 240, 0, LABELS))
    with pytest.raises(ValueError, match="test split has 0 labelled"):
        bad(labels=np.where(np.arange(400) >= 320, -1, LABELS))
    with pytest.raises(ValueError, match="labels has 399 entries"):
        bad(labels=LABELS[:-1])
    with pytest.raises(ValueError, match="4 classes"):
        bad(labels=LABELS + 1)
    with pytest.raises(ValueError, match="groups has 3"):
        bad(groups=np.arange(3))
    with pytest.raises(ValueError, match=r"'x': test has shape \(79, 16\)"):
        bad(subjects={"x": replace(f, test=f.test[:-1])})
    with pytest.raises(ValueError, match="'x': validation has values that are not finite"):
        bad(subjects={"x": replace(f, validation=f.validation * np.nan)})
    with pytest.raises(ValueError, match="subjects"):
        bad(subjects={})


def test_the_global_generators_are_untouched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    bad()
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
