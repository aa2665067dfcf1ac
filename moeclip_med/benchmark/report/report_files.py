"""All files of a report, each written beside its place and renamed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeclip_med.benchmark.report.benchmark_page import make_page
from moeclip_med.benchmark.report.exports import case_table, lesion_table, table_to_csv, to_csv, to_json, write_parquet
from moeclip_med.benchmark.report.html import to_html
from moeclip_med.benchmark.report.markdown import to_markdown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from moeclip_med.benchmark.report.case_pictures import Picture
    from moeclip_med.benchmark.run import BenchmarkResult


def write_report(
    result: BenchmarkResult,
    folder: Path,
    pictures: Mapping[str, Mapping[str, Sequence[Picture]]],
    folder_names: Mapping[str, str],
) -> dict[str, Path]:
    """Write `benchmark.json`, `.csv`, `.md` and `.html`, and for each set `cases/SET.csv` and `lesions/SET.csv`.

    Tables of cases and lesions are written as Parquet too, where pyarrow is installed (the extra `benchmark`).

    Args:
        result: All figures.
        folder: Made if missing.
        pictures: Set to heading to pictures.
        folder_names: Set to the name of its file of cases.

    Returns:
        Kind of file to its path.
    """
    written = {
        "json": _write(folder / "benchmark.json", to_json(result)),
        "csv": _write(folder / "benchmark.csv", to_csv(result)),
        "markdown": _write(folder / "benchmark.md", to_markdown(result)),
        "html": _write(folder / "benchmark.html", to_html(make_page(result, pictures))),
    }
    for one in result.sets:
        for kind, table in (("cases", case_table(one)), ("lesions", lesion_table(one))):
            path = _write(folder / kind / f"{folder_names[one.name]}.csv", table_to_csv(table))
            write_parquet(table, path.with_suffix(".parquet"))
    return written


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
    return path
