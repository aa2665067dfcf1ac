"""`triage.html`, `triage.csv` and `triage.parquet`: each whole, or as it was before."""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import asdict
from typing import TYPE_CHECKING

from moeclip_med.batch.database import explained
from moeclip_med.batch.triage.page import render_page
from moeclip_med.batch.triage.rows import TriageRow, column_names, triage_rows

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
        The file of each format. Parquet is left out where `pyarrow` is not installed.

    Raises:
        StorageError: If the disk is full or the folder cannot be written.
    """
    rows = triage_rows(output.ledger, output.catalogue, output.pseudonyms, problems, identify=identify)
    columns = column_names(identify=identify)
    counts = output.ledger.counts()
    files = {"html": output.folder / "triage.html", "csv": output.folder / "triage.csv"}
    with explained(output.folder):
        _replace(files["csv"], lambda path: _write_csv(path, rows, columns))
        _replace(files["html"], lambda path: _write_html(path, render_page(rows, counts, output.folder, columns)))
        if has_parquet():
            files["parquet"] = output.folder / "triage.parquet"
            _replace(files["parquet"], lambda path: _write_parquet(path, rows, columns))
    return files


def has_parquet() -> bool:
    """Whether `triage.parquet` can be written: it needs `pyarrow`, of the extra `batch`."""
    return importlib.util.find_spec("pyarrow") is not None


def _replace(target: Path, write: Callable[[Path], None]) -> None:
    """Write a file beside its place, readable by its owner, and put it there whole."""
    draft = target.with_name(f".{target.name}.partial")
    try:
        draft.touch(mode=0o600)
        write(draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _write_csv(path: Path, rows: Sequence[TriageRow], columns: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        for row in rows:
            values = asdict(row)
            writer.writerow([_cell(values[name]) for name in columns])


def _cell(value: object) -> object:
    """A cell as a spreadsheet takes it: no formula, no None."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return f"'{value}"
    return "" if value is None else value


def _write_html(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _write_parquet(path: Path, rows: Sequence[TriageRow], columns: Sequence[str]) -> None:
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
    schema = pa.schema([(name, types[TriageRow.__annotations__[name]]) for name in columns])
    records = [asdict(row) for row in rows]
    arrays = [pa.array([record[name] for record in records], type=schema.field(name).type) for name in columns]
    parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), path)
