"""The reference of the command line: what each command's `--help` says."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from written import write_folder

_WIDTH = "84"
_INTRODUCTION = """# Command line

Every command is the function of the same name with the same arguments ([Python](../api/coview)).
Below is what `coview --help` and `coview COMMAND --help` print.
"""


def help_of(*command: str) -> str:
    """Return the help of a command without colours."""
    done = subprocess.run(
        [sys.executable, "-m", "coview.cli", *command, "--help"],
        env=os.environ | {"COLUMNS": _WIDTH, "NO_COLOR": "1", "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def page() -> str:
    """Return the page with the help of all commands."""
    return "\n".join([_INTRODUCTION, *_blocks()])


def _blocks(*command: str) -> list[str]:
    """Return the help of a command, and of those that its usage lists in braces alone."""
    text = help_of(*command)
    listed = re.match(r"usage: [\w ]*\[-h\] \{([\w,-]+)\}\n", text)
    inner = listed[1].split(",") if listed else ()
    return [
        _block(" ".join(("coview", *command)), text),
        *(block for name in inner for block in _blocks(*command, name)),
    ]


def _block(title: str, text: str) -> str:
    return f"## {title}\n\n```text\n{text.strip()}\n```\n"


def setup(app: Any) -> dict[str, Any]:  # noqa: ANN401
    """Write the page before Sphinx reads."""
    app.connect("builder-inited", lambda app: _write(Path(app.srcdir)))
    return {"parallel_read_safe": True}


def _write(source: Path) -> None:
    write_folder(source / "command-line", {"index.md": page()})
