"""What the docstring of a function says, taken apart."""

import inspect
import re
import sys
from collections.abc import Callable
from typing import Any

_NOTES = ("Views", "Convention", "Numerics", "Distributed")


def notes_of(function: Callable[..., Any]) -> dict[str, str]:
    """Return the paragraphs that begin with Views, Convention, Numerics or Distributed.

    Where the function leaves them to the one of its terms, they are taken from there.
    """
    found: dict[str, str] = {}
    for text in _docstrings(function):
        for name in _NOTES:
            said = re.search(rf"^{name}: (.*(?:\n[ ]+\S.*)*)", text, flags=re.MULTILINE)
            if said and name not in found:
                found[name] = _markdown(said[1])
    return found


def arguments_of(function: Callable[..., Any]) -> dict[str, str]:
    """Return what the docstring says of each argument: its entry, or else a sentence with it."""
    found: dict[str, str] = {}
    for text in _docstrings(function):
        section = re.search(r"^(?:Args|Attributes):\n((?:(?:    .*)?\n?)+)", text, re.MULTILINE)
        for entry in re.finditer(r"^    (\w+): (.*(?:\n {8}.*)*)", section[1] if section else "",
                                 re.MULTILINE):  # fmt: skip
            found.setdefault(entry[1], _markdown(entry[2]))
    for sentence in re.split(r"(?<=\.)\s+", inspect.getdoc(function) or ""):
        for name in re.findall(r"`(\w+)`", sentence):
            if name in inspect.signature(function).parameters:
                found.setdefault(name, _markdown(sentence))
    return found


def _docstrings(function: Callable[..., Any]) -> list[str]:
    module = sys.modules[function.__module__]
    functions = [function, getattr(module, f"{function.__name__}_terms", None)]
    return [inspect.getdoc(f) or "" for f in functions if f is not None]


def _markdown(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
