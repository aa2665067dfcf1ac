"""What `make bench` prints and puts at the top of its record."""

from __future__ import annotations

from typing import Any

Record = dict[str, Any]
Row = tuple[str, str, str, str, str, str]

LITE, FULL = "lite", "vit-l-14-336"
HEADER: Row = ("what", "slices/s", "seconds", "ratio to reference", "accuracy kept", "peak GB (allowed)")
SHOWN = 110
"""Characters of a reason in the table; the record has all."""
OTHERS = "cores_used_by_others"
"""Where a result says how busy the machine was with other work."""


def summarise(record: Record) -> None:
    """Put the figures that are asked for first beside the measurements that they come from."""
    for model in (LITE, FULL):
        part = record.get(model, {})
        against = {name: item for name, item in part.get("against_reference", {}).items() if "ratio" in item}
        if against:
            best = {precision: fastest(against, precision) for precision in ("f32", "bf16", "int8")}
            found = {precision: against[name] for precision, name in best.items() if name}
            part["ratio"] = {precision: item["ratio"] for precision, item in found.items()}
            part["seconds_per_slice"] = {precision: item["seconds_per_slice"] for precision, item in found.items()}
        peaks = [item["peak_gb"] for item in part.get("growth", {}).values() if item.get("peak_gb") is not None]
        peaks += [item.get("peak_gb_of_the_whole_process") or 0.0 for item in part.get("command", {}).values()]
        if peaks:
            part["peak_gb"] = max(peaks)
    lite = record.get(LITE, {})
    rates = lite.get("threads", {}).get("2", {}).get("slices_per_s")
    if rates:
        lite["slices_per_s"] = max(rates.values())
    if "command" in lite:
        lite["volume_seconds"] = lite["command"]["all"].get("beyond_imports_s")


def fastest(against: Record, precision: str) -> str | None:
    """Return the fastest engine of a precision."""
    names = [name for name in against if name.endswith(f"/{precision}")]
    return max(names, key=lambda name: against[name]["ratio"], default=None)


def rows(record: Record) -> list[tuple[str, ...]]:
    """Return the table's lines, the header first; the last column says how many cores others used meanwhile."""
    lines: list[tuple[str, ...]] = [(*HEADER, "others' cores")]
    for model in (LITE, FULL):
        part = record.get(model, {})
        for question, write in QUESTIONS.items():
            for case, item in part.get(question, {}).items():
                troubles = [trouble for trouble in ("failed", "refused") if isinstance(item.get(trouble), str)]
                name = f"{model} {question.replace('_', ' ')} {case}".replace(" against reference", "")
                found = (
                    [(name, troubles[0], item[troubles[0]][:SHOWN], "", "", "")]
                    if troubles
                    else write(model, case, item)
                )
                lines += with_others(found, item)
    startup = record.get("startup", {})
    for name, item in startup.get("seconds", {}).items():
        lines += with_others([(f"moeclip-med {name}", "", f"{item['seconds']:.2f}", "", "", "")], item)
    for item in startup.get("imports", {}).values():
        found = [("imports of score, all", "", f"{item['all_s']:.2f}", "", "", "")]
        found += [(f"  {name}", "", f"{spent:.2f}", "", "", "") for name, spent in item["seconds"].items()]
        lines += with_others(found, item)
    for item in startup.get("scan", {}).values():
        name = f"search of an archive, {item['files']:,} files"
        lines += with_others([(name, "", f"{item['seconds']:.1f}", "", "", "")], item)
    for item in record.get("metrics", {}).get("lesions", {}).values():
        memory = f"{item['peak_mb'] / 1024:.2f}"
        name = f"lesion and surface metrics, {item['cases']} cases"
        lines += with_others([(name, "", f"{item['seconds']:.1f}", "", "", memory)], item)
    return lines


def with_others(lines: list[Row], item: Record) -> list[tuple[str, ...]]:
    """Say of lines how busy the machine was meanwhile."""
    others = item.get(OTHERS)
    return [(*line, "" if others is None else f"{others:.1f}") for line in lines]


def as_markdown(record: Record) -> str:
    """The table in Markdown."""
    head, *lines = rows(record)
    written = [head, tuple("---" for _ in head), *lines]
    return "\n".join(f"| {' | '.join(cell.strip() for cell in line)} |" for line in written)


def engine_rows(model: str, case: str, item: Record) -> list[Row]:
    """The line of an engine."""
    seconds, kept = item["seconds_per_slice"], f"correlation {item['correlation']:.6f}"
    return [(f"{model} {case}", f"{1 / seconds:.2f}", f"{seconds:.4f}", f"{item['ratio']:.2f}", kept, "")]


def throughput_rows(model: str, case: str, item: Record, *, what: str) -> list[Row]:
    """One line per batch."""
    return [
        (f"{model} {what.format(case)}, batch {batch}", f"{rate:.2f}", f"{item['latency_s'][batch]:.4f}", "", "", "")
        for batch, rate in item["slices_per_s"].items()
    ]


def growth_rows(model: str, case: str, item: Record) -> list[Row]:
    """One line per size of volume."""
    seconds = item["seconds"]
    peak = "" if item["peak_gb"] is None else f"{item['peak_gb']:.2f} ({item['allowed_gb']:.2f})"
    return [(f"{model} volume of {case}", f"{int(case) / seconds:.2f}", f"{seconds:.2f}", "", "", peak)]


def phase_rows(model: str, _: str, item: Record) -> list[Row]:
    """Where the time goes."""
    lines: list[Row] = [(f"{model} first slice scored after", "", f"{item['first_slice_after_s']:.2f}", "", "", "")]
    return lines + [(f"  {name}", "", f"{seconds:.2f}", "", "", "") for name, seconds in item["seconds"].items()]


def command_rows(model: str, _: str, item: Record) -> list[Row]:
    """The whole command."""
    peak = item["peak_gb_of_the_whole_process"]
    memory = "" if peak is None else f"{peak:.2f} ({item['allowed_gb']:.2f})"
    what = f"{model} score {item['slices']} slices"
    lines: list[Row] = [(f"{what}, command", "", f"{item['total_s']:.2f}", "", "", memory)]
    if "beyond_imports_s" in item:
        lines.append((f"{what}, beyond imports", "", f"{item['beyond_imports_s']:.2f}", "", "", ""))
    if "first_start_total_s" in item:
        peak = item["first_start_peak_gb"]
        seconds, size = f"{item['first_start_total_s']:.2f}", "" if peak is None else f"{peak:.2f}"
        lines.append((f"{what}, the first time, which compiles", "", seconds, "", "", size))
    return lines


def accuracy_rows(model: str, _: str, item: Record) -> list[Row]:
    """Pixel AUROC by engine."""
    values = {"plain": item["plain"]} | item["auroc"]
    return [(f"{model} {name}", "", "", "", f"pixel AUROC {value:.2f}", "") for name, value in values.items()]


def viewer_rows(model: str, _: str, item: Record) -> list[Row]:
    """What the viewer costs, and how smooth it stays."""
    opening, scoring = item["opening"], item["scoring"]
    pause, memory = scoring["gaps_idle"]["longest_ms"], scoring["memory"]
    rate, seconds = scoring["slices"] / scoring["seconds_in_viewer"], scoring["seconds_in_viewer"]
    size = f"{memory['added_mib_at_most'] * 2**20 / 1e9:.2f} ({2 * memory['volume_mib_as_float32'] * 2**20 / 1e9:.2f})"
    return [
        (
            f"{model} in the viewer, longest pause {pause:.0f} ms",
            f"{rate:.2f}",
            f"{seconds:.2f}",
            f"{scoring['seconds_plain'] / seconds:.2f}",
            "",
            size,
        ),
        (f"viewer opens {opening['slices']} slices", "", f"{opening['seconds_in_viewer']:.2f}", "", "", ""),
    ]


def start_rows(model: str, case: str, item: Record) -> list[Row]:
    """How long an engine takes to be ready."""
    return [
        (f"{model} {case} ready the first time", "", f"{item['first_s']:.2f}", "", "", ""),
        (f"{model} {case} ready from then on", "", f"{item['again_s']:.2f}", "", "", ""),
    ]


QUESTIONS: dict[str, Any] = {
    "against_reference": engine_rows,
    "accuracy": accuracy_rows,
    "threads": lambda *given: throughput_rows(*given, what="{} threads"),
    "image_size": lambda *given: throughput_rows(*given, what="{} pixels"),
    "growth": growth_rows,
    "first_start": start_rows,
    "command": command_rows,
    "phases": phase_rows,
    "viewer": viewer_rows,
}
"""How each question's answers are written."""
