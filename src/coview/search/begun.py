"""The record of a search that goes on when it is asked for again."""

import warnings
from typing import Any

from coview.data import Dataset
from coview.training.run_folder import RunFolder, command_line, now


def begun(
    folder: RunFolder, file: str, asked: dict[str, Any], dataset: Dataset, *, version: int
) -> dict[str, Any]:
    """Return the record of what was begun in a folder, or the head of a new one.

    Args:
        folder: Where the search is written.
        file: Its record.
        asked: What must be the same to go on; plain JSON.
        dataset: The images.
        version: Format of the record.

    Raises:
        FileExistsError: If the folder holds something else.
    """
    if (folder.path / file).is_file():
        record = folder.read(file)
        changed = [name for name in asked if record.get("asked", {}).get(name) != asked[name]]
        if changed or record.get("format") != version:
            raise FileExistsError(
                f"out: {folder.path} holds a {file} that differs in "
                f"{', '.join(changed) or 'format'}; give another folder"
            )
        return record
    folder.check_free(resumes=False)
    warn_of_skipped(dataset)
    folder.path.mkdir(parents=True, exist_ok=True)
    return {
        "format": version,
        "status": "running",
        "command": command_line(),
        "created": now(),
        "seconds": 0.0,
        "asked": asked,
        "data": {
            "name": dataset.name,
            "images": len(dataset),
            "size": dataset.size,
            "channels": dataset.channels,
        },
    }


def warn_of_skipped(dataset: Dataset) -> None:
    """Name the files that could not be read."""
    if skipped := dataset.skipped:
        named = ", ".join(one.name for one in skipped[:3])
        more = ", ..." if len(skipped) > 3 else ""
        warnings.warn(
            f"source: {len(skipped)} files could not be read and are left out: {named}{more}",
            RuntimeWarning,
            stacklevel=2,
        )
