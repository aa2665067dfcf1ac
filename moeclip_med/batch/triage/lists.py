"""The lists of a batch, as pages, tables and column files: each whole, or as it was before."""

from __future__ import annotations

import base64
import csv
import importlib.util
import json
from dataclasses import asdict, fields
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from moeclip_med._version import __version__
from moeclip_med.batch.database import explained
from moeclip_med.batch.drift import WeekShare, render_drift, weekly_shares
from moeclip_med.batch.records import SeriesState, StudyState
from moeclip_med.batch.study import THUMBNAIL_NAME
from moeclip_med.batch.triage.rows import (
    IDENTITY_COLUMNS,
    FindingRow,
    TriageRow,
    column_names,
    finding_rows,
    triage_rows,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from moeclip_med.batch.ledger import Counts
    from moeclip_med.batch.output import BatchOutput


def write_triage(output: BatchOutput, problems: Iterable[tuple[Path, str]], *, identify: bool) -> dict[str, Path]:
    """Write the lists as far as the ledger knows.

    Args:
        output: The output folder.
        problems: Files and folders that cannot be read, with the reason.
        identify: Whether real identifiers are added.

    Returns:
        The file of each list. Column files are skipped where `pyarrow` is not installed, the page of weekly shares
        where no threshold is calibrated.

    Raises:
        StorageError: If the disk is full or the folder cannot be written.
    """
    rows = triage_rows(output.ledger, output.catalogue, output.pseudonyms, problems, output.folder, identify=identify)
    found = finding_rows(output.ledger, output.folder)
    shares = weekly_shares(output.ledger, output.catalogue)
    page = render_page(rows, output.ledger.counts(), output.folder, column_names(identify=identify))
    written: dict[str, Path] = {}

    def put(name: str, write: Callable[[Path], object]) -> None:
        written[name] = output.folder / name
        _replace(written[name], write)

    with explained(output.folder):
        put("triage.html", lambda path: path.write_text(page, encoding="utf-8"))
        put("triage.csv", lambda path: _write_csv(path, rows, column_names(identify=identify)))
        put("findings.csv", lambda path: _write_csv(path, found, _names(FindingRow)))
        if has_parquet():
            put("triage.parquet", lambda path: _write_parquet(path, TriageRow, rows, column_names(identify=identify)))
            put("findings.parquet", lambda path: _write_parquet(path, FindingRow, found, _names(FindingRow)))
        if shares:
            put("drift.csv", lambda path: _write_csv(path, shares, _names(WeekShare)))
            put("drift.html", lambda path: path.write_text(render_drift(shares), encoding="utf-8"))
    return written


def has_parquet() -> bool:
    """Whether column files can be written: they need `pyarrow`, of the extra `batch`."""
    return importlib.util.find_spec("pyarrow") is not None


def _names(kind: type[Any]) -> list[str]:
    return [field.name for field in fields(kind)]


def _replace(target: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place, readable by its owner, and put it there whole."""
    draft = target.with_name(f".{target.name}.partial")
    try:
        draft.touch(mode=0o600)
        write(draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _write_csv(path: Path, rows: Sequence[Any], columns: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_cell(getattr(row, name)) for name in columns])


def _cell(value: object) -> object:
    """A cell as a spreadsheet takes it: no formula, no None."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return f"'{value}"
    return "" if value is None else value


def _write_parquet(path: Path, kind: type[Any], rows: Sequence[Any], columns: Sequence[str]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    types = {
        "str": pa.string(),
        "float": pa.float64(),
        "float | None": pa.float64(),
        "int": pa.int64(),
        "int | None": pa.int64(),
        "bool": pa.bool_(),
    }
    schema = pa.schema([(name, types[kind.__annotations__[name]]) for name in columns])
    records = [asdict(row) for row in rows]
    arrays = [pa.array([record[name] for record in records], type=schema.field(name).type) for name in columns]
    parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), path)


PICTURES_INSIDE = 5000
"""So many pictures are part of the page (about 20 MB); those of lower scores are read from their folders."""

_SHOWN = (
    "state", "score", "findings", "decision", "largest_ml", "largest_pixels", "patient", "study", "series", "modality",
    "kind", "columns", "rows", "slices", "seconds", "reason", "notes", "folder", "report",
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
