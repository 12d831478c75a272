"""The jigsaw: where its patches come from, that it can be made again, and its head."""

import json

import numpy as np
import pytest
import torch

from coview.encoders import JigsawHead
from coview.random import torch_generator
from coview.views import Jigsaw, JigsawRecord, Policy, RandomResizedCrop, replay_jigsaw
from coview.views.record import crop_boxes


def pictures(count: int, size: int, channels: int = 3) -> torch.Tensor:
    shape = (count, channels, size, size)
    generator = torch_generator("pictures", *shape)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def make(jigsaw: Jigsaw, images: torch.Tensor, size: int, **changes):
    given = {"index": np.arange(len(images)) + 5, "seed": 3, "epoch": 2, "size": size} | changes
    return jigsaw(images, **given)


@pytest.mark.parametrize(
    ("size", "grid", "cell", "patch"),
    [(224, 3, 85, 64), (96, 3, 36, 27), (32, 3, 12, 9), (224, 2, 128, 96), (1, 3, 1, 1)],
)
def test_sizes_are_the_papers_in_proportion(size: int, grid: int, cell: int, patch: int) -> None:
    jigsaw = Jigsaw(grid=grid)
    assert (jigsaw.cell(size), jigsaw.patch(size)) == (cell, patch)
    patches = make(jigsaw, pictures(2, 40), size).patches
    assert patches.shape == (2, grid**2, 3, patch, patch)
    assert patches.dtype == torch.float32


@pytest.mark.parametrize("grid", [2, 3, 5])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_patches_are_cut_from_their_cells(grid: int, channels: int) -> None:
    """Patch by patch from the crop of the record."""
    images, size = pictures(4, 30, channels), 32
    jigsaw = Jigsaw(grid=grid)
    patches, record = make(jigsaw, images, size)
    cell, side = jigsaw.cell(size), jigsaw.patch(size)
    crop = RandomResizedCrop(scale=(0.6, 1.0))
    operations = record.picture.parameters[0]
    picture = crop.apply(images / 255, operations[0], size=grid * cell)
    for row in range(len(images)):
        whole = picture[row].flip(-1) if operations[1]["applied"][row] else picture[row]
        assert sorted(record.order[row]) == list(range(grid**2))
        for place, number in enumerate(record.order[row]):
            top = number // grid * cell + record.top[row, number]
            left = number % grid * cell + record.left[row, number]
            expected = whole[:, top : top + side, left : left + side]
            torch.testing.assert_close(patches[row, place], expected, atol=1.01 / 255, rtol=0)


def test_draws_are_uniform_and_of_the_image() -> None:
    jigsaw = Jigsaw(grid=2)
    record = make(jigsaw, pictures(1, 24).expand(4000, -1, -1, -1), 24).record
    free = jigsaw.cell(24) - jigsaw.patch(24) + 1
    assert free > 2
    for offsets in (record.top, record.left):
        shares = np.bincount(offsets.ravel(), minlength=free) / offsets.size
        assert np.allclose(shares, 1 / free, atol=0.02)
    first = np.bincount(record.order[:, 0], minlength=4) / len(record)
    assert np.allclose(first, 0.25, atol=0.03)
    areas = crop_boxes(record.picture, 0)[:, 2:].prod(axis=1) / 24**2
    assert 0.55 < areas.min() < 0.65
    assert abs(np.corrcoef(record.top[:, 0], record.left[:, 0])[0, 1]) < 0.05
    assert abs(np.corrcoef(record.order[:, 0], record.top[:, 0])[0, 1]) < 0.05


def test_the_same_in_any_batch_and_another_in_another_epoch() -> None:
    images, jigsaw = pictures(6, 20), Jigsaw()
    index = np.array([9, 4, 7, 1, 0, 3])
    whole = make(jigsaw, images, 20, index=index).patches
    rows = torch.tensor([4, 1])
    torch.testing.assert_close(
        make(jigsaw, images[rows], 20, index=index[rows]).patches, whole[rows], rtol=0, atol=0
    )
    assert not torch.equal(make(jigsaw, images, 20, index=index, epoch=3).patches, whole)
    assert not torch.equal(make(jigsaw, images, 20, index=index, seed=4).patches, whole)


def test_its_crops_are_not_those_of_the_first_view() -> None:
    images, crop = pictures(40, 64), RandomResizedCrop(scale=(0.6, 1.0))
    record = make(Jigsaw(), images, 64).record
    policy = Policy(name="view", views=((crop,),))
    view = policy(images, index=record.picture.index, seed=3, epoch=2, size=64).record
    same = (crop_boxes(record.picture, 0) == crop_boxes(view, 0)).all(axis=1)
    assert same.mean() < 0.2


def test_replay_is_bit_exact_also_from_json() -> None:
    images = pictures(5, 33)
    patches, record = make(Jigsaw(grid=4, scale=(0.3, 0.9), flip=0.2), images, 40)
    assert torch.equal(replay_jigsaw(images, record), patches)
    again = JigsawRecord.from_dict(json.loads(json.dumps(record.to_dict())))
    assert again.jigsaw == record.jigsaw
    assert torch.equal(replay_jigsaw(images, again), patches)
    caption = again.captions()[0][2]
    assert caption["jigsaw"]["order"].split() == [str(cell) for cell in record.order[2]]
    with pytest.raises(ValueError, match="the record is of"):
        replay_jigsaw(images[:3], record)
    with pytest.raises(ValueError, match="jigsaw record"):
        JigsawRecord.from_dict({**record.to_dict(), "more": 1})


def test_images_of_different_sides() -> None:
    images = [pictures(1, side)[0] for side in (20, 31)]
    patches, record = make(Jigsaw(), images, 32)
    assert patches.shape == (2, 9, 3, 9, 9)
    assert torch.equal(replay_jigsaw(images, record), patches)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"grid": 1}, "grid"), ({"flip": 1.5}, "flip"), ({"scale": (0.0, 1.0)}, "scale")],
    ids=["grid", "flip", "scale"],
)
def test_bad_settings(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Jigsaw(**change)  # type: ignore[arg-type]


def test_bad_calls() -> None:
    with pytest.raises(ValueError, match="size must be at least 1"):
        make(Jigsaw(), pictures(2, 8), 0)
    with pytest.raises(ValueError, match="index has"):
        make(Jigsaw(), pictures(2, 8), 8, index=np.arange(3))


def test_the_head_puts_patches_of_an_image_side_by_side() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = JigsawHead(6, (5, 4), cells=3, norm="none")
    h = torch.randn(6, 6, generator=torch_generator("patches"))
    with torch.no_grad():
        found = head(h)
        for image in range(2):
            row = torch.cat([head.patch(h[None, 3 * image + cell])[0] for cell in range(3)])
            expected = head.whole.weight @ row + head.whole.bias
            torch.testing.assert_close(found[image], expected)
