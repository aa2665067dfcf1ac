"""Tables of the documents, from what `benchmarks/evaluate_shared.py` wrote."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from moeclip_med.benchmark.published import published_image, published_pixel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

START, END = "<!-- results: start -->", "<!-- results: end -->"
HEADINGS = {
    "medical": "### Medical sets, none of them ever trained on",
    "industrial": "### Industrial categories, held out of training",
}
PART_OF = {"colon polyps": "ClinicDB", "head CT haemorrhage": "Head CT"}
"""Sets that are a small part of a published one."""
NOT_RUN = "not run"
SHOWN_SYSTEMS = 2
"""So many published systems are named beside a set, the best ones."""

Content = dict[str, Any]
Reports = dict[str, Content]


def tables(output: Path, models: list[str]) -> str:
    """Return all tables: pixels, images, findings, healthy volumes."""
    parts = []
    for domain, heading in HEADINGS.items():
        found = {model: output / model / domain / "benchmark.json" for model in models}
        reports = {model: json.loads(path.read_text("utf-8")) for model, path in found.items() if path.is_file()}
        if reports:
            parts += [heading, _pixel_table(reports), _image_table(reports), _findings_table(reports)]
    healthy = {model: output / model / "healthy.json" for model in models}
    volumes = {model: json.loads(path.read_text("utf-8")) for model, path in healthy.items() if path.is_file()}
    if volumes:
        parts += ["### Volumes without a known finding", _healthy_table(volumes)]
    return "\n\n".join(parts)


def put_into(document: Path, output: Path, models: list[str]) -> None:
    """Replace what stands between the marks of a document by the tables."""
    text = document.read_text(encoding="utf-8")
    before, after = text.partition(START)[0], text.partition(END)[2]
    document.write_text(f"{before}{START}\n\n{tables(output, models)}\n\n{END}{after}", encoding="utf-8")


def _pixel_table(reports: Reports) -> str:
    header = ["pixel AUROC / AP, foreground", *map(_title, reports.values()), "best baseline", "whole images, AUROC"]
    rows = []
    for name, contents in _sets(reports):
        first = next(iter(contents.values()))
        if not any(_figure(content, "pixel", "auroc") for content in contents.values()):
            continue
        both = [_both(contents.get(model)) for model in reports]
        best = "; ".join(dict.fromkeys(_best(first, "pixel", metric) for metric in ("auroc", "ap")))
        whole = ", ".join(_figure(content, "pixel", "auroc", "native", short=True) for content in contents.values())
        rows.append([_count(name, contents), *both, best, whole])
        rows += _published(name, len(reports), published_pixel)
    return _markdown(header, rows)


def _image_table(reports: Reports) -> str:
    header = ["image (slice) AUROC", *map(_title, reports.values()), "best baseline", "looks before"]
    rows = []
    for name, contents in _sets(reports):
        first = next(iter(contents.values()))
        known = any(_figure(content, "image", "auroc") for content in contents.values())
        if not known:
            continue
        given = (contents.get(model) for model in reports)
        figures = [NOT_RUN if content is None else _figure(content, "image", "auroc") for content in given]
        rows.append([_count(name, contents), *figures, _best(first, "image", "auroc"), _looks(contents)])
        rows += _published(name, len(reports), published_image)
    return _markdown(header, rows)


def _findings_table(reports: Reports) -> str:
    columns = ("median Dice", "lesions hit", "false positives per case", "normal cases with a finding")
    header = ["findings at the stored threshold", "model", *columns]
    rows = []
    for name, contents in _sets(reports):
        for model, content in contents.items():
            level = content["findings"]["detector"]["at_threshold"]["stored"]
            normal = level["normal_cases"]
            cells = [
                _percent(level["cases"].get("dice", {}).get("median")),
                _percent(level["lesions"].get("lesion_sensitivity")),
                _number(level["lesions"].get("false_positives_per_case")),
                f"{_percent(normal['healthy_flagged'])} of {normal['count']}" if normal["count"] else "none there",
            ]
            rows.append([_count(name, {model: content}), _title(reports[model]), *(cell or "n/a" for cell in cells)])
    return _markdown(header, rows)


def _healthy_table(volumes: dict[str, Content]) -> str:
    header = ["volume", "slices"]
    for content in volumes.values():
        header += [f"**{content['model']}**: findings", "ml", "largest, ml", "highest score"]
    names = dict.fromkeys(row["name"] for content in volumes.values() for row in content["volumes"])
    rows = {name: [name, ""] for name in names}
    for content in volumes.values():
        own = {row["name"]: row for row in content["volumes"]}
        for name, cells in rows.items():
            if name not in own:
                cells += [NOT_RUN, "", "", ""]
                continue
            row = own[name]
            cells[1] = f"{row['slices']}, {row['plane']}"
            cells += [str(row["findings"]), f"{row['ml']:g}", f"{row['largest_ml']:g}", f"{row['highest']:.2f}"]
    thresholds = ", ".join(f"{one['model']} {one['volumes'][0]['threshold']:.2f}" for one in volumes.values())
    return f"{_markdown(header, list(rows.values()))}\n\nThreshold of a volume: {thresholds}."


def _sets(reports: Reports) -> list[tuple[str, Reports]]:
    """Return each set with what every model that was evaluated on it wrote."""
    names = dict.fromkeys(name for report in reports.values() for name in report["datasets"])
    return [
        (name, {model: one["datasets"][name] for model, one in reports.items() if name in one["datasets"]})
        for name in names
    ]


def _title(report: Content) -> str:
    model = report["provenance"]["model"]
    return f"**{model['name']} {model['version']}**"


def _count(name: str, contents: Reports) -> str:
    counts = next(iter(contents.values()))["counts"]
    images = "/".join(dict.fromkeys(str(content["counts"]["cases"]) for content in contents.values()))
    patients = f" of {counts['units']} patients" if counts["units_are"] == "patients" else ""
    return f"{name} ({images}{patients})"


def _looks(contents: Reports) -> str:
    looks = [content["looks_before"] for content in contents.values()]
    return ", ".join("not recorded" if one is None else str(one["count"]) for one in looks)


def _both(content: Content | None) -> str:
    if content is None:
        return NOT_RUN
    return f"{_figure(content, 'pixel', 'auroc')} / {_figure(content, 'pixel', 'ap')}"


def _figure(content: Content, kind: str, name: str, protocol: str = "", *, short: bool = False) -> str:
    """Write a figure of the model with its interval; "" where it is undefined."""
    metrics = content["details"]["detector"][protocol or content["protocol"]][kind]["metrics"]
    return _percent(metrics[name], with_interval=not short)


def _best(content: Content, kind: str, name: str) -> str:
    """Write the highest figure of a baseline, and its name."""
    if not content["baselines"]:
        return NOT_RUN
    found = {
        system: content["details"][system][content["protocol"]][kind]["metrics"][name]["value"]
        for system in content["baselines"]
    }
    known = {system: value for system, value in found.items() if value is not None}
    if not known:
        return ""
    system = max(known, key=lambda one: known[one])
    return f"{100 * known[system]:.1f} {system.replace('_', ' ')}"


def _published(name: str, models: int, table: Callable[[str], dict[str, Any]]) -> list[list[str]]:
    """Return a line per published system on the whole set that a set is part of."""
    whole = PART_OF.get(name, "")
    systems = sorted(table(whole).items(), key=lambda item: -item[1].ap)[:SHOWN_SYSTEMS] if whole else []
    return [
        [f"{system}, published, all of {whole}", f"{100 * row.auroc:.1f} / {100 * row.ap:.1f}", *[""] * (models + 1)]
        for system, row in systems
    ]


def _percent(metric: Content | None, *, with_interval: bool = True) -> str:
    """Write a figure of the JSON in percent; "" where it is undefined."""
    if metric is None or metric["value"] is None:
        return ""
    text = f"{100 * metric['value']:.1f}"
    if not with_interval or "interval_95" not in metric:
        return text
    low, high = metric["interval_95"]
    return f"{text} ({100 * low:.1f}–{100 * high:.1f})"


def _number(metric: Content | None) -> str:
    if metric is None or metric["value"] is None:
        return ""
    if "interval_95" not in metric:
        return f"{metric['value']:.2f}"
    low, high = metric["interval_95"]
    return f"{metric['value']:.2f} ({low:.2f}–{high:.2f})"


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
