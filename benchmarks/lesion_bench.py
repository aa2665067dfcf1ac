"""Time lesion and surface metrics on as many cases as a clinical test set has.

    python benchmarks/lesion_bench.py [--cases 100] [--lesions 10]

Each case has the size of a BraTS volume (240 × 240 × 155, 1 mm) and ten lesions, some found, some missed, some false.
Measured is all that the benchmark computes per case at one threshold: Dice, IoU, HD95, NSD, BraTS' lesion-wise Dice and
HD95, panoptic quality at two IoUs, and hits. The aim is 60 s for 100 cases on two cores, with flat memory. `seconds`
are by the clock; `processor_seconds` are those of all threads, which other work lengthens less.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import numpy as np

SHAPE = (240, 240, 155)
SPACING = (1.0, 1.0, 1.0)


def made_case(rng: np.random.Generator, lesions: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth and found masks with balls of 2 to 20 mm radius."""
    truth, found = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    for number in range(lesions):
        centre, radius = np.array([rng.uniform(45, size - 45) for size in SHAPE]), rng.uniform(2, 20)
        put_ball(truth, centre, radius)
        if number % 4:
            put_ball(found, centre + rng.uniform(-3, 3, 3), radius * rng.uniform(0.7, 1.2))
    for _ in range(4):
        put_ball(found, np.array([rng.uniform(30, size - 30) for size in SHAPE]), rng.uniform(2, 6))
    return truth, found


def put_ball(mask: np.ndarray, centre: np.ndarray, radius: float) -> None:
    """Set the voxels within a radius of a place."""
    start = np.maximum(np.floor(centre - radius).astype(int), 0)
    box = tuple(slice(a, int(c + radius) + 2) for a, c in zip(start, centre, strict=True))
    grid = np.indices(mask[box].shape) + start[:, None, None, None]
    mask[box] |= sum((axis - place) ** 2 for axis, place in zip(grid, centre, strict=True)) <= radius**2


def main() -> None:
    """Print seconds, and the peak of memory before and after."""
    from moeclip_med.metrics.detection import lesion_places, match_marks
    from moeclip_med.metrics.histogram import label_regions
    from moeclip_med.metrics.lesions import measure_lesions, panoptic
    from moeclip_med.metrics.overlap import measure_overlap
    from moeclip_med.metrics.surfaces import bounding_box

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--lesions", type=int, default=10)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    seconds, processor, peaks = 0.0, 0.0, []
    for _ in range(options.cases):
        truth, found = made_case(rng, options.lesions)
        started, used = time.perf_counter(), time.process_time()
        box = bounding_box(truth | found, margin=4)
        truth, found = truth[box], found[box]
        regions, count = label_regions(found)
        places = lesion_places(truth)
        measure_overlap(truth, found, SPACING, element_size=0.001)
        measure_lesions(truth, found, SPACING)
        panoptic(places.labels, regions, 0.5)
        panoptic(places.labels, regions, 0.1)
        match_marks(places, [np.argwhere(regions == 1)[:1]] * count)
        seconds += time.perf_counter() - started
        processor += time.process_time() - used
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(
        json.dumps(
            {
                "cases": options.cases,
                "seconds": round(seconds, 1),
                "processor_seconds": round(processor, 1),
                "peak_mb_after_tenth_of_cases": round(peaks[len(peaks) // 10]),
                "peak_mb": round(peaks[-1]),
            }
        )
    )


if __name__ == "__main__":
    main()
