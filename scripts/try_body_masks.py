"""Measure rules that exclude air, table and rim without knowing any organ, on simulated industrial stacks.

    python scripts/try_body_masks.py --data INDUSTRIAL_FOLDER --model lite --output FILE.json

A rule keeps scores inside the largest connected part of the foreground, eroded by some mm, and sets others to 0. For
each: pixel AP over stacks with a defect, the share of defect voxels that it throws away, and the share of normal stacks
with a finding at the threshold of volumes. No medical image is looked at.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms import Volume, fit_window
from moeclip_transforms.errors import InputError
from scipy import ndimage

from moeclip_med.industrial.crops import CropSource
from moeclip_med.industrial.datasets import LayoutName, find_images
from moeclip_med.industrial.stacks import simulate_stack
from moeclip_med.metrics.curves import measure
from moeclip_med.metrics.exact import exact_counts
from moeclip_med.scoring import load_detector, score_volume
from moeclip_med.scoring.findings import find_findings

if TYPE_CHECKING:
    from numpy.typing import NDArray

RIMS_MM = (None, 0, 2, 4, 6, 10)
"""None keeps everything; 0 is the largest part alone."""
SIZE, SLICES, LEVELS = 192, 48, 4096


def inside_body(foreground: NDArray[np.bool_], rim_mm: float | None, spacing: tuple[float, ...]) -> NDArray[np.bool_]:
    """Return True where a rule keeps scores: the largest part of the foreground, holes filled, without its rim."""
    if rim_mm is None:
        return np.ones_like(foreground)
    labels, count = ndimage.label(foreground)
    if not count:
        return np.zeros_like(foreground)
    largest = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    body = ndimage.binary_fill_holes(largest)
    kept: NDArray[np.bool_] = (
        ndimage.distance_transform_edt(np.pad(body, 1), sampling=spacing)[1:-1, 1:-1, 1:-1] > rim_mm
    )
    return kept


def main() -> None:
    """Score the stacks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of industrial images, masks beside them")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--stacks", type=int, default=6, help="with a defect, and as many without")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    normals = [image for image in find_images(options.data, LayoutName.INDUSTRIAL) if image.is_normal]
    crops, rng, detector = CropSource(normals), np.random.default_rng(options.seed), load_detector(options.model)
    threshold = detector.metadata.threshold_for(SLICES).value
    values: dict[float | None, list[NDArray[np.float32]]] = {rim: [] for rim in RIMS_MM}
    lost: dict[float | None, list[float]] = {rim: [] for rim in RIMS_MM}
    flagged: dict[float | None, list[bool]] = {rim: [] for rim in RIMS_MM}
    masks = []
    for number in range(2 * options.stacks):
        pair = (crops.any_crop(SIZE, rng)[0], crops.any_crop(SIZE, rng)[0])
        stack = simulate_stack(*pair, SLICES, rng, has_defect=number % 2 == 0)
        volume = Volume.from_array(
            np.ascontiguousarray(stack.image.transpose(2, 1, 0)), np.diag([1.0, 1, 2, 1]), image_type="mr"
        )
        scores = score_volume(volume, detector).scores
        foreground = fit_window(volume, volume.series.image_type).foreground(volume.tensor)[0].numpy()
        defect = stack.defect.transpose(2, 1, 0)
        masks += [defect.ravel()] if stack.defect.any() else []
        for rim in RIMS_MM:
            inside = inside_body(foreground, rim, volume.affine.spacing)
            kept = np.where(inside, scores, np.float32(0))
            if stack.defect.any():
                values[rim].append(kept.ravel())
                lost[rim].append(float((defect & ~inside).sum() / defect.sum()))
            else:
                flagged[rim].append(bool(find_findings(kept, volume, threshold).findings))
        print(f"stack {number + 1} of {2 * options.stacks}", flush=True)
    truth = np.concatenate(masks)
    rows = []
    for rim in RIMS_MM:
        steps = np.round(np.concatenate(values[rim]) * LEVELS)
        found = measure(exact_counts(steps, truth), "pixels", is_binned=True)
        row = {"rim_mm": rim, "auroc": found["auroc"].value, "ap": found["ap"].value, "lost": float(np.mean(lost[rim]))}
        rows.append(row | {"normal_flagged": float(np.mean(flagged[rim])) if flagged[rim] else None})
        print(rows[-1])
    options.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(str(error)) from error
