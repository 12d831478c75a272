"""The atlas of objectives: every page of `docs/atlas`, made from the table.

Read `page` first, then `field`, `tree` and `examples`. A new row needs nothing here.
"""

from pathlib import Path
from typing import Any

from written import write_folder

from atlas.bibliography import bibliography_page, read_bibliography
from atlas.field import Field, arrows_svg, course_svg, field
from atlas.page import CONSTANT_HEADER, constant_row, objective_page, table_of
from atlas.tree import MEANING, by_family, tree_svg
from coview.objectives import TABLE, ObjectiveSpec

_IMAGES = (6, 12, 24)
"""Numbers of images to try for a picture: some objectives have no value on the fewest."""


def picture(spec: ObjectiveSpec) -> Field | str:
    """Return the gradient field of a row, or why it has none."""
    reason = ""
    for images in _IMAGES:
        try:
            return field(spec.config(), images)
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
    return reason


def files(spec: ObjectiveSpec) -> dict[str, str]:
    """Return the page and the pictures of a row by file name."""
    shown = picture(spec)
    found = {f"{spec.name}.md": objective_page(spec, TABLE, read_bibliography(), shown)}
    if isinstance(shown, Field):
        found[f"{spec.name}-arrows.svg"] = arrows_svg(shown)
        found[f"{spec.name}-course.svg"] = course_svg(shown)
    return found


def all_files() -> dict[str, str]:
    """Return everything in `docs/atlas`; a row that fails costs its page and a warning."""
    from sphinx.util import logging

    made: dict[str, str] = {}
    whole = {}
    for name, spec in TABLE.items():
        try:
            made |= files(spec)
            whole[name] = spec
        except Exception as error:
            logging.getLogger(__name__).warning("%s has no page: %r", name, error)
    made["index.md"] = _index(whole, made)
    made["family-tree.md"] = _tree_page()
    made["family-tree.svg"] = tree_svg(whole, read_bibliography())
    made["ledger.md"] = _ledger(whole)
    made["bibliography.md"] = bibliography_page()
    return made


def _index(rows: dict[str, ObjectiveSpec], made: dict[str, str]) -> str:
    parts = [
        "# Atlas of objectives\n",
        f"{len(rows)} objectives, each on a page made from the table in `coview.objectives`: idea, "
        "formula, gradient field, promises, known points, constants, cost. Pictures: six images "
        "with two views each in the plane, and minus the gradient of each embedding. "
        "[The family tree](family-tree.md), [the ledger of constants](ledger.md), "
        "[notation](../reference/notation.md).\n",
    ]
    parts.append("```{toctree}\n:hidden:\n\nfamily-tree\nledger\nbibliography\n```\n")
    for family, members in by_family(rows).items():
        cards = "".join(_card(row.name, made) for row in members)
        parts.append(
            f"## {_sentence(family)}\n\n{_sentence(MEANING.get(family, ''))}\n\n"
            f'```{{raw}} html\n<div class="gallery">{cards}</div>\n```\n\n'
            f"```{{toctree}}\n:hidden:\n\n" + "\n".join(row.name for row in members) + "\n```\n"
        )
    return "\n".join(parts)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _card(name: str, made: dict[str, str]) -> str:
    drawing = made.get(f"{name}-arrows.svg", "")
    return f'<a href="{name}.html">{drawing}{name}</a>'


def _tree_page() -> str:
    return (
        "# Family tree\n\n"
        "Drawn from the table: a branch is a family, a twig a variant of the row above it.\n\n"
        '<div class="tree">\n\n```{raw} html\n:file: family-tree.svg\n```\n\n</div>\n\n'
        "The dashed line is the duality of "
        "[Garrido et al. 2023](bibliography.md#garrido2023duality): for any matrix Z of embeddings "
        "the Gram matrix Z Zᵀ (images) and the second moment Zᵀ Z (dimensions) have the same norm, "
        "so that penalising the off-diagonal of one is penalising that of the other, up to norms "
        "of rows and columns:\n\n"
        "```{math}\n\\|Z Z^\\top\\|^2_{\\text{off}} + \\sum_i \\|z_{i\\cdot}\\|^4 = "
        "\\|Z^\\top Z\\|^2_{\\text{off}} + \\sum_k \\|z_{\\cdot k}\\|^4\n```\n"
    )


def _ledger(rows: dict[str, ObjectiveSpec]) -> str:
    lines = [
        (f"[{name}]({name}.md)", *constant_row(constant))
        for name, spec in rows.items()
        for constant in spec.ledger
    ]
    return (
        "# Ledger of constants\n\n"
        "Every number that differs from its source, or that others choose freely. Where the ratio "
        "of our value to the official code's is a constant, it stands here and is tested.\n\n"
        + table_of(("objective", *CONSTANT_HEADER), lines)
    )


def setup(app: Any) -> dict[str, Any]:  # noqa: ANN401
    """Write the atlas before Sphinx reads."""
    app.connect("builder-inited", lambda app: write_folder(Path(app.srcdir) / "atlas", all_files()))
    return {"parallel_read_safe": True}
