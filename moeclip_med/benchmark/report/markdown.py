"""The report as Markdown: for a repository, a paper's appendix, a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeclip_med.benchmark.datasets.case import Fault
from moeclip_med.benchmark.published import SOURCE, published_image, published_pixel
from moeclip_med.benchmark.report.files import count_problems
from moeclip_med.benchmark.report.words import (
    METRIC_NAMES,
    PROTOCOL_NAMES,
    RESEARCH_USE,
    label,
    percent,
    system_name,
    with_interval,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from moeclip_med.benchmark.protocol import Protocol
    from moeclip_med.benchmark.results import SetResult
    from moeclip_med.benchmark.run import BenchmarkResult

_COLUMNS = (
    ("pixel", "auroc"),
    ("pixel", "ap"),
    ("pixel", "f1max"),
    ("pixel", "aupro"),
    ("image", "auroc"),
    ("image", "ap"),
    ("image", "f1max"),
)

_HOW_TO_READ = (
    "All figures in percent; in brackets the 95 % interval from resampling patients (images, where no patients are "
    "known). A figure that the data cannot give is n/a, with the reason below its table."
)


def to_markdown(result: BenchmarkResult) -> str:
    """Write the whole report."""
    model = result.provenance["model"]
    software = result.provenance["software"]
    who = f"Model **{model['name']}** {model['version']}, SHA-256 `{model['sha256'][:16]}`"
    parts = [
        "# Benchmark",
        f"{who}, {model['engine_description']}. moeclip-med {software['version']}, {result.provenance['created']}.",
        RESEARCH_USE,
        _HOW_TO_READ,
        overview(result.sets),
    ]
    for one in result.sets:
        parts += set_parts(one)
    if result.missing:
        parts += ["## Sets that are missing", "\n".join(f"- {sentence}" for sentence in result.missing)]
    return "\n\n".join(parts) + "\n"


def overview(sets: Sequence[SetResult]) -> str:
    """Give one row per set: the detector's headline figures beside the best baseline's."""
    header = ("set", "images", "abnormal", "pixel AUROC", "pixel AP", "image AUROC", "image AP", "baselines ahead")
    rows = []
    for one in sets:
        cells = [
            with_best_baseline(one, kind, name)
            for kind, name in (("pixel", "auroc"), ("pixel", "ap"), ("image", "auroc"), ("image", "ap"))
        ]
        ahead = "; ".join(f"{system_name(name)} ({', '.join(where)})" for name, where in one.beaten_by().items())
        counts = (str(len(one.rows.keys)), str(int(one.rows.labels.sum())))
        rows.append((one.name, *counts, *cells, ahead or "none"))
    note = "Second figure: the best baseline in that column."
    return f"{table(header, rows)}\n\n{note}"


def with_best_baseline(one: SetResult, kind: str, name: str) -> str:
    """Write the detector's figure and the best baseline's, bold where the detector's is higher."""
    own = one.metric(one.detector, kind, name)
    values = [metric.value for metric in (one.metric(other, kind, name) for other in one.baselines)]
    best = max((value for value in values if value is not None), default=None)
    if own.value is None or best is None:
        return percent(own)
    text = f"**{percent(own)}**" if own.value > best else percent(own)
    return f"{text} / {100 * best:.1f}"


def set_parts(one: SetResult) -> list[str]:
    """Write one set."""
    rows = one.rows
    units = len(set(rows.units.tolist()))
    what = "volumes" if rows.about["is_volumes"] else "images"
    patients = f", {units} {rows.about['units_are']}" if rows.about["units_are"] == "patients" else ""
    parts = [f"## {one.name}", f"{len(rows.keys)} {what}, {int(rows.labels.sum())} abnormal{patients}."]
    parts += [f"- {note}" for note in rows.about["notes"]]
    for protocol in one.shown_protocols:
        parts += [f"**{PROTOCOL_NAMES[protocol.value].capitalize()}**", _systems_table(one, protocol)]
        reasons = _reasons(one, protocol)
        if reasons:
            parts.append(reasons)
    parts += _threshold_part(one)
    parts += _verdict_part(one)
    parts += _group_part(one)
    problems = count_problems(one)
    if problems:
        lines = "\n".join(f"- {count} × {Fault[fault.upper()].value}" for fault, count in problems.items())
        parts += ["**Left out or incomplete**", lines]
    return parts


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def _systems_table(one: SetResult, protocol: Protocol) -> str:
    header = ["system", *(f"{kind} {METRIC_NAMES[name]}" for kind, name in _COLUMNS)]
    rows = []
    for system in one.rows.systems:
        metrics = [one.metric(system, kind, name, protocol) for kind, name in _COLUMNS]
        is_own = system == one.detector
        cells = [with_interval(metric) if is_own else percent(metric) for metric in metrics]
        rows.append([f"**{label(one, system)}**" if is_own else label(one, system), *cells])
    if protocol is one.protocol and protocol.value == "paper":
        rows += _published_rows(one.name)
    return table(header, rows)


def _published_rows(name: str) -> list[list[str]]:
    pixel, image = published_pixel(name), published_image(name)
    rows = []
    for system in pixel or image:
        own_pixel, own_image = pixel.get(system), image.get(system)
        cells = [
            *([f"{100 * value:.1f}" for value in own_pixel] if own_pixel else ["", ""]),
            "",
            "",
            *([f"{100 * value:.1f}" for value in own_image] if own_image else ["", ""]),
            "",
        ]
        rows.append([f"{system} (published: {SOURCE})" if system == "MoECLIP" else f"{system} (published)", *cells])
    return rows


def _reasons(one: SetResult, protocol: Protocol) -> str:
    found: dict[str, list[str]] = {}
    for kind, name in _COLUMNS:
        metric = one.metric(one.detector, kind, name, protocol)
        if metric.value is None:
            found.setdefault(metric.reason, []).append(f"{kind} {METRIC_NAMES[name]}")
        elif metric.interval_reason:
            found.setdefault(f"no interval: {metric.interval_reason}", []).append(f"{kind} {METRIC_NAMES[name]}")
    return "\n".join(f"- {', '.join(names)}: {reason}" for reason, names in found.items())


def _threshold_part(one: SetResult) -> list[str]:
    names = ("dice", "sensitivity", "specificity")
    cells = [with_interval(one.metric(one.detector, "threshold", name)) for name in names]
    parts = [
        "**At the stored threshold** (pixels)",
        table([METRIC_NAMES[name] for name in names], [cells]),
    ]
    if one.rows.about["is_volumes"] and len(one.rows.keys):
        lines = []
        for system in one.rows.systems:
            froc = one.levels[system][one.protocol]["froc"].metrics
            cells = [percent(froc[name], is_count=name.startswith("false")) for name in froc]
            lines.append([label(one, system), *cells])
        header = ["system", *(METRIC_NAMES.get(name, name.replace("_", " ")) for name in froc)]
        parts += ["**Findings per volume** (sensitivity at false findings per volume)", table(header, lines)]
    return parts


def _verdict_part(one: SetResult) -> list[str]:
    rows = []
    for baseline, verdicts in one.verdicts.items():
        for (kind, name), verdict in verdicts.items():
            if verdict.difference.value is None:
                continue
            sign = f"{100 * verdict.difference.value:+.1f}"
            bounds = verdict.difference.interval
            between = "" if bounds is None else f" ({100 * bounds.low:+.1f} to {100 * bounds.high:+.1f})"
            p_value = "no test" if verdict.p_value is None else f"{verdict.p_value:.3f}"
            figure = f"{kind} {METRIC_NAMES[name]}"
            rows.append([system_name(baseline), figure, f"{sign}{between}", p_value, verdict.word])
    if not rows:
        return []
    header = ("baseline", "figure", "detector minus baseline", "p, paired", "detector is")
    return ["**Against the baselines**", table(header, rows)]


def _group_part(one: SetResult) -> list[str]:
    levels = one.levels[one.detector][one.protocol]
    if not levels["pixel"].groups and not levels["image"].groups:
        return []
    rows = []
    for group in one.rows.group_names():
        metrics = [levels[kind].groups.get(group, {}).get(name) for kind, name in _COLUMNS]
        rows.append([group, *("" if metric is None else percent(metric) for metric in metrics)])
    header = ["class", *(f"{kind} {METRIC_NAMES[name]}" for kind, name in _COLUMNS)]
    return ["**By class** (the figures above are their mean)", table(header, rows)]
