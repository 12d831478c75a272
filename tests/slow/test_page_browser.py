"""The page in a real browser: no console errors, pictures loaded, nothing wider than the screen."""

import re
import runpy
from pathlib import Path

import pytest

from browsing import browser as browser
from browsing import check_dark_and_phone, measured, probed, visit
from coview.pages import write_page

pytestmark = pytest.mark.slow
write_fake_run = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "test_pages.py"))[
    "write_fake_run"
]


@pytest.mark.parametrize(("labelled", "channels"), [(True, 3), (False, 1)])
def test_pictures_load_and_the_console_is_silent(browser, tmp_path, labelled, channels):
    page = write_page(write_fake_run(tmp_path / "run", labelled=labelled, channels=channels))
    dom, log = visit(browser, page, tmp_path / "user")
    assert "CONSOLE" not in log
    assert "<h1>" in dom
    dom, log = visit(browser, probed(page), tmp_path / "user2", "--window-size=1280,900")
    assert "CONSOLE" not in log
    seen = measured(dom)
    assert int(seen["total"]) == int(seen["loaded"]) == 12 * 3 + 8 * 9 + 1
    assert int(seen["overflow"]) <= 0


def test_the_probe_would_notice_a_broken_picture_and_an_error(browser, tmp_path):
    page = write_page(write_fake_run(tmp_path / "run"))
    text = page.read_text()
    broken = re.sub(
        r"data:image/jpeg;base64,[^\"]{40}", "data:image/jpeg;base64,AAAA", text, count=1
    )
    page.write_text(broken.replace("</body>", "<script>nothing()</script></body>"))
    dom, log = visit(browser, probed(page), tmp_path / "user")
    seen = measured(dom)
    assert int(seen["loaded"]) == int(seen["total"]) - 1
    assert "CONSOLE" in log


def test_it_is_dark_when_the_reader_is_and_fits_a_phone(browser, tmp_path):
    check_dark_and_phone(browser, write_page(write_fake_run(tmp_path / "run")), tmp_path)
