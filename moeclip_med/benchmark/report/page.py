"""What the HTML report says, ready for the template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_med.benchmark.datasets.case import Fault
from moeclip_med.benchmark.published import SOURCE, published_image, published_pixel
from moeclip_med.benchmark.report.charts import Chart, curves, froc_chart, score_histogram
from moeclip_med.benchmark.report.files import count_problems
from moeclip_med.benchmark.report.words import METRIC_NAMES, PROTOCOL_NAMES, interval, label, percent, system_name
from moeclip_med.metrics.curves import measure
from moeclip_med.metrics.detection import Detections, froc
from moeclip_med.metrics.points import precision_recall_points, roc_points

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from moeclip_med.benchmark.protocol import Protocol
    from moeclip_med.benchmark.report.pictures import Picture
    from moeclip_med.benchmark.results import SetResult
    from moeclip_med.benchmark.run import BenchmarkResult
    from moeclip_med.metrics.value import Metric

HEADLINE = (("pixel", "auroc"), ("pixel", "ap"), ("image", "auroc"), ("image", "ap"))
_COLUMNS = (
    *(("pixel", name) for name in ("auroc", "ap", "f1max", "aupro")),
    *(("image", name) for name in ("auroc", "ap", "f1max")),
)
_MOST_PATIENTS = 200


@dataclass(frozen=True)
class Cell:
    """A figure as a table shows it: its text, its interval below, and why it is missing."""

    text: str
    below: str = ""
    reason: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class Strip:
    """A headline figure on a line from 0 to 100 %.

    Attributes:
        text: The figure.
        value: 0 to 1, None where undefined.
        low: Lower end of its interval, or None.
        high: Upper end.
        baseline: The best baseline, or None.
        baseline_name: Which one it is.
        published: The paper's own system, or None.
        reason: Why there is none.
    """

    text: str
    value: float | None
    low: float | None
    high: float | None
    baseline: float | None
    baseline_name: str
    published: float | None
    reason: str


@dataclass(frozen=True)
class TableRow:
    """One system (or class, or patient) and its figures."""

    name: str
    style: int
    cells: tuple[Cell, ...]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a caption."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SetCard:
    """All about one set."""

    name: str
    facts: tuple[str, ...]
    strips: tuple[Strip, ...]
    beaten_by: tuple[str, ...]
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...]
    legend: tuple[tuple[int, str], ...]
    pictures: Mapping[str, Sequence[Picture]]
    folded: tuple[Table, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    lead: str
    cards: tuple[SetCard, ...]
    missing: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]


def make_page(result: BenchmarkResult, pictures: Mapping[str, Mapping[str, Sequence[Picture]]]) -> Page:
    """Gather what the report says."""
    model = result.provenance["model"]
    clear = sum(not one.beaten_by() for one in result.sets)
    lead = f"Ahead of every baseline in every headline figure on {clear} of {len(result.sets)} sets."
    return Page(
        title=f"{model['name']} {model['version']}",
        lead=lead,
        cards=tuple(_card(one, pictures.get(one.name, {})) for one in result.sets),
        missing=result.missing,
        provenance=tuple(_provenance(result.provenance)),
    )


def _card(one: SetResult, pictures: Mapping[str, Sequence[Picture]]) -> SetCard:
    rows = one.rows
    about = rows.about
    units = len(np.unique(rows.units))
    facts = [f"{len(rows.keys)} {'volumes' if about['is_volumes'] else 'images'}", f"{int(rows.labels.sum())} abnormal"]
    if about["units_are"] == "patients":
        facts.append(f"{units} patients")
    facts.append(PROTOCOL_NAMES[one.protocol.value])
    beaten = tuple(f"{system_name(name)} is ahead in {', '.join(where)}" for name, where in one.beaten_by().items())
    return SetCard(
        name=one.name,
        facts=tuple(facts),
        strips=tuple(_strip(one, kind, name) for kind, name in HEADLINE),
        beaten_by=beaten,
        tables=tuple(_tables(one)),
        charts=tuple(_charts(one)),
        legend=tuple((style, label(one, system)) for style, system in enumerate(rows.systems)),
        pictures=pictures,
        folded=tuple(_folded(one)),
        notes=tuple(about["notes"]),
        problems=tuple(f"{count} × {Fault[fault.upper()].value}" for fault, count in count_problems(one).items()),
    )


def _strip(one: SetResult, kind: str, name: str) -> Strip:
    own = one.metric(one.detector, kind, name)
    others = {other: one.metric(other, kind, name).value for other in one.baselines}
    known = {other: value for other, value in others.items() if value is not None}
    best = max(known, key=lambda other: known[other], default=None)
    tables = {"pixel": published_pixel, "image": published_image}
    paper = tables[kind](one.name).get("MoECLIP") if one.protocol.value == "paper" else None
    return Strip(
        text=percent(own),
        value=own.value,
        low=own.interval.low if own.interval else None,
        high=own.interval.high if own.interval else None,
        baseline=known[best] if best else None,
        baseline_name=system_name(best) if best else "",
        published=None if paper is None else getattr(paper, name),
        reason=own.reason,
    )


def _tables(one: SetResult) -> list[Table]:
    tables = [_protocol_table(one, protocol) for protocol in one.shown_protocols]
    names = ("dice", "sensitivity", "specificity")
    cells = tuple(_cell(one.metric(one.detector, "threshold", name)) for name in names)
    header = tuple(METRIC_NAMES[name] for name in names)
    tables.append(Table("Pixels at the stored threshold", header, (TableRow(label(one, one.detector), 0, cells),)))
    if one.rows.about["is_volumes"] and len(one.rows.keys):
        first = one.levels[one.detector][one.protocol]["froc"].metrics
        header = tuple(METRIC_NAMES.get(name, name.replace("sensitivity_at_", "≤ ")) for name in first)
        rows = []
        for style, system in enumerate(one.rows.systems):
            metrics = one.levels[system][one.protocol]["froc"].metrics
            froc_cells = tuple(_cell(metrics[name], is_count=name.startswith("false")) for name in first)
            rows.append(TableRow(label(one, system), style, froc_cells))
        caption = "Lesions hit (%) at up to so many false findings per volume"
        tables.append(Table(caption, header, tuple(rows)))
    return tables


def _protocol_table(one: SetResult, protocol: Protocol) -> Table:
    columns = [[one.metric(system, kind, name, protocol) for system in one.rows.systems] for kind, name in _COLUMNS]
    best = [max((m.value for m in column if m.value is not None), default=None) for column in columns]
    rows = []
    for style, system in enumerate(one.rows.systems):
        cells = tuple(
            _cell(column[style], best=highest, has_bound=style == 0)
            for column, highest in zip(columns, best, strict=True)
        )
        rows.append(TableRow(label(one, system), style, cells))
    if protocol is one.protocol and protocol.value == "paper":
        rows += _published_rows(one.name)
    header = tuple(f"{kind} {METRIC_NAMES[name]}" for kind, name in _COLUMNS)
    reasons = dict.fromkeys(
        text
        for metric in (column[0] for column in columns)
        for text in (metric.reason and f"n/a: {metric.reason}", metric.interval_reason)
        if text
    )
    return Table(PROTOCOL_NAMES[protocol.value].capitalize(), header, tuple(rows), tuple(reasons))


def _published_rows(name: str) -> list[TableRow]:
    pixel, image = published_pixel(name), published_image(name)
    rows = []
    for system in pixel or image:
        figures = [None] * len(_COLUMNS)
        values: list[float | None] = list(figures)
        if system in pixel:
            values[0:2] = pixel[system]
        if system in image:
            values[4:6] = image[system]
        cells = tuple(Cell("" if value is None else f"{100 * value:.1f}") for value in values)
        rows.append(TableRow(system, -1, cells, f"published, {SOURCE}"))
    return rows


def _charts(one: SetResult) -> list[Chart]:
    rows = one.rows
    charts: list[Chart] = []
    if not len(rows.keys):
        return charts
    totals = {system: rows.total_counts(system, one.protocol) for system in rows.systems}
    if all(counts.normal.any() and counts.abnormal.any() for counts in totals.values()):
        named = [(label(one, system), counts) for system, counts in totals.items()]
        roc = [(name, *roc_points(counts)) for name, counts in named]
        precision = [(name, *precision_recall_points(counts)) for name, counts in named]
        charts.append(curves("Pixel ROC", ("False positive rate", "Sensitivity"), roc, has_diagonal=True))
        charts.append(curves("Pixel precision and recall", ("Recall", "Precision"), precision))
    charts += _image_charts(one)
    if rows.about["is_volumes"]:
        named_froc = []
        for system in rows.systems:
            hits, false, lesions = rows.findings(system)
            thresholds = np.asarray(rows.about["systems"][system]["froc_thresholds"])
            steps = len(thresholds)
            if lesions.sum():
                found = Detections(thresholds, hits[:, :steps], false[:, :steps], lesions)
                rate, sensitivity = froc(found)
                # As in `measure_froc`: the best threshold with no more false findings.
                order = np.argsort(rate, kind="stable")
                named_froc.append((label(one, system), rate[order], np.maximum.accumulate(sensitivity[order])))
        if named_froc:
            charts.append(froc_chart(named_froc))
    return charts


def _image_charts(one: SetResult) -> list[Chart]:
    from moeclip_med.metrics.exact import exact_counts

    rows = one.rows
    everything = np.ones(len(rows.keys), dtype=bool)
    scored = {system: rows.image_scores(system, one.protocol, everything) for system in rows.systems}
    own = scored[one.detector]
    what = "slices" if rows.about["is_volumes"] else "images"
    charts = []
    if own.labels.any() and not own.labels.all():
        named = [
            (label(one, system), *roc_points(exact_counts(scores.scores, scores.labels)))
            for system, scores in scored.items()
        ]
        title = f"{what.capitalize()[:-1]} ROC"
        charts.append(curves(title, ("False positive rate", "Sensitivity"), named, has_diagonal=True))
    settings = rows.about["systems"][one.detector]
    if rows.about["is_industrial"]:
        return charts
    scores = 1 / (1 + np.exp(-np.clip((own.scores - settings["centre"]) / settings["spread"], -60, 60)))
    limit = settings["threshold"]
    threshold = None
    if limit is not None:
        threshold = float(1 / (1 + np.exp(-(limit - settings["centre"]) / settings["spread"])))
    charts.append(score_histogram(scores, own.labels, threshold, what))
    return charts


def _folded(one: SetResult) -> list[Table]:
    tables = []
    levels = one.levels[one.detector][one.protocol]
    header = tuple(f"{kind} {METRIC_NAMES[name]}" for kind, name in _COLUMNS)
    if levels["pixel"].groups or levels["image"].groups:
        rows = []
        for group in one.rows.group_names():
            metrics = [levels[kind].groups.get(group, {}).get(name) for kind, name in _COLUMNS]
            rows.append(TableRow(group, -1, tuple(Cell("") if m is None else _cell(m) for m in metrics)))
        tables.append(Table("By class", header, tuple(rows)))
    if one.rows.about["units_are"] in {"patients", "volumes"} and len(one.rows.keys):
        tables.append(_patient_table(one))
    routing = one.rows.progress["routing"].get(one.detector)
    if routing:
        tables.append(_routing_table(routing))
    return tables


def _patient_table(one: SetResult) -> Table:
    rows = one.rows
    everything = np.ones(len(rows.keys), dtype=bool)
    _, counts, _ = rows.unit_counts(one.detector, one.protocol, everything)
    names, index = np.unique(rows.units, return_inverse=True)
    cases, abnormal = np.bincount(index), np.bincount(index, weights=rows.labels)
    made = []
    for unit in range(min(len(names), _MOST_PATIENTS)):
        from moeclip_med.metrics.histogram import Counts

        own = Counts(counts.normal[unit], counts.abnormal[unit], counts.overlap[unit], counts.regions[unit])
        metrics = measure(own)
        figures = tuple(_cell(metrics[name]) for name in ("auroc", "ap", "f1max", "aupro"))
        made.append(TableRow(str(unit + 1), -1, (Cell(str(cases[unit])), Cell(str(int(abnormal[unit]))), *figures)))
    what = one.rows.about["units_are"][:-1]
    header = ("cases", "abnormal", *(f"pixel {METRIC_NAMES[name]}" for name in ("auroc", "ap", "f1max", "aupro")))
    more = len(names) - len(made)
    notes = (f"{more} more are in the CSV file.",) if more else ()
    caption = f"By {what}, numbered in the order of their names; from histograms of 1024 bins"
    return Table(caption, header, tuple(made), notes)


def _routing_table(routing: list[list[int]]) -> Table:
    counts = np.asarray(routing)
    counts = counts[:, : int(np.flatnonzero(counts.sum(axis=0)).max(initial=0)) + 1]
    rows = []
    for level, shares in enumerate(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), start=1):
        rows.append(TableRow(f"level {level}", -1, tuple(Cell(f"{share:.1%}") for share in shares)))
    header = tuple(f"expert {expert + 1}" for expert in range(counts.shape[1]))
    return Table("Which expert took the patches of the foreground", header, tuple(rows))


def _cell(metric: Metric, best: float | None = None, *, is_count: bool = False, has_bound: bool = False) -> Cell:
    is_best = best is not None and metric.value == best
    return Cell(percent(metric, is_count=is_count, has_bound=has_bound), interval(metric), metric.reason, is_best)


def _provenance(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, software = provenance["model"], provenance["software"]
    calibrated = "calibrated" if model["is_calibrated"] else "uncalibrated"
    return [
        ("Model", f"{model['name']} {model['version']}"),
        ("SHA-256", model["sha256"]),
        ("Engine", model["engine_description"]),
        ("Threshold", f"{model['threshold']:.4f}, {calibrated}: {model['threshold_source']}"),
        ("Score scale", f"centre {model['score_scale']['centre']:.6g}, spread {model['score_scale']['spread']:.6g}"),
        ("Trained on", "; ".join(model["training_data"]) or "not stated"),
        ("moeclip-med", f"{software['version']}, Python {software['python']}"),
        ("Packages", ", ".join(f"{name} {number}" for name, number in software["packages"].items())),
        ("Made", provenance["created"]),
    ]
