"""One page for one row of the table."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from atlas.bibliography import Work
from atlas.calls import call
from atlas.examples import command, example, output_of, settings_of
from atlas.field import Field
from atlas.notes import arguments_of, notes_of
from atlas.tree import MEANING, parent_of
from coview import objectives
from coview.objectives import Constant, Invariance, KnownPoint, Objective, ObjectiveSpec

SIZES = ((256, 128), (4096, 128), (4096, 2048), (256, 8192))
"""Images of all ranks and width for which costs are shown."""
IMAGES = DIM = 8
"""At which known points and bounds are computed."""

_INVARIANCES: Mapping[Invariance, str] = {
    "rotation": "one rotation of all embeddings",
    "dimension permutation": "reordering or mirroring dimensions",
    "row scaling": "a positive factor for each embedding",
    "translation": "one vector added to all embeddings",
}
_TARGETS: Mapping[Literal["online", "average", "previous"], str] = {
    "online": "targets: the projector's outputs, without gradient",
    "average": "targets: outputs of a network that follows the online one",
    "previous": "targets: outputs of the network before the last optimiser step",
}


def objective_page(
    spec: ObjectiveSpec,
    table: Mapping[str, ObjectiveSpec],
    works: Mapping[str, Work],
    pictures: Field | str,
) -> str:
    """Return the page's markdown.

    Args:
        spec: The row.
        table: All rows.
        works: The bibliography.
        pictures: What `<name>-arrows.svg` and `<name>-course.svg` show, or why there is nothing.
    """
    objective = spec.config()
    sections = [
        f"# {spec.name}\n",
        _head(spec, table),
        f"## Formula\n\n```{{math}}\n{spec.formula}\n```\n\n"
        "Symbols: [notation](../reference/notation.md).\n",
        f"## Gradient field\n\n{_pictures(spec, objective, pictures)}",
        f"## Use\n\n{_use(spec, objective)}",
        f"## Promises\n\n{_promises(spec, objective)}",
        f"## Known points\n\n{_known_points(spec, objective)}",
        f"## Convention and constants\n\n{_constants(spec)}",
        f"## Cost\n\n{_cost(spec, objective)}",
        f"## References\n\n{_references(spec, works)}",
    ]
    return "\n".join(sections)


def number(value: float) -> str:
    """Write a value to six figures, with the signs that mathematics uses."""
    value = 0.0 if abs(value) < 1e-12 else value
    return {math.inf: "∞", -math.inf: "−∞"}.get(value, f"{value:.6g}".replace("-", "−"))


def table_of(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def _head(spec: ObjectiveSpec, table: Mapping[str, ObjectiveSpec]) -> str:
    parent = parent_of(spec, table)
    after = f" · a variant of [{parent.name}]({parent.name}.md)" if parent else ""
    warning = "\n:::{warning}\nProvisional: the form may still change.\n:::\n"
    crumb = f"{{.eyebrow}}\n{spec.family}: {MEANING.get(spec.family, '')}{after}\n"
    return f"{crumb}\n{spec.idea}\n{warning if spec.provisional else ''}"


def _pictures(spec: ObjectiveSpec, objective: Objective, pictures: Field | str) -> str:
    if isinstance(pictures, str):
        return f"No picture: on a few points of the plane there is no value ({pictures}).\n"
    views = pictures.z.shape[0]
    told = [f"{pictures.z.shape[1]} images with {views} views each; filled: the first view"]
    if objective.needs.labels:
        told.append("neighbours in pairs share a class")
    if objective.needs.target:
        told.append("predictions and targets are the same points")
    left = (
        f"Minus the gradient of each embedding ({'; '.join(told)}). The longest arrow has a fixed "
        "length; the circle has radius 1."
    )
    right = "Where following the gradient leads; the circle has radius 1."
    if pictures.gone:
        right += " Stopped where a point leaves the picture."
    if objective.needs.target or spec.semi_gradient is not None:
        right += " Targets follow the points; no network stands between."
    figures = "".join(
        f"<figure>\n\n```{{raw}} html\n:file: {spec.name}-{kind}.svg\n```\n\n"
        f"<figcaption>{caption}</figcaption></figure>\n"
        for kind, caption in (("arrows", left), ("course", right))
    )
    return f'<div class="fields">\n{figures}</div>\n'


def _use(spec: ObjectiveSpec, objective: Objective) -> str:
    program = example(spec)
    parts = [
        f"```python\n{program}\n```\n",
        f"```text\n{output_of(program)}\n```\n",
        f"```bash\n{command(spec)}\n```\n",
    ]
    meanings = arguments_of(spec.function) | arguments_of(type(objective))
    rows = [
        (f"`{name}`", f"`{value!r}`", meanings.get(name, ""))
        for name, value in settings_of(objective).items()
    ]
    if rows:
        parts.append(table_of(("setting", "default", "meaning"), rows))
    parts.append(f"The pure function is {_function_link(spec)}.\n")
    return "\n".join(parts)


def _function_link(spec: ObjectiveSpec) -> str:
    name = spec.function.__name__
    if getattr(objectives, name, None) is spec.function:
        return f"{{py:func}}`coview.objectives.{name}`"
    return f"`{spec.function.__module__}.{name}`"


def _promises(spec: ObjectiveSpec, objective: Objective) -> str:
    needs = objective.needs
    kept = [_INVARIANCES[name] for name in get_args(Invariance) if name in spec.invariances]
    moved = [_INVARIANCES[name] for name in get_args(Invariance) if name not in spec.invariances]
    low, high = spec.bounds(objective, IMAGES)
    fresh = ", a fresh state" if needs.target == "previous" else ""
    views = f"{needs.min_views}" if needs.max_views == needs.min_views else (
        f"{needs.min_views} or more" if needs.max_views is None
        else f"{needs.min_views} to {needs.max_views}"
    )  # fmt: skip
    lines = [
        ("Unchanged by", "; ".join([*(["swapping views"] if spec.symmetric else []),
                                    "reordering images", *kept])),
        ("Changed by", "; ".join([*([] if spec.symmetric else ["swapping views"]), *moved])),
        ("Bounds", f"{number(low)} to {number(high)} (default settings, {IMAGES} images{fresh})"),
        ("Views", views),
        ("Fewest images", f"{spec.min_batch} over all processes"),
        ("Given", "; ".join(_given(objective)) or "embeddings alone"),
        ("Remembers", ", ".join(f"`{name}`" for name, _ in objective.init(DIM).named_buffers())
         or "nothing"),
        ("Gradient", "a semi-gradient: partners are constants" if spec.semi_gradient is not None
         else "none to the targets" if needs.target else "exact"),
    ]  # fmt: skip
    if degenerate := getattr(spec, "degenerate_error", ""):
        lines.append(("Not defined", f"on degenerate batches, with the error “{degenerate}”"))
    return "".join(f"- **{name}**: {text}\n" for name, text in lines if text) + (
        "\n[The contract](../howto/own-objective.md) checks each of them.\n"
    )


def _given(objective: Objective) -> list[str]:
    needs = objective.needs
    found = [f"a predictor ({needs.predictor})"] if needs.predictor else []
    found += [_TARGETS[needs.target]] if needs.target else []
    found += ["labels"] if needs.labels else []
    return found + (["the position of each image in the source"] if needs.source_index else [])


def _known_points(spec: ObjectiveSpec, objective: Objective) -> str:
    rows = [_known_point(spec, point, objective) for point in spec.known_points]
    return table_of(("embeddings", "images", "value"), rows) + (
        f"\nComputed for width {DIM}, default settings and a fresh state when this page was made, "
        "and equal to the stated value.\n"
    )


def _known_point(
    spec: ObjectiveSpec, point: KnownPoint, objective: Objective
) -> tuple[str, str, str]:
    z = point.embeddings(IMAGES, DIM)
    images = z.shape[1]
    stated = point.value(objective, images, DIM)
    computed = call(objective, z).total.item()
    if abs(stated - computed) > 1e-5 * max(1, abs(stated)):
        raise ValueError(f"{spec.name}: {point.name}: stated {stated}, computed {computed}")
    return point.name, str(images), number(computed)


def _constants(spec: ObjectiveSpec) -> str:
    notes = notes_of(spec.function)
    said = [f"**{name}.** {notes[name]}\n" for name in ("Convention", "Views") if name in notes]
    rows = [constant_row(constant) for constant in spec.ledger]
    ledger = table_of(CONSTANT_HEADER, rows) if rows else "Nothing differs from the source.\n"
    return "\n".join([*said, ledger])


CONSTANT_HEADER = ("constant", "source", "ours", "ours / official", "why")


def constant_row(constant: Constant) -> tuple[str, ...]:
    """Return the cells of one line of the ledger."""
    factor = "" if constant.factor is None else number(constant.factor)
    return constant.name, constant.source, constant.ours, factor, constant.why


def _cost(spec: ObjectiveSpec, objective: Objective) -> str:
    views = max(2, objective.needs.min_views)
    counts = [spec.cost.exchanged(objective, views, images, dim) for images, dim in SIZES]
    rows = [
        (f"{images:,}", f"{dim:,}", f"{count:,}", f"{4 * count / 2**20:,.2f}")
        for (images, dim), count in zip(SIZES, counts, strict=True)
    ]
    notes = notes_of(spec.function)
    said = [f"{notes[name]}\n" for name in ("Numerics", "Distributed") if name in notes]
    orders = (
        f"Time {spec.cost.time}; memory {spec.cost.memory} besides the embeddings and their "
        "gradient, with n images, V views and width d.\n"
    )
    table = table_of(
        ("images of all processes", "width", "numbers exchanged", "MiB, float32"), rows
    )
    explained = (
        f"What comes back from the collectives of one call with {views} views on two or more "
        "processes.\n"
    )
    return "\n".join([orders, *said, table, explained])


def _references(spec: ObjectiveSpec, works: Mapping[str, Work]) -> str:
    missing = [key for key in spec.citations if key not in works]
    if missing:
        raise ValueError(f"{spec.name}: references.bib has no {', '.join(missing)}")
    listed = "\n".join(f"- {works[key].markdown()}" for key in spec.citations)
    return f"{listed}\n\nOfficial code: {spec.reference}.\n"
