"""A whole benchmark: every set evaluated, summarized and reported; may be stopped and started again."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from moeclip_transforms.errors import InputError, NoticeWarning

from moeclip_med._version import __version__
from moeclip_med.benchmark.evaluation import Evaluation
from moeclip_med.benchmark.looks import ENVIRONMENT, Look, add_look, count_looks, hash_set, looks_path, read_looks
from moeclip_med.benchmark.maps import MapSource, MapSystem
from moeclip_med.benchmark.outcomes import ThresholdKind
from moeclip_med.benchmark.protocol import Protocol, ProtocolChoice, protocols_for
from moeclip_med.benchmark.results import COMPARED, SetResult, summarize
from moeclip_med.benchmark.run_store import Store
from moeclip_med.benchmark.set_progress import SetRecord, SystemRecord
from moeclip_med.benchmark.stored_rows import Rows
from moeclip_med.benchmark.systems import BaselineSystem
from moeclip_med.metrics.binning import Binning
from moeclip_med.metrics.histogram import COARSE_BINS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from moeclip_med.benchmark.datasets.case import Dataset
    from moeclip_med.benchmark.systems import DetectorSystem, Scored, System

COUNTS_FOLDER = "counts"
COUNTS_VERSION = 3
"""Raised whenever the same images would be counted otherwise: older counts are then not continued."""

MAPS_FOLDER = "maps"
_RECORDED_PACKAGES = ("torch", "monai", "open_clip_torch", "timm", "openvino", "numpy", "scipy")


@dataclass(frozen=True)
class BenchmarkSettings:
    """How a benchmark is run.

    Attributes:
        output: The folder for counts and reports.
        protocol: Which protocols are followed.
        maps: Programs that are known by their maps.
        strata: Set to a CSV file with properties of its cases; "" stands for every set.
        threshold_from: The set on which a threshold is chosen for all others; "" for none.
        save_maps: Whether the detector's raw maps are written.
        restart: Whether counts of an earlier run are thrown away.
    """

    output: Path
    protocol: ProtocolChoice = ProtocolChoice.AUTO
    maps: tuple[MapSource, ...] = ()
    strata: Mapping[str, Path] = field(default_factory=dict)
    threshold_from: str = ""
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
    """Evaluate sets, or go on with it; each look at a set is recorded in the user's own folder.

    Args:
        datasets: The sets.
        detector: The system under test.
        others: What it is compared with.
        settings: How.
        on_case: Told the set, how many of its cases are done, and of how many.

    Raises:
        InputError: If the output folder holds another run, or a set, map or file of strata cannot be used.
    """
    source = next((one for one in datasets if one.name == settings.threshold_from), None)
    if settings.threshold_from and source is None:
        raise InputError(
            f'--threshold-from "{settings.threshold_from}": no set of that name; name one of the sets given'
        )
    in_turn = sorted(datasets, key=lambda one: one is not source)
    chosen: dict[str, float] = {}
    results: dict[str, SetResult] = {}
    for dataset in in_turn:
        store, is_new = evaluate(dataset, detector, others, settings, chosen, on_case)
        rows = Rows(store)
        strata = settings.strata.get(dataset.name, settings.strata.get(""))
        results[dataset.name] = summarize(rows, strata)
        if dataset is source:
            chosen = choose_thresholds(rows)
        if is_new:
            _record_look(dataset, results[dataset.name], store, detector, settings)
    sets = tuple(results[dataset.name] for dataset in datasets)
    return BenchmarkResult(sets, describe(detector, settings))


def evaluate(
    dataset: Dataset,
    detector: DetectorSystem,
    others: Sequence[System],
    settings: BenchmarkSettings,
    chosen: Mapping[str, float],
    on_case: Callable[[str, int, int], None],
) -> tuple[Store, bool]:
    """Evaluate one set.

    Returns:
        The store of its counts, and whether a case was evaluated now rather than in an earlier run.
    """
    folder = settings.output / COUNTS_FOLDER / set_folder_name(dataset.name)
    if settings.restart:
        shutil.rmtree(folder, ignore_errors=True)
    programs = [MapSystem(source, dataset) for source in settings.maps]
    systems: list[System | MapSystem] = [detector, *programs, *others]
    in_paper = dataset.facts is not None and dataset.facts.in_paper and not programs
    protocols = protocols_for(settings.protocol, in_paper=in_paper, is_volumes=dataset.is_volumes)
    if programs and Protocol.NATIVE not in protocols:
        raise InputError("--maps are compared on the images' own pixels; omit --protocol paper")
    thresholds = {system.name: _thresholds(system, chosen, is_volumes=dataset.is_volumes) for system in systems}
    about = SetRecord(
        name=dataset.name,
        model=detector.detector.metadata.name,
        is_volumes=dataset.is_volumes,
        is_industrial=dataset.is_industrial,
        units_are=dataset.units_are,
        notes=tuple(dataset.notes),
        protocols=tuple(protocols),
        threshold_from=settings.threshold_from,
        baselines=tuple(system.name for system in systems if isinstance(system, BaselineSystem)),
        systems={
            system.name: SystemRecord(
                thresholds[system.name],
                system.binning.centre,
                system.binning.spread,
                tuple(system.froc_thresholds.tolist()),
            )
            for system in systems
        },
    )
    store = Store.begin(folder, _settings_hash(about, dataset, detector), about)
    is_new = store.progress.done < len(dataset.cases)
    maps = settings.output / MAPS_FOLDER / folder.name if settings.save_maps else None
    evaluation = Evaluation(dataset, systems, protocols, thresholds, store, maps)
    evaluation.run(lambda done, total: on_case(dataset.name, done, total))
    return store, is_new


def choose_thresholds(rows: Rows) -> dict[str, float]:
    """Return for each system the raw score of the highest Dice of all pixels of a set, to be used on others."""
    chosen = {}
    for system in rows.systems:
        counts = rows.total_counts(system, rows.protocols[0])
        if not counts.abnormal.any():
            raise InputError(
                f'--threshold-from "{rows.about.name}": nothing abnormal in its masks; name a set with lesions'
            )
        true = np.cumsum(counts.abnormal[::-1])[::-1]
        positive = true + np.cumsum(counts.normal[::-1])[::-1]
        best = int(np.argmax(2 * true / (positive + true[0])))
        settings = rows.about.systems[system]
        edges = Binning(settings.centre, settings.spread).lower_edges(COARSE_BINS)
        chosen[system] = float(edges[max(best, 1)])
    return chosen


def _thresholds(system: Scored, chosen: Mapping[str, float], *, is_volumes: bool) -> dict[ThresholdKind, float]:
    stored = system.threshold_for(is_volumes=is_volumes)
    found = {} if stored is None else {ThresholdKind.STORED: stored}
    return found if system.name not in chosen else found | {ThresholdKind.CHOSEN: chosen[system.name]}


def _record_look(
    dataset: Dataset, result: SetResult, store: Store, detector: DetectorSystem, settings: BenchmarkSettings
) -> None:
    """Count the looks at this set so far, for the report, and add this one; a record that is out of reach is told."""
    path, set_sha256 = looks_path(), hash_set(dataset)
    metadata = detector.detector.metadata
    look = Look(
        set_sha256,
        dataset.name,
        f"{metadata.name} {metadata.version}",
        detector.detector.identity,
        {"protocol": result.protocol.value, "threshold_from": settings.threshold_from},
        datetime.now(UTC).isoformat(timespec="seconds"),
        {f"{kind}.{name}": result.metric(result.detector, kind, name).value for kind, name in COMPARED},
    )
    try:
        before = count_looks(read_looks(path), set_sha256)
        add_look(path, look)
    except OSError as error:
        warnings.warn(
            f'This look at "{dataset.name}" is not recorded, and earlier ones are not counted: "{path}" cannot be used '
            f"({error.strerror}). Name another folder in {ENVIRONMENT}.",
            NoticeWarning,
            stacklevel=2,
        )
        return
    store.progress.looks = before
    store.progress.write(store.folder)


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
            "fallback_reason": getattr(detector.detector.engine, "fallback_reason", ""),
            "threshold": metadata.threshold.value,
            "threshold_source": metadata.threshold.source,
            "volume_threshold": metadata.threshold_for(2).value,
            "is_calibrated": metadata.threshold.is_calibrated,
            "score_scale": {"centre": metadata.score_scale.centre, "spread": metadata.score_scale.spread},
            "training_data": [f"{data.name} ({data.terms})" for data in metadata.training_data],
        },
        "settings": {
            "protocol": settings.protocol.value,
            "threshold_from": settings.threshold_from,
            "maps": {source.name: source.threshold for source in settings.maps},
        },
    }


def _settings_hash(about: SetRecord, dataset: Dataset, detector: DetectorSystem) -> str:
    """Hash all that changes a figure: model, systems, protocols, and which cases with which masks."""
    parts = [
        COUNTS_VERSION,
        msgspec.to_builtins(about),
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
