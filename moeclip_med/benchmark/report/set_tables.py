"""The tables of one set: the same in Markdown and on the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from moeclip_med.benchmark.case_level import SPREADS
from moeclip_med.benchmark.outcomes import ThresholdKind
from moeclip_med.benchmark.published import SOURCE, SOURCES, published_image, published_pixel
from moeclip_med.benchmark.report.notation import (
    METRIC_NAMES,
    PROTOCOL_NAMES,
    difference,
    figure,
    interval,
    label,
    number,
    p_value,
    slices_or_images,
    threshold_name,
    unit_of,
)
from moeclip_med.metrics.detection import FROC_RATES
from moeclip_med.metrics.operating import SPECIFICITIES
from moeclip_med.metrics.threshold import THRESHOLD_METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moeclip_med.benchmark.case_level import CaseLevel
    from moeclip_med.benchmark.protocol import Protocol
    from moeclip_med.benchmark.results import SetResult, StratumFigures
    from moeclip_med.metrics.value import Metric

COLUMNS = (
    *(("pixel", name) for name in ("auroc", "ap", "f1max", "aupro")),
    *(("image", name) for name in ("auroc", "ap", "f1max")),
)


@dataclass(frozen=True)
class Cell:
    """A figure as a table shows it: its text, its interval below, and why it is missing."""

    text: str
    below: str = ""
    reason: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class Row:
    """A line of a table; `style` is the place of its system among the set's, -1 where it has none."""

    name: str
    cells: tuple[Cell, ...]
    style: int = -1
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a caption and what has to be said below it."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def set_tables(one: SetResult) -> list[Table]:
    """Return the tables of a set, those that a reader looks at first in front."""
    if not len(one.rows.keys):
        return []
    made: list[Table | None] = [_protocol_table(one, protocol) for protocol in one.shown_protocols]
    made += [_threshold_table(one), *_case_tables(one), _lesion_table(one), _band_table(one), _froc_table(one)]
    made += [
        _healthy_table(one),
        _specificity_table(one),
        _volume_table(one),
        *_strata_tables(one),
        _verdict_table(one),
    ]
    return [table for table in made if table is not None]


def class_table(one: SetResult) -> Table | None:
    """Return the figures by class, where a set has several."""
    levels = one.levels[one.detector][one.protocol]
    if not levels["pixel"].groups and not levels["image"].groups:
        return None
    rows = []
    for group in one.rows.group_names():
        metrics = [levels[kind].groups.get(group, {}).get(name) for kind, name in COLUMNS]
        rows.append(Row(group, tuple(Cell("") if metric is None else _cell(metric) for metric in metrics)))
    return Table("By class (the figures above are their mean)", _headings(one), tuple(rows))


def _protocol_table(one: SetResult, protocol: Protocol) -> Table:
    columns = [[one.metric(system, kind, name, protocol) for system in one.rows.systems] for kind, name in COLUMNS]
    best = [max((m.value for m in column if m.value is not None), default=None) for column in columns]
    rows = []
    for style, system in enumerate(one.rows.systems):
        is_model = system in one.models
        cells = (
            _cell(column[style], best=highest, has_bound=is_model, with_interval=is_model)
            for column, highest in zip(columns, best, strict=True)
        )
        rows.append(Row(label(one, system), tuple(cells), style))
    if protocol is one.protocol and protocol.value == "paper":
        rows += _published_rows(one.name)
    name = PROTOCOL_NAMES[protocol.value]
    caption = f"Pixels and {slices_or_images(one)}s: {name}{', the headline' if protocol is one.protocol else ''}"
    return Table(caption, _headings(one), tuple(rows), _reasons(one, protocol))


def _published_rows(name: str) -> list[Row]:
    pixel, image = published_pixel(name), published_image(name)
    rows = []
    for system in dict.fromkeys([*pixel, *image]):
        values: list[float | None] = [None] * len(COLUMNS)
        if system in pixel:
            values[0:2] = pixel[system]
        if system in image:
            values[4:6] = image[system]
        cells = tuple(Cell("" if value is None else f"{100 * value:.1f}") for value in values)
        rows.append(Row(f"{system} (published)", cells, note=SOURCES.get(system, SOURCE)))
    return rows


def _reasons(one: SetResult, protocol: Protocol) -> tuple[str, ...]:
    found: dict[str, list[str]] = {}
    for kind, name in COLUMNS:
        metric = one.metric(one.detector, kind, name, protocol)
        heading = f"{slices_or_images(one) if kind == 'image' else kind} {METRIC_NAMES[name]}"
        if metric.value is None:
            found.setdefault(metric.reason, []).append(heading)
        elif metric.interval_reason:
            found.setdefault(f"no interval: {metric.interval_reason}", []).append(heading)
    notes = [f"{', '.join(names)}: {reason}" for reason, names in found.items()]
    share = one.share_outside_foreground()
    if protocol.value == "foreground" and share > 0.005:  # noqa: PLR2004 - half a percent is not worth a sentence
        notes.append(f"{share:.1%} of all abnormal pixels lie outside the foreground and do not count here.")
    return tuple(notes)


def _threshold_table(one: SetResult) -> Table | None:
    if not one.rows.has_mask.any():
        return None
    rows = []
    for style, system in enumerate(one.rows.systems):
        for kind, raw in one.rows.thresholds(system).items():
            metrics = [one.metric(system, f"threshold_{kind}", name) for name in THRESHOLD_METRICS]
            cells = (Cell(threshold_name(one, kind)), Cell(f"{raw:.4g}"), *map(_cell, metrics))
            rows.append(Row(label(one, system), cells, style))
        best = one.metric(system, "pixel", "f1max")
        cells = (Cell(threshold_name(one, ThresholdKind.ORACLE)), Cell(""), _cell(best), Cell(""), Cell(""))
        rows.append(Row(label(one, system), cells, style))
    header = ("threshold", "raw score", *(METRIC_NAMES[name] for name in THRESHOLD_METRICS))
    note = (
        "All pixels of the set together. An oracle's Dice is the highest of any threshold: an upper bound, no result."
    )
    return Table("Pixels at a threshold", header, tuple(rows), (note,))


def _case_tables(one: SetResult) -> Iterator[Table]:
    has_mm = one.rows.has_mm
    for style, system, kind, level in _levels(one):
        if not level.spreads or not any(spread.defined for spread in level.spreads.values()):
            continue
        rows = []
        for name in SPREADS:
            spread, unit = level.spreads[name], unit_of(name, has_mm=has_mm)
            if not spread.defined:
                continue
            low, high = spread.quartiles or (0.0, 0.0)
            cells = (
                _cell(spread.median, unit),
                Cell(f"{number(low, unit)} to {number(high, unit)}"),
                _cell(spread.mean, unit),
                Cell(str(spread.defined)),
            )
            rows.append(Row(f"{METRIC_NAMES[name]}, {unit}" if unit != "%" else METRIC_NAMES[name], cells, style))
        caption = f"Per case: {label(one, system)}, threshold {threshold_name(one, kind)}"
        yield Table(caption, ("median", "quartiles", "mean", "cases"), tuple(rows))


def _lesion_table(one: SetResult) -> Table | None:
    names = ("lesion_sensitivity", "false_positives_per_case", "panoptic_50", "panoptic_10")
    rows = []
    for style, system, kind, level in _levels(one):
        if not level.lesions or level.lesions["lesion_sensitivity"].value is None:
            continue
        means = [level.spreads[name].mean for name in ("lesion_dice", "lesion_hd95")]
        units = [unit_of(name, has_mm=one.rows.has_mm) for name in (*names, "lesion_dice", "lesion_hd95")]
        metrics = [*(level.lesions[name] for name in names), *means]
        cells = tuple(_cell(metric, unit) for metric, unit in zip(metrics, units, strict=True))
        rows.append(Row(label(one, system), (Cell(threshold_name(one, kind)), *cells), style))
    if not rows:
        return None
    distance = f"lesion-wise HD95, {unit_of('lesion_hd95', has_mm=one.rows.has_mm)}"
    header = ("threshold", *(METRIC_NAMES[name] for name in names), "lesion-wise Dice", distance)
    return Table("Lesions", header, tuple(rows), ("Lesion-wise figures are means over cases.",))


def _band_table(one: SetResult) -> Table | None:
    rows: list[Row] = []
    header: tuple[str, ...] = ("threshold",)
    unit = "ml" if one.rows.has_mm else "pixels"
    for style, system, kind, level in _levels(one):
        if not level.bands:
            continue
        header = (
            "threshold",
            *(
                f"{b.low:g} {unit} or more" if b.high is None else f"{b.low:g} to {b.high:g} {unit}"
                for b in level.bands
            ),
        )
        cells = tuple(
            Cell("–" if band.hit.value is None else f"{figure(band.hit)} of {band.lesions}", interval(band.hit))
            for band in level.bands
        )
        rows.append(Row(label(one, system), (Cell(threshold_name(one, kind)), *cells), style))
    return Table("Lesions hit by their size, % of so many", header, tuple(rows)) if rows else None


def _froc_table(one: SetResult) -> Table | None:
    names = (*(f"sensitivity_at_{rate:g}" for rate in FROC_RATES), "froc_mean")
    rows = []
    for style, system in enumerate(one.rows.systems):
        metrics = one.detections.get(system, {})
        if metrics and metrics["froc_mean"].value is not None:
            cells = tuple(_cell(metrics[name], with_interval=system in one.models) for name in names)
            rows.append(Row(label(one, system), cells, style))
    header = (*(f"at {rate:g}" for rate in FROC_RATES), "mean")
    caption = "Lesions hit at up to so many false positives per case (FROC)"
    return Table(caption, header, tuple(rows)) if rows else None


def _healthy_table(one: SetResult) -> Table | None:
    names = ("healthy_flagged", "healthy_findings", "healthy_size")
    rows, count = [], 0
    for style, system, kind, level in _levels(one):
        if not level.healthy_cases:
            continue
        count = level.healthy_cases
        cells = tuple(_cell(level.healthy[name], unit_of(name, has_mm=one.rows.has_mm)) for name in names)
        rows.append(Row(label(one, system), (Cell(threshold_name(one, kind)), *cells), style))
    unit = unit_of("healthy_size", has_mm=one.rows.has_mm)
    header = (
        "threshold",
        METRIC_NAMES["healthy_flagged"] + ", %",
        METRIC_NAMES["healthy_findings"],
        f"{unit} per case",
    )
    return Table(f"Specificity: {count} normal cases", header, tuple(rows)) if rows else None


def _specificity_table(one: SetResult) -> Table | None:
    rows = []
    names = [f"sensitivity_at_specificity_{100 * value:.0f}" for value in SPECIFICITIES]
    for what in one.specificity.get(one.detector, {}):
        for style, system in enumerate(one.rows.systems):
            metrics = one.specificity[system][what]
            if metrics[names[0]].value is not None:
                cells = tuple(_cell(metrics[name], with_interval=system in one.models) for name in names)
                rows.append(Row(label(one, system), (Cell(what), *cells), style))
    header = ("of", *(f"at {100 * value:.0f} % specificity" for value in SPECIFICITIES))
    note = "One score per case, its highest pixel; thresholds chosen on these very cases."
    return Table("Sensitivity of whole cases at a specificity", header, tuple(rows), (note,)) if rows else None


def _volume_table(one: SetResult) -> Table | None:
    if not one.rows.about.is_volumes:
        return None
    names = ("auroc", "ap", "f1max")
    rows = [
        Row(label(one, system), tuple(_cell(one.metric(system, "volume", name)) for name in names), style)
        for style, system in enumerate(one.rows.systems)
    ]
    reason = one.metric(one.detector, "volume", "auroc").reason
    return Table("Whole volumes", tuple(METRIC_NAMES[name] for name in names), tuple(rows), (reason,) if reason else ())


def _strata_tables(one: SetResult) -> Iterator[Table]:
    what = slices_or_images(one)
    header = (
        *("cases", "abnormal", one.rows.about.units_are, "pixel AUROC", "pixel AP", f"{what} AUROC", f"{what} AP"),
        *("median Dice", "lesions hit", "false positives per case", "normal cases with a finding"),
    )
    columns: dict[str, list[StratumFigures]] = {}
    for figures in one.strata:
        columns.setdefault(figures.stratum.column, []).append(figures)
    for column, parts in columns.items():
        rows = tuple(_stratum_row(one, part) for part in parts)
        small = [part.stratum.value for part in parts if part.stratum.is_small and part.system == one.detector]
        note = f"Too few {one.rows.about.units_are} for an interval, read with care: {', '.join(small)}."
        yield Table(f"By {column}", header, rows, (note,) if small else ())


def _stratum_row(one: SetResult, part: StratumFigures) -> Row:
    order = (
        *(("pixel", "auroc"), ("pixel", "ap"), ("image", "auroc"), ("image", "ap"), ("case", "dice")),
        *(("lesion", "lesion_sensitivity"), ("lesion", "false_positives_per_case"), ("healthy", "healthy_flagged")),
    )
    cells = [Cell(str(int(part.stratum.chosen.sum()))), Cell(str(part.abnormal)), Cell(str(part.stratum.units))]
    for key in order:
        metric = part.figures.get(key)
        cells.append(Cell("") if metric is None else _cell(metric, unit_of(key[1], has_mm=one.rows.has_mm)))
    name = part.stratum.value if len(one.models) == 1 else f"{part.stratum.value}, {label(one, part.system)}"
    return Row(name, tuple(cells), one.rows.systems.index(part.system))


def _verdict_table(one: SetResult) -> Table | None:
    rows = []
    for other, verdicts in one.verdicts.items():
        for (kind, name), verdict in verdicts.items():
            if verdict.difference.value is None:
                continue
            what = slices_or_images(one) if kind == "image" else kind
            text, between = difference(verdict.difference)
            cells = (f"{what} {METRIC_NAMES[name]}", text, p_value(verdict.p_value), p_value(verdict.corrected))
            made = [Cell(cells[0]), Cell(cells[1], between), *map(Cell, cells[2:]), Cell(verdict.word)]
            rows.append(Row(label(one, other), tuple(made), one.rows.systems.index(other)))
    header = (
        "figure",
        f"{label(one, one.detector)} minus it",
        "p, paired",
        "p, Holm",
        f"{label(one, one.detector)} is",
    )
    note = (
        "Paired over patients (images or volumes, where no patients are known): AUROC and AP by bootstrap, Dice of "
        f"cases by permutation. Holm's correction is for all {len(rows)} tests of this table."
    )
    return Table("Against the other systems", header, tuple(rows), (note,)) if rows else None


def _levels(one: SetResult) -> Iterator[tuple[int, str, ThresholdKind, CaseLevel]]:
    for style, system in enumerate(one.rows.systems):
        for kind, level in one.cases.get(system, {}).items():
            yield style, system, kind, level


def _headings(one: SetResult) -> tuple[str, ...]:
    return tuple(f"{slices_or_images(one) if kind == 'image' else kind} {METRIC_NAMES[name]}" for kind, name in COLUMNS)


def _cell(
    metric: Metric, unit: str = "%", *, best: float | None = None, has_bound: bool = False, with_interval: bool = True
) -> Cell:
    is_best = best is not None and metric.value == best
    below = interval(metric, unit) if with_interval else ""
    return Cell(figure(metric, unit, has_bound=has_bound), below, metric.reason, is_best)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def as_markdown(table: Table) -> str:
    """Write a table with its notes; the first column names the line."""
    rows = [
        [
            f"**{row.name}**" if row.style == 0 else row.name,
            *(f"{cell.text} ({cell.below})" if cell.below else cell.text for cell in row.cells),
        ]
        for row in table.rows
    ]
    notes = "".join(
        f"\n\n- {note}" for note in dict.fromkeys((*table.notes, *(row.note for row in table.rows))) if note
    )
    return f"**{table.caption}**\n\n{markdown_table(('', *table.header), rows)}{notes}"
