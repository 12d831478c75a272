"""A tuning by its command: the policy trains, and its page is sound in a real browser."""

import json

import numpy as np
import pytest

from browsing import browser as browser
from browsing import check_dark_and_phone, measured, probed, visit
from coview.cli import main
from coview.data import Scenes

pytestmark = pytest.mark.slow

POINTS = 10


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    root = tmp_path_factory.mktemp("tune")
    scenes = Scenes(size=32).dataset(150, seed=0)
    np.savez(
        root / "scenes.npz",
        images=scenes.fetch(np.arange(150)).permute(0, 2, 3, 1).numpy(),
        labels=scenes.labels,
    )
    words = ("--points", str(POINTS), "--steps", "1", "--batch-size", "32")
    main(["views", "tune", str(root / "scenes.npz"), "--out", str(root / "found"), *words])
    return root


def test_its_policy_trains(tuned):
    out, policy = tuned / "run", tuned / "found" / "policy.json"
    words = ("--views", str(policy), "--steps", "2", "--batch-size", "32", "--no-evaluate")
    main(["pretrain", str(tuned / "scenes.npz"), "--out", str(out), *words])
    assert json.loads((out / "run.json").read_text())["status"] == "finished"


def test_pictures_load_and_the_console_is_silent(browser, tuned, tmp_path):
    page = tuned / "found" / "index.html"
    dom, log = visit(browser, probed(page), tmp_path / "user", "--window-size=1280,900")
    assert "CONSOLE" not in log
    seen = measured(dom)
    assert int(seen["total"]) == int(seen["loaded"]) == 4 + 8 * POINTS
    assert int(seen["overflow"]) <= 0


def test_it_is_dark_when_the_reader_is_and_fits_a_phone(browser, tuned, tmp_path):
    check_dark_and_phone(browser, tuned / "found" / "index.html", tmp_path)
