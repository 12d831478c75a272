"""Records of studies on the pages of the site."""

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coview.pages import write_study_figure
from coview.studies import names
from coview.studies.runner import run_study
from coview.studies.study import Band, Figure, Report, Study, Table, Verdict

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs/_ext"))

from studies import BLOCK, shown  # noqa: E402


def run(settings, folder):
    return {"x": settings["x"]}


def report(done):
    return Report(
        verdict=Verdict(word="not supported", why="It is not so."),
        tables=[Table(title="T", columns=["a", "b"], rows=[["|z|", "1.5"]])],
        figures=[
            Figure(
                title="F < G",
                note="N.",
                x_name="x",
                bands=[
                    Band(
                        name="one & two",
                        x=[1.0, 2.0],
                        y=[3.0, 4.0],
                        low=[2.0, 3.0],
                        high=[4.0, 5.0],
                    )
                ],
            )
        ],
    )


def test_a_record_becomes_verdict_table_and_picture(tmp_path):
    study = Study(
        name="minc-width", claim="C", source="S", trials=lambda _: [{"x": 1}], run=run,
        report=report, data=True,
    )  # fmt: skip
    photos = {"images": np.zeros((3, 8, 8, 3), np.uint8), "labels": np.arange(3)}
    np.savez(tmp_path / "photos.npz", **photos)
    folder = run_study(study, out=tmp_path / "run", data=tmp_path / "photos.npz", workers=1)
    records = tmp_path / "records"
    records.mkdir()
    (folder / "report.json").rename(records / "minc-width.json")
    text = shown("minc-width", records)
    assert (
        "**Not supported** (`coview study minc-width --scale smoke --data photos.npz`: 1 of 1"
        in text
    )
    assert "It is not so." in text
    assert r"| \|z\| | 1.5 |" in text
    picture = text[text.index("<svg") : text.rindex("</svg>") + len("</svg>")]
    drawn = ElementTree.fromstring(picture)
    assert drawn.get("aria-label") == "F < G"
    assert "one & two" in [element.text for element in drawn.iter("text")]


def test_a_record_becomes_a_picture_of_a_readme(tmp_path):
    bands = [
        {"name": name, "x": [8, 64], "y": [y, 0.5], "low": [y - 0.1, 0.4], "high": [y + 0.1, 0.6]}
        for name, y in (("a", 0.3), ("b", 0.7))
    ]
    figure = {"title": "F", "x_name": "batch", "bands": bands, "note": ""}
    file = tmp_path / "report.json"
    file.write_text(
        json.dumps({"figures": [{**figure, "x_logarithmic": True, "y_logarithmic": False}]})
    )
    with Image.open(write_study_figure(file, tmp_path / "made/a.png")) as picture:
        drawn = np.asarray(picture.convert("RGB")).astype(int)
    assert min(drawn.shape[:2]) > 300
    coloured = np.ptp(drawn, axis=2) > 20
    assert coloured.any(0).sum() > 300  # the curves go from left to right
    file.write_text(json.dumps({"figures": []}))
    with pytest.raises(ValueError, match="has no figure"):
        write_study_figure(file, tmp_path / "b.png")


def test_a_study_without_a_record_says_so(tmp_path):
    text = shown("minc-width", tmp_path)
    assert "*Not run yet:* `coview study minc-width --scale laptop --data FILE`" in text
    with pytest.raises(ValueError, match="did you mean 'minc-width'"):
        shown("minc-widht", tmp_path)


def test_the_page_of_minc_has_all_its_studies_once():
    found = BLOCK.findall((ROOT / "docs/studies/minc.md").read_text())
    assert sorted(found) == sorted(name for name in names() if name.startswith("minc"))


def test_records_are_of_studies_that_there_are():
    for file in (ROOT / "docs/studies/records").glob("*.json"):
        assert json.loads(file.read_text())["study"] == file.stem in names()
