"""The steps of `make bench`: small enough that the whole can be measured in pieces, on a machine that is busy at times.

A step has a place in the record, `(part, question, case)`, and gives what belongs there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
LITE, FULL, STARTUP, METRICS = "lite", "vit-l-14-336", "startup", "metrics"
ENGINES = [["openvino", "bf16"], ["openvino", "int8"], ["openvino", "f32"], ["torch", "bf16"], ["torch", "f32"]]
BATCHES = [1, 2, 4, 8, 16]
VOLUME_SLICES = 155
VOLUME_SIDE = 240

Record = dict[str, Any]


class Step(NamedTuple):
    """One measurement.

    Attributes:
        place: Part, question and case: where in the record the result goes.
        run: Gives the result.
    """

    place: tuple[str, str, str]
    run: Callable[[], Record]


def all_steps(*, quick: bool) -> list[Step]:
    """Every step, in order."""
    metrics = Step((METRICS, "lesions", "all"), partial(script, "lesion_bench.py", "--cases", 10 if quick else 100))
    scan = Step((STARTUP, "scan", "archive"), partial(script, "scan_bench.py", "--files", 2000 if quick else 38_000))
    return [*lite_steps(quick=quick), *full_steps(quick=quick), *startup_steps(quick=quick), scan, metrics]


def script(name: str, option: str, count: int) -> Record:
    """Run a measure that is a script of its own."""
    command = [sys.executable, str(HERE / name), option, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own script
    result: Record = json.loads(done.stdout)
    return result


def measured(part: str, question: str, case: object, name: str, **arguments: Any) -> Step:  # noqa: ANN401 - as `child`
    """A step that is a measure of `measure.py`."""
    return Step((part, question, str(case)), partial(child, name, **arguments))


def prepared_growth(model: str, slices: int) -> Record:
    """Compile the engine in one process, and score in another, so that the peak of memory is that of scoring."""
    prepared = child("prepare", model=model, threads=None)
    return prepared if "prepared" not in prepared else child("growth", model=model, slices=slices)


def lite_steps(*, quick: bool) -> Iterator[Step]:
    """The model that ships: ratio, throughput, image sizes, growth, accuracy, a volume from command to result."""
    yield Step((LITE, "phases", "all"), partial(on_volume, phases))
    yield Step((LITE, "command", "all"), partial(on_volume, partial(time_command, repeats=2 if quick else 5)))
    yield from against_reference(LITE, rounds=3 if quick else 9, batch=4)
    network: Record = {"model": LITE, "engine": "openvino", "precision": "f32", "rounds": 5 if quick else 15}
    for threads in (1, 2):
        yield measured(LITE, "threads", threads, "throughput", **network, batches=BATCHES, threads=threads)
    for size in [224, 256, 512] if quick else [224, 256, 384, 512, 768, 1024]:
        yield measured(LITE, "image_size", size, "throughput", **network, batches=[1], image_size=size)
    for count in [1, 10, 100] if quick else [1, 10, 100, VOLUME_SLICES, 1000]:
        yield Step((LITE, "growth", str(count)), partial(prepared_growth, LITE, count))
    yield Step((LITE, "viewer", "all"), viewer)
    yield measured(LITE, "accuracy", "all", "industrial_auroc", images=8 if quick else 40)


def against_reference(model: str, rounds: int, batch: int) -> Iterator[Step]:
    """Each engine in turn with the reference implementation, those in the usual arithmetic of the model first."""
    usual = "f32" if model == LITE else "bf16"
    for engine, precision in sorted(ENGINES, key=lambda wish: wish[1] != usual):
        wish: Record = {"model": model, "engine": engine, "precision": precision}
        yield Step(
            (model, "against_reference", f"{engine}/{precision}"),
            partial(prepared_ratio, wish, rounds=rounds, batch=batch),
        )


def prepared_ratio(wish: Record, *, rounds: int, batch: int) -> Record:
    """Get an engine ready in one process, and hold it against the reference implementation in another."""
    prepared = child("prepare", **wish)
    return prepared if "prepared" not in prepared else child("ratio", **wish, rounds=rounds, batch=batch)


def full_steps(*, quick: bool) -> Iterator[Step]:
    """ViT-L/14-336 at 518 pixels: ratios, image sizes, threads, growth and memory, getting ready."""
    yield from against_reference(FULL, rounds=2 if quick else 3, batch=1)
    network: Record = {"model": FULL, "engine": "openvino", "precision": "bf16", "rounds": 1 if quick else 3}
    for threads in (1, 2):
        batches = [1] if quick else [1, 2, 4]
        yield measured(FULL, "threads", threads, "throughput", **network, batches=batches, threads=threads)
    for size in [224, 518] if quick else [224, 336, 518, 1036]:
        yield measured(FULL, "image_size", size, "throughput", **network, batches=[1], image_size=size)
    for count in [1] if quick else [1, 10, 100]:
        yield Step((FULL, "growth", str(count)), partial(prepared_growth, FULL, count))
    yield Step((FULL, "command", "all"), time_full_command)
    for precision in ("bf16",) if quick else ("bf16", "int8"):
        yield measured(FULL, "first_start", f"openvino/{precision}", "first_start", precision=precision)


def startup_steps(*, quick: bool) -> Iterator[Step]:
    """What a user waits for before anything runs."""
    for argument in ("--help", "--version"):
        yield Step((STARTUP, "seconds", argument), partial(median_wall, argument, repeats=3 if quick else 7))
    yield Step((STARTUP, "imports", "score"), slowest_imports)


def child(name: str, **arguments: Any) -> Record:  # noqa: ANN401 - whatever the measure takes
    """Run one measure in a process of its own; a failure is recorded, not hidden."""
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(HERE / "measure.py"), name, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [""]
        return {"failed": f"ended with code {done.returncode}: {last[0].strip()}"}
    result: Record = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def viewer() -> Record:
    """The napari plugin (`napari_bench.py`), on the screen that is there or on a virtual one."""
    virtual = ["xvfb-run", "--auto-servernum", "--server-args=-screen 0 1600x1000x24"]
    needs_screen = sys.platform == "linux" and not os.environ.get("DISPLAY")
    if needs_screen and shutil.which(virtual[0]) is None:
        return {"failed": "there is no screen, and no xvfb-run to make a virtual one"}
    command = [*(virtual if needs_screen else []), sys.executable, str(HERE / "napari_bench.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own script
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [""]
        return {"failed": f"ended with code {done.returncode}: {last[0].strip()}"}
    result: Record = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def on_volume(measure: Callable[[Path, Path], Record]) -> Record:
    """Measure with a made volume of 155 slices on the disk, and a folder for results."""
    sys.path.insert(0, str(HERE))
    from subjects import write_made_volume

    with tempfile.TemporaryDirectory() as folder:
        volume = Path(folder) / "volume.nii.gz"
        write_made_volume(volume, VOLUME_SIDE, VOLUME_SLICES)
        return measure(volume, Path(folder))


def phases(volume: Path, folder: Path) -> Record:
    """Where the time goes from the start of a process to the written result."""
    return child("phases", model=LITE, volume=str(volume), output=str(folder / "phases"), started=time.time())


def time_command(volume: Path, folder: Path, repeats: int) -> Record:
    """Time `moeclip-med score` on 155 slices in turn with the imports alone; medians, and the peak of memory."""
    totals, imports, peaks = [], [], []
    for index in range(repeats):
        imports.append(float(child("imports")["seconds"]))
        command = ["score", str(volume), "--output", str(folder / f"result-{index}"), "--quiet"]
        seconds, peak = wall([sys.executable, "-m", "moeclip_med", *command])
        totals.append(seconds)
        peaks.append(peak)
    beyond = sorted(total - spent for total, spent in zip(totals, imports, strict=True))
    middle = len(totals) // 2
    voxels = VOLUME_SIDE**2 * VOLUME_SLICES
    return {
        "slices": VOLUME_SLICES,
        "total_s": sorted(totals)[middle],
        "imports_s": sorted(imports)[middle],
        "beyond_imports_s": beyond[middle],
        "peak_gb_of_the_whole_process": None if None in peaks else max(peaks),
        "allowed_gb": 1.0 + 2 * 4 * voxels / 1e9,
        "repeats": repeats,
    }


def time_full_command() -> Record:
    """Time `moeclip-med score` with ViT-L/14-336 on ten slices: the first start, which compiles, and the second."""
    slices = 10
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        volume = folder / "volume.nii.gz"
        made = child("write_full_model", folder=temporary, volume=str(volume), side=VOLUME_SIDE, slices=slices)
        if "model" not in made:
            return made
        command = [sys.executable, "-m", "moeclip_med", "score", str(volume), "--quiet"]
        command += ["--model", made["model"], "--output"]
        (first_s, first_gb), (again_s, again_gb) = (wall([*command, str(folder / name)]) for name in ("first", "again"))
    return {
        "slices": slices,
        "total_s": again_s,
        "first_start_total_s": first_s,
        "peak_gb_of_the_whole_process": again_gb,
        "first_start_peak_gb": first_gb,
        "allowed_gb": 3.0 + 2 * 4 * VOLUME_SIDE**2 * slices / 1e9,
    }


def median_wall(argument: str, repeats: int) -> Record:
    """Seconds of the command with one argument."""
    command = [sys.executable, "-m", "moeclip_med", argument]
    return {"seconds": sorted(wall(command)[0] for _ in range(repeats))[repeats // 2], "repeats": repeats}


def slowest_imports() -> Record:
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
    return {"seconds": dict(sorted(found.items(), key=lambda item: -item[1])), "all_s": child("imports")["seconds"]}


def wall(command: list[str]) -> tuple[float, float | None]:
    """Seconds of a command, and the peak of its memory in GB where the system tells.

    Raises:
        RuntimeError: It failed; the message is its last line.
    """
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)  # noqa: S603 - our own command
        peak = None
        if hasattr(os, "wait4"):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
        process.wait()
        seconds = time.perf_counter() - started
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {errors.read().strip().splitlines()[-1:]}")
    return seconds, peak
