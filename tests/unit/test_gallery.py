"""The gallery of a policy: rows by operation, in order of strength, from the command on."""

import re

import numpy as np
import pytest
import torch

import coview
from coview import cli, views
from coview.pages.gallery import write_gallery


def images(channels=3, side=32):
    generator = torch.Generator().manual_seed(channels)
    shape = (9, channels, side, side)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def sections(page):
    """Return the text of each section by its heading."""
    found = re.findall(r"<section>\s*<h2>(.*?)</h2>(.*?)</section>", page.read_text(), re.DOTALL)
    return dict(found)


def test_every_operation_has_a_row_in_order_of_strength(tmp_path):
    page = coview.show_views(images(), views="small", out=tmp_path / "v.html")
    rows = sections(page)
    policy = views.get("small")
    assert list(rows) == [op.name.capitalize() for op in policy.views[0]] + ["The policy"]
    crops = re.findall(
        r"<i style=\"left:(.*?)%;top:(.*?)%;width:(.*?)%;height:(.*?)%", rows["Crop"]
    )
    areas = [float(width) * float(height) for _, _, width, height in crops]
    assert len(areas) == 8
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > 2 * areas[-1]
    said = re.findall(r"height (\d+), width (\d+)", rows["Crop"])
    for (tall, wide), area in zip(said, areas, strict=True):
        assert int(tall) * int(wide) / 32**2 == pytest.approx(area / 100**2, rel=1e-3)
    flips = [cell.count("<em>flip</em>") for cell in rows["Flip"].split('class="cell"')[1:]]
    assert flips == [0, 0, 0, 0, 1, 1, 1, 1]
    text = page.read_text()
    assert "http" not in text.replace("http://www.w3.org", "")
    assert "<script" not in text


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels_is_shown(tmp_path, channels):
    page = coview.show_views(images(channels), views="small", out=tmp_path / "v.html")
    assert sections(page)["Crop"].count("<img") == 8
    assert ("channels" in page.read_text()) == (channels != 1)


def test_blur_is_ordered_by_its_width(tmp_path):
    page = coview.show_views(images(), views="simclr", out=tmp_path / "v.html")
    blur = sections(page)["Blur"]
    sigmas = [float(s) for s in re.findall(r"<em>blur</em> sigma ([\d.]+)", blur)]
    assert len(sigmas) == 7  # the first is left alone
    assert sigmas == sorted(sigmas)
    assert sigmas[-1] > 4 * sigmas[0]


def test_randaugment_is_ordered_by_how_many_operations_were_done(tmp_path):
    page = coview.show_views(images(), views="infomin", out=tmp_path / "v.html")
    cells = sections(page)["Randaugment"].split('class="cell"')[1:]
    done = []
    for cell in cells:
        named = re.findall(r"operation \d (\w+)", cell)
        done.append(sum(name not in ("none", "identity") for name in named))
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 2)


def test_an_operation_used_twice_in_a_view_has_two_rows(tmp_path):
    crop, flip = views.RandomResizedCrop(), views.HorizontalFlip(probability=0.0)
    twice = views.Policy(name="twice", views=((crop, flip, views.HorizontalFlip()), (crop,)))
    page = coview.show_views(images(), views=twice, out=tmp_path / "v.html")
    rows = sections(page)
    assert list(rows) == ["Crop", "Flip", "Flip 2", "The policy"]
    assert rows["Flip 2"].count("<em>flip 2</em>") == 4


def test_the_command_writes_the_same_page(tmp_path, capsys):
    source = tmp_path / "x.npy"
    np.save(source, images().permute(0, 2, 3, 1).numpy())
    first, second = tmp_path / "a.html", tmp_path / "b.html"
    cli.main(["views", "show", str(source), "--views", "byol", "--out", str(first), "--seed", "4"])
    assert capsys.readouterr().out.strip() == f"page: {first}"
    coview.show_views(source, views=views.get("byol"), out=second, seed=4)
    assert first.read_text() == second.read_text()


def test_mistakes_are_explained(tmp_path):
    with pytest.raises(ValueError, match="simcl"):
        coview.show_views(images(), views="simcl", out=tmp_path / "v.html")
    with pytest.raises(FileNotFoundError):
        coview.show_views(tmp_path / "nothing", out=tmp_path / "v.html")
    with pytest.raises(ValueError, match="nothing to show"):
        write_gallery(tmp_path / "v.html", title="x", facts=[], policy={"views": []}, drawn=[])
    assert not list(tmp_path.iterdir())
