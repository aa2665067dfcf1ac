"""What the HTML report says, ready for the template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_med.benchmark.case_level import case_values
from moeclip_med.benchmark.published import published_image, published_pixel
from moeclip_med.benchmark.report import charts
from moeclip_med.benchmark.report.markdown import finding_cells, looks_text, set_notes
from moeclip_med.benchmark.report.methods import CONVENTIONS, methods
from moeclip_med.benchmark.report.notation import (
    METRIC_NAMES,
    PROTOCOL_NAMES,
    figure,
    label,
    slices_or_images,
    system_name,
)
from moeclip_med.benchmark.report.set_tables import Cell, Row, Table, class_table, set_tables
from moeclip_med.metrics.curves import measure
from moeclip_med.metrics.detection import froc, froc_band
from moeclip_med.metrics.histogram import PixelCounts
from moeclip_med.metrics.points import precision_recall_points, roc_points

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from moeclip_med.benchmark.report.case_pictures import Picture
    from moeclip_med.benchmark.results import SetResult
    from moeclip_med.benchmark.run import BenchmarkResult

HEADLINE = (("pixel", "auroc"), ("pixel", "ap"), ("image", "auroc"), ("image", "ap"))
_MOST_PATIENTS = 200
_FEWEST_LESIONS = 8
"""With fewer lesions a curve over their size says nothing."""

_LEAST_SPAN = 2.0
"""Nor does it where the largest is not so many times the smallest."""


@dataclass(frozen=True)
class Strip:
    """A headline figure on a line from 0 to 100 %.

    Attributes:
        name: What it is.
        text: The figure.
        value: 0 to 1, None where undefined.
        low: Lower end of its interval, or None.
        high: Upper end.
        baseline: The best baseline, or None.
        baseline_name: Which one it is.
        published: The paper's own system, or None.
        reason: Why there is none.
    """

    name: str
    text: str
    value: float | None
    low: float | None
    high: float | None
    baseline: float | None
    baseline_name: str
    published: float | None
    reason: str


@dataclass(frozen=True)
class Chart:
    """A chart with its title."""

    title: str
    svg: str


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
    findings: tuple[str, str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class BenchmarkPage:
    """The whole report."""

    title: str
    lead: str
    cards: tuple[SetCard, ...]
    missing: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]
    methods: str
    conventions: Table


def make_page(result: BenchmarkResult, pictures: Mapping[str, Mapping[str, Sequence[Picture]]]) -> BenchmarkPage:
    """Gather what the report says."""
    model = result.provenance["model"]
    clear = sum(not one.beaten_by() for one in result.sets)
    lead = f"Ahead of every baseline in every headline figure on {clear} of {len(result.sets)} sets."
    rows = tuple(Row(name, tuple(map(Cell, words))) for name, *words in CONVENTIONS)
    return BenchmarkPage(
        title=f"{model['name']} {model['version']}",
        lead=lead,
        cards=tuple(_card(one, pictures.get(one.name, {})) for one in result.sets),
        missing=result.missing,
        provenance=tuple(_provenance(result.provenance)),
        methods=methods(result),
        conventions=Table(
            "What published systems do",
            ("score of an image", "rescaled over the test images of a category", "maps compared at"),
            rows,
        ),
    )


def _card(one: SetResult, pictures: Mapping[str, Sequence[Picture]]) -> SetCard:
    rows, about = one.rows, one.rows.about
    facts = [f"{len(rows.keys)} {'volumes' if about.is_volumes else 'images'}", f"{int(rows.labels.sum())} abnormal"]
    if about.units_are == "patients":
        facts.append(f"{len(np.unique(rows.units))} patients")
    facts += [PROTOCOL_NAMES[one.protocol.value], f"looks before: {looks_text(one)}"]
    has_cases = bool(len(rows.keys))
    folded = [class_table(one), *_patient_tables(one), *_routing_tables(one)] if has_cases else []
    return SetCard(
        name=one.name,
        facts=tuple(facts),
        strips=tuple(_strip(one, kind, name) for kind, name in HEADLINE),
        beaten_by=tuple(
            f"{system_name(name)} is ahead in {', '.join(where)}" for name, where in one.beaten_by().items()
        ),
        tables=tuple(set_tables(one)),
        charts=tuple(_charts(one)) if has_cases else (),
        legend=tuple((style, label(one, system)) for style, system in enumerate(rows.systems)),
        pictures=pictures,
        folded=tuple(table for table in folded if table is not None),
        findings=finding_cells(one),
        notes=tuple(set_notes(one)),
    )


def _strip(one: SetResult, kind: str, name: str) -> Strip:
    own = one.metric(one.detector, kind, name)
    values = {other: one.metric(other, kind, name).value for other in one.baselines}
    known = {other: value for other, value in values.items() if value is not None}
    best = max(known, key=lambda other: known[other], default=None)
    tables = {"pixel": published_pixel, "image": published_image}
    paper = tables[kind](one.name).get("MoECLIP") if one.protocol.value == "paper" else None
    return Strip(
        name=f"{(slices_or_images(one) if kind == 'image' else kind).capitalize()} {METRIC_NAMES[name]}",
        text=figure(own),
        value=own.value,
        low=own.interval.low if own.interval else None,
        high=own.interval.high if own.interval else None,
        baseline=known[best] if best else None,
        baseline_name=system_name(best) if best else "",
        published=None if paper is None else getattr(paper, name),
        reason=own.reason,
    )


def _charts(one: SetResult) -> Iterator[Chart]:
    rows = one.rows
    totals = [rows.total_counts(system, one.protocol) for system in rows.systems]
    if all(counts.normal.any() and counts.abnormal.any() for counts in totals):
        roc = [charts.Curve(style, *roc_points(counts)) for style, counts in enumerate(totals)]
        precision = [charts.Curve(style, *precision_recall_points(counts)) for style, counts in enumerate(totals)]
        yield Chart("Pixel ROC", charts.curves(("False positive rate", "Sensitivity"), roc, has_diagonal=True))
        yield Chart("Pixel precision and recall", charts.curves(("Recall", "Precision"), precision))
    yield from _image_charts(one)
    yield from _case_charts(one)
    named_froc = list(_froc_curves(one))
    if named_froc:
        yield Chart("FROC, with 95 % bands", charts.froc_chart(named_froc))


def _image_charts(one: SetResult) -> Iterator[Chart]:
    rows = one.rows
    everything = np.ones(len(rows.keys), dtype=bool)
    what = f"{slices_or_images(one)}s"
    scored = [rows.image_scores(system, one.protocol, everything) for system in rows.systems]
    if not (scored[0].labels.any() and not scored[0].labels.all()):
        return
    lines = []
    for style, scores in enumerate(scored):
        distinct, index = np.unique(scores.scores, return_inverse=True)
        size = len(distinct)
        normal = np.bincount(index[~scores.labels], minlength=size)
        abnormal = np.bincount(index[scores.labels], minlength=size)
        counts = PixelCounts(normal, abnormal, np.zeros(size), np.zeros((), np.int64))
        lines.append(charts.Curve(style, *roc_points(counts)))
    name = slices_or_images(one).capitalize()
    yield Chart(f"{name} ROC", charts.curves(("False positive rate", "Sensitivity"), lines, has_diagonal=True))
    settings = rows.about.systems[one.detector]
    if not rows.about.is_industrial:
        shown = 1 / (1 + np.exp(-(scored[0].scores - settings.centre) / settings.spread))
        raw = next(iter(rows.thresholds(one.detector).values()), None)
        at = None if raw is None else float(1 / (1 + np.exp(-(raw - settings.centre) / settings.spread)))
        yield Chart(f"Scores of {what}", charts.score_histogram(shown, scored[0].labels, at, what))


def _case_charts(one: SetResult) -> Iterator[Chart]:
    rows = one.rows
    strips, sizes = [], []
    for style, system in enumerate(rows.systems):
        for kind in list(rows.thresholds(system))[-1:]:
            values = case_values(rows, system, kind, one.protocol)
            if values and not np.isnan(values["dice"]).all():
                strips.append((label(one, system), style, values["dice"]))
            lesions = rows.lesion_rows(system, kind)
            if len(lesions) >= _FEWEST_LESIONS and lesions[:, 1].max() > _LEAST_SPAN * lesions[:, 1].min():
                sizes.append((style, lesions[:, 1], lesions[:, 2] > 0))
    if strips:
        yield Chart("Dice of each case; line: median", charts.strip_plot("Dice of the findings", strips))
    if sizes:
        yield Chart("Lesions hit by size", charts.size_chart("ml" if rows.has_mm else "pixels", sizes))


def _froc_curves(one: SetResult) -> Iterator[charts.Curve]:
    rates = charts.froc_rates()
    everything = np.ones(len(one.rows.keys), dtype=bool)
    for style, system in enumerate(one.rows.systems):
        detections = one.rows.detections(system, everything)
        if detections is None or not detections.lesions.sum():
            continue
        curve = froc(detections)
        reached = np.array([curve.sensitivity[curve.rate <= rate].max(initial=0.0) for rate in rates])
        if system in one.models and one.detections[system]["froc_mean"].interval is not None:
            yield charts.Curve(style, rates, reached, *froc_band(detections, rates))
        else:
            yield charts.Curve(style, rates, reached)


def _patient_tables(one: SetResult) -> Iterator[Table]:
    rows = one.rows
    if rows.about.units_are not in {"patients", "volumes"}:
        return
    names, counts = rows.unit_counts(one.detector, one.protocol, np.ones(len(rows.keys), dtype=bool))
    _, index = np.unique(rows.units, return_inverse=True)
    cases, abnormal = np.bincount(index), np.bincount(index, weights=rows.labels)
    figures = ("auroc", "ap", "f1max", "aupro")
    made = []
    for unit in range(min(len(names), _MOST_PATIENTS)):
        own = PixelCounts(counts.normal[unit], counts.abnormal[unit], counts.overlap[unit], counts.regions[unit])
        metrics = measure(own)
        cells = (
            Cell(str(cases[unit])),
            Cell(str(int(abnormal[unit]))),
            *(Cell(figure(metrics[name])) for name in figures),
        )
        made.append(Row(str(unit + 1), cells))
    header = ("cases", "abnormal", *(f"pixel {METRIC_NAMES[name]}" for name in figures))
    more = len(names) - len(made)
    caption = f"By {rows.about.units_are[:-1]}, numbered in the order of their names; from histograms of 1024 bins"
    yield Table(caption, header, tuple(made), (f"{more} more are in the CSV file.",) if more else ())


def _routing_tables(one: SetResult) -> Iterator[Table]:
    routing = one.rows.progress.routing.get(one.detector)
    if not routing:
        return
    counts = np.asarray(routing)
    counts = counts[:, : int(np.flatnonzero(counts.sum(axis=0)).max(initial=0)) + 1]
    rows = [
        Row(f"level {level}", tuple(Cell(f"{share:.1%}") for share in shares))
        for level, shares in enumerate(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), start=1)
    ]
    header = tuple(f"expert {expert + 1}" for expert in range(counts.shape[1]))
    yield Table("Which expert took the patches of the foreground", header, tuple(rows))


def _provenance(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, software = provenance["model"], provenance["software"]
    fallback = model["fallback_reason"]
    calibrated = "calibrated" if model["is_calibrated"] else "uncalibrated"
    return [
        ("Model", f"{model['name']} {model['version']}"),
        ("SHA-256", model["sha256"]),
        ("Engine", model["engine_description"]),
        *([("Fallback", fallback)] if fallback else []),
        ("Threshold", f"{model['threshold']:.4f}, {calibrated}: {model['threshold_source']}"),
        ("Score scale", f"centre {model['score_scale']['centre']:.6g}, spread {model['score_scale']['spread']:.6g}"),
        ("Trained on", "; ".join(model["training_data"]) or "not stated"),
        ("moeclip-med", f"{software['version']}, Python {software['python']}"),
        ("Packages", ", ".join(f"{name} {number}" for name, number in software["packages"].items())),
        ("Made", provenance["created"]),
    ]
