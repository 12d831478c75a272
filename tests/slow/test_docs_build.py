"""The site builds without a warning, and its links lead somewhere."""

import importlib.util
import re
import runpy
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from coview import objectives

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    needed = ("sphinx", "furo", "myst_parser", "sphinx-mathjax-offline")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        reason = f"SITE NOT BUILT: {', '.join(missing)} missing: pip install -e '.[docs]'"
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(out / "trees"),
         "docs", str(out / "html")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out / "html"


def test_links_lead_somewhere(site):
    broken = runpy.run_path(str(ROOT / "scripts/check_links.py"))["broken_links"](site)
    assert broken == []


def test_every_objective_has_its_page_with_pictures_inside(site):
    for name in objectives.names():
        text = (site / f"atlas/{name}.html").read_text()
        drawn = text.count('<svg class="field"')
        assert drawn == 2 or "No picture:" in text
        assert 'class="math' in text
    gallery = (site / "atlas/index.html").read_text()
    assert all(f'href="{name}.html"' in gallery for name in objectives.names())


def test_every_public_name_of_the_objectives_is_in_the_reference(site):
    text = (site / "api/coview.objectives.html").read_text()
    missing = [
        name
        for name in objectives.__all__
        if not re.search(rf'id="coview\.objectives\.(\w+\.)*{name}"', text)
    ]
    assert missing == []


def test_every_command_is_in_the_reference(site):
    text = (site / "command-line/index.html").read_text()
    for command in ("pretrain", "evaluate", "embed", "page", "doctor"):
        assert f"usage: coview {command}" in text


def test_readers_need_no_network(site):
    loaded = re.compile(r'<(?:script|link|img)\b[^>]*\b(?:src|href)="(https?:)?//', re.IGNORECASE)
    assert [page.name for page in site.rglob("*.html") if loaded.search(page.read_text())] == []


def test_every_formula_can_be_drawn(site, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if browser is None:
        pytest.skip("FORMULAS NOT DRAWN: no chromium on PATH")
    formulas = [spec.formula for spec in objectives.TABLE.values()] + [r"\left( x", r"\nothing"]
    page = tmp_path / "formulas.html"
    drawn = "".join(f"<p>\\[{formula.replace('<', '&lt;')}\\]</p>" for formula in formulas)
    script = (site / "_static/tex-svg.js").as_uri()
    page.write_text(f'<meta charset="utf-8"><script src="{script}"></script><body>{drawn}</body>')
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000",
         f"--user-data-dir={tmp_path / 'user'}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    made = re.findall(r"<mjx-container.*?</mjx-container>", done.stdout, re.DOTALL)
    assert len(made) == len(formulas)
    wrong = [number for number, text in enumerate(made) if re.search('node="merror"|"red"', text)]
    assert wrong == [len(formulas) - 2, len(formulas) - 1], "the last two are meant to be wrong"
