"""How a result came about: one frozen record, without anything that names a patient.

It becomes JSON in `run.json` (`to_json`) and comes back from there (`from_json`); inside the package it stays typed.
"""

from __future__ import annotations

import platform
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import msgspec
from moeclip_transforms.errors import InputError
from moeclip_transforms.intensity import Window
from moeclip_transforms.volume import FileFormat, ImageType, Plane

from moeclip_med._version import RESULT_SCHEMA, __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moeclip_transforms import Volume

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
    "pynrrd",
    "tifffile",
    "imagecodecs",
    "pillow",
    "numpy",
)
USER_THRESHOLD = "set by the user"
"""The source of a threshold that is not the model's own."""


@dataclass(frozen=True)
class Package:
    """A program with its version."""

    name: str
    version: str


@dataclass(frozen=True)
class PromptRecord:
    """The phrases that were compared with."""

    normal: tuple[str, ...]
    abnormal: tuple[str, ...]


@dataclass(frozen=True)
class ModelRecord:
    """The model, so that it can be found again.

    Attributes:
        name: Its name.
        version: Its own version.
        sha256: Hash over everything that changes a score.
        notes: What the user should be told about it, one sentence each.
        prompts: The phrases it was asked with; None where it learned its own.
        score_centre: The raw value whose score is one half.
        score_spread: By how much raw must rise for the odds of the score to grow by e.
    """

    name: str
    version: str
    sha256: str
    notes: tuple[str, ...]
    prompts: PromptRecord | None
    score_centre: float
    score_spread: float


@dataclass(frozen=True)
class EngineRecord:
    """What ran the network.

    Attributes:
        name: "torch", "openvino", or the name of a plugin's engine.
        description: What ran where, in which arithmetic, and why it was chosen.
        fallback_reason: Why a weaker engine ran than the one that was meant; "" where none did.
    """

    name: str
    description: str
    fallback_reason: str = ""

    @property
    def is_fallback(self) -> bool:
        """Whether a weaker engine ran than the one that was meant."""
        return bool(self.fallback_reason)


@dataclass(frozen=True)
class InputRecord:
    """What was scored.

    Attributes:
        format: The family of file.
        modality: DICOM modality, or "".
        shape: (x, y, z).
        spacing_mm: Distance between voxels along x, y, z, mm; None without orientation.
        files: Number of files.
        sha256: Hash of their content.
        time_point: The zero-based time point of a 4-D series.
        is_regular: Whether a single affine puts every slice in its place.
        notes: What the reader said.
    """

    format: FileFormat
    modality: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] | None
    files: int
    sha256: str
    time_point: int
    is_regular: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SettingsRecord:
    """The choices of one run.

    Attributes:
        kind: The image type that chose the intensity window.
        window: The window, in the image's own units (HU for CT).
        planes: The planes that were scored.
        threshold: The score that a finding reaches.
        threshold_source: Where the threshold comes from.
        is_calibrated: Whether it was set on images of the kind that is scored.
        asked_plane: The plane that was asked for.
        smallest_finding_ml: Regions of which less reaches the threshold are not listed; None for images without mm.
        through_plane_mm: Standard deviation of the Gaussian along the slice axis, mm; 0 where there was none.
        every_slice: Whether the network was to see each slice, also where some are enough.
    """

    kind: ImageType
    window: Window
    planes: tuple[str, ...]
    threshold: float
    threshold_source: str
    is_calibrated: bool
    asked_plane: Plane = Plane.AUTO
    through_plane_mm: float = 0.0
    smallest_finding_ml: float | None = None
    every_slice: bool = False


@dataclass(frozen=True)
class OutcomeRecord:
    """What came of it.

    Attributes:
        slices_scored: Slices that the network saw, all planes counted: fewer than `slices_total` after a cancel, and
            where slices lie so close together that some are enough.
        slices_total: Slices there were, all planes counted.
        slices_needed: Slices that the network had to see, all planes counted; None where the record does not tell.
        regions_too_small: Regions above the threshold that are not listed, being too small.
        weak_kind_warning: What the model's metadata say of this image type, or "".
        seconds: Time from the volume in memory to the findings.
    """

    slices_scored: int
    slices_total: int
    regions_too_small: int
    weak_kind_warning: str
    seconds: float
    slices_needed: int | None = None

    @property
    def slices_per_second(self) -> float:
        """Slices scored per second."""
        return self.slices_scored / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class ScoringRecord:
    """All that is known of one run.

    Attributes:
        run_id: Unique to this run, in hexadecimal.
        schema_version: `RESULT_SCHEMA` of the program that scored.
        software: The program and the packages that it stands on.
        created: When, ISO 8601, UTC.
        model: The model.
        engine: What ran it.
        input: What was scored.
        settings: The choices.
        outcome: What came of it.
    """

    run_id: str
    schema_version: int
    software: tuple[Package, ...]
    created: str
    model: ModelRecord
    engine: EngineRecord
    input: InputRecord
    settings: SettingsRecord
    outcome: OutcomeRecord

    def to_json(self) -> dict[str, object]:
        """Return the record as what `json` can write."""
        content: dict[str, object] = msgspec.to_builtins(self)
        return content

    @staticmethod
    def from_json(content: object, name: str) -> ScoringRecord:
        """Read a record back.

        Args:
            content: What `json` read; members that are no part of a record are ignored.
            name: The file's name, for messages.

        Raises:
            InputError: When it is not such a record, or one of another schema.
        """
        found = content.get("schema_version") if isinstance(content, dict) else None
        if found != RESULT_SCHEMA:
            raise InputError(
                f'"{name}" holds no run of this version (schema {found!r}, expected {RESULT_SCHEMA}); '
                "score the image again."
            )
        try:
            return msgspec.convert(content, ScoringRecord)
        except msgspec.ValidationError as error:
            raise InputError(f'"{name}" is no record of a run ({error}); score the image again.') from error


def make_record(
    volume: Volume, detector: Detector, settings: SettingsRecord, outcome: OutcomeRecord, *, run_id: str | None = None
) -> ScoringRecord:
    """Record a run so that it can be repeated and its scores understood.

    Args:
        volume: What was scored.
        detector: What scored it.
        settings: The choices of the run.
        outcome: What came of it.
        run_id: The run's identifier where it has one already.
    """
    metadata, series = detector.metadata, volume.series
    return ScoringRecord(
        run_id=run_id or uuid.uuid4().hex,
        schema_version=RESULT_SCHEMA,
        software=(Package("moeclip-med", __version__), Package("python", platform.python_version()), *_packages()),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        model=ModelRecord(
            name=metadata.name,
            version=metadata.version,
            sha256=detector.identity,
            notes=tuple(detector.notes),
            prompts=_prompts(metadata.prompts),
            score_centre=metadata.score_scale.centre,
            score_spread=metadata.score_scale.spread,
        ),
        engine=EngineRecord(detector.engine.name, detector.engine.description, detector.engine.fallback_reason),
        input=InputRecord(
            format=series.format,
            modality=series.modality,
            shape=volume.shape,
            spacing_mm=volume.affine.spacing if volume.has_spacing else None,
            files=len(series.files),
            sha256=volume.source.sha256,
            time_point=volume.source.time_point,
            is_regular=volume.is_regular,
            notes=volume.notes,
        ),
        settings=settings,
        outcome=outcome,
    )


def _prompts(prompts: Prompts | None) -> PromptRecord | None:
    if prompts is None:
        return None
    return PromptRecord(tuple(prompts.normal_phrases()), tuple(prompts.abnormal_phrases()))


def _packages(names: Iterable[str] = _RECORDED_PACKAGES) -> list[Package]:
    found = []
    for name in names:
        try:
            found.append(Package(name, version(name)))
        except PackageNotFoundError:
            continue
    return found
