"""The report for machines: JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_med.benchmark.published import SOURCE, published_image, published_pixel
from moeclip_med.benchmark.summary import IMAGE_METRICS, PIXEL_METRICS
from moeclip_med.metrics.curves import measure

if TYPE_CHECKING:
    from moeclip_med.benchmark.results import SetResult
    from moeclip_med.benchmark.run import BenchmarkResult
    from moeclip_med.metrics.value import Metric

_THRESHOLD = ("dice", "sensitivity", "specificity")


def to_json(result: BenchmarkResult) -> str:
    """Write all figures as JSON; NaN cannot occur, what is undefined is null with its reason."""
    content = {
        "datasets": {one.name: _set_content(one) for one in result.sets},
        "missing_datasets": list(result.missing),
        "provenance": result.provenance,
        "research_use_only": True,
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
                    rows = [("", level.metrics), *level.groups.items()]
                    for group, metrics in rows:
                        for name, metric in metrics.items():
                            start = (one.name, system, protocol.value, group, kind, name)
                            writer.writerow((*start, *_csv_cells(metric)))
    return stream.getvalue()


def cases_to_csv(one: SetResult) -> str:
    """Write one row per case: the file's name, its patient, label, highest raw score and own pixel figures.

    This file names the set's files, so that a run can be compared with another one case by case; reports do not.
    """
    rows = one.rows
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("case", "class", "patient", "is_abnormal", "highest_raw_score", "pixel_auroc", "pixel_ap"))
    if not len(rows.keys):
        return stream.getvalue()
    highest = rows.column(one.detector, one.protocol, "highest")
    for index, counts in enumerate(rows.all_case_counts(one.detector, one.protocol)):
        metrics = measure(counts)
        figures = [metrics[name].value for name in ("auroc", "ap")]
        labels = (rows.keys[index], rows.groups[index], rows.units[index], bool(rows.labels[index]))
        writer.writerow(
            (*labels, f"{highest[index]:.6g}", *("" if figure is None else f"{figure:.4f}" for figure in figures))
        )
    return stream.getvalue()


def _csv_cells(metric: Metric) -> tuple[str, ...]:
    low, high = ("", "") if metric.interval is None else (f"{metric.interval.low:.6f}", f"{metric.interval.high:.6f}")
    value = "" if metric.value is None else f"{metric.value:.6f}"
    return (value, low, high, f"{metric.error_bound:.1e}" if metric.error_bound else "0", metric.reason)


def _set_content(one: SetResult) -> dict[str, Any]:
    rows = one.rows
    progress = rows.progress
    content: dict[str, Any] = _figures(one, one.detector)
    content["baselines"] = {name: _figures(one, name) for name in one.baselines}
    content["protocol"] = one.protocol.value
    content["counts"] = {
        "cases": len(rows.keys),
        "abnormal": int(np.count_nonzero(rows.labels)),
        "units": len(np.unique(rows.units)),
        "units_are": rows.about["units_are"],
    }
    content["problems"] = count_problems(one)
    content["notes"] = rows.about["notes"]
    content["details"] = {
        system: {
            protocol.value: {
                kind: {
                    "metrics": {name: metric.to_json() for name, metric in level.metrics.items()},
                    "classes": {
                        group: {name: metric.to_json() for name, metric in metrics.items()}
                        for group, metrics in level.groups.items()
                    },
                }
                for kind, level in levels.items()
            }
            for protocol, levels in protocols.items()
        }
        for system, protocols in one.levels.items()
    }
    content["against_baselines"] = {
        baseline: {
            f"{kind}.{name}": {"difference": v.difference.to_json(), "p_value": v.p_value, "standing": v.word}
            for (kind, name), v in verdicts.items()
        }
        for baseline, verdicts in one.verdicts.items()
    }
    content["routing"] = progress["routing"].get(one.detector)
    content["seconds"] = round(progress["seconds"], 1)
    published = {"pixel": published_pixel(one.name), "image": published_image(one.name)}
    if any(published.values()):
        content["published"] = {
            "source": SOURCE,
            **{kind: {name: row._asdict() for name, row in table.items()} for kind, table in published.items()},
        }
    return content


def count_problems(one: SetResult) -> dict[str, int]:
    """Count the cases that something was wrong with, by fault."""
    counted: dict[str, int] = {}
    for fault, _, _ in one.rows.progress["problems"]:
        counted[fault.lower()] = counted.get(fault.lower(), 0) + 1
    return counted


def _figures(one: SetResult, system: str) -> dict[str, Any]:
    kinds = {"pixel": (*PIXEL_METRICS, *_THRESHOLD), "image": IMAGE_METRICS}
    if one.rows.about["is_volumes"]:
        levels = one.levels[system][one.protocol]
        kinds |= {kind: tuple(levels[kind].metrics) for kind in ("volume", "froc") if kind in levels}
    return {kind: _values(one, system, kind, names) for kind, names in kinds.items()}


def _values(one: SetResult, system: str, kind: str, names: tuple[str, ...]) -> dict[str, Any]:
    metrics = {name: one.metric(system, "threshold" if name in _THRESHOLD else kind, name) for name in names}
    values: dict[str, Any] = {name: metric.value for name, metric in metrics.items()}
    reasons = {name: metric.reason for name, metric in metrics.items() if metric.value is None}
    return {**values, "reasons": reasons} if reasons else values
