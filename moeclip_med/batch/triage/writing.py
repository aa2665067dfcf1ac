"""The lists of a batch, as pages, tables and column files: each whole, or as it was before."""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from moeclip_med.batch.database import explained
from moeclip_med.batch.drift import WeekShare, render_drift, weekly_shares
from moeclip_med.batch.triage.page import render_page
from moeclip_med.batch.triage.rows import FindingRow, TriageRow, column_names, finding_rows, triage_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

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
    rows = triage_rows(output.ledger, output.catalogue, output.pseudonyms, problems, identify=identify)
    found = finding_rows(output.ledger)
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
