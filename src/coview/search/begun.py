"""The record of a search that goes on when it is asked for again."""

from typing import Any

from coview.data import Dataset, warn_of_faults
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
    warn_of_faults(dataset)
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
