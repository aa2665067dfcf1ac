"""The one table that `make bench` prints."""

from __future__ import annotations

from typing import Any

Record = dict[str, Any]
Row = tuple[str, str, str, str, str, str]

HEADER: Row = ("model and engine", "slices/s", "s/slice", "ratio to plain", "correlation", "peak GB (allowed)")


def rows(record: Record) -> list[Row]:
    """Give the table's lines, the header first."""
    lines = [HEADER]
    for model in ("lite", "vit-l-14-336"):
        if model in record:
            lines += engine_rows(model, record[model])
            lines += growth_rows(model, record[model].get("growth", []))
    if "command" in record.get("lite", {}):
        lines += command_rows(record["lite"])
    if "startup" in record:
        startup = record["startup"]
        lines.append(("moeclip-med --help", "", f"{startup['help_s']:.2f}", "", "", ""))
        lines += [
            (f"import {name}", "", f"{spent:.2f}", "", "", "") for name, spent in startup["slowest_imports_s"].items()
        ]
    return lines


def engine_rows(model: str, part: Record) -> list[Row]:
    """One line per engine, and why there is none."""
    against = part["against_plain"]
    if "failed" in against:
        return [(model, "", "", "", "", f"failed: {against['failed']}")]
    lines = []
    for name, seconds in against["seconds_per_slice"].items():
        kept = against["accuracy"].get(name, {"correlation": 1.0})["correlation"]
        ratio = against["ratio"].get(name, 1.0)
        lines.append((f"{model} {name}", f"{1 / seconds:.2f}", f"{seconds:.3f}", f"{ratio:.2f}", f"{kept:.6f}", ""))
    return lines + [
        (f"{model} {name}", "", "", "refused", reason[:60], "") for name, reason in against["refused"].items()
    ]


def growth_rows(model: str, growth: list[Record]) -> list[Row]:
    """One line per size of volume."""
    lines = []
    for item in growth:
        if "failed" in item:
            lines.append((f"{model} volume", "", "", "", "", f"failed: {item['failed'][:60]}"))
            continue
        count, seconds = item["slices"], item["seconds"]
        peak = "" if item["peak_gb"] is None else f"{item['peak_gb']:.2f} ({item['allowed_gb']:.2f})"
        lines.append((f"{model} volume of {count}", f"{count / seconds:.2f}", f"{seconds / count:.3f}", "", "", peak))
    return lines


def command_rows(part: Record) -> list[Row]:
    """The whole command, and where its time goes."""
    command = part["command"]
    lines: list[Row] = [
        ("score 155 slices, total", "", f"{command['total_s']:.2f} s in all", "", "", ""),
        ("score 155 slices, beyond imports", "", f"{command['beyond_imports_s']:.2f} s in all", "", "", ""),
    ]
    phases = part.get("phases", {}).get("seconds", {})
    return lines + [(f"  {name}", "", f"{seconds:.2f} s in all", "", "", "") for name, seconds in phases.items()]
