"""The runner: skipping, killing, failing, reporting."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from coview.pages.study_page import write_study_page
from coview.studies import Report, Study, Table, Verdict, get, names, runner, trained
from coview.studies.intervals import band, mean_interval, told
from coview.studies.runner import finished, run_study
from coview.studies.study import key
from coview.training.learner import NonFinite


def trials(scale):
    return [{"x": x} for x in range({"smoke": 2}.get(scale, 4))]


def run(settings, folder):
    if Path(f"{folder}.fail").exists():
        raise ArithmeticError(f"no luck with {settings['x']}")
    with Path(f"{folder}.ran").open("a") as file:
        file.write("x")
    return {
        "square": settings["x"] ** 2,
        "threads": torch.get_num_threads(),
        "process": os.getpid(),
    }


def report(done):
    total = sum(trial.measured["square"] for trial in done)
    return Report(
        verdict=Verdict(word="supported", why=f"The squares add up to {total}."),
        tables=[Table(title="Squares", columns=["x"], rows=[[str(t.settings["x"])] for t in done])],
    )


STUDY = Study(
    name="squares", claim="<b>Squares</b>", source="us", trials=trials, run=run, report=report
)


def times_run(folder):
    return sum(len(file.read_text()) for file in (folder / "trials").glob("*.ran"))


def test_a_larger_scale_reuses_trials_and_nothing_runs_twice(tmp_path):
    run_study(STUDY, scale="smoke", out=tmp_path, workers=1)
    assert times_run(tmp_path) == 2
    run_study(STUDY, scale="laptop", out=tmp_path, workers=2)
    run_study(STUDY, scale="laptop", out=tmp_path, workers=1)
    assert times_run(tmp_path) == 4
    done = finished(STUDY, trials("laptop"), tmp_path)
    assert [trial.measured["square"] for trial in done] == [0, 1, 4, 9]
    assert all(trial.measured["threads"] == 1 for trial in done)
    assert all(trial.measured["process"] != os.getpid() for trial in done)
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["verdict"]["why"] == "The squares add up to 14."
    assert record["trials"] == {"asked": 4, "finished": 4}


def test_what_was_chosen_is_confirmed(tmp_path):
    study = Study(
        **{
            **vars(STUDY),
            "confirm": lambda scale, done: [{"x": 10 * max(t.settings["x"] for t in done)}],
        }
    )
    for _ in range(2):
        run_study(study, scale="smoke", out=tmp_path, workers=1)
    assert times_run(tmp_path) == 3
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["trials"] == {"asked": 3, "finished": 3}
    assert record["verdict"]["why"] == "The squares add up to 101."


def test_a_record_that_was_cut_short_is_not_there(tmp_path):
    run_study(STUDY, scale="smoke", out=tmp_path, workers=1)
    record = tmp_path / "trials" / f"{key(STUDY, {'x': 1})}.json"
    record.rename(record.with_name(record.name + ".part"))
    assert len(finished(STUDY, trials("smoke"), tmp_path)) == 1
    run_study(STUDY, scale="smoke", out=tmp_path, workers=1)
    assert times_run(tmp_path) == 3


def makes_a_folder(settings, folder):
    folder.mkdir()
    (folder / "part").touch()
    return run(settings, folder)


def test_what_a_killed_trial_left_is_not_in_the_way(tmp_path):
    study = Study(**{**vars(STUDY), "run": makes_a_folder})
    left = tmp_path / "trials" / key(study, {"x": 1})
    left.mkdir(parents=True)
    (left / "old").touch()
    run_study(study, scale="smoke", out=tmp_path, workers=1)
    assert [file.name for file in left.iterdir()] == ["part"]
    assert times_run(tmp_path) == 2


def test_a_failing_trial_leaves_the_others_and_is_tried_again(tmp_path):
    (tmp_path / "trials").mkdir()
    fault = tmp_path / "trials" / f"{key(STUDY, {'x': 0})}.fail"
    fault.touch()
    with pytest.raises(RuntimeError, match=r"1 of 2 trials failed.*no luck with 0"):
        run_study(STUDY, scale="smoke", out=tmp_path, workers=1)
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["trials"]["finished"] == 1
    assert record["verdict"] == {
        "word": "undecided at this budget",
        "why": "1 of 2 trials are missing. The squares add up to 1.",
    }
    fault.unlink()
    run_study(STUDY, scale="smoke", out=tmp_path, workers=1)
    assert times_run(tmp_path) == 2
    assert not list((tmp_path / "trials").glob("*.error.txt"))


ORPHAN = """
import os, time
from pathlib import Path
from coview.studies import Report, Study, Verdict
from coview.studies.runner import run_study

def run(settings, folder):
    Path(f"{folder}.pid").write_text(str(os.getpid()))
    time.sleep(60)

run_study(
    Study(
        name="slow", claim="", source="", trials=lambda _: [{"x": 1}, {"x": 2}], run=run,
        report=lambda _: Report(verdict=Verdict(word="supported", why="")),
    ),
    out="here", workers=1,
)
"""


def test_trials_end_with_the_process_that_began_them(tmp_path):
    main = subprocess.Popen([sys.executable, "-c", ORPHAN], cwd=tmp_path)
    try:
        pids = soon(
            lambda: [file for file in tmp_path.glob("here/trials/*.pid") if file.read_text()]
        )
        worker = int(pids[0].read_text())
    finally:
        main.kill()
        main.wait()
    assert soon(lambda: not Path(f"/proc/{worker}").exists() if sys.platform == "linux" else True)


def soon(found):
    """Return what is found within a minute."""
    for _ in range(600):
        if value := found():
            return value
        time.sleep(0.1)
    raise AssertionError("it did not come")


def killed(settings, folder):
    if settings["x"] == 0 and not Path(f"{folder}.spared").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return run(settings, folder)


def test_a_killed_process_costs_its_trial_only(tmp_path):
    study = Study(**{**vars(STUDY), "run": killed})
    with pytest.raises(RuntimeError, match=r"of 4 trials failed.*ended without a word"):
        run_study(study, scale="laptop", out=tmp_path, workers=2)
    error = tmp_path / "trials" / f"{key(study, {'x': 0})}.error.txt"
    assert "out of memory" in error.read_text()
    done = json.loads((tmp_path / "report.json").read_text())["trials"]["finished"]
    left = len(list((tmp_path / "trials").glob("*.error.txt")))
    assert (done, left) == (3, 1)  # a neighbour that was at work is tried once more
    error.with_name(error.name.replace("error.txt", "spared")).touch()
    run_study(study, scale="laptop", out=tmp_path, workers=2)
    assert len(finished(study, trials("laptop"), tmp_path)) == 4
    assert not list((tmp_path / "trials").glob("*.error.txt"))


def killed_beside_another(settings, folder):
    time.sleep(1 if settings["x"] == 0 else 3)
    return killed(settings, folder)


def test_a_trial_beside_a_killed_one_is_tried_once_more(tmp_path):
    study = Study(**{**vars(STUDY), "run": killed_beside_another})
    with pytest.raises(RuntimeError, match=r"1 of 2 trials failed.*ended without a word"):
        run_study(study, out=tmp_path, workers=2)
    assert [one.settings["x"] for one in finished(study, trials("smoke"), tmp_path)] == [1]


def test_two_studies_do_not_run_in_one_folder(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match=f"another study is running in {tmp_path}"):
            run_study(STUDY, out=tmp_path, workers=1)
    run_study(STUDY, out=tmp_path, workers=1)


def test_each_trial_is_a_line_where_there_is_no_terminal(tmp_path, capsys):
    run_study(STUDY, scale="laptop", out=tmp_path, workers=1)
    lines = capsys.readouterr().err.splitlines()
    told = [line.partition(",")[0] for line in lines if line.startswith("squares")]
    assert told == [f"squares: {count} of 4 trials" for count in range(5)]


def save_images(file, *, shade=0, labels=range(6), groups=range(6)):
    pixels = np.full((6, 8, 8, 3), shade, np.uint8)
    np.savez(file, images=pixels, labels=np.array(labels), groups=np.array(groups))


OF_IMAGES = Study(**{**vars(STUDY), "data": True})


def test_the_same_images_are_the_same_wherever_they_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_images("x.npz")
    run_study(OF_IMAGES, out=tmp_path, data="x.npz", workers=1)
    Path("x.npz").rename("y.npz")
    run_study(OF_IMAGES, out=tmp_path, data=tmp_path / "y.npz", workers=1)
    assert times_run(tmp_path) == 2
    record = next((tmp_path / "trials").glob("*.json"))
    assert json.loads(record.read_text())["settings"]["data"] == str(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "other", [{"shade": 1}, {"labels": [0, 1, 2, 3, 4, 4]}, {"groups": [0, 1, 2, 3, 4, 4]}]
)
def test_other_images_at_the_same_path_are_others(tmp_path, other):
    save_images(tmp_path / "x.npz")
    run_study(OF_IMAGES, out=tmp_path, data=tmp_path / "x.npz", workers=1)
    save_images(tmp_path / "x.npz", **other)
    run_study(OF_IMAGES, out=tmp_path, data=tmp_path / "x.npz", workers=1)
    assert times_run(tmp_path) == 4


def test_images_that_are_not_needed_do_not_matter(tmp_path):
    run_study(STUDY, out=tmp_path, workers=1)
    run_study(STUDY, out=tmp_path, data=tmp_path / "none.npz", workers=1)
    assert times_run(tmp_path) == 2


def test_images_that_are_not_there_are_told_of_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder or file"):
        run_study(OF_IMAGES, out=tmp_path, data=tmp_path / "none.npz", workers=1)


def strange(settings, folder):
    return {"square": float("nan"), "nested": [{"x": float("inf")}, 1.5, None, "text", True]}


def test_numbers_that_are_not_finite_are_null_in_the_records(tmp_path):
    study = Study(**{**vars(STUDY), "run": strange, "report": lambda done: report([])})
    run_study(study, scale="smoke", out=tmp_path, workers=1)
    for file in [*(tmp_path / "trials").glob("*.json"), tmp_path / "report.json"]:
        json.loads(file.read_text(), parse_constant=pytest.fail)
    measured = finished(study, trials("smoke"), tmp_path)[0].measured
    assert measured == {"square": None, "nested": [{"x": None}, 1.5, None, "text", True]}


def test_the_report_has_the_commits_of_its_trials(tmp_path):
    run_study(STUDY, scale="laptop", out=tmp_path, workers=1)
    for x, commit in enumerate(["<a>", None, "<a>", "b"]):
        file = tmp_path / "trials" / f"{key(STUDY, {'x': x})}.json"
        trial = json.loads(file.read_text())
        trial["environment"]["commit"] = commit
        file.write_text(json.dumps(trial))
    run_study(STUDY, scale="laptop", out=tmp_path, workers=1)
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["commits"] == {"<a>": 2, "unknown": 1, "b": 1}
    assert record["version"] == 1
    page = write_study_page(tmp_path).read_text()
    assert "Trials run at commit &lt;a&gt; (2), unknown (1), b (1)." in page


@pytest.mark.parametrize(
    ("visible", "claimed"),
    [("", ["1", "0", "1"]), ("5,GPU-7", ["GPU-7", "5", "GPU-7"])],
)
def test_processes_are_spread_over_the_devices(monkeypatch, visible, claimed):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    devices = runner._devices()
    for number, device in enumerate(claimed, 1):
        process = SimpleNamespace(_identity=(number,))
        monkeypatch.setattr(runner, "current_process", lambda process=process: process)
        assert runner._claim(devices) == f"cuda:{device}"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == device


@pytest.mark.parametrize(("data", "expected"), [(True, {"cuda:0"}), (False, {"cpu"})])
def test_records_name_the_device(tmp_path, monkeypatch, data, expected):
    save_images(tmp_path / "x.npz")
    monkeypatch.setattr(runner, "_devices", lambda: ["0"])
    study = Study(**{**vars(STUDY), "data": data})
    run_study(study, out=tmp_path, data=tmp_path / "x.npz")
    files = [*(tmp_path / "trials").glob("*.json"), tmp_path / "report.json"]
    assert {json.loads(file.read_text())["environment"]["device"] for file in files} == expected


@pytest.mark.parametrize(("cuda", "expected"), [(True, "auto"), (False, "cpu")])
def test_images_are_trained_on_where_there_is_cuda(tmp_path, monkeypatch, cuda, expected):
    """Not on mps."""
    asked = []

    def stop(settings):
        asked.append(settings.accelerator)
        raise NonFinite

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr("coview.training.pretrain.train", stop)
    np.savez(tmp_path / "x.npz", images=np.zeros((9, 8, 8, 3), np.uint8), labels=[0] * 9)
    settings = {"loss": "minc", "batch": 3, "rate": 1.0, "seed": 0, "images": 9}
    trained.run({**settings, "data": str(tmp_path / "x.npz")}, tmp_path / "t")
    assert asked == [expected]


def test_settings_study_and_version_make_the_key():
    others = [
        key(STUDY, {"x": 1}),
        key(STUDY, {"x": 2}),
        key(Study(**{**vars(STUDY), "version": 2}), {"x": 1}),
        key(Study(**{**vars(STUDY), "name": "cubes"}), {"x": 1}),
    ]
    assert len(set(others)) == 4
    assert key(STUDY, {"a": 1, "b": 2}) == key(STUDY, {"b": 2, "a": 1})
    images = {"data": "x.npz", "data_fingerprint": "f"}
    assert key(STUDY, images) == key(STUDY, {**images, "data": "y.npz"})
    assert key(STUDY, images) != key(STUDY, {**images, "data_fingerprint": "g"})


@pytest.mark.parametrize(
    ("options", "message"),
    [({"scale": "huge"}, "scale must be one of smoke"), ({"workers": 0}, "workers must be")],
)
def test_bad_arguments(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run_study(STUDY, out=tmp_path, **options)


def test_names():
    with pytest.raises(ValueError, match="did you mean 'minc-tabular'"):
        get("minc-tabula")
    with pytest.raises(ValueError, match="squares needs images"):
        run_study(OF_IMAGES)


def test_the_page_has_the_claim_the_verdict_and_escapes_text(tmp_path):
    run_study(STUDY, scale="smoke", out=tmp_path, workers=1)
    page = write_study_page(tmp_path).read_text()
    assert "The squares add up to 1." in page
    assert "&lt;b&gt;Squares" in page
    with pytest.raises(FileNotFoundError, match="not a finished study"):
        write_study_page(tmp_path / "trials")


class Unreadable:
    """Kills the process that unpickles it."""

    def __call__(self, settings, folder):
        raise AssertionError

    def __reduce__(self):
        return os.abort, ()


def test_where_no_process_can_start_the_study_ends(tmp_path):
    study = Study(**{**vars(STUDY), "run": Unreadable()})
    with pytest.raises(RuntimeError, match="terminated"):
        run_study(study, out=tmp_path, workers=1)
    assert json.loads((tmp_path / "report.json").read_text())["trials"]["finished"] == 0


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("scale", ["smoke", "laptop", "full", "paper"])
def test_no_trial_is_asked_for_twice(name, scale):
    study = get(name)
    keys = [key(study, settings) for settings in study.trials(scale)]
    assert len(set(keys)) == len(keys) > 0


def test_t_interval():
    mean, low, high = mean_interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2.0, 2 - 2.48414, 2 + 2.48414), abs=1e-4)
    assert told([1.0, 2.0, 3.0]) == "2.000 [-0.484, 4.484]"


def test_a_curve_leaves_out_what_was_not_run():
    curve = band("x", {4: [1.0, 2.0, 3.0], 8: [], 16: [5.0, 5.0]})
    assert (curve.x, curve.y) == ([4.0, 16.0], [2.0, 5.0])
    assert curve.low == pytest.approx([2 - 2.48414, 5.0], abs=1e-4)
    assert curve.high == pytest.approx([2 + 2.48414, 5.0], abs=1e-4)
