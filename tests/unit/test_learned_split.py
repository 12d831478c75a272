"""A learned generator in training: channels for two encoders, or views of whole images."""

import numpy as np
import pytest
import torch

import coview
from coview.training.job import find_objective, find_policy, find_split
from coview.training.loading import fresh_like
from coview.training.pretrain import train
from coview.training.settings import Pretraining
from coview.views.generators import Perturbation, PerturbedViews, PixelFlow, save_generator

IMAGES = torch.randint(
    0, 256, (40, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


@pytest.fixture
def flow(tmp_path):
    torch.manual_seed(1)
    generator = PixelFlow("channels:0|12")
    generator.calibrate(IMAGES.float() / 255)
    save_generator(generator, tmp_path / "generator.safetensors")
    return tmp_path


@pytest.fixture
def perturbation(tmp_path):
    torch.manual_seed(1)
    (tmp_path / "p").mkdir()
    save_generator(Perturbation(3), tmp_path / "p" / "generator.safetensors")
    return tmp_path / "p"


def settings(out, **more):
    return Pretraining(
        source=IMAGES.numpy(),
        out=out,
        encoder="compact",
        projector=(8,),
        batch_size=16,
        steps=2,
        precision="float32",
        evaluate=False,
        **more,
    )


def test_two_encoders_learn_from_a_learned_split_and_are_loaded_again(flow, tmp_path):
    asked = settings(
        tmp_path / "run",
        split=str(flow),
        objective="info_nce:memory=16",
        views="pycontrast_c",
    )
    trained = train(asked)
    loaded = coview.load(tmp_path / "run")
    images = IMAGES[:4].float() / 255
    with torch.no_grad():
        expected, found = trained.encoder(images), loaded(images)
        fresh = fresh_like(loaded, "compact").eval()(images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(fresh, expected, atol=1e-3)
    learned = {k: v for k, v in loaded.state_dict().items() if k.startswith("backbone.split.")}
    untrained = fresh_like(loaded, "compact").state_dict()
    assert learned
    assert all(torch.equal(untrained[name], value) for name, value in learned.items())


def test_a_perturbation_makes_the_views(perturbation, tmp_path):
    policy = find_policy(str(perturbation))
    assert isinstance(policy, PerturbedViews)
    trained = train(settings(tmp_path / "run", views=str(perturbation), objective="nt_xent"))
    assert np.isfinite([p.detach().abs().sum().item() for p in trained.encoder.parameters()]).all()


def test_wrong_uses_are_named(flow, perturbation):
    with pytest.raises(ValueError, match="give it as split"):
        find_policy(str(flow))
    with pytest.raises(ValueError, match="not one of colours"):
        find_split(str(perturbation), find_objective("info_nce"), "compact")
