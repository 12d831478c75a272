"""The search for the image that spoilt a step, where each process has another number of images."""

from contextlib import nullcontext
from types import SimpleNamespace

import torch
from torch import nn

from coview.encoders import Encoder, Projector, synchronize_batch_norm
from coview.ranks import Ranks
from coview.testing import embeddings, run_ranks
from coview.training.learner import Learner, PretrainingStep

SHARDS = (4, 2)


class Backbone(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1))
        self.append(nn.Flatten())


def explained():
    """Let the second image of the first process be not a number."""
    rank = Ranks.current().index
    learner = Learner(
        Encoder(Backbone(), dim=4, size=8, mean=[0.0] * 3, std=[1.0] * 3), Projector(4, (8, 4))
    ).train()
    synchronize_batch_norm(learner)
    step = PretrainingStep.__new__(PretrainingStep)
    step.fabric = SimpleNamespace(autocast=nullcontext)
    step.learner, step.state = learner, SimpleNamespace(step=6)
    step.dataset = SimpleNamespace(names=[f"image {i}" for i in range(20)])
    views = embeddings(SHARDS[rank], 3 * 8 * 8).float().reshape(2, -1, 3, 8, 8)
    if rank == 0:
        views[:, 1] = torch.nan
    batch = SimpleNamespace(index=torch.arange(SHARDS[rank]) + 10 * rank)
    return step._explain(batch, views, "loss")


def test_it_ends_and_blames_the_right_image():
    first, second = run_ranks(explained, 2, timeout=60.0)
    assert "the loss at step 7 is not finite" in first
    assert "1 images have embeddings that are not finite: image 1." in first
    assert "every image alone has finite embeddings" in second
