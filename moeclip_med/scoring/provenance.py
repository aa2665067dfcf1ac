"""How a result came about: the content of `run.json`, without anything that names a patient."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from moeclip_med._version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from moeclip_transforms import ImageKind, Volume, Window

    from moeclip_med.model.prompts import Prompts
    from moeclip_med.scoring.detector import Detector

_RECORDED_PACKAGES = (
    "torch",
    "monai",
    "open_clip_torch",
    "timm",
    "openvino",
    "nibabel",
    "pydicom",
    "SimpleITK",
    "numpy",
)


@dataclass(frozen=True)
class RunSettings:
    """The choices of one run and what came of them.

    Attributes:
        kind: The kind of image that chose the intensity window.
        window: The window, in the image's own units (HU for CT).
        planes: The planes that were scored.
        threshold: The score that a finding reaches.
        threshold_source: Where the threshold comes from.
        slices_scored: Slices scored, all planes counted; fewer than `slices_total` after a cancel.
        slices_total: Slices there were.
        regions_too_small: Regions above the threshold left out as too small.
        seconds: Time from the volume in memory to the findings.
    """

    kind: ImageKind
    window: Window
    planes: tuple[str, ...]
    threshold: float
    threshold_source: str
    slices_scored: int
    slices_total: int
    regions_too_small: int
    seconds: float


def describe_run(volume: Volume, detector: Detector, settings: RunSettings) -> dict[str, Any]:
    """Describe a run so that it can be repeated and its scores understood.

    Returns:
        JSON-ready: software versions, model and hashes, input hash, settings, timing, notes. No file name, patient
        name, ID, date of the study or description is in it.
    """
    metadata = detector.metadata
    series = volume.series
    return {
        "software": {
            "name": "moeclip-med",
            "version": __version__,
            "python": platform.python_version(),
            "packages": _versions(_RECORDED_PACKAGES),
        },
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "name": metadata.name,
            "version": metadata.version,
            "sha256": detector.identity,
            "notes": list(detector.notes),
            "prompts": _prompts(metadata.prompts),
            "engine": detector.engine.name,
            "engine_description": detector.engine.description,
            "score_scale": {"centre": metadata.score_scale.centre, "spread": metadata.score_scale.spread},
        },
        "input": {
            "format": series.format.value,
            "modality": series.modality,
            "shape": list(volume.shape),
            "spacing_mm": _spacing(volume),
            "files": len(series.files),
            "sha256": hash_files(series.files),
            "time_point": volume.time_point,
            "is_regular": volume.is_regular,
            "notes": list(volume.notes),
        },
        "settings": {
            "kind": settings.kind.value,
            "window": {"low": settings.window.low, "high": settings.window.high},
            "planes": list(settings.planes),
            "threshold": settings.threshold,
            "threshold_source": settings.threshold_source,
            "is_calibrated": metadata.threshold.is_calibrated,
        },
        "result": {
            "slices_scored": settings.slices_scored,
            "slices_total": settings.slices_total,
            "regions_too_small": settings.regions_too_small,
            "weak_kind_warning": metadata.weak_kinds.get(settings.kind.value, ""),
        },
        "timing": {
            "score_seconds": round(settings.seconds, 3),
            "slices_per_second": round(settings.slices_scored / settings.seconds, 2),
        },
    }


def hash_files(files: Iterable[Path]) -> str:
    """Give one SHA-256 for a set of files: the hash of their sorted hashes, so names and order do not matter."""
    digests = []
    for path in files:
        with path.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _prompts(prompts: Prompts | None) -> dict[str, list[str]] | None:
    """Give the phrases that were compared with; None where the model learned its own."""
    if prompts is None:
        return None
    return {"normal": list(prompts.normal_phrases()), "abnormal": list(prompts.abnormal_phrases())}


def _spacing(volume: Volume) -> list[float] | None:
    if not volume.has_orientation:
        return None
    return [round(float(length), 6) for length in (volume.affine[:3, :3] ** 2).sum(axis=0) ** 0.5]


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
