"""The page in a real browser: no console errors, pictures loaded, nothing wider than the screen."""

import re
import runpy
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

from coview.pages import write_page

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--v=0", "--virtual-time-budget=4000",
)  # fmt: skip
PROBE = """<script>
window.addEventListener("load", () => {
  const images = [...document.images];
  document.body.dataset.total = images.length;
  document.body.dataset.loaded = images.filter(i => i.naturalWidth > 0).length;
  document.body.dataset.overflow = document.documentElement.scrollWidth - window.innerWidth;
  document.body.dataset.background = getComputedStyle(document.body).backgroundColor;
});
</script>"""

pytestmark = pytest.mark.slow
write_fake_run = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "test_pages.py"))[
    "write_fake_run"
]


@pytest.fixture(scope="module")
def browser():
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        reason = f"PAGE NOT TESTED IN A BROWSER: none of {', '.join(NAMES)} is on PATH"
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    return found


def visit(browser, page, folder, *flags):
    """Return the DOM after loading, and the browser's log."""
    done = subprocess.run(
        [browser, *FLAGS, f"--user-data-dir={folder}", *flags, "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, done.stderr


def measured(dom):
    body = re.search(r"<body[^>]*>", dom).group()
    return dict(re.findall(r'data-(\w+)="([^"]*)"', body))


def probed(page):
    """Write a copy of the page that measures itself once loaded."""
    copy = page.with_name("probed.html")
    copy.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    return copy


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
    page = write_page(write_fake_run(tmp_path / "run"))
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
