"""One self-contained page for one run, from its records."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coview.pages import charts, words
from coview.pages.html import fill, write
from coview.pages.pictures import PALETTE, channel_note, data_uri, displayable, mosaic_uri
from coview.pages.records import Atlas, Records, ViewPictures, read_records

_MOST_PAIRS = 16
_MOST_QUERIES = 12
_MOST_NEIGHBOURS = 8
_MOST_SKIPPED = 200
_LEAST_SINGULAR_VALUE = 1e-5


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A thumbnail, its class and whether it is the query's (None when unknown)."""

    picture: str
    name: str
    label: str
    similarity: str
    right: bool | None


def write_page(run: Path) -> Path:
    """Write `index.html` into a run folder from its records alone.

    Args:
        run: Run folder; records that are missing leave their section out.

    Returns:
        Path of the page: one file without network, scripts or external parts.

    Raises:
        FileNotFoundError: If `run` is not a run folder.
        ValueError: If a record is broken or of another format.
    """
    return write(Path(run) / "index.html", render(read_records(run)))


def render(records: Records) -> str:
    """Return the page's HTML."""
    atlas = records.atlas
    return fill(
        "page.html",
        title=records.folder.resolve().name,
        headline=words.headline(records),
        facts=words.facts(records),
        run=records.run,
        judgement=_judgement(records),
        diagnosis=_diagnosis(records.diagnosis) if records.diagnosis else None,
        pairs=_pairs(records.views) if records.views else [],
        channel_note=channel_note(records.views.images.shape[1]) if records.views else "",
        rows=_neighbours(atlas, records.classes) if atlas else [],
        right=_share_right(atlas) if atlas else None,
        mosaic=mosaic_uri(atlas.thumbnails, atlas.map, atlas.labels) if atlas else "",
        legend=_legend(records),
        curves=_curves(records),
        skipped=records.skipped[:_MOST_SKIPPED],
        skipped_count=max(len(records.skipped), records.run.get("data", {}).get("skipped") or 0),
        config=words.flat(records.run.get("config", {})),
        environment=words.flat(records.run.get("environment", {})),
        pixelated=bool(records.views and records.views.images.shape[-1] < 48),
    )


def _judgement(records: Records) -> dict[str, Any] | None:
    evaluation = records.evaluation
    if not evaluation or not evaluation.get("results"):
        return None
    results = evaluation["results"]
    panels = [
        (name, groups)
        for name, probe in (("Linear probe", "linear"), ("Nearest neighbours (k-NN)", "k-NN"))
        if (groups := charts.bars(results, probe))
    ]
    return {
        "panels": panels,
        "subject": results[0]["subject"],
        "chance": 100 / max(len(evaluation["classes"]), 1),
        "results": results,
        "differences": evaluation.get("differences", []),
        "forest": charts.forest(evaluation.get("differences", [])),
        "split": evaluation.get("split", {}),
        "notes": evaluation.get("settings", {}).get("notes", []),
        "settings": words.flat(evaluation.get("settings", {})),
    }


def _diagnosis(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "ill": record["verdict"] != "healthy",
        "sentence": record["sentence"],
        "evidence": record["evidence"],
        "advice": record["advice"],
        "what": words.diagnosed(record),
        "checks": [
            (
                check["against"],
                check["measure"],
                charts.number(check["value"]),
                f"{'at least' if check['least'] else 'at most'} {charts.number(check['limit'])}",
                check["passed"],
            )
            for check in record["checks"]
        ],
        "measures": [
            (row["name"], charts.number(row["value"]), row["meaning"]) for row in record["measures"]
        ],
        "cautions": record["cautions"],
    }


def _pairs(pictures: ViewPictures) -> list[dict[str, Any]]:
    return [
        {
            "source": data_uri(displayable(image)),
            "views": [
                (data_uri(displayable(view)), words.caption(captions[index]))
                for view, captions in zip(pictures.views[:, index], pictures.captions, strict=True)
            ],
        }
        for index, image in enumerate(pictures.images[:_MOST_PAIRS])
    ]


def _neighbours(atlas: Atlas, classes: list[str]) -> list[tuple[Neighbour, list[Neighbour]]]:
    """Return each query with its neighbours."""

    def cell(index: int, similarity: str, right: bool | None) -> Neighbour:
        label = int(atlas.labels[index])
        return Neighbour(
            picture=data_uri(atlas.thumbnails[index]),
            name=atlas.names[index],
            label=classes[label] if 0 <= label < len(classes) else "",
            similarity=similarity,
            right=right,
        )

    rows = []
    for row, query in enumerate(atlas.queries[:_MOST_QUERIES].tolist()):
        near = [
            cell(index, f"{atlas.similarities[row, rank]:.2f}", _same(atlas, query, index))
            for rank, index in enumerate(atlas.neighbours[row, :_MOST_NEIGHBOURS].tolist())
        ]
        rows.append((cell(query, "", None), near))
    return rows


def _same(atlas: Atlas, query: int, index: int) -> bool | None:
    """Return whether two thumbnails bear one class; None when either is unknown."""
    a, b = int(atlas.labels[query]), int(atlas.labels[index])
    return None if min(a, b) < 0 else a == b


def _share_right(atlas: Atlas) -> tuple[int, int] | None:
    """Return how many of the neighbours shown bear their query's class, and of how many."""
    verdicts = [
        _same(atlas, query, index)
        for query, near in zip(
            atlas.queries[:_MOST_QUERIES].tolist(), atlas.neighbours.tolist(), strict=False
        )
        for index in near[:_MOST_NEIGHBOURS]
    ]
    known = [verdict for verdict in verdicts if verdict is not None]
    return (sum(known), len(known)) if known else None


def _legend(records: Records) -> list[tuple[str, str]]:
    """Return (class, colour), empty when there are no labels or more classes than colours."""
    names = records.classes
    labelled = records.atlas is not None and bool((records.atlas.labels >= 0).any())
    return list(zip(names, PALETTE, strict=False)) if labelled and len(names) <= 10 else []


def _curves(records: Records) -> list[charts.Line]:
    rows = records.metrics
    found = [
        charts.line(*_series(rows, "loss"), title="Loss", note="The objective being minimised."),
        charts.line(
            *_series(rows, "effective_rank"),
            title="Effective rank",
            note="How many directions a batch uses; near 1 means collapse.",
            from_zero=True,
        ),
        charts.line(
            *_series(rows, "knn"),
            title="k-NN accuracy while training",
            note="On validation labels that the objective never sees.",
            per_cent=True,
        ),
    ]
    if records.atlas is not None:
        spectrum = records.atlas.spectrum.astype(float)
        drawn = spectrum[spectrum > _LEAST_SINGULAR_VALUE]
        found.append(
            charts.line(
                [float(place) for place in range(1, len(drawn) + 1)],
                drawn.tolist(),
                title="Spectrum of the representations",
                note="Singular values, largest = 1, on a logarithmic scale; on the right the "
                "number of directions that count.",
                x_name="direction",
                logarithmic=True,
                last=f"{words.directions(spectrum):.0f} of {len(spectrum)}",
            )
        )
    return [curve for curve in found if curve is not None]


def _series(rows: list[dict[str, Any]], name: str) -> tuple[list[float], list[float]]:
    """Return the steps and values of the rows that have `name`."""
    present = [row for row in rows if row.get(name) is not None]
    return [float(row["step"]) for row in present], [float(row[name]) for row in present]
