"""The report as Markdown: for a repository, a paper's appendix, a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeclip_med.benchmark.protocol import Protocol
from moeclip_med.benchmark.report.methods import methods
from moeclip_med.benchmark.report.notation import RESEARCH_USE, figure, label, system_name, threshold_name
from moeclip_med.benchmark.report.set_tables import as_markdown, class_table, markdown_table, set_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeclip_med.benchmark.results import SetResult
    from moeclip_med.benchmark.run import BenchmarkResult

_HOW_TO_READ = (
    "Figures in percent where no unit is given; in brackets the 95 % interval over patients (volumes or images, where "
    "no patients are known). A figure that the data cannot give is n/a, with the reason below its table."
)


def to_markdown(result: BenchmarkResult) -> str:
    """Write the whole report."""
    model, software = result.provenance["model"], result.provenance["software"]
    who = f"Model **{model['name']}** {model['version']}, SHA-256 `{model['sha256'][:16]}`"
    parts = [
        "# Benchmark",
        f"{who}, {model['engine_description']}. moeclip-med {software['version']}, {result.provenance['created']}.",
        RESEARCH_USE,
        *([f"**Fallback engine**: {model['fallback_reason']}"] if model["fallback_reason"] else []),
        _HOW_TO_READ,
        overview(result.sets),
    ]
    for one in result.sets:
        parts += set_parts(one)
    parts += ["## Methods", methods(result)]
    if result.missing:
        parts += ["## Not run", "\n".join(f"- {sentence}" for sentence in result.missing)]
    return "\n\n".join(parts) + "\n"


def overview(sets: Sequence[SetResult]) -> str:
    """Return one row per set: the detector's headline figures, whole frames beside them, and what beats it."""
    header = (
        *("set", "images", "abnormal", "looks before", "pixel AUROC", "in whole frames", "pixel AP", "image AUROC"),
        *("median Dice", "lesions hit", "false positives per case", "baselines ahead"),
    )
    rows = []
    for one in sets:
        ahead = "; ".join(f"{system_name(name)} ({', '.join(where)})" for name, where in one.beaten_by().items())
        rows.append(
            (
                one.name,
                str(len(one.rows.keys)),
                str(int(one.rows.labels.sum())),
                looks_text(one),
                with_best_baseline(one, "pixel", "auroc"),
                with_best_baseline(one, "pixel", "auroc", Protocol.NATIVE),
                with_best_baseline(one, "pixel", "ap"),
                with_best_baseline(one, "image", "auroc"),
                *finding_cells(one),
                ahead or "none",
            )
        )
    note = (
        "Second figure: the best baseline in that column. Headline figures are of the foreground (of the published "
        "convention on the paper's sets); Dice and findings at the last threshold named below. Looks before: how often "
        "this very set had been evaluated on this account."
    )
    return f"{markdown_table(header, rows)}\n\n{note}"


def looks_text(one: SetResult) -> str:
    """Say how often a set had been looked at before."""
    before, models = one.looks
    if before < 0:
        return "not recorded"
    return "none" if not before else f"{before}, with {models} model{'s' if models > 1 else ''}"


def with_best_baseline(one: SetResult, kind: str, name: str, protocol: Protocol | None = None) -> str:
    """Write the detector's figure and the best baseline's, bold where the detector's is higher."""
    if protocol is not None and protocol not in one.rows.protocols:
        return ""
    own = one.metric(one.detector, kind, name, protocol)
    values = [metric.value for metric in (one.metric(other, kind, name, protocol) for other in one.baselines)]
    best = max((value for value in values if value is not None), default=None)
    if own.value is None or best is None:
        return figure(own)
    text = f"**{figure(own)}**" if own.value > best else figure(own)
    return f"{text} / {100 * best:.1f}"


def set_parts(one: SetResult) -> list[str]:
    """Write one set."""
    rows = one.rows
    units = len(set(rows.units.tolist()))
    what = "volumes" if rows.about.is_volumes else "images"
    patients = f", {units} {rows.about.units_are}" if rows.about.units_are == "patients" else ""
    parts = [f"## {one.name}", f"{len(rows.keys)} {what}, {int(rows.labels.sum())} abnormal{patients}."]
    notes = set_notes(one)
    if notes:
        parts.append("\n".join(f"- {note}" for note in notes))
    parts += [as_markdown(table) for table in set_tables(one)]
    by_class = class_table(one) if len(rows.keys) else None
    if by_class is not None:
        parts.append(as_markdown(by_class))
    return parts


def set_notes(one: SetResult) -> list[str]:
    """Return what a reader of a set's figures has to know: notes, looks, excluded cases by kind, resampled files."""
    notes = list(one.rows.about.notes)
    before, _ = one.looks
    if before >= 0:
        notes.append(f"Looked at before, on this account: {looks_text(one)}.")
    resampled = one.rows.progress.resampled
    for what, count in resampled.items():
        name = "masks" if what == "truth" else f"maps of {label(one, what)}"
        notes.append(f"On another grid than the image, and resampled: {count} {name}.")
    notes += [f"{count} × {fault.value}" for fault, count in one.problem_counts().items()]
    return notes


def finding_cells(one: SetResult) -> tuple[str, str, str]:
    """Return the detector's median Dice, lesions hit and false positives per case, at the last of its thresholds."""
    levels = one.cases.get(one.detector, {})
    if not levels:
        return ("", "", "")
    kind, level = list(levels.items())[-1]
    if not level.spreads:
        return ("", "", "")
    words = "" if len(levels) == 1 else f" ({threshold_name(one, kind)})"
    return (
        figure(level.spreads["dice"].median) + words,
        figure(level.lesions["lesion_sensitivity"]),
        figure(level.lesions["false_positives_per_case"], ""),
    )
