"""What the records say, in plain words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from coview.pages.charts import labels_text, number
from coview.pages.records import Json, Records


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The page's first sentence and what to make of it."""

    text: str
    lead: str


def headline(records: Records) -> Headline:
    """Say how good the encoder is, or what is known without labels."""
    if records.evaluation and records.evaluation.get("results"):
        return _judged(records.evaluation)
    return _unjudged(records)


def per_cent(fraction: float) -> str:
    """Write a fraction as a whole percentage."""
    return f"{100 * fraction:.0f}\N{NO-BREAK SPACE}%"


def _judged(evaluation: Json) -> Headline:
    results = evaluation["results"]
    subject = results[0]["subject"]
    ours = [row for row in results if row["subject"] == subject]
    linear = [row for row in ours if row["probe"] == "linear"] or ours
    row = next((r for r in linear if r["labels_per_class"] == 10), linear[0])
    against = [
        d
        for d in evaluation.get("differences", [])
        if (d["probe"], d["labels_per_class"]) == (row["probe"], row["labels_per_class"])
    ]
    low, high = (f"{100 * edge:.0f}" for edge in row["interval"])
    probe = "linear probe" if row["probe"] == "linear" else "k-NN probe"
    count = row["labels_per_class"]
    shown = "all labels" if count == "all" else labels_text(count)
    reached = f"{per_cent(float(row['accuracy']))} [{low}, {high}]"
    text = (
        f"With {shown} the encoder’s {probe} reaches {reached}"
        + (f", {_beside(against[0])}" if against else "")
        + "."
    )
    others = "; ".join(
        f"{100 * d['difference']:+.0f} {_points(d['interval'])} against {_named(d['against'])}"
        for d in against
    )
    split = evaluation.get("split", {})
    unit = f"{row['n']} test images"
    if split.get("disjoint_by"):
        unit += f" of {split['disjoint_by']}s that the probes never saw"
    if evaluation.get("test_images_seen_in_training"):
        unit += " (seen in pretraining, without their labels)"
    lead = (
        f"Accuracy on {unit}; chance is {per_cent(1 / max(len(evaluation['classes']), 1))}. "
        "Brackets are 95 % intervals over draws of labels and test images"
    )
    return Headline(
        text=text, lead=f"{lead}. Paired differences in points: {others}." if others else f"{lead}."
    )


def _beside(difference: Json) -> str:
    """Put a paired difference into words, with its sign only when the interval excludes 0."""
    low, high = difference["interval"]
    points = f"{abs(100 * difference['difference']):.0f}"
    noun = "point" if points == "1" else "points"
    against = _named(difference["against"])
    if low > 0:
        return f"{points} {noun} above {against}"
    if high < 0:
        return f"{points} {noun} below {against}"
    return f"not clearly different from {against}"


def _named(subject: str) -> str:
    return {
        "untrained encoder": "an untrained encoder",
        "starting weights": "its starting weights",
    }.get(subject, subject)


def _points(edges: list[float]) -> str:
    return f"[{100 * edges[0]:+.0f}, {100 * edges[1]:+.0f}]"


def directions(spectrum: Float[np.ndarray, " direction"]) -> float:
    """Return the exponential of the entropy of the singular values; 0 when all are 0."""
    if not spectrum.sum() > 0:
        return 0.0
    p = spectrum[spectrum > 0] / spectrum.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def _unjudged(records: Records) -> Headline:
    lead = (
        "Without labels the evidence is weak: an effective rank well above 1 rules out a collapse, "
        "and the neighbours below let you judge by eye what counts as alike. Neither says how well "
        "the encoder serves a task, and ranks of different architectures do not compare. A few "
        f"labels settle it: coview evaluate {records.folder.name} --labels labels.csv"
    )
    if records.diagnosis is not None:
        return Headline(
            text=f"No labels, so no accuracy. {records.diagnosis['sentence']}", lead=lead
        )
    if records.atlas is None:
        return Headline(text="No labels, so no accuracy: this run has not been judged.", lead=lead)
    used, width = directions(records.atlas.spectrum), len(records.atlas.spectrum)
    if used < max(2.0, 0.02 * width):
        text = (
            f"The encoder has collapsed: images differ along about {used:.1f} of {width} "
            "directions."
        )
    else:
        text = (
            f"No labels, so no accuracy: the encoder has not collapsed and uses about "
            f"{used:.0f} of {width} directions."
        )
    return Headline(text=text, lead=lead)


def diagnosed(record: Json) -> str:
    """Say what a diagnosis looked at."""
    held = " that training never saw" if record.get("held_out") else ""
    seen = f"{record['images']:,} images{held}"
    if record["views"] < 2:
        return f"Without labels, from {seen}, as they are."
    policy = f", made by {record['policy']!r} as in training" if record.get("policy") else ""
    return f"Without labels, from {record['views']} views each of {seen}{policy}."


def caption(operations: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (operation, parameters) of one view for reading."""
    return [(name.replace("_", " "), _parameters(value)) for name, value in operations.items()]


def _parameters(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k.replace('_', ' ')} {_parameters(v)}" for k, v in value.items())
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, (int, float)):
        return number(float(value))
    if isinstance(value, list):
        return " ".join(_parameters(v) for v in value)
    return str(value)


def flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return the leaves of nested settings as (dotted name, value)."""
    rows: list[tuple[str, str]] = []
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            rows += flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", "–" if value is None else str(value)))
    return rows


def duration(seconds: float) -> str:
    """Write a time span."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def facts(records: Records) -> list[tuple[str, str]]:
    """Return the strip of facts below the headline."""
    run = records.run
    data, encoder = run.get("data", {}), run.get("encoder", {})
    found = [
        ("Data", f"{data.get('name', '–')}, {data.get('images', 0):,} images"),
        ("Image", f"{data.get('size', '–')} × {data.get('size', '–')}, "
         f"{data.get('channels', '–')} channel{'s' * (data.get('channels') != 1)}"),
        ("Encoder", f"{encoder.get('backbone', '–')}, {encoder.get('dim', '–')} dimensions"),
        ("Parameters", f"{encoder.get('parameters', 0):,}"),
        ("Time", duration(float(run.get("seconds", 0.0)))),
    ]  # fmt: skip
    if records.metrics:
        last = records.metrics[-1]
        found.append(("Training", f"{last['step']:,} steps, {last['epoch']:.3g} epochs"))
    return found
