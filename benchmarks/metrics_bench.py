"""Time and memory of the pixel metrics on the largest published test set: Brain MRI, 3715 maps of 518 x 518.

    python benchmarks/metrics_bench.py [--images 3715]

Maps and masks are simulated and made outside the measured time. The memory is the peak of the whole process, with
Python and NumPy in it.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from moeclip_med.metrics.binning import Binning
from moeclip_med.metrics.curves import measure
from moeclip_med.metrics.histogram import PixelHistogram

SIZE = 518


def simulated_map(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Make one map with heavy tails and a mask with two regions, 3 % of the pixels."""
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    for side in (80, 40):
        row, column = rng.integers(0, SIZE - side, size=2)
        mask[row : row + side, column : column + side] = True
    raw = 6.0 + 0.2 * rng.standard_normal((SIZE, SIZE), dtype=np.float32)
    raw[mask] += 0.3 * rng.exponential(size=int(mask.sum())).astype(np.float32)
    return raw, mask


def peak_memory_mb() -> float:
    """Peak resident memory of this process, or NaN where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> None:
    """Run the measurement and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3715)
    images = parser.parse_args().images
    rng = np.random.default_rng(0)
    maps = [simulated_map(rng) for _ in range(24)]
    histogram = PixelHistogram(Binning(centre=6.0, spread=0.2))
    started, processor = time.perf_counter(), time.process_time()
    for number in range(images):
        histogram.add(*maps[number % len(maps)])
    counted, processor = time.perf_counter(), time.process_time() - processor
    metrics = measure(histogram.counts)
    finished = time.perf_counter()
    pixels = histogram.counts.pixels
    print(f"{pixels:.3e} pixels: counted in {counted - started:.1f} s ({processor:.1f} s of processor time), ", end="")
    print(f"metrics in {finished - counted:.2f} s, peak memory {peak_memory_mb():.0f} MB")
    for name, metric in metrics.items():
        print(f"{name:6} {metric.value:.6f}  exact value within {metric.error_bound:.1e}")


if __name__ == "__main__":
    main()
