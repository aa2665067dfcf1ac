"""The report for machines: JSON, CSV, and tables of cases and lesions."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_med.benchmark.case_level import case_values
from moeclip_med.benchmark.published import SOURCE, SOURCES, published_image, published_pixel
from moeclip_med.benchmark.report.methods import methods
from moeclip_med.benchmark.summary import IMAGE_METRICS, PIXEL_METRICS
from moeclip_med.metrics.threshold import THRESHOLD_METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from moeclip_med.benchmark.case_level import CaseLevel
    from moeclip_med.benchmark.results import SetResult
    from moeclip_med.benchmark.run import BenchmarkResult
    from moeclip_med.metrics.value import Metric

SCHEMA_VERSION = 1
"""Of `benchmark.schema.json`, raised whenever a reader of the JSON would have to change."""

Table = dict[str, list[Any]]


def to_json(result: BenchmarkResult) -> str:
    """Write all figures as JSON; NaN cannot occur, what is undefined is null with its reason."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "research_use_only": True,
        "provenance": result.provenance,
        "methods": methods(result),
        "datasets": {one.name: _set_content(one) for one in result.sets},
        "missing_datasets": list(result.missing),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(result: BenchmarkResult) -> str:
    """Write one row per figure."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = ("dataset", "system", "protocol", "class", "kind", "metric", "value", "low_95", "high_95")
    writer.writerow((*names, "error_bound", "reason"))
    for one in result.sets:
        for system, protocols in one.levels.items():
            for protocol, levels in protocols.items():
                for kind, level in levels.items():
                    for group, metrics in [("", level.metrics), *level.groups.items()]:
                        start = (one.name, system, protocol.value, group, kind)
                        writer.writerows((*start, name, *_csv_cells(metric)) for name, metric in metrics.items())
        for system, kinds in one.cases.items():
            for threshold, cases in kinds.items():
                start = (one.name, system, "native", "", f"findings_{threshold}")
                flat = {f"{name}_median": spread.median for name, spread in cases.spreads.items()}
                flat |= {f"{name}_mean": spread.mean for name, spread in cases.spreads.items()}
                flat |= cases.lesions | cases.healthy
                writer.writerows((*start, name, *_csv_cells(metric)) for name, metric in flat.items())
        for system, metrics in one.detections.items():
            start = (one.name, system, "native", "", "froc")
            writer.writerows((*start, name, *_csv_cells(metric)) for name, metric in metrics.items())
        for part in one.strata:
            place = (one.name, part.system, one.protocol.value, f"{part.stratum.column}: {part.stratum.value}")
            writer.writerows((*place, *key, *_csv_cells(metric)) for key, metric in part.figures.items())
    return stream.getvalue()


def case_table(one: SetResult) -> Table:
    """Return one row per case: its file, patient, label, highest raw score, and all figures of each model.

    This table names the set's files, so that a run can be compared with another one case by case; reports do not.
    """
    rows = one.rows
    table: Table = {
        "case": rows.keys.tolist(),
        "class": rows.groups.tolist(),
        "patient": rows.units.tolist(),
        "is_abnormal": rows.labels.tolist(),
    }
    if not len(rows.keys):
        return table
    auroc, precision = rows.case_curves(one.detector, one.protocol)
    table["highest_raw_score"] = rows.column(one.detector, one.protocol, "highest").astype(float).tolist()
    table["pixel_auroc"], table["pixel_ap"] = _with_none(auroc), _with_none(precision)
    for system in one.models:
        for kind in rows.thresholds(system):
            values = case_values(rows, system, kind, one.protocol)
            for name in values:
                if name not in {"auroc", "ap"} or system != one.detector:
                    table[f"{system}.{kind}.{name}"] = _with_none(values[name])
    return table


def lesion_table(one: SetResult) -> Table:
    """Return one row per lesion, model and threshold: its case, patient, size, and whether it was hit."""
    rows = one.rows
    table: Table = {name: [] for name in ("case", "patient", "system", "threshold", "size", "unit", "is_hit")}
    for system in one.models if len(rows.keys) else ():
        for kind in rows.thresholds(system):
            for case, size, hit in rows.lesion_rows(system, kind).tolist():
                line = (rows.keys[int(case)], rows.units[int(case)], system, kind.value, size)
                for name, value in zip(table, (*line, "ml" if rows.has_mm else "pixels", bool(hit)), strict=True):
                    table[name].append(value if not isinstance(value, np.str_) else str(value))
    return table


def table_to_csv(table: Table) -> str:
    """Write a table of columns as CSV; what is undefined is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table)
    for line in zip(*table.values(), strict=True):
        writer.writerow(
            "" if value is None else f"{value:.6g}" if isinstance(value, float) else value for value in line
        )
    return stream.getvalue()


def write_parquet(table: Table, path: Path) -> bool:
    """Write a table of columns as Parquet; False where pyarrow is not installed."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    parquet.write_table(pa.table(table), beside)
    beside.replace(path)
    return True


def _with_none(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _csv_cells(metric: Metric) -> tuple[str, ...]:
    low, high = ("", "") if metric.interval is None else (f"{metric.interval.low:.6f}", f"{metric.interval.high:.6f}")
    value = "" if metric.value is None else f"{metric.value:.6f}"
    return (value, low, high, f"{metric.error_bound:.1e}" if metric.error_bound else "0", metric.reason)


def _set_content(one: SetResult) -> dict[str, Any]:
    rows = one.rows
    progress = rows.progress
    before, models = one.looks
    content: dict[str, Any] = _figures(one, one.detector)
    content["baselines"] = {name: _figures(one, name) for name in one.others}
    content["protocol"] = one.protocol.value
    content["counts"] = {
        "cases": len(rows.keys),
        "abnormal": int(np.count_nonzero(rows.labels)),
        "units": len(np.unique(rows.units)),
        "units_are": rows.about.units_are,
    }
    content["size_unit"] = "ml" if len(rows.keys) and rows.has_mm else "pixels"
    content["looks_before"] = None if before < 0 else {"count": before, "models": models}
    content["problems"] = {fault.name.lower(): count for fault, count in one.problem_counts().items()}
    content["notes"] = list(rows.about.notes)
    content["resampled"] = progress.resampled
    content["details"] = {
        system: {
            protocol.value: {
                kind: {
                    "metrics": _metrics(level.metrics),
                    "classes": {group: _metrics(metrics) for group, metrics in level.groups.items()},
                }
                for kind, level in levels.items()
            }
            for protocol, levels in protocols.items()
        }
        for system, protocols in one.levels.items()
    }
    content["findings"] = {
        system: {
            "thresholds": {kind.value: raw for kind, raw in rows.thresholds(system).items()},
            "at_threshold": {kind.value: _level(level) for kind, level in one.cases.get(system, {}).items()},
            "froc": _metrics(one.detections.get(system, {})),
            "specificity": {what: _metrics(metrics) for what, metrics in one.specificity.get(system, {}).items()},
        }
        for system in rows.systems
    }
    content["comparisons"] = {
        other: {
            f"{kind}.{name}": {
                "difference": v.difference.to_json(),
                "p_value": v.p_value,
                "p_holm": v.corrected,
                "standing": v.word,
            }
            for (kind, name), v in verdicts.items()
        }
        for other, verdicts in one.verdicts.items()
    }
    content["strata"] = [
        {
            "column": part.stratum.column,
            "value": part.stratum.value,
            "system": part.system,
            "cases": int(part.stratum.chosen.sum()),
            "abnormal": part.abnormal,
            "units": part.stratum.units,
            "is_small": part.stratum.is_small,
            "metrics": {f"{kind}.{name}": metric.to_json() for (kind, name), metric in part.figures.items()},
        }
        for part in one.strata
    ]
    content["routing"] = progress.routing.get(one.detector)
    content["seconds"] = round(progress.seconds, 1)
    published = {"pixel": published_pixel(one.name), "image": published_image(one.name)}
    if any(published.values()):
        content["published"] = {
            "source": SOURCE,
            "other_sources": SOURCES,
            **{kind: {name: row._asdict() for name, row in table.items()} for kind, table in published.items()},
        }
    return content


def _level(level: CaseLevel) -> dict[str, Any]:
    return {
        "cases": {
            name: {
                "median": spread.median.to_json(),
                "mean": spread.mean.to_json(),
                "quartiles": None if spread.quartiles is None else list(spread.quartiles),
                "defined": spread.defined,
            }
            for name, spread in level.spreads.items()
        },
        "lesions": _metrics(level.lesions),
        "lesion_sizes": [
            {"low": band.low, "high": band.high, "lesions": band.lesions, "hit": band.hit.to_json()}
            for band in level.bands
        ],
        "normal_cases": {"count": level.healthy_cases, **_metrics(level.healthy)},
    }


def _metrics(metrics: Mapping[str, Metric]) -> dict[str, Any]:
    return {name: metric.to_json() for name, metric in metrics.items()}


def _figures(one: SetResult, system: str) -> dict[str, Any]:
    kinds = {"pixel": (*PIXEL_METRICS, *THRESHOLD_METRICS), "image": IMAGE_METRICS}
    figures = {kind: _values(one, system, kind, names) for kind, names in kinds.items()}
    if one.rows.about.is_volumes and len(one.rows.keys):
        figures["volume"] = _values(one, system, "volume", IMAGE_METRICS)
        figures["froc"] = {name: metric.value for name, metric in one.detections.get(system, {}).items()}
    return figures


def _values(one: SetResult, system: str, kind: str, names: tuple[str, ...]) -> dict[str, Any]:
    metrics = {
        name: one.metric(system, "threshold_stored" if name in THRESHOLD_METRICS else kind, name) for name in names
    }
    values: dict[str, Any] = {name: metric.value for name, metric in metrics.items()}
    reasons = {name: metric.reason for name, metric in metrics.items() if metric.value is None}
    return {**values, "reasons": reasons} if reasons else values
