"""Choose the width of the filter along the slices, and which slices to score, on simulated stacks.

    python scripts/choose_volume_settings.py --data INDUSTRIAL_FOLDER --model lite --output FILE.json

No medical image is looked at. For each spacing, every n-th slice of the same stacks (1 mm apart) is scored; each width
of the Gaussian is evaluated by the pixel AP and AUROC over all slices. Then every n-th slice is scored at the width
that ships, the filter fills those between, and all voxels count. `choose_volume_threshold.py` is for thresholds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from moeclip_transforms import Volume
from moeclip_transforms.errors import InputError

from moeclip_med.industrial.crops import CropSource
from moeclip_med.industrial.datasets import LayoutName, find_images
from moeclip_med.industrial.stacks import simulate_stack
from moeclip_med.metrics.curves import measure
from moeclip_med.metrics.exact import exact_counts
from moeclip_med.scoring import load_detector, score_volume
from moeclip_med.scoring.through_plane import LARGEST_GAP, SIGMA_MM, ThroughPlaneFilter

SPACINGS = (1, 2, 3, 5)
GAPS = (1, 2, 3, 4, 5)
SIGMAS = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
SIZE, SLICES, LEVELS = 192, 96, 8192


def main() -> None:
    """Simulate, score, evaluate, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of industrial images, masks beside them")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--with-defects", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    normals = [image for image in find_images(options.data, LayoutName.INDUSTRIAL) if image.is_normal]
    crops, rng = CropSource(normals), np.random.default_rng(options.seed)
    detector = load_detector(options.model)

    raws, masks = [], []
    for number in range(options.with_defects):
        pair = (crops.any_crop(SIZE, rng)[0], crops.any_crop(SIZE, rng)[0])
        made = simulate_stack(*pair, SLICES, rng, has_defect=True)
        volume = Volume.from_array(made.image.transpose(2, 1, 0), np.eye(4), image_type="mr")
        raws.append(score_volume(volume, detector, keep_raw=True, through_plane_mm=0.0).raw.transpose(2, 1, 0))
        masks.append(made.defect)
        print(f"stack {number + 1} of {options.with_defects}", flush=True)
    widths, gaps = tables(raws, masks)
    content = {
        "model": detector.metadata.name,
        "version": detector.metadata.version,
        "sha256": detector.identity,
        "sigma_mm": SIGMA_MM,
        "largest_gap": LARGEST_GAP,
        "slices": SLICES,
        "widths": widths,
        "gaps": gaps,
    }
    options.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def tables(raws, masks):  # noqa: ANN001, ANN201
    """Both tables, printed as they come: by width, and by the distance between the slices that are scored."""
    widths = [row(raws, masks, spacing, sigma) for spacing in SPACINGS for sigma in SIGMAS if raws]
    gaps = [row(raws, masks, 1, SIGMA_MM, gap, first) for gap in GAPS for first in range(gap) if raws]
    return widths, gaps


def row(raws, masks, spacing, sigma, gap=1, first=0):  # noqa: ANN001, ANN201
    """One line of a table, also printed: all voxels together, and the mean of the AP of each stack."""
    values, labels, each = [], [], []
    for raw, mask in zip(raws, masks, strict=True):
        thin = np.ascontiguousarray(raw[::spacing])
        scored = np.unique([0, *range(first, len(thin), gap), len(thin) - 1])
        along = ThroughPlaneFilter(np.arange(len(thin)) * float(spacing), sigma, scored)
        final = [*along.add(scored.tolist(), thin[scored]), *along.flush()]
        values.append(np.stack([one.raw for one in sorted(final, key=lambda one: one.index)]).ravel())
        labels.append(mask[::spacing].ravel())
        if labels[-1].any():
            each.append(evaluate(values[-1], labels[-1])["ap"])
    found = evaluate(np.concatenate(values), np.concatenate(labels))
    found |= {"spacing": spacing, "sigma": sigma, "gap": gap, "first": first, "mean_ap": float(np.mean(each))}
    line = "{spacing} mm, 1 in {gap} from {first}, sigma {sigma} mm: AUROC {auroc:.2f}, AP {ap:.2f}, each {mean_ap:.2f}"
    print(line.format(**found), flush=True)
    return found


def evaluate(scores, truth):  # noqa: ANN001, ANN201
    """AUROC and AP, in %."""
    low, high = np.percentile(scores, [0.01, 99.999])
    steps = np.round(np.clip((scores - low) / (high - low), 0, 1) * LEVELS)
    found = measure(exact_counts(steps, truth), "pixels", is_binned=True)
    return {name: 100 * found[name].value for name in ("auroc", "ap")}


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(str(error)) from error
