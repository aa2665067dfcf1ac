"""`triage.html`: one file that a browser opens from disk, sorted and searched without a server."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING

from moeclip_med._version import __version__
from moeclip_med.batch.records import SeriesState, StudyState
from moeclip_med.batch.study import THUMBNAIL_NAME
from moeclip_med.batch.triage.rows import IDENTITY_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from moeclip_med.batch.ledger import Counts
    from moeclip_med.batch.triage.rows import TriageRow

PICTURES_INSIDE = 5000
"""So many pictures are part of the page (about 20 MB); those of lower scores are read from their folders."""

_SHOWN = (
    "state", "score", "findings", "largest_ml", "largest_pixels", "patient", "study", "series", "modality", "kind",
    "columns", "rows", "slices", "seconds", "reason", "notes", "folder", "report",
)  # fmt: skip


def render_page(rows: Sequence[TriageRow], counts: Counts, folder: Path, columns: Sequence[str]) -> str:
    """Make the page.

    Args:
        rows: The lines, in the order in which they are shown at first.
        counts: How far the run is.
        folder: The output folder, where the pictures lie.
        columns: The columns of the list; identities among them are shown.

    Returns:
        HTML with its style, script and data inside.
    """
    from jinja2 import Environment, select_autoescape

    shown = [*_SHOWN, *(name for name in columns if name in IDENTITY_COLUMNS)]
    home = files(__package__)
    environment = Environment(autoescape=select_autoescape(default=True), trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(home.joinpath("page.html.jinja").read_text(encoding="utf-8"))
    thresholds = sorted({row.threshold for row in rows if row.threshold is not None})
    return template.render(
        style=home.joinpath("page.css").read_text(encoding="utf-8"),
        script=home.joinpath("page.js").read_text(encoding="utf-8"),
        data=_as_script_data({"columns": [*shown, "picture"], "rows": list(_values(rows, shown, folder))}),
        version=__version__,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        waiting=counts.studies[StudyState.WAITING] + counts.studies[StudyState.RUNNING],
        studies=counts.total,
        scored=counts.series[SeriesState.DONE],
        with_findings=sum(1 for row in rows if row.findings),
        failed=sum(1 for row in rows if row.state == SeriesState.FAILED.value),
        skipped=counts.series[SeriesState.SKIPPED],
        thresholds=", ".join(f"{value:.2f}" for value in thresholds),
        is_calibrated=all(row.is_calibrated for row in rows if row.threshold is not None),
        identified=any(name in IDENTITY_COLUMNS for name in columns),
    )


def _values(rows: Sequence[TriageRow], shown: Sequence[str], folder: Path) -> Iterator[list[object]]:
    inside = 0
    for row in rows:
        values = asdict(row)
        picture = ""
        if row.folder:
            picture = f"{row.folder}/{THUMBNAIL_NAME}"
            if inside < PICTURES_INSIDE:
                picture = _data_url(folder / row.folder / THUMBNAIL_NAME)
                inside += bool(picture)
        yield [*(values[name] for name in shown), picture]


def _data_url(path: Path) -> str:
    try:
        return f"data:image/webp;base64,{base64.b64encode(path.read_bytes()).decode()}"
    except OSError:
        return ""


def _as_script_data(value: object) -> str:
    """JSON that may stand in a script element: nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
