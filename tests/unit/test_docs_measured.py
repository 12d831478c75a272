"""Records of benchmarks on the pages of the site."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs/_ext"))

from measured import BLOCK, shown  # noqa: E402


def row(task, estimator, bias, spread):
    return {"task": task, "truth": 1.5, "estimator": estimator, "bias": bias, "spread": spread}


def test_estimators_become_two_tables(tmp_path):
    means = {"mean_absolute_error": 0.25, "spread": 0.1, "coverage": 0.5}
    record = {
        "pairs": 5000,
        "seeds": 10,
        "missing": ["c", "d"],
        "overall": {
            "nwj": means | {"tasks": 2, "seconds_per_estimate": 3.04},
            "ksg1": means | {"tasks": 1, "seconds_per_estimate": 1.0},
        },
        "rows": [row("a", "nwj", -0.2, 0.1), row("a", "ksg1", 0.3, 0.2), row("b", "nwj", 0.004, 0)],
    }
    (tmp_path / "information.json").write_text(json.dumps(record))
    text = shown("information", tmp_path)
    assert "5,000 pairs, 10 seeds. Not run: c, d. Means" in text
    assert "| `nwj` | 2 | 0.25 | 0.10 | 0.50 | 3.0 |" in text
    assert "| task | truth | ksg1 | nwj |" in text
    assert "| a | 1.50 | +0.30 (0.20) | -0.20 (0.10) |" in text
    assert "| b | 1.50 |  | +0.00 (0.00) |" in text


def test_the_peer_stands_beside_ours(tmp_path):
    def sides(ours, bmi):
        return {"ours": ours, "bmi": bmi}

    record = {
        "pairs": 5000,
        "seeds": [0],
        "bmi": {"benchmark-mi": "0.1.3"},
        "rows": [
            {
                "estimator": "ksg",
                "mean_absolute_error": sides(0.094, 0.106),
                "ours_above_bmi": -0.012,
                "seconds_per_estimate": sides(0.14, 20.0),
                "tasks": [
                    {"task": "a", "truth": 1.5, "mean_absolute_error": sides(0.1, 0.3)},
                    {"task": "b", "truth": 0.4, "mean_absolute_error": sides(0.2, 0.1)},
                ],
            }
        ],
    }
    (tmp_path / "information_peer.json").write_text(json.dumps(record))
    text = shown("information_peer", tmp_path)
    assert "samples of 5,000 pairs, 1 seed; benchmark-mi 0.1.3" in text
    assert "| `ksg` | 0.094 | 0.106 | -0.012 | 0.14 | 20 |" in text
    assert "| a | 1.50 | 0.100 / 0.300 |" in text


def test_audits_are_held_against_longer_ones(tmp_path):
    found = {
        "short": [
            {"seconds": 251.2, "order": ["crop", "flip"]},
            {"seconds": 260.9, "order": ["flip", "crop"]},
        ],
        "long": {"order": ["crop", "flip"]},
        "tau_with_long": [{"removes": 1.0}, {"removes": -1.0}],
    }
    record = {"images": 5000, "results": {"scenes / small": found}}
    (tmp_path / "audit.json").write_text(json.dumps(record))
    row = "| scenes / small | 251, 261 | crop, flip | crop, flip | 1.00, -1.00 |"
    assert row in shown("audit", tmp_path)


@pytest.mark.parametrize("seeds", [1, 2])
def test_learned_views_stand_beside_raw_ones(seeds, tmp_path):
    interval = {"interval": [0.3, 0.5]} if seeds > 1 else {}
    accuracy = {"mean": 0.4, "values": [0.4] * seeds} | interval
    found = {
        "accuracy": accuracy,
        "spread": 0.012 if seeds > 1 else None,
        "critics": {"nwj, joint": {"mean": 2.5, "ceiling": None} | interval},
    }
    rows = {"raw": found, "supervised": found | {"minus_raw": {"mean": 0.01} | interval}}
    settings = {"generator": "affine", "split": "RGB:0|12", "labelled": 100, "steps": 600}
    record = {"images": "x.npz", "rows": rows, "settings": settings}
    (tmp_path / "learned_views.json").write_text(json.dumps(record))
    text = shown("learned_views", tmp_path)
    if seeds > 1:
        assert "| raw | 40.0 [30.0, 50.0] | 1.2 |  |" in text
        assert "| supervised | 40.0 [30.0, 50.0] | 1.2 | +1.0 [+30.0, +50.0] |" in text
        assert "| raw | 2.50 [0.30, 0.50] |" in text
    else:
        assert "| supervised | 40.0 |  | +1.0 |" in text


def test_without_a_record_the_page_says_so(tmp_path):
    assert "Not run yet" in shown("information", tmp_path)


def test_every_block_is_of_a_benchmark():
    texts = [page.read_text() for page in (ROOT / "docs").rglob("*.md")]
    asked = {name for text in texts for name in BLOCK.findall(text)}
    assert asked
    assert all((ROOT / f"benchmarks/{name}.py").is_file() for name in asked)
