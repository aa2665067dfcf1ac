"""Judge a model on every set of a local data folder, medical and industrial apart.

    MOECLIP_MED_SHARED=PATH python benchmarks/evaluate_shared.py OUT [--model lite]

The folder is expected as its own README describes it: `data/medical/...` and `data/industrial/...`. Medical sets are
judged only; nothing is chosen or tuned by their figures. The industrial sets are among those that `lite` learned from,
so their figures say how well it fits them, not how well it does on new products.
"""

from __future__ import annotations

import argparse
import os
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


def main() -> None:
    """Run both halves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--only", choices=("medical", "industrial"))
    arguments = parser.parse_args()
    shared = os.environ.get("MOECLIP_MED_SHARED")
    if not shared:
        sys.exit("MOECLIP_MED_SHARED is not set; it names the folder that holds data/")
    for domain, sets in (("medical", MEDICAL), ("industrial", INDUSTRIAL)):
        if arguments.only not in {None, domain}:
            continue
        options = ["--output", str(arguments.output / domain), "--model", arguments.model, "--quiet"]
        for option, name, folder, patterns in sets:
            options += [option, f"{name}={Path(shared, 'data', domain, folder)}{patterns}"]
        benchmark_app(options, standalone_mode=False)


if __name__ == "__main__":
    main()
