"""Break every objective on purpose, one small fault at a time, and see that the tests notice.

Each fault of `mutations.py` is put into a copy of the package. Against the copy run, until one
fails: the reference and the contract of the rows that it touches, those rows over several
processes, and the unit tests of their family. A fault that nothing notices survives.

    python scripts/mutate_objectives.py            # all
    python scripts/mutate_objectives.py vicreg     # those of one row, or of one file
    python scripts/mutate_objectives.py --out mutations.json

Exit code 1 if a fault survives, no longer applies, or only breaks an import or takes too long; 2
if the tests fail without any.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy  # noqa: F401 (imported once, before the forks)
import pytest
import torch
from mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 600.0
"""Time for one fault; all tests without a fault may take three times that."""
SETTINGS = {
    "nt_xent": ({"similarity": "squared"}, {"similarity": "absolute"}),
    "decoupled_nt_xent": ({"sigma": 0.5},),
    "spectral_contrastive": ({"normalization": "ball", "scale": 1.0}, {"negatives": "all"}),
    "f_micl": tuple(
        {"divergence": name}
        for name in ("js", "pearson", "squared_hellinger", "tsallis", "vincze_le_cam")
    ),
    "vicreg_ctr": ({"divisor": "batch"},),
    "whitening_mse": ({"shrinkage": 0.3, "sub_batch_size": 3, "iterations": 2, "seed": 4},),
    "linear_byol": ({"predictor": "least-squares"},),
    "minc": ({"batch_weight": 1.0}, {"batch_weight": 0.0, "scale": 8.0}),
}
"""What is tried of a row besides the default."""

MEANINGLESS = (SyntaxError, ImportError, NameError, TimeoutError)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a fault: killed, survived, stale, meaningless or hung; and by what."""

    outcome: str
    by: str = ""


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def applied(mutation: Mutation, package: Path) -> str | None:
    """Return the file's text with the fault; None if the text to change is not there just once."""
    text = (package / mutation.file).read_text()
    return text.replace(mutation.old, mutation.new) if text.count(mutation.old) == 1 else None


def judge(folder: Path, rows: Sequence[str]) -> Verdict:
    """Run the tests of some rows in a copy of the repository; call it in a fresh process."""
    sys.dont_write_bytecode = True
    sys.path[:0] = [str(folder / "src"), str(folder / "tests")]
    torch.set_num_threads(1)
    torch.multiprocessing.get_context = lambda _: multiprocessing.get_context("fork")
    try:
        _checks(rows)
    except MEANINGLESS as error:
        return Verdict(outcome="meaningless", by=repr(error))
    except Exception as error:
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        where = next((name for name in names if name.startswith("check_")), type(error).__name__)
        first = next(iter(str(error).strip().splitlines()), "")
        return Verdict(outcome="killed", by=f"{where}: {first[:100]}")
    return _unit_tests(folder, rows)


def _checks(rows: Sequence[str]) -> None:
    from coview.objectives import TABLE
    from coview.testing import OBJECTIVE_CHECKS, check_over_ranks, check_reference
    from reference.objectives import REFERENCES

    tried = [
        (TABLE[name], TABLE[name].config(**settings))
        for name in rows
        for settings in ({}, *SETTINGS.get(name, ()))
    ]
    for spec, objective in tried:
        check_reference(objective, REFERENCES[spec.name])
    for name in rows:
        for check in OBJECTIVE_CHECKS:
            check(TABLE[name], TABLE[name].config())
    check_over_ranks(tried)


def _unit_tests(folder: Path, rows: Sequence[str]) -> Verdict:
    """Run the unit tests of the rows' families; a test that cannot be collected kills nothing."""
    from coview.objectives import TABLE

    names = " or ".join(word for name in rows for word in (name, TABLE[name].config.__name__))
    known = "test_every_row_compiles or test_faults or test_wrong"
    contract = ["tests/unit/test_contract.py", "-k", f"({names}) and not ({known})"]
    families = [str(file) for file in sorted((folder / "tests/unit").glob("test_objectives*.py"))]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"}
    for tests in (families, contract):
        done = subprocess.run(
            [*command, *tests], cwd=folder, env=environment, capture_output=True, text=True
        )
        lines = [x for x in done.stdout.splitlines() if x.startswith(("FAILED", "ERROR"))]
        story = lines[0][:120] if lines else f"pytest ended with code {done.returncode}"
        if done.returncode == pytest.ExitCode.TESTS_FAILED and lines[0].startswith("FAILED"):
            return Verdict(outcome="killed", by=story)
        if done.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            return Verdict(outcome="meaningless", by=story)
    return Verdict(outcome="survived")


def in_fresh_process(folder: Path, rows: Sequence[str], seconds: float = SECONDS) -> Verdict:
    """Run `judge` in a fork of this process, which has torch in memory but nothing of coview."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(judge(folder, rows)))
    process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            return Verdict(outcome="hung", by=f"after {seconds:.0f} s")
        received: Verdict = receiver.recv()
        return received
    except EOFError:
        return Verdict(outcome="meaningless", by="the process died")
    finally:
        process.kill()
        process.join()


def copy_repository(folder: Path) -> Path:
    """Copy package and tests, without caches and images; return the package's folder."""
    ignored = shutil.ignore_patterns("__pycache__", "sample")
    package = folder / "src" / "coview"
    shutil.copytree(ROOT / "src" / "coview", package, ignore=ignored)
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return package


def run(mutations: Sequence[Mutation]) -> list[dict[str, object]]:
    """Judge every fault in turn, and print what became of it."""
    results = []
    with tempfile.TemporaryDirectory() as name:
        package = copy_repository(Path(name))
        for mutation in mutations:
            started = time.monotonic()
            changed, path = applied(mutation, package), package / mutation.file
            if changed is None:
                verdict = Verdict(outcome="stale", by="the text to change is not there just once")
            else:
                kept = path.read_text()
                path.write_text(changed)
                verdict = in_fresh_process(Path(name), mutation.rows)
                path.write_text(kept)
            seconds = time.monotonic() - started
            say(
                f"{verdict.outcome:11} {mutation.rows[0]:22} {mutation.kind:28} "
                f"{verdict.by} ({seconds:.0f} s)",
            )
            if verdict.outcome != "killed":
                say(f"            {mutation.file}: {mutation.old!r} -> {mutation.new!r}")
            results.append({**asdict(mutation), **asdict(verdict)})
    return results


def sound(rows: Sequence[str]) -> bool:
    """Tell whether the tests pass without a fault, or a death would mean nothing."""
    with tempfile.TemporaryDirectory() as name:
        copy_repository(Path(name))
        verdict = in_fresh_process(Path(name), rows, 3 * SECONDS)
    if verdict.outcome != "survived":
        say(f"without any fault: {verdict.outcome} {verdict.by}")
    return verdict.outcome == "survived"


def commit() -> str:
    """Return the commit of the repository; empty without one."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="rows or files; default all")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    asked = parser.parse_args()
    chosen = [
        m
        for m in MUTATIONS
        if not asked.names or {*m.rows, Path(m.file).stem}.intersection(asked.names)
    ]
    rows = sorted({row for mutation in chosen for row in mutation.rows})
    if not chosen or not sound(rows):
        return 2
    results = run(chosen)
    killed = sum(result["outcome"] == "killed" for result in results)
    if asked.out is not None:
        record = {
            "commit": commit(),
            "objectives": rows,
            "faults": len(results),
            "killed": killed,
            "results": results,
        }
        asked.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    say(f"{killed} of {len(results)} faults killed, over {len(rows)} objectives")
    return int(killed < len(results))


if __name__ == "__main__":
    sys.exit(main())
