"""A whole benchmark: every set judged, summarised and reported; may be stopped and started again."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from moeclip_med._version import __version__
from moeclip_med.benchmark.evaluation import Evaluation
from moeclip_med.benchmark.protocol import ProtocolChoice, protocols_for
from moeclip_med.benchmark.results import SetResult, summarise
from moeclip_med.benchmark.rows import Rows
from moeclip_med.benchmark.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from moeclip_med.benchmark.datasets.case import Dataset
    from moeclip_med.benchmark.systems import DetectorSystem, System

COUNTS_FOLDER = "counts"
COUNTS_VERSION = 2
"""Raised whenever the same images would be counted otherwise: older counts are then not gone on with."""

MAPS_FOLDER = "maps"
_RECORDED_PACKAGES = ("torch", "monai", "open_clip_torch", "timm", "openvino", "numpy", "scipy")


@dataclass(frozen=True)
class BenchmarkSettings:
    """How a benchmark is run.

    Attributes:
        output: The folder for counts and reports.
        protocol: Which protocols are followed.
        save_maps: Whether the detector's raw maps are written.
        restart: Whether counts of an earlier run are thrown away.
    """

    output: Path
    protocol: ProtocolChoice = ProtocolChoice.AUTO
    save_maps: bool = False
    restart: bool = False


@dataclass(frozen=True)
class BenchmarkResult:
    """What a benchmark found.

    Attributes:
        sets: One per data set.
        provenance: What it was made with, JSON-ready; no file names.
        missing: A sentence for each set of the paper that was looked for and is not there, and for each system that
            could not be run.
    """

    sets: tuple[SetResult, ...]
    provenance: dict[str, Any]
    missing: tuple[str, ...] = ()


def run_benchmark(
    datasets: Sequence[Dataset],
    detector: DetectorSystem,
    others: Sequence[System],
    settings: BenchmarkSettings,
    on_case: Callable[[str, int, int], None] = lambda _name, _done, _total: None,
) -> BenchmarkResult:
    """Judge sets, or go on with it.

    Args:
        datasets: The sets.
        detector: The system under test.
        others: What it is compared with.
        settings: How.
        on_case: Told the set, how many of its cases are done, and of how many.

    Raises:
        InputError: If the output folder holds another run.
    """
    results = []
    for dataset in datasets:
        store = evaluate(dataset, detector, others, settings, on_case)
        results.append(summarise(Rows(store)))
    return BenchmarkResult(tuple(results), describe(detector, settings))


def evaluate(
    dataset: Dataset,
    detector: DetectorSystem,
    others: Sequence[System],
    settings: BenchmarkSettings,
    on_case: Callable[[str, int, int], None],
) -> Store:
    """Judge one set and give the store of its counts."""
    folder = settings.output / COUNTS_FOLDER / set_folder_name(dataset.name)
    if settings.restart:
        shutil.rmtree(folder, ignore_errors=True)
    in_paper = dataset.facts is not None and dataset.facts.in_paper
    protocols = protocols_for(settings.protocol, in_paper=in_paper, is_volumes=dataset.is_volumes)
    systems = [detector, *others]
    about = {
        "name": dataset.name,
        "model": detector.detector.metadata.name,
        "is_volumes": dataset.is_volumes,
        "is_industrial": dataset.is_industrial,
        "units_are": dataset.units_are,
        "notes": list(dataset.notes),
        "protocols": [protocol.value for protocol in protocols],
        "systems": {
            system.name: {
                "threshold": system.threshold,
                "centre": system.binning.centre,
                "spread": system.binning.spread,
                "froc_thresholds": system.froc_thresholds.tolist(),
            }
            for system in systems
        },
    }
    store = Store(folder, _settings_hash(about, dataset, detector))
    store.progress["set"] = about
    maps = settings.output / MAPS_FOLDER / folder.name if settings.save_maps else None
    evaluation = Evaluation(dataset, systems, protocols, store, maps)
    evaluation.run(lambda done, total: on_case(dataset.name, done, total))
    return store


def set_folder_name(name: str) -> str:
    """Make a folder name of a set's name, the same on every system."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.") or "set"
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def describe(detector: DetectorSystem, settings: BenchmarkSettings) -> dict[str, Any]:
    """Say what a run was made with."""
    metadata = detector.detector.metadata
    return {
        "software": {
            "name": "moeclip-med",
            "version": __version__,
            "python": platform.python_version(),
            "packages": _versions(),
        },
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "name": metadata.name,
            "version": metadata.version,
            "sha256": detector.detector.identity,
            "engine": detector.detector.engine.name,
            "engine_description": detector.detector.engine.description,
            "threshold": metadata.threshold.value,
            "threshold_source": metadata.threshold.source,
            "is_calibrated": metadata.threshold.is_calibrated,
            "score_scale": {"centre": metadata.score_scale.centre, "spread": metadata.score_scale.spread},
            "training_data": [f"{data.name} ({data.terms})" for data in metadata.training_data],
        },
        "settings": {"protocol": settings.protocol.value},
    }


def _settings_hash(about: dict[str, Any], dataset: Dataset, detector: DetectorSystem) -> str:
    """Hash all that changes a figure: model, systems, protocols, and which cases with which masks."""
    parts = [
        COUNTS_VERSION,
        about,
        detector.detector.identity,
        # Engine, version and arithmetic; not the machine, so that a run may go on on another one.
        detector.detector.engine.description.partition(" on ")[0],
        list(dataset.lesion_labels),
        dataset.time_point,
        dataset.prompts,
        [
            (case.key, case.group, case.unit, case.is_abnormal, case.mask and case.mask.name, case.image.stat().st_size)
            for case in dataset.cases
        ],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _versions() -> dict[str, str]:
    found = {}
    for package in _RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
