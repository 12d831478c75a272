"""The views of a run made again from its folder."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import coview
from coview import views
from coview.training.replay import replay_run


class Watched:
    """A policy that keeps what it made, by epoch and image."""

    takes_pictures = True

    def __init__(self, policy):
        self.policy, self.seen = policy, {}

    @property
    def name(self):
        return self.policy.name

    @property
    def views(self):
        return self.policy.views

    def to_dict(self):
        return self.policy.to_dict()

    def __call__(self, images, *, index, seed, epoch, size):
        made = self.policy(images, index=index, seed=seed, epoch=epoch, size=size)
        for row, one in enumerate(index.tolist()):
            self.seen[epoch, one] = made.views[:, row].clone()
        return made


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(10):
            pixels = generator.integers(0, 256, (20, 24 + number, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{number}.png")
    watched = Watched(views.get("simclr"))
    out = coview.pretrain(
        folder / "images", views=watched, steps=5, size=16, batch_size=8, seed=7,
        evaluate=False, out=folder / "run",
    )  # fmt: skip
    return out, watched.seen


def test_views_of_any_step_come_back_bit_for_bit(run):
    folder, seen = run
    epochs = {epoch for epoch, _ in seen}
    assert epochs == {0, 1, 2}
    for epoch in epochs:
        index = np.array([one for other, one in seen if other == epoch])
        made = replay_run(folder, index, epoch=epoch)
        for row, one in enumerate(index.tolist()):
            assert torch.equal(made.views[:, row], seen[epoch, one])
        assert made.record.seed == 7


def test_what_cannot_be_replayed_is_explained(run, tmp_path):
    folder, _ = run
    some = np.arange(2)
    with pytest.raises(ValueError, match="not the images of the run"):
        replay_run(folder, some, source=torch.zeros(16, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(IndexError):
        replay_run(folder, np.array([16]))
    with pytest.raises(FileNotFoundError):
        replay_run(tmp_path, some)
    copy = tmp_path / "copy"
    copy.mkdir()
    record = json.loads((folder.path / "run.json").read_text())
    for change, error, message in (
        ({"policy": None}, ValueError, "are not a policy"),
        ({"config": record["config"] | {"source": "gone"}}, FileNotFoundError, "not at hand"),
    ):
        (copy / "run.json").write_text(json.dumps(record | change))
        with pytest.raises(error, match=message):
            replay_run(copy, some)
