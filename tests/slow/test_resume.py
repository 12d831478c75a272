"""A run killed at a random moment and resumed equals one that was never stopped."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

STEPS = 9


def command(out: Path, *more: str) -> list[str]:
    arguments = ["pretrain", "sample", "--size", "32", "--batch-size", "48", "--steps", str(STEPS)]
    options = ["--checkpoint-seconds", "0", "--no-evaluate", "--out", str(out), *more]
    return [sys.executable, "-m", "coview.cli", *arguments, *options]


@pytest.mark.parametrize("objective", ["minc", "byol"])
def test_kill_and_resume_is_bit_exact(tmp_path: Path, objective: str) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    choice = ("--objective", objective)
    subprocess.run(command(whole, *choice), check=True, capture_output=True)
    kill_after = random.SystemRandom().randint(1, STEPS - 2)
    process = subprocess.Popen(command(parts, *choice), stderr=subprocess.DEVNULL)
    metrics = parts / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if metrics.is_file() and len(metrics.read_text().splitlines()) >= kill_after:
            break
        time.sleep(0.005)
    time.sleep(random.SystemRandom().random() * 0.1)
    process.kill()
    process.wait()
    assert not (parts / "encoder.safetensors").exists(), "the run ended before it was killed"
    subprocess.run([*command(parts, *choice), "--resume"], check=True, capture_output=True)
    names = ("encoder.safetensors",)
    for name in names:
        assert (whole / name).read_bytes() == (parts / name).read_bytes(), f"after {kill_after}"
    rows = [
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (whole, parts)
    ]
    assert [r["step"] for r in rows[0]] == [r["step"] for r in rows[1]]
    assert [r["loss"] for r in rows[0]] == [r["loss"] for r in rows[1]]


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """The same images, views, batch statistics and losses, but for rounding."""
    losses = []
    for count in (1, 2):
        out = tmp_path / str(count)
        more = ("--precision", "float32", "--objective", "byol")
        devices = ("--devices", str(count), "--accelerator", "cpu")
        arguments = [*command(out, *more), *devices]
        subprocess.run(arguments, check=True, capture_output=True, timeout=250)
        assert json.loads((out / "run.json").read_text())["status"] == "finished"
        assert (out / "encoder.safetensors").is_file()
        rows = [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
        losses.append([row["loss"] for row in rows])
    one, two = losses
    assert two[0] == pytest.approx(one[0], rel=1e-5)
    assert two == pytest.approx(one, rel=2e-2)
