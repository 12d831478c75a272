"""Splits and folds, and the embedded sample's signers."""

from time import perf_counter
from types import SimpleNamespace

import numpy as np
import pytest

import coview.data
from coview.data.sample import load_sample


class Records:
    def __init__(self, labels=None, groups=None, count=None):
        self.labels = labels
        self.groups = groups
        self.count = count or len(labels if labels is not None else groups)

    def __len__(self):
        return self.count


def grouped(groups=60, classes=4, seed=0):
    draw = np.random.default_rng(seed)
    sizes = draw.integers(1, 15, groups)
    return Records(draw.integers(0, classes, sizes.sum()), np.repeat(np.arange(groups), sizes))


def is_partition(splits, count):
    return sorted(np.concatenate(splits).tolist()) == list(range(count))


def share_no_group(splits, groups):
    parts = [set(groups[part].tolist()) for part in splits]
    return sum(map(len, parts)) == len(set.union(*parts))


@pytest.mark.parametrize("labels", [None, np.arange(101) % 3, np.repeat([-1, 0], [100, 1])])
def test_split_without_groups(labels):
    records = Records(labels, count=101)
    splits = coview.data.split(records, (0.6, 0.2, 0.2), seed=1)
    assert is_partition(splits, 101)
    for part, share in zip(splits, (0.6, 0.2, 0.2), strict=True):
        assert abs(len(part) - 101 * share) < 2
    for label in set() if labels is None else set(labels.tolist()):
        size = (labels == label).sum()
        for part, share in zip(splits, (0.6, 0.2, 0.2), strict=True):
            assert abs((labels[part] == label).sum() - size * share) <= 2


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_never_divided_and_classes_in_proportion(seed):
    records = grouped(seed=seed)
    splits = coview.data.split(records, seed=seed)
    assert is_partition(splits, len(records))
    assert share_no_group(splits, records.groups)
    for part, share in zip(splits, (0.6, 0.2, 0.2), strict=True):
        counts = np.bincount(records.labels[part], minlength=4)
        wanted = np.bincount(records.labels) * share
        assert (np.abs(counts - wanted) < 8).all()


def test_a_group_that_spans_everything_is_not_divided():
    records = Records(np.arange(10) % 2, np.zeros(10, np.int64))
    with pytest.raises(ValueError, match="too few images or groups"):
        coview.data.split(records)
    splits = coview.data.split(records, (1.0, 0.0, 0.0))
    assert len(splits.train) == 10


@pytest.mark.parametrize("records", [grouped(), Records(np.arange(53) % 5), Records(count=53)])
def test_folds(records):
    folds = coview.data.folds(records, 5, seed=0)
    assert sorted(np.concatenate([fold.test for fold in folds]).tolist()) == list(
        range(len(records))
    )
    for fold in folds:
        assert is_partition(fold, len(records))
        assert abs(len(fold.test) / len(records) - 0.2) < 0.06
        assert abs(len(fold.validation) / len(records) - 0.2) < 0.06
        if records.groups is not None:
            assert share_no_group(fold, records.groups)


def test_splits_are_a_function_of_the_seed():
    records = grouped()
    first, again = coview.data.split(records, seed=1), coview.data.split(records, seed=1)
    assert all(map(np.array_equal, first, again))
    assert not np.array_equal(first.test, coview.data.split(records, seed=2).test)


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1)])
def test_fractions_out_of_range(fractions):
    with pytest.raises(ValueError, match="fractions must be"):
        coview.data.split(grouped(), fractions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 1}, "k must be"),
        ({"k": 10**6}, "k must be"),
        ({"k": 4, "validation_fraction": 0.75}, "validation_fraction"),
        ({"k": 4, "validation_fraction": 0.0}, "validation_fraction"),
    ],
)
def test_folds_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        coview.data.folds(grouped(), **options)


def test_a_hundred_thousand_images_are_split_in_seconds():
    started = perf_counter()
    coview.data.split(Records(np.arange(100_000) % 10))
    assert perf_counter() - started < 5


@pytest.fixture(scope="module")
def sample():
    started = perf_counter()
    dataset = coview.data.open("sample")
    return SimpleNamespace(dataset=dataset, seconds=perf_counter() - started)


def test_the_sample(sample):
    dataset = sample.dataset
    assert (len(dataset), dataset.size, dataset.channels) == (2062, 64, 3)
    assert dataset.name == "sample"
    assert dataset.classes == tuple("0123456789")
    assert dataset.scaling is None
    assert sample.seconds < 5
    np.testing.assert_array_equal(np.bincount(dataset.groups) >= 9, True)
    assert len(set(dataset.groups.tolist())) == 205
    digits = [int(name.split("/")[0]) for name in dataset.names]
    np.testing.assert_array_equal(dataset.labels, digits)
    thumbnails = dataset.fetch(np.arange(2062)).numpy()
    np.testing.assert_array_equal(thumbnails, load_sample().images.transpose(0, 3, 1, 2))
    assert (thumbnails.reshape(2062, -1).std(axis=1) > 5).all()


def test_the_sample_resized_and_unlabelled():
    dataset = coview.data.open("sample", size=32, labels=None)
    assert (dataset.size, dataset.labels) == (32, None)
    assert dataset.fetch(np.arange(3)).shape == (3, 3, 32, 32)


def test_the_signers_follow_the_file_numbers(sample):
    """A signer's photographs are consecutive: no other signer's number lies between."""
    numbers = np.array([int(name[-8:-4]) for name in sample.dataset.names])
    ordered = sample.dataset.groups[np.argsort(numbers)]
    assert (np.diff(ordered) >= 0).all()
    for group in set(ordered.tolist()):
        own = numbers[sample.dataset.groups == group]
        assert own.max() - own.min() < 40


def test_the_sample_is_signer_disjoint_over_folds(sample):
    dataset = sample.dataset
    for fold in coview.data.folds(dataset, 5, seed=0):
        assert is_partition(fold, 2062)
        assert share_no_group(fold, dataset.groups)
        for part, share in zip(fold, (0.6, 0.2, 0.2), strict=True):
            counts = np.bincount(dataset.labels[part], minlength=10)
            assert (np.abs(counts - np.bincount(dataset.labels) * share) < 4).all()
            coview.data.check_labels(dataset.labels[part], dataset.classes)
