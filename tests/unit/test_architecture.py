"""What keeps the house in order: imports one way, words, light start, short README."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "coview"

LAYERS = (
    "typing",
    "warn",
    "random",
    "ranks",
    "data",
    "views",
    "encoders",
    "objectives",
    "information",
    "diagnostics",
    "probes",
    "training",
    "evaluation",
    "search",
    "studies",
    "pages",
    "testing",
    "checkup",
    "commands",
    "cli",
)
"""A layer may import the layers before it."""

FILES = sorted(PACKAGE.rglob("*.py"))


def layer_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file: Path) -> set[str]:
    """Return the coview layers that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "coview":
            names = [f"coview.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("coview.")}
    return found


def test_every_part_has_its_layer() -> None:
    assert {layer_of(file) for file in FILES} == {*LAYERS, "__init__"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_one_way(file: Path) -> None:
    layer = layer_of(file)
    if layer == "__init__":
        return  # the public names, loaded lazily
    allowed = set(LAYERS[: LAYERS.index(layer) + 1])
    assert imported(file) <= allowed


def test_only_ranks_speaks_to_other_processes() -> None:
    users = [
        file.relative_to(PACKAGE).as_posix()
        for file in FILES
        if re.search(r"torch\.distributed|import distributed", file.read_text())
    ]
    assert set(users) <= {"ranks.py", "testing/distributed.py", "testing/ranks.py"}


def test_importing_coview_imports_no_torch() -> None:
    code = (
        "import sys, coview, coview.cli; "
        "print([m for m in ('torch', 'timm', 'sklearn') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_help_has_examples_and_imports_no_torch() -> None:
    """What keeps `coview --help` under a second."""
    code = (
        "import sys, coview.cli\n"
        "try:\n"
        "    coview.cli.main(['--help'])\n"
        "except SystemExit:\n"
        "    print([m for m in ('torch', 'numpy', 'sklearn') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "coview pretrain sample" in out.stdout
    assert out.stdout.splitlines()[-1] == "[]"


def test_public_names_exist() -> None:
    import coview

    for name in coview.__all__:
        assert callable(getattr(coview, name))
        assert getattr(coview, name).__doc__


def test_readme_is_short_and_its_pictures_exist() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)


def test_citations_exist() -> None:
    keys = set(re.findall(r"@\w+\{(\w+),", (ROOT / "references.bib").read_text()))
    from coview.objectives import TABLE

    for row in TABLE.values():
        assert set(row.citations) <= keys
