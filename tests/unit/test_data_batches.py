"""The stream of batches: order, resume, ranks, resident and streamed."""

from itertools import islice

import numpy as np
import pytest
import torch

import coview.data
from coview.random import permutation

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 6, 6, 3)).astype(np.uint8)
LABELS = np.arange(23) % 4


def opened(**options):
    return coview.data.open((IMAGES, LABELS), **options)


def equal(first, second):
    return (
        (first.step, first.epoch) == (second.step, second.epoch)
        and torch.equal(first.images, second.images)
        and torch.equal(first.index, second.index)
        and torch.equal(first.labels, second.labels)
    )


def test_the_order_is_the_epochs_permutation_without_its_end():
    batches = list(opened().batches(5, seed=3, stop_step=10))
    assert [(b.step, b.epoch) for b in batches] == [(i, i // 4) for i in range(10)]
    for batch in batches:
        place = batch.step % 4 * 5
        expected = permutation(3, batch.epoch, 23)[place : place + 5]
        np.testing.assert_array_equal(batch.index, expected)
        np.testing.assert_array_equal(batch.images, IMAGES[expected].transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(batch.labels, LABELS[expected])


def test_the_stream_has_no_end():
    steps = [batch.step for batch in islice(opened().batches(20, seed=0), 50)]
    assert steps == list(range(50))


@pytest.mark.parametrize("resident_bytes", [0, 2**31])
@pytest.mark.parametrize("start", [1, 3, 4, 9])
def test_resume_equals_the_uninterrupted_stream(start, resident_bytes):
    dataset = opened(resident_bytes=resident_bytes, workers=0)
    whole = list(dataset.batches(5, seed=1, stop_step=12))
    resumed = list(dataset.batches(5, seed=1, start_step=start, stop_step=12))
    assert len(resumed) == 12 - start
    assert all(map(equal, whole[start:], resumed))


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_the_shards_of_the_ranks_are_the_batch(ranks):
    dataset = opened()
    parts = [
        list(dataset.batches(8, seed=1, stop_step=5, ranks_index=rank, ranks_size=ranks))
        for rank in range(ranks)
    ]
    for whole, *shards in zip(dataset.batches(8, seed=1, stop_step=5), *parts, strict=True):
        assert torch.equal(whole.images, torch.cat([shard.images for shard in shards]))
        assert torch.equal(whole.index, torch.cat([shard.index for shard in shards]))
        assert torch.equal(whole.labels, torch.cat([shard.labels for shard in shards]))
        sizes = [len(shard.index) for shard in shards]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_equals_resident(workers):
    streamed = opened(resident_bytes=0, workers=workers)
    assert isinstance(streamed.source, coview.data.source.Streamed)
    resident = opened()
    assert isinstance(resident.source, coview.data.source.Resident)
    pairs = zip(
        streamed.batches(5, seed=2, stop_step=9),
        resident.batches(5, seed=2, stop_step=9),
        strict=True,
    )
    assert all(equal(a, b) for a, b in pairs)
    everything = np.arange(23)
    assert torch.equal(streamed.fetch(everything), resident.fetch(everything))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_global_generators_are_untouched(workers):
    dataset = opened(resident_bytes=0, workers=workers)
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    list(dataset.batches(5, seed=2, stop_step=3))
    dataset.fetch(np.arange(3))
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(before_numpy, np.random.get_state()[1])  # noqa: NPY002


def test_an_abandoned_stream_stops():
    stream = opened(resident_bytes=0, workers=2).batches(5, seed=2)
    next(stream)
    stream.close()


def test_unlabelled_batches_have_no_labels():
    batch = next(coview.data.open(IMAGES).batches(4, seed=0))
    assert batch.labels is None
    assert batch.images.dtype == torch.uint8


def test_subsets_share_images_and_take_their_labels_along():
    dataset = opened()
    chosen = np.array([20, 3, 7])
    subset = dataset.subset(chosen)
    np.testing.assert_array_equal(subset.labels, LABELS[chosen])
    assert subset.names == ("20", "3", "7")
    assert subset.source is dataset.source
    np.testing.assert_array_equal(subset.fetch(np.arange(3)), dataset.fetch(chosen))
    nested = subset.subset(np.array([2]))
    np.testing.assert_array_equal(nested.fetch(np.array([0])), dataset.fetch(np.array([7])))
    batch = next(subset.batches(3, seed=0))
    np.testing.assert_array_equal(batch.images, subset.fetch(batch.index.numpy()))
    for index in (3, -1):
        with pytest.raises(IndexError, match="from 0 to 2"):
            subset.fetch(np.array([index]))


def test_to_moves_the_resident_images():
    moved = opened().to("meta")
    assert moved.fetch(np.arange(2)).device.type == "meta"
    assert opened(resident_bytes=0).to("meta").fetch(np.arange(2)).device.type == "cpu"


def test_a_batch_larger_than_the_data_is_shrunk_and_says_so():
    with pytest.warns(UserWarning, match="batch_size 64 is shrunk to the 23 images"):
        assert coview.data.effective_batch_size(64, 23) == 23
    assert coview.data.effective_batch_size(23, 23) == 23
    with pytest.warns(UserWarning, match="shrunk"):
        batches = list(opened().batches(64, seed=0, stop_step=2))
    assert [sorted(batch.index.tolist()) for batch in batches] == [list(range(23))] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 4, "ranks_size": 5}, "batch_size 4 is too small for 5"),
        ({"batch_size": 4, "ranks_index": 1}, "ranks_index must be from 0 to 0"),
        ({"batch_size": 4, "start_step": -1}, "start_step"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        opened().batches(seed=0, **options)
    with pytest.raises(ValueError, match="no images"):
        coview.data.effective_batch_size(1, 0)
