"""`moeclip-med info`: what a path holds, from headers alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeclip_med.cli.console import cell, make_console, print_skipped, print_warning, skipped_file
from moeclip_med.cli.options import FollowLinksOption, InputArgument
from moeclip_med.cli.score import exit_code_of

if TYPE_CHECKING:
    from moeclip_transforms import Series


def info_command(
    path: InputArgument,
    *,
    follow_links: FollowLinksOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> int:
    """List the series that a path holds, and which of them would be scored."""
    from moeclip_transforms import open_source

    with open_source(path, follow_links=follow_links) as source:
        if as_json:
            unreadable = [{"file": str(file), "reason": reason} for file, reason in source.unreadable]
            excluded = [{"file": str(file), "reason": reason} for file, reason in source.excluded]
            series = [_describe(found) for found in source.series]
            listing = {"series": series, "unreadable": unreadable, "excluded": excluded}
            typer.echo(json.dumps(listing, indent=2))
            return exit_code_of(source)
        _print_table(source.series)
        print_skipped([skipped_file(file, reason) for file, reason in (*source.unreadable, *source.excluded)])
        for note in dict.fromkeys(note for series in source.series for note in series.notes):
            print_warning(note)
        return exit_code_of(source)


def _describe(series: Series) -> dict[str, Any]:
    columns, rows, slices, time_points = series.shape
    return {
        "series": series.uid,
        "study": series.study_uid,
        "format": series.format.value,
        "modality": series.modality,
        "kind": series.image_type.value,
        "columns": columns,
        "rows": rows,
        "slices": slices,
        "time_points": time_points,
        "channels": series.channels,
        "is_cine": series.is_cine,
        "files": len(series.files),
        "first_file": series.files[0].name,
        "description": series.description,
        "left_out_because": series.skip_reason,
        "notes": list(series.notes),
    }


def _print_table(found: tuple[Series, ...]) -> None:
    from rich.table import Column, Table

    # A UID is folded, never cut: it is there to be copied after --series; and so is a file's name.
    folded = [Column(name, overflow="fold") for name in ("Series", "Files", "Description")]
    table = Table(folded[0], "Image type", "Size", *folded[1:], "Scored?")
    for series in found:
        columns, rows, slices, time_points = series.shape
        size = f"{columns} × {rows} × {slices}" + (f" × {time_points} times" if time_points > 1 else "")
        image_type = " ".join(filter(None, (series.format.value, series.modality, series.image_type.value)))
        table.add_row(
            cell(series.uid),
            cell(image_type),
            size,
            cell(series.files[0].name if len(series.files) == 1 else len(series.files)),
            cell(series.description),
            cell(f"no: {series.skip_reason}" if series.skip_reason else "yes"),
        )
    make_console().print(table)
