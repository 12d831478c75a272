"""Run what a document shows: its ```bash blocks marked `# runs` and its ```python blocks.

usage: python scripts/run_examples.py README.md

Everything runs in a temporary folder that holds ./images, a few of the embedded photographs. A
Python block whose first line is `# name.py` is written to that file, for later blocks to import.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Run each block; the first that fails ends the program with its exit code."""
    text = Path(sys.argv[1]).read_text()
    blocks = re.findall(r"```(bash|python)\n(.*?)```", text, flags=re.DOTALL)
    chosen = [(kind, code) for kind, code in blocks if kind == "python" or "# runs" in code]
    if not chosen:
        sys.exit(f"{sys.argv[1]} shows nothing that runs")
    with tempfile.TemporaryDirectory() as folder:
        _pictures(Path(folder) / "images")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        for kind, code in chosen:
            sys.stdout.write(f"--- {kind}\n{code}\n")
            sys.stdout.flush()
            if kind == "python" and (name := re.match(r"# (\w+\.py)\n", code)):
                (Path(folder) / name[1]).write_text(code)
            program = (
                ["bash", "-euo", "pipefail", "-c"] if kind == "bash" else [sys.executable, "-c"]
            )
            done = subprocess.run(
                [*program, code], cwd=folder, env=os.environ | {"PATH": path}, check=False
            )
            if done.returncode:
                sys.exit(done.returncode)
    sys.stdout.write(f"{len(chosen)} passed, 0 failed\n")


def _pictures(folder: Path) -> None:
    from PIL import Image

    from coview.data.sample import load_sample

    sample = load_sample()
    for i in range(0, len(sample.images), 10):
        target = folder / f"digit {sample.labels[i]}" / f"{i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sample.images[i]).save(target)


if __name__ == "__main__":
    main()
