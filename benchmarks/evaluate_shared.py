"""Judge a model on every set of a local data folder, medical and industrial apart.

    MOECLIP_SHARED=PATH python benchmarks/evaluate_shared.py OUT [--model lite] [--docs docs/benchmark.md]

With --docs the reports are also put into that file, between its two marks.

The folder is expected as its own README describes it: `data/medical/...` and `data/industrial/...`. Medical sets are
evaluated only; nothing is chosen or tuned by their figures. Some industrial sets are among those that `lite` learned
from, so their figures say how well it fits them, not how well it does on new products.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from moeclip_med.cli.benchmark import benchmark_app

MEDICAL = (
    ("--folder", "brain LGG FLAIR", "brain_lgg_flair", ""),
    ("--volumes", "brain BraTS FLAIR", "brain_brats_volumes", "::Flair*::OT*"),
    ("--volumes", "brain MS FLAIR", "brain_ms_volume", ""),
    ("--folder", "colon polyps", "colon_polyp", ""),
    ("--folder", "head CT haemorrhage", "head_ct_hemorrhage", ""),
)
INDUSTRIAL = (
    ("--folder", "leather", "leather", ""),
    ("--folder", "magnetic tile", "magnetic_tile", ""),
    ("--folder", "PCB", "pcb", ""),
    ("--folder", "road crack", "road_crack", ""),
    ("--folder", "steel strip", "steel_strip", ""),
)
START, END = "<!-- results: start -->", "<!-- results: end -->"
HEADINGS = {
    "medical": "### Medical sets, none of them ever trained on",
    "industrial": "### Industrial sets, some of them among the training images",
}


def put_into(document: Path, output: Path) -> None:
    """Replace what stands between the marks of a document by the reports."""
    parts = []
    for domain, heading in HEADINGS.items():
        report = (output / domain / "benchmark.md").read_text(encoding="utf-8")
        body = re.sub(r"^## ", "#### ", report.partition("\n")[2].strip(), flags=re.MULTILINE)
        parts.append(f"{heading}\n\n{body}")
    text = document.read_text(encoding="utf-8")
    before, after = text.partition(START)[0], text.partition(END)[2]
    body = "\n\n".join(parts)
    document.write_text(f"{before}{START}\n\n{body}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Run both halves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--only", choices=("medical", "industrial"))
    parser.add_argument("--restart", action="store_true", help="throw away what an earlier run counted")
    parser.add_argument("--docs", type=Path, help="a Markdown file with the two marks")
    arguments = parser.parse_args()
    shared = os.environ.get("MOECLIP_SHARED")
    if not shared:
        sys.exit("MOECLIP_SHARED is not set; it names the folder that holds data/")
    for domain, sets in (("medical", MEDICAL), ("industrial", INDUSTRIAL)):
        if arguments.only not in {None, domain}:
            continue
        options = ["--restart"] if arguments.restart else []
        options += ["--output", str(arguments.output / domain), "--model", arguments.model, "--quiet"]
        for option, name, folder, patterns in sets:
            options += [option, f"{name}={Path(shared, 'data', domain, folder)}{patterns}"]
        benchmark_app(options, standalone_mode=False)
    if arguments.docs is not None:
        put_into(arguments.docs, arguments.output)


if __name__ == "__main__":
    main()
