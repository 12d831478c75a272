"""What the docs show runs, and what they say of a run folder is so."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from coview.data.sample import load_sample

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in (ROOT / "README.md", ROOT / "docs/start.md", *(ROOT / "docs/howto").glob("*.md"))
    if re.search(r"```python\n|# runs", page.read_text())
)

pytestmark = pytest.mark.slow


def test_the_run_folder_page_lists_what_a_run_writes(tmp_path):
    sample = load_sample()
    np.savez(tmp_path / "few.npz", images=sample.images[::10], labels=sample.labels[::10])
    subprocess.run(
        [sys.executable, "-m", "coview.cli", "pretrain", str(tmp_path / "few.npz"), "--steps", "2",
         "--size", "28", "--out", str(tmp_path / "run")],
        check=True, capture_output=True,
    )  # fmt: skip
    written = {
        str(path.relative_to(tmp_path / "run"))
        for path in (tmp_path / "run").rglob("*")
        if path.is_file()
    }
    page = (ROOT / "docs/reference/run-folder.md").read_text()
    assert set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)) == written


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_runs(page):
    done = subprocess.run(
        [sys.executable, "scripts/run_examples.py", page],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
