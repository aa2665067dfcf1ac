"""Evaluate models on every set of a local data folder, and write the tables of the documents from the results.

    MOECLIP_SHARED=PATH python benchmarks/evaluate_shared.py OUT [--models lite ...] [--docs docs/benchmark.md]
    python benchmarks/evaluate_shared.py OUT --tables-only --docs docs/benchmark.md

Results of a model lie under OUT/MODEL/{medical,industrial}; the tables are made from their `benchmark.json` alone.

The folder is expected as its own README describes it: `data/medical/...` and `data/industrial/...`. Medical sets are
evaluated only; nothing is chosen or tuned by their figures. Some industrial sets are among those that the shipped
models learned from, so their figures say how well a model fits them, not how well it does on new products.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

MEDICAL = (
    ("--folder", "brain LGG FLAIR", "brain_lgg_flair", ""),
    ("--volumes", "brain BraTS FLAIR", "brain_brats_volumes", "::Flair*::OT*"),
    ("--volumes", "brain MS FLAIR", "brain_ms_volume", ""),
    ("--folder", "colon polyps", "colon_polyp", ""),
    ("--folder", "head CT haemorrhage", "head_ct_hemorrhage", ""),
    ("--folder", "skin HAM", "skin_ham", ""),
    ("--folder", "kidney CT tumour", "kidney_ct_tumour", ""),
    ("--folder", "head CT ICH", "head_ct_ich_masks", ""),
    ("--folder", "MS FLAIR slices", "ms_flair_slices", ""),
)
INDUSTRIAL = (
    ("--folder", "leather", "leather", ""),
    ("--folder", "magnetic tile", "magnetic_tile", ""),
    ("--folder", "PCB", "pcb", ""),
    ("--folder", "road crack", "road_crack", ""),
    ("--folder", "steel strip", "steel_strip", ""),
)
DOMAINS = {"medical": MEDICAL, "industrial": INDUSTRIAL}
START, END = "<!-- results: start -->", "<!-- results: end -->"
HEADINGS = {
    "medical": "### Medical sets, none of them ever trained on",
    "industrial": "### Industrial sets, some of them among the training images",
}
COLUMNS = ("pixel AUROC", "whole frames", "pixel AP", "image AUROC", "median Dice", "lesions hit", "false positives")


def tables(output: Path) -> str:
    """Return the tables of all results under a folder: one per set, one line per model, then the best baseline."""
    parts = []
    for domain, heading in HEADINGS.items():
        reports = [json.loads(path.read_text("utf-8")) for path in sorted(output.glob(f"*/{domain}/benchmark.json"))]
        if not reports:
            continue
        parts.append(heading)
        names = dict.fromkeys(name for report in reports for name in report["datasets"])
        parts += [set_table(name, [report for report in reports if name in report["datasets"]]) for name in names]
    return "\n\n".join(parts)


def set_table(name: str, reports: list[dict[str, Any]]) -> str:
    """Return the table of one set."""
    first = reports[0]["datasets"][name]
    counts, looks = first["counts"], first["looks_before"]
    seen = "looks before not recorded" if looks is None else f"looked at {looks['count']} times before"
    units = f", {counts['units']} {counts['units_are']}" if counts["units_are"] == "patients" else ""
    lines = [
        f"**{name}**: {counts['cases']} cases, {counts['abnormal']} abnormal{units}; {seen}",
        "",
        f"| | {' | '.join(COLUMNS)} |",
        f"|{'---|' * (len(COLUMNS) + 1)}",
    ]
    for report in reports:
        model = report["provenance"]["model"]
        cells = line(report["datasets"][name], "detector", with_interval=True)
        lines.append(f"| **{model['name']} {model['version']}** | {' | '.join(cells)} |")
    lines += [
        f"| {system.replace('_', ' ')} | {' | '.join(line(first, system, with_interval=False))} |"
        for system in first["baselines"]
    ]
    for system, figures in first.get("published", {}).get("pixel", {}).items():
        cells = ["", f"{100 * figures['auroc']:.1f}", f"{100 * figures['ap']:.1f}", "", "", "", ""]
        lines.append(f"| {system} (published) | {' | '.join(cells)} |")
    return "\n".join(lines)


def line(content: dict[str, Any], system: str, *, with_interval: bool) -> list[str]:
    """Return the cells of one system."""
    details, findings = content["details"][system], content["findings"][system]["at_threshold"].get("stored")
    head, whole = details[content["protocol"]], details.get("native", {})
    cells = [
        head["pixel"]["metrics"]["auroc"],
        whole.get("pixel", {}).get("metrics", {}).get("auroc"),
        head["pixel"]["metrics"]["ap"],
        head["image"]["metrics"]["auroc"],
    ]
    text = [percent(metric, with_interval=with_interval) for metric in cells]
    if findings is None or not findings["cases"]:
        return [*text, "", "", ""]
    rate = findings["lesions"]["false_positives_per_case"]["value"]
    return [
        *text,
        percent(findings["cases"]["dice"]["median"], with_interval=with_interval),
        percent(findings["lesions"]["lesion_sensitivity"], with_interval=with_interval),
        "n/a" if rate is None else f"{rate:.2f}",
    ]


def percent(metric: dict[str, Any] | None, *, with_interval: bool) -> str:
    """Write a figure of the JSON in percent."""
    if metric is None or metric["value"] is None:
        return "n/a"
    text = f"{100 * metric['value']:.1f}"
    if not with_interval or "interval_95" not in metric:
        return text
    low, high = metric["interval_95"]
    return f"{text} ({100 * low:.1f} to {100 * high:.1f})"


def put_into(document: Path, output: Path) -> None:
    """Replace what stands between the marks of a document by the tables."""
    text = document.read_text(encoding="utf-8")
    before, after = text.partition(START)[0], text.partition(END)[2]
    document.write_text(f"{before}{START}\n\n{tables(output)}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Run both halves for each model, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--models", nargs="+", default=["lite"])
    parser.add_argument("--only", choices=tuple(DOMAINS))
    parser.add_argument("--restart", action="store_true", help="throw away what an earlier run counted")
    parser.add_argument("--tables-only", action="store_true", help="evaluate nothing, write the tables")
    parser.add_argument("--docs", type=Path, help="a Markdown file with the two marks")
    arguments = parser.parse_args()
    if not arguments.tables_only:
        evaluate(arguments)
    if arguments.docs is not None:
        put_into(arguments.docs, arguments.output)
    else:
        print(tables(arguments.output))


def evaluate(arguments: argparse.Namespace) -> None:
    """Run the benchmark command on the sets that are there."""
    from moeclip_med.cli.benchmark import benchmark_app

    shared = os.environ.get("MOECLIP_SHARED")
    if not shared:
        sys.exit("MOECLIP_SHARED is not set; it names the folder that holds data/")
    for model in arguments.models:
        for domain, sets in DOMAINS.items():
            if arguments.only not in {None, domain}:
                continue
            options = ["--restart"] if arguments.restart else []
            options += ["--output", str(arguments.output / Path(model).name / domain), "--model", model, "--quiet"]
            for option, name, folder, patterns in sets:
                path = Path(shared, "data", domain, folder)
                if path.is_dir():
                    options += [option, f"{name}={path}{patterns}"]
                else:
                    print(f"{name} is not under {path.parent}, skipped", file=sys.stderr)
            benchmark_app(options, standalone_mode=False)


if __name__ == "__main__":
    main()
