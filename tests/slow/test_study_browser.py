"""A study's page in a real browser."""

import json

import pytest

from browsing import browser as browser
from browsing import check_dark_and_phone, probed, visit
from coview.pages.study_page import write_study_page

pytestmark = pytest.mark.slow


@pytest.fixture
def page(tmp_path):
    band = {"x": [4.0, 8.0, 32.0], "y": [1.0, 2.0, 2.5]}
    bands = [
        {**band, "name": "with an interval", "low": [0.5, 1.8, 2.4], "high": [1.5, 2.2, 2.6]},
        {**band, "name": "one seed only", "low": [None] * 3, "high": [None] * 3},
    ]
    figure = {"title": "Value", "note": "J.", "x_name": "batch", "bands": bands}
    report = {
        "format": 1,
        "study": "fake",
        "scale": "smoke",
        "claim": "A claim that takes a line or two to say, as claims do.",
        "source": "somebody",
        "command": "coview study fake",
        "trials": {"asked": 3, "finished": 2},
        "trial_seconds": 61.0,
        "environment": {"python": "3.11"},
        "verdict": {"word": "undecided at this budget", "why": "One trial is missing."},
        "tables": [{"title": "T", "columns": list("abcdefgh"), "rows": [["1.234 [1, 2]"] * 8]}],
        "figures": [{**figure, "x_logarithmic": True, "y_logarithmic": False}],
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    return write_study_page(tmp_path)


def test_the_console_is_silent_and_curves_are_drawn(browser, page, tmp_path):
    dom, log = visit(browser, probed(page), tmp_path / "user")
    assert "CONSOLE" not in log
    assert "1 of 3 trials are missing" in dom
    assert dom.count("<path") == 3
    assert "nan" not in dom.lower().split("<svg")[1]


def test_it_is_dark_when_the_reader_is_and_fits_a_phone(browser, page, tmp_path):
    check_dark_and_phone(browser, page, tmp_path)
