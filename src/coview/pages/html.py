"""A template filled in, and a page written whole or not at all."""

from pathlib import Path
from typing import Any


def fill(template: str, **values: Any) -> str:  # noqa: ANN401
    """Return the HTML of a template; what it names and is not given is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("coview.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template(template).render(**values)


def write(page: Path, text: str) -> Path:
    """Write a page under another name and rename it when it is whole; return its path."""
    part = page.with_suffix(".html.part")
    part.write_text(text, encoding="utf-8")
    return part.replace(page)
