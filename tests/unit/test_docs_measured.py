"""Records of benchmarks on the pages of the site."""

import json
import sys
from pathlib import Path

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
        "overall": {
            "nwj": means | {"tasks": 2, "seconds_per_estimate": 3.04},
            "ksg1": means | {"tasks": 1, "seconds_per_estimate": 1.0},
        },
        "rows": [row("a", "nwj", -0.2, 0.1), row("a", "ksg1", 0.3, 0.2), row("b", "nwj", 0.004, 0)],
    }
    (tmp_path / "information.json").write_text(json.dumps(record))
    text = shown("information", tmp_path)
    assert "5,000 pairs, 10 seeds" in text
    assert "| `nwj` | 2 | 0.25 | 0.10 | 0.50 | 3.0 |" in text
    assert "| task | truth | ksg1 | nwj |" in text
    assert "| a | 1.50 | +0.30 (0.20) | -0.20 (0.10) |" in text
    assert "| b | 1.50 |  | +0.00 (0.00) |" in text


def test_without_a_record_the_page_says_so(tmp_path):
    assert "Not run yet" in shown("information", tmp_path)


def test_every_block_is_of_a_benchmark():
    texts = [page.read_text() for page in (ROOT / "docs").rglob("*.md")]
    asked = {name for text in texts for name in BLOCK.findall(text)}
    assert asked
    assert all((ROOT / f"benchmarks/{name}.py").is_file() for name in asked)
