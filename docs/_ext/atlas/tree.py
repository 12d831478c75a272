"""The family tree of the objectives, drawn from the table."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import get_args

from atlas.bibliography import Work
from coview.objectives import Family, ObjectiveSpec

MEANING: Mapping[str, str] = {
    "sample-contrastive": "images are made unlike: the Gram matrix",
    "dimension-contrastive": "dimensions are made unlike: the covariance",
    "prediction": "one view predicts another; nothing is spread",
    "mutual information": "images against a summary of all others",
}
_WIDTH, _ROW, _HEAD = 460, 26, 52
_TRUNK, _BRANCH, _TWIG = 14, 40, 22


def by_family(table: Mapping[str, ObjectiveSpec]) -> dict[str, list[ObjectiveSpec]]:
    """Return the rows of each family that has any; variants follow what they vary."""
    families = list(dict.fromkeys([*get_args(Family), *(row.family for row in table.values())]))
    found = {}
    for family in families:
        rows = [row for row in table.values() if row.family == family]
        if rows:
            found[family] = _ordered(rows)
    return found


def parent_of(row: ObjectiveSpec, table: Mapping[str, ObjectiveSpec]) -> ObjectiveSpec | None:
    """Return the row that this one varies: the longest name that is part of its own."""
    words = f"_{row.name}_"
    parents = [other for name, other in table.items() if name != row.name and f"_{name}_" in words]
    return max(parents, key=lambda other: len(other.name), default=None)


def _ordered(rows: Sequence[ObjectiveSpec]) -> list[ObjectiveSpec]:
    table = {row.name: row for row in rows}

    def below(parent: ObjectiveSpec) -> list[ObjectiveSpec]:
        children = [row for row in rows if parent_of(row, table) is parent]
        return [parent, *(deep for child in children for deep in below(child))]

    return [deep for row in rows if parent_of(row, table) is None for deep in below(row)]


def tree_svg(table: Mapping[str, ObjectiveSpec], works: Mapping[str, Work]) -> str:
    """Return the tree as an SVG whose names are links to the rows' pages."""
    families = by_family(table)
    parts, places, y = [], {}, 62
    for family, rows in families.items():
        places[family] = y
        parts.append(_family(family, y))
        y += _HEAD
        within = {row.name: row for row in rows}
        heights: dict[str, int] = {}
        for row in rows:
            parent = parent_of(row, within)
            parts.append(_row(row, y, heights.get(parent.name) if parent else None,
                              places[family], parent_of(row, table), works))  # fmt: skip
            heights[row.name] = y
            y += _ROW
        y += 22
    trunk = f'<path class="line" d="M{_TRUNK} 34V{max(places.values())}"/>'
    bridge = _bridge(places)
    return (
        f'<svg class="family-tree" xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {_WIDTH} {y - 14}" role="img" '
        f'aria-label="Family tree of the objectives">{_STYLE}'
        f'<text class="root" x="0" y="20">Views of one image agree. What keeps images apart?</text>'
        f"{trunk}{''.join(parts)}{bridge}</svg>"
    )


_STYLE = (
    "<style>.family-tree text{fill:currentColor;font:14px system-ui,sans-serif}"
    ".family-tree .root{font-weight:600}.family-tree .head{font-weight:600;font-size:15px}"
    ".family-tree .quiet{fill-opacity:.65;font-size:12px}"
    ".family-tree .line{fill:none;stroke:var(--color-foreground-border,#8a867e);stroke-width:1.4}"
    ".family-tree .bridge{fill:none;stroke:#0f8b7f;stroke-width:2;stroke-dasharray:5 3}"
    ".family-tree .bridge-text{fill:var(--color-brand-primary,#0f8b7f);font-size:13px}"
    ".family-tree a{text-decoration:none}"
    ".family-tree a text{fill:var(--color-brand-content,#0f6b63)}"
    ".family-tree a:hover text{text-decoration:underline}</style>"
)


def _family(family: str, y: int) -> str:
    return (
        f'<path class="line" d="M{_TRUNK} {y}H{_BRANCH - 8}"/>'
        f'<text class="head" x="{_BRANCH}" y="{y + 5}">{escape(family)}</text>'
        f'<text class="quiet" x="{_BRANCH}" y="{y + 22}">{escape(MEANING.get(family, ""))}</text>'
    )


def _row(
    row: ObjectiveSpec,
    y: int,
    parent_y: int | None,
    family_y: int,
    origin: ObjectiveSpec | None,
    works: Mapping[str, Work],
) -> str:
    x = _BRANCH + _TWIG + (_TWIG if parent_y else 0)
    from_x = _BRANCH + 6 + (_TWIG if parent_y else 0)
    from_y = parent_y + 6 if parent_y else family_y + 28
    source = next((works[key].short for key in row.citations if key in works), "")
    if origin is not None and parent_y is None:
        source += f" · after {origin.name}"
    if row.provisional:
        source += " · provisional"
    return (
        f'<path class="line" d="M{from_x} {from_y}V{y - 4}H{x - 5}"/>'
        f'<a href="{row.name}.html"><text x="{x}" y="{y}">{escape(row.name)}'
        f'<tspan class="quiet" dx="8">{escape(source)}</tspan></text></a>'
    )


def _bridge(places: Mapping[str, int]) -> str:
    """Join the two families that one equality of norms makes two sides of the same."""
    if not {"sample-contrastive", "dimension-contrastive"} <= set(places):
        return ""
    top, bottom = places["sample-contrastive"], places["dimension-contrastive"]
    x = _WIDTH - 18
    middle = (top + bottom) // 2
    return (
        f'<path class="bridge" d="M{x - 60} {top}H{x - 12}Q{x} {top} {x} {top + 12}'
        f'V{bottom - 12}Q{x} {bottom} {x - 12} {bottom}H{x - 60}"/>'
        f'<text class="bridge-text" text-anchor="middle" '
        f'transform="translate({x - 8} {middle}) rotate(-90)">duality: ‖Z Zᵀ‖ = ‖Zᵀ Z‖</text>'
    )
