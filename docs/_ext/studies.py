"""What studies found, on the pages that ask for it: a block `{study} NAME` becomes its record.

Records are copies of `report.json` in `docs/studies/records`, as the runner wrote them; a study
without one is said not to have been run.
"""

import html
import json
import re
from pathlib import Path
from typing import Any

from atlas.page import table_of

from coview.pages.study_page import Chart, lay_out
from coview.studies import get

BLOCK = re.compile(r"^```\{study\} ([\w-]+)\n```$", re.MULTILINE)

COLOURS = ("#0f8a7e", "#c2571a", "#5b6abf", "#a8861a", "#b0447a", "#5f8f2f", "#7a7a7a", "#8a5a3c")

WIDTH, HEIGHT = 560, 280
"""Of the box of the curves, in the picture's units; around it 70 left, 30 right, 46 below."""


def shown(name: str, records: Path) -> str:
    """Return the Markdown of a study: claim, command, verdict, tables and figures.

    Raises:
        ValueError: If there is no such study.
    """
    study, file = get(name), records / f"{name}.json"
    data = " --data FILE" if study.data else ""
    if not file.is_file():
        claim = f"**Claim.** {study.claim} *{study.source}*"
        return f"{claim}\n\n*Not run yet:* `coview study {name} --scale laptop{data}`.\n"
    record = json.loads(file.read_text(encoding="utf-8"))
    claim = f"**Claim.** {record['claim']} *{record['source']}*"  # what was judged then
    trials, verdict = record["trials"], record["verdict"]
    parts = [
        claim,
        f"**{verdict['word'].capitalize()}** (`{record['command']}`: {trials['finished']} of "
        f"{trials['asked']} trials, {record['trial_seconds'] / 60:.0f} minutes of one core). "
        f"{verdict['why']}",
    ]
    parts += [
        f"{table['title']}:\n\n{table_of(table['columns'], table['rows'])}"
        for table in record["tables"]
    ]
    for figure in record["figures"]:
        chart = lay_out(figure)
        if chart is not None:
            parts.append(f"```{{raw}} html\n{picture(chart)}\n```\n\n{figure['note']}")
    return "\n\n".join(parts) + "\n"


def picture(chart: Chart) -> str:
    """Return a chart as SVG, its text in the colour of the page."""
    lines = [
        f'<svg viewBox="0 0 660 {HEIGHT + 76 + 20 * len(chart.curves)}" role="img" '
        f'aria-label="{html.escape(chart.title)}" style="max-width:44rem;width:100%;height:auto;'
        'font-size:13px;fill:currentColor">',
        f'<text x="70" y="14" font-weight="600">{html.escape(chart.title)}</text>',
    ]
    for tick in chart.y_ticks:
        y = 24 + HEIGHT * (1 - tick.place / 100)
        lines.append(
            f'<path d="M70 {y:.1f}h{WIDTH}" stroke="currentColor" opacity=".15"/>'
            f'<text x="62" y="{y + 4:.1f}" text-anchor="end">{tick.text}</text>'
        )
    for tick in chart.x_ticks:
        x = 70 + WIDTH * tick.place / 100
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT + 42}" text-anchor="middle">{tick.text}</text>')
    lines += [
        f'<text x="{70 + WIDTH / 2}" y="{HEIGHT + 62}" text-anchor="middle">'
        f"{html.escape(chart.x_name)}</text>",
        f'<svg x="70" y="24" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 100 100" '
        'preserveAspectRatio="none" overflow="visible">',
    ]
    colours = [COLOURS[number % len(COLOURS)] for number in range(len(chart.curves))]
    for curve, colour in zip(chart.curves, colours, strict=True):
        if curve.area:
            lines.append(f'<path d="{curve.area}Z" fill="{colour}" opacity=".15"/>')
        lines.append(
            f'<path d="{curve.path}" fill="none" stroke="{colour}" stroke-width="2" '
            'vector-effect="non-scaling-stroke"/>'
        )
    lines.append("</svg>")
    for number, (curve, colour) in enumerate(zip(chart.curves, colours, strict=True)):
        y = HEIGHT + 86 + 20 * number
        lines.append(
            f'<path d="M70 {y - 4}h24" stroke="{colour}" stroke-width="3"/>'
            f'<text x="102" y="{y}">{html.escape(curve.name)}</text>'
        )
    return "\n".join([*lines, "</svg>"])


def setup(app: Any) -> dict[str, Any]:  # noqa: ANN401
    """Fill the blocks in as Sphinx reads."""

    def fill(app: Any, name: str, text: list[str]) -> None:  # noqa: ANN401
        records = Path(app.srcdir) / "studies/records"
        if BLOCK.search(text[0]):
            app.env.note_reread()  # records change without the page
        text[0] = BLOCK.sub(lambda block: shown(block[1], records), text[0])

    app.connect("source-read", fill)
    return {"parallel_read_safe": True}
