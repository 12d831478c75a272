"""The gallery in a real browser: no console errors, pictures loaded, nothing wider than a phone."""

import runpy
from pathlib import Path

import pytest

import coview
from coview.data import Scenes

pytestmark = pytest.mark.slow
helpers = runpy.run_path(str(Path(__file__).with_name("test_page_browser.py")))
browser, visit, measured, probed = (
    helpers[name] for name in ("browser", "visit", "measured", "probed")
)


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
    light, _ = visit(browser, probed(page), tmp_path / "light")
    dark, _ = visit(
        browser, page.with_name("probed.html"), tmp_path / "dark",
        "--blink-settings=preferredColorScheme=0",
    )  # fmt: skip
    assert measured(light)["background"] == "rgb(252, 251, 249)"
    assert measured(dark)["background"] == "rgb(20, 21, 23)"
    frame = page.with_name("phone.html")
    frame.write_text(
        '<body><iframe src="probed.html" width="390" height="800"></iframe><script>'
        "addEventListener('load', () => { const d = document.querySelector('iframe')"
        ".contentDocument; document.body.dataset.overflow = d.documentElement.scrollWidth - 390; })"
        "</script></body>"
    )
    dom, _ = visit(browser, frame, tmp_path / "phone", "--allow-file-access-from-files")
    assert int(measured(dom)["overflow"]) <= 0
