"""The demo's recipe over the 5 signer-disjoint folds of the embedded photographs.

usage: python benchmarks/sample_folds.py [--steps N]

Each fold's test signers are never seen, not even without labels. Writes records/sample_folds.json.
"""

import argparse
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from records import alone, load, over_runs, write

import coview
from coview import data
from coview.training.pretrain import seen_in_training, train
from coview.training.run_folder import environment
from coview.training.settings import Pretraining


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200, help="about those of `make demo` here")
    steps = parser.parse_args().steps
    dataset = data.open("sample")
    work = Path(tempfile.mkdtemp(prefix="coview-folds-"))
    judgements, runs = [], []
    with alone():
        for fold, splits in enumerate(data.folds(dataset, 5)):
            seen = replace(dataset.subset(seen_in_training(splits)), labels=None)
            before, started = load(), time.monotonic()
            trained = train(Pretraining(source=seen, out=work / str(fold), steps=steps, seed=fold))
            judgement = coview.evaluate(trained.folder, dataset, splits=splits, seed=fold)
            record = trained.folder.read()
            judgements.append(judgement.to_record())
            runs.append(
                {
                    "fold": fold,
                    "training_seconds": record["seconds"],
                    "seconds": round(time.monotonic() - started, 1),
                    "load_before": before,
                    "steps": steps,
                }
            )
    record = {
        "benchmark": "sample_folds",
        "config": record["config"] | {"source": "sample, one fold held out"},
        "objective": record["objective"],
        "policy": record["policy"],
        "environment": environment("cpu"),
        "runs": runs,
        "over_folds": over_runs(judgements),
        "judgements": judgements,
    }
    path = write("sample_folds", record)
    shutil.rmtree(work)
    for name, row in record["over_folds"]["difference"].items():
        print(f"{name:50} {row['mean']:+.3f} {row['interval']}")
    print(path)


if __name__ == "__main__":
    main()
