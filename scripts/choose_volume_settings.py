"""Choose the width of the filter along the slices, which slices to score, and in which planes, on simulated stacks.

    python scripts/choose_volume_settings.py --data INDUSTRIAL_FOLDER --model lite --output FILE.json

No medical image is looked at. For each spacing, every n-th slice of the same stacks (1 mm apart) is scored; each width
of the Gaussian is evaluated by the pixel AP and AUROC over all slices. Then every n-th slice is scored at the width
that ships, the filter fills those between, and all voxels count. With --coronal the stacks are cut along a second
plane too, and the maps averaged: three times the time. `choose_volume_threshold.py` is for thresholds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from moeclip_transforms import Plane, Volume
from moeclip_transforms.errors import InputError

from moeclip_med.industrial.crops import CropSource
from moeclip_med.industrial.datasets import LayoutName, find_images
from moeclip_med.industrial.stacks import simulate_stack
from moeclip_med.metrics.curves import measure
from moeclip_med.metrics.exact import exact_counts
from moeclip_med.scoring import load_detector, score_volume
from moeclip_med.scoring.through_plane import LARGEST_GAP, SIGMA_MM, ThroughPlaneFilter, slices_to_score

SPACINGS = (1, 2, 3, 5)
GAPS = (1, 2, 3, 4, 5)
PLANE_GAPS = (1, 3, 6)
SIGMAS = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
SIZE, SLICES, LEVELS = 192, 96, 8192


def main() -> None:
    """Simulate, score, evaluate, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of industrial images, masks beside them")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--with-defects", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--coronal", action="store_true", help="compare axial slices, coronal ones, and both")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    normals = [image for image in find_images(options.data, LayoutName.INDUSTRIAL) if image.is_normal]
    crops, rng = CropSource(normals), np.random.default_rng(options.seed)
    detector = load_detector(options.model)

    raws, coronals, masks = [], [], []
    for number in range(options.with_defects):
        pair = (crops.any_crop(SIZE, rng)[0], crops.any_crop(SIZE, rng)[0])
        made = simulate_stack(*pair, SLICES, rng, has_defect=True)
        volume = Volume.from_array(made.image.transpose(2, 1, 0), np.eye(4), image_type="mr")
        raws.append(unfiltered(volume, detector, Plane.AXIAL))
        if options.coronal:
            coronals.append(unfiltered(volume, detector, Plane.CORONAL))
        masks.append(made.defect)
        print(f"stack {number + 1} of {options.with_defects}", flush=True)
    content = {
        "model": detector.metadata.name,
        "version": detector.metadata.version,
        "sha256": detector.identity,
        "sigma_mm": SIGMA_MM,
        "largest_gap": LARGEST_GAP,
        "slices": SLICES,
        "widths": [row(raws, masks, spacing, sigma) for spacing in SPACINGS for sigma in SIGMAS],
        "gaps": [row(raws, masks, 1, SIGMA_MM, gap, first) for gap in GAPS for first in range(gap)],
        "planes": [two_planes(raws, coronals, masks, gap) for gap in PLANE_GAPS if coronals],
    }
    options.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def unfiltered(volume, detector, plane):  # noqa: ANN001, ANN201
    """Raw maps of each slice of a plane, (z, y, x)."""
    scored = score_volume(volume, detector, plane=plane, keep_raw=True, through_plane_mm=0.0, every_slice=True)
    return scored.raw.transpose(2, 1, 0)


def row(raws, masks, spacing, sigma, gap=1, first=0):  # noqa: ANN001, ANN201
    """One line of a table, also printed: of slices `spacing` mm apart, 1 in `gap` is scored."""
    thin = [np.ascontiguousarray(raw[::spacing]) for raw in raws]
    scored = [np.unique([0, *range(first, len(one), gap), len(one) - 1]) for one in thin]
    maps = [along_slices(*pair, spacing, sigma) for pair in zip(thin, scored, strict=True)]
    found = summary(maps, [mask[::spacing] for mask in masks])
    found |= {"spacing": spacing, "sigma": sigma, "gap": gap, "first": first}
    line = "{spacing} mm, 1 in {gap} from {first}, sigma {sigma} mm: AUROC {auroc:.2f}, AP {ap:.2f}, each {mean_ap:.2f}"
    print(line.format(**found), flush=True)
    return found


def two_planes(axials, coronals, masks, gap):  # noqa: ANN001, ANN201
    """Axial slices, coronal ones, and the mean of both, scored at most `gap` mm apart."""
    first, second = [], []
    for axial, coronal in zip(axials, coronals, strict=True):
        for made, raw in ((first, axial), (second, np.ascontiguousarray(coronal.swapaxes(0, 1)))):
            positions = np.arange(len(raw), dtype=np.float64)
            made.append(along_slices(raw, slices_to_score(positions, gap / LARGEST_GAP), 1, SIGMA_MM))
    second = [one.swapaxes(0, 1) for one in second]
    both = [(one + other) / 2 for one, other in zip(first, second, strict=True)]
    found = {"gap": gap}
    for name, maps in {"axial": first, "coronal": second, "both": both}.items():
        found[name] = summary(maps, masks)
        line = "{name}, at most {gap} mm apart: AUROC {auroc:.2f}, AP {ap:.2f}, each {mean_ap:.2f}"
        print(line.format(name=name, gap=gap, **found[name]), flush=True)
    return found


def along_slices(raw, scored, spacing, sigma):  # noqa: ANN001, ANN201
    """Maps after the filter along the first axis, of which the network saw the slices in `scored`."""
    along = ThroughPlaneFilter(np.arange(len(raw)) * float(spacing), sigma, scored)
    final = [*along.add(scored.tolist(), raw[scored]), *along.flush()]
    return np.stack([one.raw for one in sorted(final, key=lambda one: one.index)])


def summary(maps, masks):  # noqa: ANN001, ANN201
    """All voxels together, and the mean of the AP of each stack with a defect, in %."""
    whole = evaluate(*(np.concatenate([one.ravel() for one in arrays]) for arrays in (maps, masks)))
    pairs = zip(maps, masks, strict=True)
    each = [evaluate(one.ravel(), mask.ravel())["ap"] for one, mask in pairs if mask.any()]
    return whole | {"mean_ap": float(np.mean(each))}


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
