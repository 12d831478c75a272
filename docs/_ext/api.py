"""The reference of the Python interface: a page a module, from its public names."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from atlas.bibliography import read_bibliography
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from written import write_folder

import coview

_ORDER = ("typing", "random", "ranks", "data", "views", "encoders", "objectives",
          "information", "diagnostics",
          "probes", "training", "evaluation", "pages", "testing")  # fmt: skip
_AT_THE_TOP = {"cli", "commands", "checkup"}
"""Modules whose functions are documented as `coview.NAME`."""


def pages() -> dict[str, str]:
    """Return the text of each page by file name."""
    found = {name for _, name, _ in pkgutil.iter_modules(coview.__path__)} - _AT_THE_TOP
    names = [name for name in _ORDER if name in found] + sorted(found - set(_ORDER))
    modules = ["coview", *(f"coview.{name}" for name in names)]
    listed = "\n".join(f"   {name}" for name in modules)
    index = (
        f"{_title('Python')}The public names of each module, in the order of use. A folder imports "
        f"only from those before it.\n\n.. toctree::\n\n{listed}\n"
    )
    texts = {f"{name}.rst": _page(importlib.import_module(name)) for name in modules}
    return {"index.rst": index} | texts


def public_names(module: ModuleType) -> list[str]:
    """Return what a module offers: `__all__`, or what it re-exports, or what it defines."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    package = hasattr(module, "__path__")
    documented = {name for (_, name) in ModuleAnalyzer.for_module(module.__name__).find_attr_docs()}
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and (name in documented or _belongs(value, module, package))
    ]


def _belongs(value: object, module: ModuleType, package: bool) -> bool:
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return False
    home = value.__module__
    return home.startswith(module.__name__ + ".") if package else home == module.__name__


def _page(module: ModuleType) -> str:
    names = public_names(module)
    text = _title(module.__name__) + _introduction(module)
    if names:
        return text + "".join(_entries(module, names))
    for _, name, _ in pkgutil.iter_modules(module.__path__, f"{module.__name__}."):
        part = importlib.import_module(name)
        if entries := _entries(part, public_names(part)):
            text += _title(name, "-") + _introduction(part) + "".join(entries)
    return text


def _introduction(module: ModuleType) -> str:
    """Return what a module says of itself; cross-references go to its own names first."""
    return f".. automodule:: {module.__name__}\n   :no-members:\n\n"


def _entries(module: ModuleType, names: list[str]) -> list[str]:
    functions, classes, constants = [], [], []
    for name in names:
        try:
            value = getattr(module, name)
        except (AttributeError, ImportError) as error:
            logging.getLogger(__name__).warning("%s: %s", module.__name__, error)
            continue
        target = f"{module.__name__}.{name}"
        if inspect.isclass(value) and value.__module__.startswith("coview"):
            ours = any(base.__module__.startswith("coview") for base in value.__bases__)
            bases = "   :show-inheritance:\n" if ours else ""
            classes.append(f".. autoclass:: {target}\n   :members:\n{bases}\n")
        elif inspect.isfunction(value):
            functions.append(f".. autofunction:: {target}\n\n")
        elif not inspect.ismodule(value):
            constants.append(_constant(module, name))
    return [*functions, *classes, *constants]


def _constant(module: ModuleType, name: str) -> str:
    """Document a constant or a shape with what is written below it in the file that defines it."""
    parts = pkgutil.iter_modules(getattr(module, "__path__", ()), f"{module.__name__}.")
    told: list[str] = []
    for home in (module.__name__, *(part for _, part, _ in parts)):
        told = told or ModuleAnalyzer.for_module(home).find_attr_docs().get(("", name), [])
    value = getattr(module, name)
    shape = isinstance(value, type) and value.__module__ == "jaxtyping"
    lines = [f"   :value: {value.__name__}"] if shape else []
    lines += ["", *(f"   {line}" for line in told)]
    return f".. py:data:: {module.__name__}.{name}\n" + "\n".join(lines) + "\n\n"


def _title(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n\n"


def lay_out(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:  # noqa: ANN401
    """Give each `Convention: …` a paragraph of its own; keep colons from being read as types."""
    laid: list[str] = [""] if what in ("attribute", "data", "property") else []
    inside = False
    for place, line in enumerate(lines):
        said = _NOTE.match(line) if place else None
        inside = bool(said) or (inside and line.startswith(" "))
        if said:
            laid += ["", f"**{said[1]}.** {said[2]}"]
        elif inside:
            laid.append(line.strip())
        else:
            laid.append(line)
    lines[:] = laid


def link_citations(*event: Any) -> None:  # noqa: ANN401
    """Turn keys of references.bib in docstrings into links to the bibliography."""
    lines = event[-1]
    for place, text in enumerate(lines):
        lines[place] = _KEY.sub(lambda key: f":ref:`{key[0]} <{key[0]}>`", text)


def unwrap_shapes(*event: Any) -> tuple[str, str] | None:  # noqa: ANN401
    """Write our names of shapes in signatures in place of what they stand for."""
    signature, returned = event[-2:]
    if signature is None:
        return None
    return _named(signature), _named(returned) if returned else returned


def _named(text: str) -> str:
    for shape, name in _SHAPES.items():
        text = text.replace(shape, name)
    return text


_NOTE = re.compile(r"([A-Z][a-z]+(?: [a-z]+)?): (\S.*)")
_KEY = re.compile("|".join(rf"\b{key}\b" for key in read_bibliography()))
_SHAPES = {
    "Float[Tensor, 'view batch dim']": "Embeddings",
    "Float[Tensor, 'target_view batch dim']": "Targets",
    "Float[Tensor, '']": "Scalar",
    "Int[Tensor, ' batch']": "Indices",
}


def setup(app: Any) -> dict[str, Any]:  # noqa: ANN401
    """Write the pages before Sphinx reads, and mend docstrings while it does."""
    app.connect(
        "builder-inited", lambda app: write_folder(Path(app.srcdir) / "api", pages()), priority=400
    )
    app.connect("autodoc-process-docstring", lay_out, priority=400)
    app.connect("autodoc-process-docstring", link_citations, priority=900)
    app.connect("autodoc-process-signature", unwrap_shapes)
    return {"parallel_read_safe": True}
