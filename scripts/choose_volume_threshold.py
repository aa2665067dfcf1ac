"""Choose the threshold of a volume on stacks of normal industrial slices, as the one of an image on normal images.

    python scripts/choose_volume_threshold.py --data INDUSTRIAL_FOLDER --model lite --output FILE.json

A stack is a window that moves over a real image (`industrial.stacks.pan_over`). Normal ones come from images that the
model never learned from: the recipe's held-out share of each category. The threshold is the score that no finding of
0.1 ml reaches in 95 % of the normal stacks, and never below the one of images. Stacks over defective images of held-out
categories say what it costs: the share of them in which a finding's peak lies in a defect. No medical image is looked
at. A run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from moeclip_transforms import Volume
from moeclip_transforms.errors import InputError

from moeclip_med.industrial.datasets import LayoutName, find_images
from moeclip_med.industrial.stacks import Stack, pan_over
from moeclip_med.metrics.detection import lesion_places, match_marks
from moeclip_med.scoring import Detector, load_detector, score_volume
from moeclip_med.scoring.calibration import flag_level
from moeclip_med.scoring.findings import find_findings
from moeclip_med.training.validation import hold_out_normals

HELD_OUT = ("aluminium", "leather", "road_crack", "steel_strip")
HELD_OUT_SHARE = 0.1
RATE = 0.05
SIZE = 192
THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def main() -> None:
    """Score the stacks, and write and print what follows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of industrial images, masks beside them")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--normal", type=int, default=40)
    parser.add_argument("--defective", type=int, default=20)
    parser.add_argument("--slices", type=int, default=48)
    parser.add_argument("--spacing", type=float, default=2.0, help="mm between slices; 1 mm between pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    images = find_images(options.data, LayoutName.INDUSTRIAL)
    _, normals = hold_out_normals(images, HELD_OUT_SHARE)
    defective = [image for image in images if not image.is_normal and image.category in HELD_OUT]
    groups = {"normal": normals, "defective": defective}
    rows = json.loads(options.output.read_text())["rows"] if options.output.is_file() else []
    detector = load_detector(options.model)
    for group, wanted in (("normal", options.normal), ("defective", options.defective)):
        for number in range(wanted):
            if any(row["group"] == group and row["number"] == number for row in rows):
                continue
            rng = np.random.default_rng((options.seed, number, len(group)))
            categories = sorted({image.category for image in groups[group]})
            category = categories[number % len(categories)]
            own = [image for image in groups[group] if image.category == category]
            image = own[rng.integers(len(own))]
            mask = None if image.is_normal else image.read_mask()
            stack = pan_over(image.read(), mask, SIZE, options.slices, rng)
            row = {"group": group, "number": number, "category": category}
            rows.append(row | measured(stack, detector, options.spacing))
            print(json.dumps(rows[-1]), flush=True)
            write(rows, detector, options)
    print(json.dumps(summary(rows), indent=1))


def measured(stack: Stack, detector: Detector, spacing: float) -> dict[str, object]:
    """Score a stack: where its last finding vanishes, and findings and hits at each threshold."""
    affine = np.diag([1.0, 1.0, spacing, 1.0])
    volume = Volume.from_array(np.ascontiguousarray(stack.image.transpose(2, 1, 0)), affine, image_type="mr")
    anomaly = score_volume(volume, detector, keep_raw=True)
    scale = detector.metadata.score_scale
    level = flag_level(anomaly, scale)
    row: dict[str, object] = {"flagged_up_to": float(scale.score(np.array([level], dtype=np.float32))[0])}
    places = lesion_places(np.ascontiguousarray(stack.defect.transpose(2, 1, 0)))
    findings, hits = [], []
    for threshold in THRESHOLDS:
        found = find_findings(anomaly.scores, volume, threshold).findings
        hit, _ = match_marks(places, [np.array([one.peak_voxel]) for one in found])
        findings.append(len(found))
        hits.append(bool(hit.any()))
    row |= {"findings": findings, "has_defect": bool(stack.defect.any())}
    return row | ({"hit": hits} if stack.defect.any() else {})


def summary(rows: list[dict[str, object]]) -> dict[str, object]:
    """Return the threshold at the rate, and what holds at each threshold."""
    normal = [row for row in rows if row["group"] == "normal"]
    defective = [row for row in rows if row["group"] == "defective" and row["has_defect"]]
    levels = np.array([row["flagged_up_to"] for row in normal])
    table = {
        str(threshold): {
            "normal_flagged": float(np.mean([row["findings"][place] > 0 for row in normal])),
            "findings_per_normal": float(np.mean([row["findings"][place] for row in normal])),
            "defective_hit": float(np.mean([row["hit"][place] for row in defective])) if defective else None,
        }
        for place, threshold in enumerate(THRESHOLDS)
    }
    return {
        "normal": len(normal),
        "defective": len(defective),
        "quantiles": {str(share): float(np.quantile(levels, share)) for share in (0.5, 0.75, 0.9, 0.95)},
        "threshold": max(0.5, float(np.quantile(levels, 1 - RATE))),
        "at": table,
    }


def write(rows: list[dict[str, object]], detector: Detector, options: argparse.Namespace) -> None:
    """Keep what is known so far."""
    content = {
        "model": f"{detector.metadata.name} {detector.metadata.version}",
        "sha256": detector.identity,
        "slices": options.slices,
        "spacing_mm": options.spacing,
        "rows": rows,
        "summary": summary(rows) if any(row["group"] == "normal" for row in rows) else {},
    }
    options.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(str(error)) from error
