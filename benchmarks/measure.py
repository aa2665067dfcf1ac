"""What is measured, each in a process of its own: `python benchmarks/measure.py NAME '{"argument": value}'`.

The last line printed is the result as JSON. `run.py` starts these and gathers them.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subjects import write_full_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from moeclip_med.weights import LoadedModel

Result = dict[str, Any]

COMPARED_IMAGES = 3
"""As many as an engine is held against before it may run (`openvino_models.py`)."""


def ratio(model: str, engine: str, precision: str, rounds: int, batch: int, threads: int = 2) -> Result:
    """Time the reference implementation and an engine in turn, and compare their maps of three images or more.

    Machines are shared and their clocks wander, so that only what runs in the same round is compared: the ratio is the
    median over rounds of seconds of the reference over those of the engine's seconds.
    """
    import torch
    from measured_models import measured_model
    from reference import reference_maps
    from subjects import industrial_images

    from moeclip_med.engines import make_engine

    torch.set_num_threads(threads)
    loaded = measured_model(model)
    every = industrial_images(loaded, max(batch, COMPARED_IMAGES))
    images = every[:batch].contiguous()
    made = _make(make_engine, loaded, [engine, precision], threads)
    if isinstance(made, str):
        return {"refused": made}
    wanted = torch.cat([reference_maps(loaded.network, part, loaded.text) for part in every.split(batch)])
    found = torch.cat([made.run(part).maps for part in every.split(batch)])
    scale = loaded.metadata.score_scale
    plain, ours = [], []
    for _ in range(rounds):
        plain.append(clock(lambda: reference_maps(loaded.network, images, loaded.text)) / batch)
        ours.append(clock(lambda: made.run(images)) / batch)
    return {
        "ratio": statistics.median(first / second for first, second in zip(plain, ours, strict=True)),
        "seconds_per_slice": statistics.median(ours),
        "reference_seconds_per_slice": statistics.median(plain),
        "correlation": correlation(found, wanted),
        "lowest_correlation_of_one_image": min(map(correlation, found, wanted)),
        "largest_map_difference": float((found - wanted).abs().max()),
        "spread_of_the_map": float(wanted.std()),
        "largest_score_difference": float(abs(scale.score(found.numpy()) - scale.score(wanted.numpy())).max()),
        "batch": batch,
        "rounds": rounds,
    }


def prepare(model: str, engine: str = "auto", precision: str = "auto", threads: int | None = 2) -> Result:
    """Compile, quantise and cache an engine, so that the process that times it starts as any other does.

    Quantising leaves the heap in a state in which PyTorch's reference implementation runs a third faster.
    """
    from measured_models import measured_model

    from moeclip_med.engines import make_engine

    made = _make(make_engine, measured_model(model), [engine, precision], threads)
    return {"refused": made} if isinstance(made, str) else {"prepared": made.description}


def correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's, of all pixels."""
    import torch

    return float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])


def _make(make: Callable[..., Any], loaded: LoadedModel, wish: list[str], threads: int | None) -> Any:  # noqa: ANN401
    """Return the engine, or why there is none."""
    from moeclip_transforms.errors import InputError

    engine, precision = wish
    try:
        return make(loaded, engine=engine, precision=precision, device="cpu", threads=threads)
    except InputError as error:
        return str(error)


def throughput(model: str, engine: str, precision: str, batches: list[int], rounds: int, **options: int) -> Result:
    """Slices per second of the network alone by batch; options: threads, image_size."""
    from measured_models import measured_model
    from subjects import industrial_images

    from moeclip_med.engines import make_engine

    threads = options.get("threads", 2)
    loaded = measured_model(model, options.get("image_size"))
    made = _make(make_engine, loaded, [engine, precision], threads)
    if isinstance(made, str):
        return {"refused": made}
    images = industrial_images(loaded, max(batches))
    rates, latencies = {}, {}
    for batch in batches:
        part = images[:batch].contiguous()
        made.run(part)
        seconds = sorted(clock(lambda part=part: made.run(part)) for _ in range(rounds))
        rates[batch] = batch / seconds[len(seconds) // 2]
        latencies[batch] = seconds[len(seconds) // 2]
    return {"slices_per_s": rates, "latency_s": latencies, "description": made.description}


def first_start(precision: str) -> Result:
    """Seconds until OpenVINO is ready to run ViT-L/14-336 the first time, and from then on."""
    from measured_models import FULL, measured_model

    from moeclip_med.engines import make_engine
    from moeclip_med.weights.cache import CACHE_VARIABLE

    loaded = measured_model(FULL)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[CACHE_VARIABLE] = folder
        first, again = (
            clock(lambda: make_engine(loaded, engine="openvino", precision=precision, device="cpu")) for _ in range(2)
        )
    return {"first_s": first, "again_s": again}


def growth(model: str, slices: int, side: int = 240) -> Result:
    """Score each slice of a made volume (side, side, slices) with the engine that is chosen: seconds, peak memory."""
    from measured_models import LITE, measured_model
    from subjects import made_volume

    from moeclip_med.engines import make_engine
    from moeclip_med.scoring import Detector, score_volume

    loaded = measured_model(model)
    detector = Detector(loaded, make_engine(loaded, device="cpu"))
    with made_volume(side, slices) as volume:
        can_tell = reset_peak_memory()
        seconds = clock(lambda: score_volume(volume, detector, every_slice=True))
    bytes_of_volume = 4 * side * side * slices
    return {
        "slices": slices,
        "seconds": seconds,
        "peak_gb": peak_memory() if can_tell else None,
        "allowed_gb": (1.0 if model == LITE else 3.0) + 2 * bytes_of_volume / 1e9,
        "engine": detector.engine.description,
    }


def industrial_auroc(images: int) -> Result:
    """Pixel AUROC of lite, in PyTorch's float32 and by every engine, on industrial defects that it never learned from.

    On crops of the two sets held out from training where MOECLIP_SHARED names the folder of `data/`; on made
    textures with made defects, which anyone can repeat, otherwise.
    """
    import torch
    from measured_models import LITE, measured_model
    from sklearn.metrics import roc_auc_score
    from steps import ENGINES
    from subjects import HELD_OUT, defects, held_out

    from moeclip_med.engines import make_engine

    loaded = measured_model(LITE)
    pictures, truth = defects(loaded, images)

    def auroc(maps: Tensor) -> float:
        return 100 * float(roc_auc_score(truth.flatten().numpy(), maps.flatten().numpy()))

    def run(engine: Any) -> Tensor:  # noqa: ANN401 - an engine
        return torch.cat([engine.run(part).maps for part in pictures.split(4)])

    with torch.inference_mode():
        plain = torch.cat([loaded.network(part).maps for part in pictures.split(4)])
    made = {"/".join(wish): _make(make_engine, loaded, wish, 2) for wish in ENGINES}
    return {
        "images": images,
        "data": "made defects" if held_out() is None else ", ".join(HELD_OUT),
        "plain": auroc(plain),
        "auroc": {name: auroc(run(engine)) for name, engine in made.items() if not isinstance(engine, str)},
        "refused": {name: reason for name, reason in made.items() if isinstance(reason, str)},
    }


def phases(model: str, volume: str, output: str, started: float) -> Result:
    """Where the time goes from command to written result, step by step in one process, which began at `started`."""
    begun = started
    spent: dict[str, float] = {"start Python": time.time() - begun}
    started = time.perf_counter()
    import_what_score_needs()
    spent["import"] = time.perf_counter() - started

    from moeclip_transforms import fit_window, open_source, slice_views

    from moeclip_med.results import ResultFormat, write_results
    from moeclip_med.scoring import load_detector, score_volume

    started = time.perf_counter()
    with open_source(Path(volume)) as source:
        image = source.read(source.series[0])
    spent["read"] = time.perf_counter() - started
    started = time.perf_counter()
    detector = load_detector(model)
    spent["load model"] = time.perf_counter() - started
    started = time.perf_counter()
    view, window = slice_views(image)[0], fit_window(image, image.series.image_type)
    for index in range(view.n_slices):
        window.apply(view.take(image.tensor, [index]))
    spent["prepare (beside the network)"] = time.perf_counter() - started
    network = 0.0
    run = detector.engine.run

    def timed(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        nonlocal network
        begun = time.perf_counter()
        output_of_network = run(*arguments, **options)
        network += time.perf_counter() - begun
        return output_of_network

    detector.engine.run = timed  # type: ignore[method-assign]
    first: list[float] = []
    started = time.perf_counter()
    anomaly = score_volume(image, detector, on_slices=lambda _: first or first.append(time.time() - begun))
    scoring = time.perf_counter() - started
    spent["network"], spent["crop, resize, fuse, findings"] = network, scoring - network
    started = time.perf_counter()
    formats = frozenset({ResultFormat(name) for name in ("nifti", "json", "csv", "report", "run")})
    write_results(anomaly, Path(output), formats)
    spent["write"] = time.perf_counter() - started
    return {
        "seconds": spent,
        "first_slice_after_s": first[0],
        "slices": image.shape[2],
        "engine": detector.engine.description,
    }


def imports() -> Result:
    """Seconds to import what scoring with lite needs."""
    return {"seconds": clock(import_what_score_needs)}


def import_what_score_needs() -> None:
    """Import what `moeclip-med score` does for lite with a compiled model in the cache."""
    for name in (
        "torch",
        "nibabel",
        "scipy.ndimage",
        "skimage.measure",
        "openvino",
        "moeclip_med.cli.app",
        "moeclip_med.scoring.detector",
        "moeclip_med.scoring.scorer",
        "moeclip_med.engines.openvino_engine",
        "moeclip_med.results.writing",
        "moeclip_transforms.source",
    ):
        __import__(name)  # not by importlib: -X importtime sees only what the import statement would do


def clock(subject: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    subject()
    return time.perf_counter() - started


def reset_peak_memory() -> bool:
    """Forget the peak so far, of loading and of making the benchmark's weights; Linux only."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_memory() -> float:
    """The peak of resident memory since the reset, in GB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e9
    raise OSError("/proc/self/status names no peak of memory")


MEASURES: dict[str, Callable[..., Result]] = {
    function.__name__: function
    for function in (
        prepare,
        ratio,
        throughput,
        first_start,
        growth,
        industrial_auroc,
        phases,
        write_full_model,
        imports,
    )
}

if __name__ == "__main__":
    print(json.dumps(MEASURES[sys.argv[1]](**json.loads(sys.argv[2]))))
