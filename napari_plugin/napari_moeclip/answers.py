"""What the scoring process answers to the viewer's requests (`messages`): never a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moeclip_transforms import Series

    from moeclip_med.scoring import Finding
    from moeclip_med.scoring.measures import FindingMeasures
    from moeclip_med.scoring.prior import FindingChange
    from moeclip_med.scoring.registration import RigidFit
    from moeclip_med.scoring.review import Review
    from napari_moeclip.shared import SharedArrayReference
    from napari_moeclip.volumes import VolumeReference


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        axis: The volume axis its slices are counted along.
        indices: Volume indices along that axis of the slices whose scores are new.
        n_provisional: So many of them, the first, change again when their neighbours are scored.
        done: Slices scored so far.
        total: Slices to score.
        slices_per_second: Speed so far.
    """

    axis: int
    indices: tuple[int, ...]
    n_provisional: int
    done: int
    total: int
    slices_per_second: float


@dataclass(frozen=True)
class ModelDescription:
    """What can be said of a model before it is loaded.

    Attributes:
        name: Its name or folder.
        is_ready: Whether all its files are on this computer.
        detail: One line: where its files are and how large, or what is missing and how to get it.
        place: The folder of its files; "" where there is none.
        has_text_tower: Whether it can be told what to look for.
    """

    name: str
    is_ready: bool
    detail: str
    has_text_tower: bool
    place: str = ""


@dataclass(frozen=True)
class LoadedModelInfo:
    """What the viewer has to know of a loaded model.

    Attributes:
        name: Its name.
        threshold: The score that a finding reaches.
        levels: Number of levels with experts.
        experts: Number of experts per level.
    """

    name: str
    threshold: float
    levels: int
    experts: int


@dataclass(frozen=True)
class RunOutcome:
    """What a run gave, beside the arrays it filled.

    Attributes:
        run: The run's id.
        threshold: The threshold of these findings.
        model_threshold: The model's own.
        findings: Sorted by rank, rejected ones among them (their label is 0).
        measures: Diameters and intensities, one for each finding.
        notes: What has to be said beside them, one sentence each.
        is_complete: False when the run was cancelled.
        slices_scored: Slices scored.
        slices_needed: Slices that the network had to see: fewer than there are where some are enough.
        seconds: How long scoring took.
        expert_shares: For each level, the share of patches that each expert took; empty if not asked for.
        changes: How findings changed since the prior; empty without one.
    """

    run: str
    threshold: float
    model_threshold: float
    findings: tuple[Finding, ...]
    measures: tuple[FindingMeasures, ...]
    notes: tuple[str, ...]
    is_complete: bool
    slices_scored: int
    slices_needed: int
    seconds: float
    expert_shares: tuple[tuple[float, ...], ...] = ()
    changes: tuple[FindingChange, ...] = ()


@dataclass(frozen=True)
class OpenedRun:
    """A finished run, read back.

    Attributes:
        record_id: The id in its record, which its review names.
        volume: Its map, as a volume.
        outcome: Its findings under its review.
        labels: (*storage) uint16, to be adopted.
        review: What a reader said of it before.
    """

    record_id: str
    volume: VolumeReference
    outcome: RunOutcome
    labels: SharedArrayReference
    review: Review


@dataclass(frozen=True)
class OpenedPrior:
    """An earlier run beside the current one, on its grid.

    Attributes:
        voxels: (*storage) float32, its image, to be adopted.
        labels: (*storage) uint16, its findings, to be adopted.
        window: The values to show as black and white.
        can_align: Whether it can be registered.
        notes: What has to be said before the two are compared.
        fit: How it lies.
        outcome: The current run with the changes since.
    """

    voxels: SharedArrayReference
    labels: SharedArrayReference
    window: tuple[float, float]
    can_align: bool
    notes: tuple[str, ...]
    fit: RigidFit
    outcome: RunOutcome


@dataclass(frozen=True)
class AlignedPrior:
    """A prior that was moved: its arrays hold it at its new place."""

    fit: RigidFit
    outcome: RunOutcome


@dataclass(frozen=True)
class Saved:
    """What was written.

    Attributes:
        formats: The formats that were written, by their names.
        failed: Those that could not be, each with the reason in one sentence.
        header_notes: What the DICOM results hold otherwise than the source's header, one sentence each.
    """

    formats: tuple[str, ...]
    failed: dict[str, str]
    header_notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scan:
    """What a path holds."""

    series: tuple[Series, ...]
    unreadable: tuple[str, ...] = ()
