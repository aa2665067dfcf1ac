"""Evaluate models on every set of a local data folder, and write the tables of the documents from the results.

    MOECLIP_SHARED=PATH python benchmarks/evaluate_shared.py OUT [--models lite duo] [--docs docs/benchmark.md]
    python benchmarks/evaluate_shared.py OUT --models lite duo --tables-only --docs docs/benchmark.md

Results of a model lie under OUT/MODEL: `medical`, `industrial` and `healthy.json`; the tables are made from these
alone. A run that was stopped goes on where it was. `--sets` names some of the sets; the report is then of these.

The folder is expected as its own README describes it: `data/medical/...` and `data/industrial/...`. Medical sets are
evaluated only; nothing is chosen or tuned by their figures. No shipped model was trained on the industrial ones.

`--every N` takes every N-th image of each folder (slice of each patient) in sets of more than 100: for slow models.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from moeclip_transforms.errors import InputError
from shared_tables import put_into, tables

from moeclip_med.cli.benchmark import benchmark_app


@dataclass(frozen=True)
class SharedSet:
    """One set of the folder.

    Attributes:
        name: In the tables.
        folder: Under the domain's folder.
        patterns: `::*image*::*mask*` of volumes; "" where the layout tells.
        is_volumes: Whether the images are volumes.
    """

    name: str
    folder: str
    patterns: str = ""
    is_volumes: bool = False


DOMAINS = {
    "medical": (
        SharedSet("brain LGG FLAIR", "brain_lgg_flair"),
        SharedSet("brain BraTS FLAIR", "brain_brats_volumes", "::Flair*::OT*", is_volumes=True),
        SharedSet("brain MS FLAIR", "brain_ms_volume", "::FLAIR*::GOLD*", is_volumes=True),
        SharedSet("MS FLAIR slices", "ms_flair_slices"),
        SharedSet("colon polyps", "colon_polyp"),
        SharedSet("skin HAM", "skin_ham"),
        SharedSet("kidney CT tumour", "kidney_ct_tumour"),
        SharedSet("head CT ICH", "head_ct_ich_masks"),
        SharedSet("head CT haemorrhage", "head_ct_hemorrhage"),
    ),
    "industrial": (
        SharedSet("leather", "leather"),
        SharedSet("road crack", "road_crack"),
        SharedSet("aluminium", "aluminium"),
    ),
}
ALL_SETS = [one.name for sets in DOMAINS.values() for one in sets]
HEALTHY = "healthy"
LARGE = 100
"""Sets of more images are thinned by `--every`."""


def main() -> None:
    """Evaluate what is asked for, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--models", nargs="+", default=["lite"])
    parser.add_argument("--sets", nargs="+", choices=(*ALL_SETS, HEALTHY), default=[*ALL_SETS, HEALTHY])
    parser.add_argument("--every", type=int, default=1, metavar="N")
    parser.add_argument("--restart", action="store_true", help="throw away what an earlier run counted")
    parser.add_argument("--tables-only", action="store_true", help="evaluate nothing, write the tables")
    parser.add_argument("--docs", type=Path, help="a Markdown file with the two marks; print the tables if skipped")
    arguments = parser.parse_args()
    if not arguments.tables_only:
        shared = os.environ.get("MOECLIP_SHARED")
        if not shared:
            sys.exit("MOECLIP_SHARED is not set; it names the folder that holds data/")
        for model in arguments.models:
            evaluate(model, Path(shared, "data"), arguments)
    if arguments.docs is not None:
        put_into(arguments.docs, arguments.output, arguments.models)
    else:
        print(tables(arguments.output, arguments.models))


def evaluate(model: str, data: Path, arguments: argparse.Namespace) -> None:
    """Run the benchmark command on the sets that are there, and score the healthy volumes."""
    for domain, sets in DOMAINS.items():
        options = ["--restart"] if arguments.restart else []
        options += ["--output", str(arguments.output / model / domain), "--model", model, "--quiet"]
        given = []
        for one in (one for name in arguments.sets for one in sets if one.name == name):
            folder = data / domain / one.folder
            if not folder.is_dir():
                print(f"{one.name} is not under {folder.parent}, skipped", file=sys.stderr)
                continue
            if not one.is_volumes and arguments.every > 1:
                folder = thinned(folder, arguments.output / f"every-{arguments.every}" / one.folder, arguments.every)
            given += ["--volumes" if one.is_volumes else "--folder", f"{one.name}={folder}{one.patterns}"]
        if given:
            benchmark_app([*options, *given], standalone_mode=False)
    if HEALTHY in arguments.sets:
        score_healthy(model, data, arguments.output / model / "healthy.json")


def thinned(source: Path, target: Path, every: int) -> Path:
    """Return a folder of links to every N-th image of each sub-folder, masks included; the source of a small set."""
    images = [path for path in sorted(source.rglob("*")) if path.is_file() and not path.stem.endswith("_mask")]
    if len(images) <= LARGE:
        return source
    folders = {path.parent: [one for one in images if one.parent == path.parent] for path in images}
    for folder, own in folders.items():
        for path in own[every // 2 :: every]:
            for file in (path, path.with_name(f"{path.stem}_mask.png")):
                link = target / folder.relative_to(source) / file.name
                link.parent.mkdir(parents=True, exist_ok=True)
                if file.is_file() and not link.exists():
                    link.symlink_to(file.resolve())
    return target


def score_healthy(model: str, data: Path, target: Path) -> None:
    """Score the volumes without a known finding as `score` does, and write what is listed in each."""
    from moeclip_transforms import read_volume

    from moeclip_med.scoring import load_detector, score_volume

    paths = [*sorted((data / "medical" / HEALTHY).glob("*.nii.gz")), data / "dicom" / "mr_head_t1.zip"]
    detector, rows = load_detector(model), []
    for path in paths:
        if not path.exists():
            print(f"{path.name} is not under {path.parent}, skipped", file=sys.stderr)
            continue
        started = time.perf_counter()
        anomaly = score_volume(read_volume(path), detector)
        sizes = [finding.volume_ml or 0.0 for finding in anomaly.findings]
        row = {
            "name": path.name.partition(".")[0],
            "plane": anomaly.planes[0],
            "slices": anomaly.record.outcome.slices_total,
            "threshold": anomaly.threshold,
            "highest": float(anomaly.scores.max()),
            "findings": len(sizes),
            "ml": round(sum(sizes), 2),
            "largest_ml": round(max(sizes, default=0.0), 2),
            "seconds": round(time.perf_counter() - started, 1),
        }
        print(json.dumps(row), file=sys.stderr, flush=True)
        rows.append(row)
    about = {"model": f"{detector.metadata.name} {detector.metadata.version}", "volumes": rows}
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
