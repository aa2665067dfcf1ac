"""Evaluate a model on medical images that nothing was ever trained, tuned or chosen on.

Reads the sets under MOECLIP_SHARED/data/medical, runs the network and three baselines (brightness, inverse
brightness, local contrast), and prints one table. Every run of it is reported in docs/research/experiments.md.

    MOECLIP_SHARED=... python scripts/evaluate_medical.py MODEL [--sets brain_lgg_flair ...]

Slices are cropped as in scoring: the square around the foreground of the whole volume or patient, 256 pixels. Maps
are compared with masks at 128 pixels after a Gaussian of 1.5 pixels, the baselines' too. An image's score is the
maximum of its map.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from moeclip_transforms.errors import InputError
from moeclip_transforms.pictures import PICTURE_FORMATS
from PIL import Image
from scipy import ndimage

from moeclip_med.benchmark.baselines import brightness, inverse_brightness, local_contrast
from moeclip_med.metrics import bootstrap
from moeclip_med.metrics.binning import Binning
from moeclip_med.metrics.curves import auroc, average_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

SIZE, MAP = 256, 128
SMOOTHING = 1.5
BINNING = Binning(centre=0.0, spread=0.5, bins=1 << 14)
PARTS = 20
"""Resamples are computed in so many parts, to bound the memory."""
FEWEST_UNITS = 5
MOST_SHOWN = 10
HALF = 0.5
SMALLEST_BODY = 0.02
"""Share of foreground from which a slice of a volume is looked at."""
SMALLEST_EXTENT = 0.01
"""Share of foreground from which a row or column belongs to the frame."""
FOREGROUND = 0.04
"""Share of the display range above which a pixel belongs to the body."""


@dataclass(frozen=True)
class Unit:
    """What is resampled as one in the bootstrap: a patient, a volume, or a single image.

    Attributes:
        name: For messages.
        images: (n, rows, columns, 3) float32 in [0, 1].
        masks: (n, rows, columns) bool, or None where only image labels are known.
        labels: (n,) bool, whether each image is abnormal.
    """

    name: str
    images: NDArray[np.float32]
    masks: NDArray[np.bool_] | None
    labels: NDArray[np.bool_]


def grey_stack(images: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Grey slices as (n, rows, columns, 3)."""
    return np.repeat(np.stack(images)[..., None], 3, axis=3)


def read_png(path: Path) -> NDArray[np.float32]:
    """An 8-bit image as (rows, columns, 3) in [0, 1]."""
    return np.asarray(Image.open(path, formats=PICTURE_FORMATS).convert("RGB"), dtype=np.float32) / 255


def masked_images(folder: Path) -> tuple[list[Path], list[NDArray[np.bool_]]]:
    """Images of a folder and their `NAME_mask.png` (none: normal)."""
    paths = sorted(path for path in folder.iterdir() if not path.stem.endswith("_mask"))
    masks = []
    for path in paths:
        mask = path.with_name(f"{path.stem}_mask.png")
        shape = Image.open(path, formats=PICTURE_FORMATS).size[::-1]
        masks.append(
            np.asarray(Image.open(mask, formats=PICTURE_FORMATS).convert("L")) > 0
            if mask.exists()
            else np.zeros(shape, dtype=bool)
        )
    return paths, masks


def brain_lgg_flair(root: Path) -> Iterator[Unit]:
    """28 patients, FLAIR slices with skull; all slices."""
    for patient in sorted((root / "brain_lgg_flair").iterdir()):
        paths, masks = masked_images(patient)
        stacked = np.stack(masks)
        yield Unit(patient.name, np.stack([read_png(p) for p in paths]), stacked, stacked.any(axis=(1, 2)))


def colon_polyp(root: Path) -> Iterator[Unit]:
    """Endoscopy frames; every one shows a polyp, so image AUROC is undefined."""
    paths, masks = masked_images(root / "colon_polyp")
    for path, mask in zip(paths, masks, strict=True):
        yield Unit(path.stem, read_png(path)[None], mask[None], np.array([mask.any()]))


def head_ct_hemorrhage(root: Path) -> Iterator[Unit]:
    """Single slices with image labels only."""
    for label in ("normal", "hemorrhage"):
        for path in sorted((root / "head_ct_hemorrhage" / label).iterdir()):
            yield Unit(path.stem, read_png(path)[None], None, np.array([label == "hemorrhage"]))


def nifti_unit(name: str, image: Path, truth: Path) -> Unit:
    """A volume along its axial slices, windowed as in scoring; slices with at least 2 % foreground."""
    from moeclip_transforms import fit_window, read_volume, slice_views
    from moeclip_transforms.volume import ImageType

    volume, mask = read_volume(image), read_volume(truth)
    view = slice_views(volume)[0]
    window = fit_window(volume, ImageType.MR)
    stored = view.take(volume.tensor, range(view.n_slices))
    keep = window.foreground(stored)[:, 0].float().mean(dim=(1, 2)).numpy() >= SMALLEST_BODY
    slices = window.apply(stored)[:, 0].numpy()[keep]
    masks = np.asarray(view.take(mask.tensor, range(view.n_slices)))[keep, 0] > HALF
    return Unit(name, grey_stack(list(slices)), masks, masks.any(axis=(1, 2)))


def brain_brats_volumes(root: Path) -> Iterator[Unit]:
    """Two skull-stripped FLAIR volumes."""
    for subject in sorted((root / "brain_brats_volumes").iterdir()):
        yield nifti_unit(subject.name, subject / "Flair_subtrMeanDivStd.nii.gz", subject / "OTMultiClass.nii.gz")


def brain_ms_volume(root: Path) -> Iterator[Unit]:
    """One skull-stripped FLAIR volume with multiple sclerosis lesions."""
    folder = root / "brain_ms_volume"
    yield nifti_unit("ms", next(folder.glob("FLAIR*")), next(folder.glob("GOLD*")))


SETS: dict[str, Callable[[Path], Iterator[Unit]]] = {
    reader.__name__: reader
    for reader in (brain_lgg_flair, brain_brats_volumes, brain_ms_volume, colon_polyp, head_ct_hemorrhage)
}


def frame(unit: Unit) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Images at 256 and masks at 128 pixels, cut to the square around the unit's foreground."""
    inside = unit.images.max(axis=3) > FOREGROUND
    rows = np.flatnonzero((inside.mean(axis=2) >= SMALLEST_EXTENT).any(axis=0))
    columns = np.flatnonzero((inside.mean(axis=1) >= SMALLEST_EXTENT).any(axis=0))
    side = max(np.ptp(rows), np.ptp(columns)) + 1
    top, left = (rows[0] + rows[-1] + 1 - side) // 2, (columns[0] + columns[-1] + 1 - side) // 2

    def cut(array: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        margins = ((side, side), (side, side), (0, 0))[: array.ndim]
        padded = np.pad(array, margins)[top + side : top + 2 * side, left + side : left + 2 * side]
        tensor = torch.from_numpy(np.ascontiguousarray(padded.reshape(side, side, -1).transpose(2, 0, 1)))[None]
        return (
            torch.nn.functional.interpolate(tensor, (size, size), mode="bicubic", antialias=True).clamp(0, 1)[0].numpy()
        )

    images = np.stack([cut(image, SIZE) for image in unit.images])
    if unit.masks is None:
        return images, None
    return images, np.stack([cut(mask.astype(np.float32), MAP)[0] > HALF for mask in unit.masks])


def baselines(images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Maps (n, 128, 128) of three of the benchmark's baselines from images (n, 3, 256, 256)."""

    def halved(maps: NDArray[np.float32]) -> NDArray[np.float32]:
        return maps.reshape(len(maps), MAP, 2, MAP, 2).mean(axis=(2, 4))

    inside = halved(brightness(images)) > FOREGROUND
    return {
        "brightness": halved(brightness(images)),
        "inverse brightness": np.where(inside, halved(inverse_brightness(images)), 0),
        "local contrast": halved(local_contrast(images)),
    }


def load_network(model: str) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Maps (n, m, m) from images (n, 3, 256, 256) in [0, 1], by a model's name or folder, run as `score` runs it."""
    from moeclip_med.scoring import load_detector

    detector = load_detector(model)
    architecture = detector.metadata.architecture
    mean = torch.tensor(architecture.mean)[:, None, None]
    std = torch.tensor(architecture.std)[:, None, None]

    @torch.inference_mode()
    def maps_of(images: NDArray[np.float32]) -> NDArray[np.float32]:
        batches = torch.from_numpy(images).split(4)
        return torch.cat([detector.engine.run((batch - mean) / std).maps.float() for batch in batches]).numpy()

    return maps_of


class UnitTally:
    """Counts per unit, so that patients can be resampled."""

    def __init__(self) -> None:
        self.pixels: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self.images: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def add(self, maps: NDArray[np.float32], masks: NDArray[np.bool_] | None, labels: NDArray[np.bool_]) -> None:
        """Count one unit's maps (n, 128, 128)."""
        smooth = ndimage.gaussian_filter(maps, (0, SMOOTHING, SMOOTHING))
        if masks is not None:
            self.pixels.append(counts(smooth, masks))
        self.images.append(counts(smooth.max(axis=(1, 2)), labels))


def counts(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Histograms of (normal, abnormal) scores."""
    index, flat = BINNING.index(scores), labels.reshape(-1)
    return (
        np.bincount(index[~flat], minlength=BINNING.bins),
        np.bincount(index[flat], minlength=BINNING.bins),
    )


def figure(
    units: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    metric: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]],
) -> str:
    """A metric in percent with its 95 % bootstrap interval over units."""
    if not units:
        return "–"
    normal, abnormal = np.stack([n for n, _ in units]), np.stack([a for _, a in units])
    value = float(metric(normal.sum(axis=0), abnormal.sum(axis=0)))
    if np.isnan(value):
        return "–"
    if len(units) < FEWEST_UNITS:
        return f"{100 * value:.1f}"
    drawn = bootstrap.draw(len(units))
    values = np.concatenate([metric(some @ normal, some @ abnormal) for some in np.array_split(drawn, PARTS)])
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return f"{100 * value:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="A model's name or folder.")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--pictures", type=Path, help="Folder for one picture per set.")
    arguments = parser.parse_args()
    shared = os.environ.get("MOECLIP_SHARED")
    if not shared:
        raise InputError("MOECLIP_SHARED is not set; name the folder that holds data/medical.")
    maps_of = load_network(arguments.model)
    print("| set | images | method | pixel AUROC | pixel AP | image AUROC |\n|---|---|---|---|---|---|")
    for name in arguments.sets:
        tallies: dict[str, UnitTally] = {}
        images_seen, start = 0, time.perf_counter()
        shown: list[NDArray[np.uint8]] = []
        for unit in SETS[name](Path(shared) / "data" / "medical"):
            images, masks = frame(unit)
            methods = {"lite": maps_of(images)}
            if not arguments.no_baselines:
                methods |= baselines(images)
            for method, maps in methods.items():
                tallies.setdefault(method, UnitTally()).add(maps, masks, unit.labels)
            images_seen += len(images)
            if arguments.pictures and len(shown) < MOST_SHOWN:
                number = int(unit.masks.sum(axis=(1, 2)).argmax()) if unit.masks is not None else 0
                shown.append(picture(images[number], None if masks is None else masks[number], methods["lite"][number]))
        for method, tally in tallies.items():
            cells = [figure(tally.pixels, auroc), figure(tally.pixels, average_precision), figure(tally.images, auroc)]
            print(f"| {name} | {images_seen} | {method} | {' | '.join(cells)} |", flush=True)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        if shown:
            arguments.pictures.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.hstack(shown)).save(arguments.pictures / f"{name}.png")


def picture(image: NDArray[np.float32], mask: NDArray[np.bool_] | None, raw: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Image, map (on one scale for all: raw 3.5 to 6.5) and mask, one above the other."""
    shown = (np.clip((raw - 3.5) / 3.0, 0, 1) * 255).astype(np.uint8)
    mask = np.zeros_like(raw, dtype=bool) if mask is None else mask
    small = (image[:, ::2, ::2].transpose(1, 2, 0) * 255).astype(np.uint8)
    return np.vstack([small, *(np.repeat(f[..., None], 3, axis=2) for f in (shown, mask.astype(np.uint8) * 255))])


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
