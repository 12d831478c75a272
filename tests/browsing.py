"""Pages in a real browser, for the tests that open one."""

import re
import shutil
import subprocess
import warnings

import pytest

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
LIGHT, DARK = "rgb(252, 251, 249)", "rgb(20, 21, 23)"


@pytest.fixture(scope="module")
def browser():
    """The browser's path; the test is skipped, loudly, where there is none."""
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
    """Return what the probe found."""
    body = re.search(r"<body[^>]*>", dom).group()
    return dict(re.findall(r'data-(\w+)="([^"]*)"', body))


def probed(page):
    """Write a copy of the page that measures itself once loaded."""
    copy = page.with_name("probed.html")
    copy.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    return copy


def check_dark_and_phone(browser, page, folder):
    """See that a page is dark when the reader is, and no wider than a phone."""
    light, _ = visit(browser, probed(page), folder / "light")
    dark, _ = visit(
        browser,
        page.with_name("probed.html"),
        folder / "dark",
        "--blink-settings=preferredColorScheme=0",
    )
    assert measured(light)["background"] == LIGHT
    assert measured(dark)["background"] == DARK
    frame = page.with_name("phone.html")
    frame.write_text(
        '<body><iframe src="probed.html" width="390" height="800"></iframe><script>'
        "addEventListener('load', () => { const d = document.querySelector('iframe')"
        ".contentDocument; document.body.dataset.overflow = d.documentElement.scrollWidth - 390; })"
        "</script></body>"
    )
    dom, _ = visit(browser, frame, folder / "phone", "--allow-file-access-from-files")
    assert int(measured(dom)["overflow"]) <= 0
