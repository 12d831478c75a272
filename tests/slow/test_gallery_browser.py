"""The gallery in a real browser: no console errors, pictures loaded, nothing wider than a phone."""

import pytest

import coview
from browsing import browser as browser
from browsing import check_dark_and_phone, measured, probed, visit
from coview.data import Scenes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    scenes = Scenes(size=48).dataset(20, seed=0)
    return coview.show_views(scenes, views="byol", out=tmp_path_factory.mktemp("g") / "views.html")


def test_pictures_load_and_the_console_is_silent(browser, page, tmp_path):
    dom, log = visit(browser, probed(page), tmp_path / "user", "--window-size=1280,900")
    assert "CONSOLE" not in log
    seen = measured(dom)
    assert int(seen["total"]) == int(seen["loaded"]) == 6 * 8
    assert int(seen["overflow"]) <= 0


def test_it_is_dark_when_the_reader_is_and_fits_a_phone(browser, page, tmp_path):
    check_dark_and_phone(browser, page, tmp_path)
