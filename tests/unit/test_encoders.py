"""Backbones, the encoder's preprocessing, heads and weights."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from coview import data, encoders
from coview.encoders import Compact, Encoder, Projector, Target, synchronize_batch_norm
from coview.random import torch_generator
from coview.views.splits import ColourSplit, parse, to_space, to_unit
from imports import loaded


def create(backbone: str | nn.Module = "compact", channels: int = 3, size: int = 32) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return encoders.create(
            backbone, channels=channels, size=size, mean=[0.5] * channels, std=[0.25] * channels
        ).eval()


@pytest.mark.parametrize("size", [28, 32, 64, 96])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_compact_takes_small_images_of_any_channels(channels: int, size: int) -> None:
    encoder = create(channels=channels, size=size)
    assert encoder(torch.zeros(2, channels, size, size)).shape == (2, encoder.dim)


def test_compact_map_is_about_16_pixels_wide() -> None:
    widths = [Compact(3, size).stem(torch.zeros(1, 3, size, size)).shape[-1] for size in (32, 64)]
    assert widths == [16, 16]


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "timm/resnet10t",
        "torchvision/resnet18",
        "torchvision/mobilenet_v3_small",
        "timm/vit_tiny_patch16_224",
    ],
)
def test_backbones_by_name_with_other_channels(name: str) -> None:
    encoder = create(name, channels=2, size=32)
    out = encoder(torch.zeros(2, 2, 32, 32))
    assert out.shape == (2, encoder.dim)
    assert encoder.dim > 10


def test_resnets_get_the_small_stem_below_100_pixels_only() -> None:
    small, large = (create("torchvision/resnet18", size=size).backbone for size in (64, 128))
    assert small.conv1.stride == (1, 1)
    assert isinstance(small.maxpool, nn.Identity)
    assert large.conv1.stride == (2, 2)


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(ValueError, match=r"'resnet81' is neither.*did you mean .*resnet"):
        create("resnet81")


def test_a_module_that_returns_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match=r"returns \(2, 3, 1024\); expected"):
        create(nn.Flatten(2))
    with pytest.raises(ValueError, match="cannot take images of 3 x 32 x 32"):
        create(nn.Conv2d(5, 4, 3))


def test_preprocessing_is_inside() -> None:
    encoder = create(nn.Flatten())
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    expected = ((pixels.double() / 255 - 0.5) / 0.25).flatten(1).float()
    torch.testing.assert_close(encoder(pixels), expected)
    torch.testing.assert_close(encoder(pixels / 255), expected)
    assert encoder(torch.zeros(1, 3, 50, 40)).shape == (1, 3 * 32 * 32)
    with pytest.raises(ValueError, match="images have 2 channels, the encoder 3"):
        encoder(torch.zeros(2, 2, 32, 32))


def test_any_batch_size_gives_the_same_representations() -> None:
    encoder = create()
    images = torch.rand(5, 3, 32, 32)
    torch.testing.assert_close(
        encoder(images), torch.cat([encoder(image[None]) for image in images])
    )


@pytest.mark.parametrize("whole", [True, False])
def test_weights_from_a_file(tmp_path: Path, whole: bool) -> None:
    source, other = create(), create()
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(1)
    state = (source if whole else source.backbone).state_dict()
    save_file(state | {"fc.weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    torch.save({"state_dict": state}, tmp_path / "w.pt")
    assert encoders.load_weights(other, tmp_path / "w.safetensors") == ("fc.weight",)
    assert torch.equal(other.backbone.stem[0].weight, source.backbone.stem[0].weight)
    again = create()
    encoders.load_weights(again, tmp_path / "w.pt")
    assert torch.equal(again.backbone.stem[0].weight, source.backbone.stem[0].weight)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    save_file({"stem.0.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"does not fit .*missing: .*shape: stem.0.weight \(1,\)"):
        encoders.load_weights(create(), tmp_path / "w.safetensors")
    with pytest.raises(FileNotFoundError, match="weights: no file"):
        encoders.load_weights(create(), tmp_path / "none.pt")


def test_projector_layers() -> None:
    names = [type(layer).__name__ for layer in Projector(8, (16, 4), last_norm=True)]
    assert names == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
    assert Projector(8, (4,)).dim == 4
    with pytest.raises(ValueError, match="projector widths"):
        Projector(8, ())


@pytest.mark.parametrize(
    ("kind", "widths"),
    [("mlp", [(32, 12), (12, 32)]), ("bottleneck", [(3, 12), (12, 3)]), ("linear", [(12, 12)])],
)
def test_predictor_layers(kind: str, widths: list[tuple[int, int]]) -> None:
    network = encoders.predictor(kind, 12, hidden=32)
    shapes = [tuple(m.weight.shape) for m in network if isinstance(m, nn.Linear)]
    assert shapes == widths
    assert not isinstance(network[-1], nn.BatchNorm1d)
    assert network(torch.zeros(4, 12)).shape == (4, 12)


def test_batch_norm_over_ranks_takes_the_place_of_all_kinds() -> None:
    encoder = create("timm/efficientnet_b0")  # its batch norms have the activation inside
    expected = encoder(images := torch.rand(2, 3, 32, 32))
    names = list(encoder.state_dict())
    synchronize_batch_norm(encoder)
    assert list(encoder.state_dict()) == names
    kinds = {type(m).__name__ for m in encoder.modules() if "BatchNorm" in type(m).__name__}
    assert kinds == {"SynchronizedBatchNorm"}
    assert torch.equal(encoder(images), expected)
    shared = nn.BatchNorm1d(2)
    twice = nn.ModuleList([shared, nn.Sequential(shared)])
    synchronize_batch_norm(twice)
    assert [type(m).__name__ for m in (twice[0], twice[1][0])] == ["SynchronizedBatchNorm"] * 2
    with pytest.raises(ValueError, match="is a batch norm itself"):
        synchronize_batch_norm(shared)


def test_target_follows_the_online_network() -> None:
    online = nn.Linear(2, 2)
    target = Target(online, decay=0.9)
    before = target.network.weight.clone()
    with torch.no_grad():
        online.weight.add_(1)
    target.update(online, progress=0.0)
    torch.testing.assert_close(target.network.weight, before + 0.1)
    target.update(online, progress=1.0)
    torch.testing.assert_close(target.network.weight, before + 0.1)
    assert not any(p.requires_grad for p in target.parameters())
    assert target.decay_at(0.5) == pytest.approx(0.95)
    constant = Target(online, decay=0.9, schedule="constant")
    assert [constant.decay_at(progress) for progress in (0.0, 0.5, 1.0)] == [0.9] * 3


def test_target_takes_the_batch_statistics_of_the_online_network() -> None:
    online = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    target = Target(online, decay=0.9)
    online(torch.arange(8.0).reshape(4, 2))
    target.network(torch.zeros(4, 2))  # its own batches must not count
    target.update(online, progress=0.0)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(target.network[1], name), getattr(online[1], name))


@pytest.mark.parametrize(
    ("name", "share"),
    [("compact", 0.3), ("resnet18", 0.3), ("timm/resnet50", 0.35), ("torchvision/resnet18", 1.0)],
)
def test_split_encoders_are_half_as_wide_where_the_backbone_can_be(name: str, share: float) -> None:
    split = parse("YDbDr:0|12")
    assert isinstance(split, ColourSplit)
    encoder = encoders.create_split(name, split, size=32, mean=[0.5] * 3, std=[0.25] * 3).eval()
    parts = encoder.backbone.parts
    assert encoder(torch.zeros(2, 3, 32, 32)).shape == (2, encoder.dim)
    assert sum(encoder.backbone.dims) == encoder.dim
    first = [next(m for m in part.modules() if isinstance(m, nn.Conv2d)) for part in parts]
    assert [convolution.in_channels for convolution in first] == [1, 2]
    full = sum(p.numel() for p in encoders.build(name, channels=1, size=32)[0].parameters())
    assert 0.2 < sum(p.numel() for p in parts[0].parameters()) / full <= share


def test_split_channels_are_normalised_in_full_precision() -> None:
    split = parse("Lab:2|01")
    assert isinstance(split, ColourSplit)
    images = torch.rand(4, 3, 8, 8, generator=torch_generator("images"))
    values = to_unit(to_space(images, "Lab"), "Lab")[:, [2, 0, 1]]
    module = encoders.SplitBackbone(
        split, [nn.Flatten(), nn.Flatten()], (64, 128), mean=[0.1, 0.2, 0.3], std=[0.5, 2.0, 1.0]
    )
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 2.0, 1.0])
    expected = ((values - mean[:, None, None]) / std[:, None, None]).flatten(1)
    torch.testing.assert_close(encoders.split_channels(split, images), values)
    torch.testing.assert_close(module(images), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(module(images), expected)


def test_group_norm_does_not_see_the_rest_of_the_batch() -> None:
    torch.manual_seed(0)
    images = torch.rand(4, 3, 32, 32)
    for norm, alike in (("group", True), ("batch", False)):
        network = Compact(3, 32, norm=norm).train()
        whole, alone = network(images), network(images[:2])
        assert torch.allclose(whole[:2], alone, atol=1e-5) is alike


def test_layer_norm_in_heads_does_not_see_the_rest_of_the_batch() -> None:
    torch.manual_seed(0)
    h = torch.randn(6, 8)
    for norm, alike in (("layer", True), ("none", True), ("batch", False)):
        head = Projector(8, (16, 4), norm=norm).train()
        assert torch.allclose(head(h)[:2], head(h[:2]), atol=1e-5) is alike


def wide(channels: int = 2) -> Encoder:
    low, high = [100.0 * c for c in range(channels)], [5000.0 + c for c in range(channels)]
    scaling = data.Scaling(low=low, high=high, percentiles=[0.1, 99.9], images=4)
    encoder = encoders.create(
        "compact", channels=channels, size=32, mean=[0.5] * 2, std=[0.2] * 2, scaling=scaling
    )
    return encoder.eval()


def test_wide_images_are_scaled_as_data_stores_them() -> None:
    encoder = wide()
    raw = torch.randint(0, 6000, (3, 2, 32, 32), generator=torch_generator("wide"))
    stored = []
    for c, (low, high) in enumerate(((0.0, 5000.0), (100.0, 5001.0))):
        stored.append(((raw[:, c].double() - low) / (high - low)).clamp(0, 1).mul(255).round())
    expected = encoder(torch.stack(stored, 1).to(torch.uint8))
    for dtype in (torch.uint16, torch.int32, torch.int64):
        torch.testing.assert_close(encoder(raw.to(dtype)), expected)


def test_images_whose_range_is_not_known_are_refused() -> None:
    with pytest.raises(ValueError, match=r"int32, the encoder learned from 8 bits"):
        create()(torch.zeros(1, 3, 32, 32, dtype=torch.int32))
    for value in (255.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
            create()(torch.full((1, 3, 32, 32), value))


def test_the_range_of_wide_images_outlives_weights_from_8_bits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, encoder = create(channels=2), wide()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    encoders.load_weights(encoder, tmp_path / "w.safetensors")
    assert encoder.high.flatten().tolist() == [5000.0, 5001.0]
    images = torch.zeros(1, 2, 32, 32, dtype=torch.uint8)
    torch.testing.assert_close(encoder(images), source(images))


def test_the_compact_backbone_waits_for_no_library():
    """timm and torchvision take seconds to import."""
    found = loaded(
        "import coview.studies; from coview import encoders; "
        "encoders.build('compact', channels=3, size=32); assert encoders.is_known('compact')"
    )
    assert "coview" in found
    assert not found & {"timm", "torchvision"}
