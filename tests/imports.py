"""What some code makes Python load."""

import subprocess
import sys


def loaded(code: str) -> set[str]:
    """Return the packages that are loaded after running this code in a process of its own."""
    told = "; import sys; print(*{name.split('.')[0] for name in sys.modules})"
    run = [sys.executable, "-c", code + told]
    return set(subprocess.run(run, capture_output=True, text=True, check=True).stdout.split())
