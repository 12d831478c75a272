"""An audit's page in a real browser: no console errors, pictures loaded, nothing too wide."""

import pytest

from browsing import browser as browser
from browsing import check_dark_and_phone, measured, probed, visit
from coview.data import Scenes
from coview.pages.audit_page import write_audit_page
from coview.search.audit import audit_views

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    scenes = Scenes(size=32).dataset(120, seed=0)
    out = tmp_path_factory.mktemp("audit") / "audit"
    return write_audit_page(audit_views(scenes, views="byol", steps=1, out=out))


def test_pictures_load_and_the_console_is_silent(browser, page, tmp_path):
    dom, log = visit(browser, probed(page), tmp_path / "user", "--window-size=1280,900")
    assert "CONSOLE" not in log
    seen = measured(dom)
    assert int(seen["total"]) == int(seen["loaded"]) == 6 * 7
    assert int(seen["overflow"]) <= 0
    assert "nan" not in dom.lower().split("information removed")[1].split("in numbers")[0]


def test_it_is_dark_when_the_reader_is_and_fits_a_phone(browser, page, tmp_path):
    check_dark_and_phone(browser, page, tmp_path)
