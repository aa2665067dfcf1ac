"""Speed and memory of everything that users wait for; what `make bench` runs.

    python benchmarks/run.py [--quick] [--only lite vit-l-14-336 startup] [--output out/bench]

Prints one table, and writes `bench.json` and plots. Every measurement runs in a process of its own (`measure.py`), so
that peaks of memory are its own. Ratios alternate between the two sides in one process, because machines are shared
and their clocks wander; single timings say less than ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LITE, FULL, STARTUP = "lite", "vit-l-14-336", "startup"
ENGINES = [["torch", "f32"], ["torch", "bf16"], ["openvino", "f32"], ["openvino", "bf16"], ["openvino", "int8"]]
BATCHES = [1, 2, 4, 8, 16]

Record = dict[str, Any]


def main() -> None:
    """Measure what was asked for, print it and write it."""
    options = parse_options()
    options.output.mkdir(parents=True, exist_ok=True)
    target = options.output / "bench.json"
    # Parts measured earlier are kept, so that the whole can be measured in pieces.
    record: Record = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
    record["machine"] = machine()
    parts = {LITE: measure_lite, FULL: measure_full, STARTUP: measure_startup}
    for name in options.only or list(parts):
        record[name] = parts[name](options)
        target.write_text(json.dumps(record, indent=2), encoding="utf-8")
    print_table(record)
    from plots import write_plots

    write_plots(record, options.output)
    print(f"\nwritten to {options.output}")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure speed and memory.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, sizes and slices")
    parser.add_argument("--only", nargs="+", choices=[LITE, FULL, STARTUP], help="parts to measure; all if left out")
    parser.add_argument("--output", type=Path, default=Path("out/bench"), help="folder of bench.json and the plots")
    options = parser.parse_args()
    options.output = options.output.resolve()
    return options


def machine() -> Record:
    """Describe the machine, and how busy it is with other work."""
    import torch

    from moeclip_med.engines.machine import processor_name

    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_at_start": busy,
    }


def child(name: str, **arguments: Any) -> Record:  # noqa: ANN401 - whatever the measure takes
    """Run one measure in a process of its own; a failure is recorded, not hidden."""
    print(f"measuring {name} {json.dumps(arguments)}", file=sys.stderr, flush=True)
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(HERE / "measure.py"), name, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"code {done.returncode}"}
    result: Record = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def measure_lite(options: argparse.Namespace) -> Record:
    """Measure the model that ships: ratio, throughput, image sizes, growth, and a volume from command to result."""
    quick = options.quick
    result: Record = {"against_plain": child("ratio", model=LITE, engines=ENGINES, rounds=3 if quick else 9, batch=4)}
    rounds = 5 if quick else 15
    auto: Record = {"model": LITE, "engine": "openvino", "precision": "f32"}
    result["threads"] = {
        str(threads): child("throughput", **auto, batches=BATCHES, rounds=rounds, threads=threads) for threads in (1, 2)
    }
    sizes = [224, 256, 512] if quick else [224, 256, 384, 512, 768, 1024]
    result["image_size"] = {
        str(size): child("throughput", **auto, batches=[1], rounds=rounds, image_size=size) for size in sizes
    }
    growth = [1, 10, 100] if quick else [1, 10, 100, 155, 1000]
    result["growth"] = [child("growth", model=LITE, engine="auto", precision="auto", slices=count) for count in growth]
    with tempfile.TemporaryDirectory() as folder:
        volume = Path(folder) / "volume.nii.gz"
        sys.path.insert(0, str(HERE))
        from measure import write_made_volume

        write_made_volume(volume, 240, 155)
        result["phases"] = child("phases", model=LITE, volume=str(volume), output=f"{folder}/phases")
        result["command"] = time_command(volume, Path(folder), repeats=2 if quick else 5)
    result["slices_per_s"] = max(result["threads"]["2"]["slices_per_s"].values())
    result["volume_seconds"] = result["command"]["beyond_imports_s"]
    result["peak_gb"] = result["growth"][-1].get("peak_gb")
    return result


def time_command(volume: Path, folder: Path, repeats: int) -> Record:
    """Time `moeclip-med score` on 155 slices in turn with the imports alone; medians."""
    totals, imports = [], []
    for index in range(repeats):
        imports.append(float(child("imports")["seconds"]))
        command = ["score", str(volume), "--output", str(folder / f"result-{index}"), "--quiet"]
        totals.append(wall([sys.executable, "-m", "moeclip_med", *command]))
    beyond = sorted(total - spent for total, spent in zip(totals, imports, strict=True))
    middle = len(totals) // 2
    return {
        "total_s": sorted(totals)[middle],
        "imports_s": sorted(imports)[middle],
        "beyond_imports_s": beyond[middle],
        "repeats": repeats,
    }


def measure_full(options: argparse.Namespace) -> Record:
    """Measure ViT-L/14-336 at 518 pixels: ratios, image sizes, threads, growth and memory."""
    quick = options.quick
    against = child("ratio", model=FULL, engines=ENGINES, rounds=2 if quick else 5, batch=1)
    result: Record = {"against_plain": against}
    if "ratio" in against:
        best = {precision: _best(against["ratio"], precision) for precision in ("f32", "bf16", "int8")}
        found = {precision: name for precision, name in best.items() if name}
        result["ratio"] = {precision: against["ratio"][name] for precision, name in found.items()}
        result["seconds_per_slice"] = {"plain": against["seconds_per_slice"]["plain"]} | {
            precision: against["seconds_per_slice"][name] for precision, name in found.items()
        }
    network: Record = {"model": FULL, "engine": "torch", "precision": "bf16", "rounds": 1 if quick else 3}
    sizes = [224, 518] if quick else [224, 336, 518, 1036]
    result["image_size"] = {str(size): child("throughput", **network, batches=[1], image_size=size) for size in sizes}
    result["threads"] = {
        str(threads): child("throughput", **network, batches=[1] if quick else [1, 2, 4], threads=threads)
        for threads in (1, 2)
    }
    result["growth"] = [
        child("growth", model=FULL, engine="openvino", precision="bf16", slices=count)
        for count in ([1] if quick else [1, 10])
    ]
    result["peak_gb"] = result["growth"][-1].get("peak_gb")
    return result


def _best(ratios: dict[str, float], precision: str) -> str | None:
    """Give the fastest engine of a precision."""
    names = [name for name in ratios if name.endswith(f"/{precision}")]
    return max(names, key=ratios.__getitem__, default=None)


def measure_startup(options: argparse.Namespace) -> Record:
    """Measure what a user waits for before anything runs."""
    repeats = 3 if options.quick else 7
    module = [sys.executable, "-m", "moeclip_med"]
    return {
        "help_s": sorted(wall([*module, "--help"]) for _ in range(repeats))[repeats // 2],
        "version_s": sorted(wall([*module, "--version"]) for _ in range(repeats))[repeats // 2],
        "imports_of_score_s": child("imports"),
        "slowest_imports_s": slowest_imports(),
    }


def slowest_imports() -> dict[str, float]:
    """Seconds of the libraries that `score` imports, each with what it alone pulls in (`-X importtime`)."""
    script = "import sys; sys.path.insert(0, sys.argv[1]); import measure; measure.import_what_score_needs()"
    command = [sys.executable, "-X", "importtime", "-c", script, str(HERE)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own script
    wanted = ("torch", "torchvision", "monai", "scipy.ndimage", "openvino", "nibabel", "skimage.measure", "timm")
    found = {}
    for line in done.stderr.splitlines():
        columns = line.removeprefix("import time:").split("|")
        if len(columns) == 3 and columns[2].strip() in wanted:  # noqa: PLR2004 - self, cumulative, name
            found[columns[2].strip()] = int(columns[1]) / 1e6
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def wall(command: list[str]) -> float:
    """Seconds of a command.

    Raises:
        RuntimeError: It failed; the message is its last line.
    """
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        msg = f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1:]}"
        raise RuntimeError(msg)
    return time.perf_counter() - started


def print_table(record: Record) -> None:
    """Print one table of what was measured."""
    from table import rows

    lines = rows(record)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for index, line in enumerate(lines):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if index == 0:
            print("  ".join("-" * width for width in widths))


if __name__ == "__main__":
    main()
