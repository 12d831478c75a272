"""Files that the build writes before Sphinx reads them."""

from collections.abc import Mapping
from pathlib import Path


def write_folder(folder: Path, texts: Mapping[str, str]) -> None:
    """Make `folder` hold these files and no others; files that stay the same are not touched."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {folder / name for name in texts}
    for path in folder.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
