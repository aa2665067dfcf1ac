"""What the report says, ready for the template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeclip_med._version import __version__
from moeclip_med.results.notes import RESEARCH_USE
from moeclip_med.results.overlay import COLOUR_STEPS
from moeclip_med.results.report.panels import Panel, PanelMaker
from moeclip_med.results.report.profile import Profile, score_profile
from moeclip_med.results.words import (
    count_words,
    diameter_words,
    intensity_words,
    place_words,
    review_words,
    size_words,
    slice_words,
)

if TYPE_CHECKING:
    from moeclip_med.scoring.anomaly import AnomalyVolume, Finding
    from moeclip_med.scoring.measures import FindingMeasures

MOST_ILLUSTRATED = 4
"""Findings shown with pictures; the table lists all."""

MOST_OVERVIEW = 12
"""Slices in the overview."""


@dataclass(frozen=True)
class Section:
    """Pictures of one place: the scored plane first.

    Attributes:
        rank: The finding's rank; 0 where there is no finding and the highest score is shown.
        heading: What it is.
        facts: A few words each: scores, size, place.
        panels: The slice in each plane.
    """

    rank: int
    heading: str
    facts: tuple[str, ...]
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Badge:
    """A short remark about the whole result; `tone` is "warning" or "plain"."""

    text: str
    tone: str


@dataclass(frozen=True)
class TableRow:
    """One finding as the table shows it."""

    rank: int
    size: str
    diameters: str
    intensity: str
    peak: str
    mean: str
    place: str
    slices: str
    review: str


@dataclass(frozen=True)
class Page:
    """Everything the template needs; texts are escaped by the template."""

    intended_use: str
    headline: str
    subline: str
    facts: tuple[str, ...]
    badges: tuple[Badge, ...]
    peak: float
    threshold: float
    colour_steps: tuple[str, ...]
    sections: tuple[Section, ...]
    not_illustrated: int
    overview: tuple[Panel, ...]
    rows: tuple[TableRow, ...]
    reader: str
    place_heading: str
    slice_word: str
    profile: Profile | None
    provenance: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    convention: str
    version: str


def report_page(anomaly: AnomalyVolume, notes: tuple[str, ...]) -> Page:
    """Gather what the report says about a scored volume.

    Args:
        anomaly: The scored volume.
        notes: What has to be said beside the numbers.

    Returns:
        The page; nothing in it names a patient, a file or a date of the study.
    """
    maker = PanelMaker(anomaly)
    shown = anomaly.findings[:MOST_ILLUSTRATED]
    sections = tuple(_finding_section(maker, anomaly, finding) for finding in shown)
    word = "Frame" if anomaly.volume.series.is_cine else "Slice"
    return Page(
        intended_use=RESEARCH_USE,
        headline=_headline(len(anomaly.findings)),
        subline=_subline(anomaly),
        facts=_volume_facts(anomaly),
        badges=_badges(anomaly),
        peak=anomaly.peak_score,
        threshold=anomaly.threshold,
        colour_steps=COLOUR_STEPS,
        sections=sections or (_highest_section(maker, anomaly),),
        not_illustrated=len(anomaly.findings) - len(shown),
        overview=_overview(maker),
        rows=tuple(_row(anomaly, *pair) for pair in _all_findings(anomaly)),
        reader=anomaly.reader,
        place_heading="Centre, mm" if anomaly.volume.has_orientation else "Centre, pixels (column, row)",
        slice_word=word,
        profile=score_profile(anomaly, maker.main_view),
        provenance=_record_rows(anomaly),
        notes=notes,
        convention=_convention(anomaly),
        version=__version__,
    )


def _headline(count: int) -> str:
    words = f"{count_words(count)} above the threshold"
    return words[0].upper() + words[1:]


def _subline(anomaly: AnomalyVolume) -> str:
    comparison = "above" if anomaly.peak_score >= anomaly.threshold else "below"
    return f"Highest anomaly score {anomaly.peak_score:.2f}, {comparison} the threshold of {anomaly.threshold:.2f}."


def _volume_facts(anomaly: AnomalyVolume) -> tuple[str, ...]:
    volume = anomaly.volume
    x, y, z = volume.shape
    facts = [volume.series.modality] if volume.series.modality else []
    facts.append(" + ".join(anomaly.planes) + (" plane" if len(anomaly.planes) == 1 else " planes, fused"))
    if not volume.has_spacing:
        facts = facts[:-1] + [f"{x} × {y} pixels"] + ([f"{z} frames"] if z > 1 else [])
        return tuple(facts)
    facts.append(f"{x} × {y} × {z} voxels")
    facts.append(" × ".join(f"{length:.3g}" for length in volume.affine.spacing) + " mm")
    return tuple(facts)


def _badges(anomaly: AnomalyVolume) -> tuple[Badge, ...]:
    badges = [
        Badge("Calibrated threshold", "plain") if anomaly.is_calibrated else Badge("Uncalibrated threshold", "warning")
    ]
    if anomaly.record.engine.is_fallback:
        badges.append(Badge("Fallback engine", "warning"))
    if anomaly.scored is not None:
        badges.append(Badge("Incomplete: scoring was stopped early", "warning"))
    if not anomaly.volume.is_regular:
        badges.append(Badge("Tilted or uneven slices", "warning"))
    return tuple(badges)


def _finding_section(maker: PanelMaker, anomaly: AnomalyVolume, finding: Finding) -> Section:
    facts = [review_words(finding)] if finding.review is not None else []
    facts += [f"highest score {finding.peak_score:.2f}", f"mean {finding.mean_score:.2f}", size_words(finding)]
    if finding.centre_lps_mm:
        facts.append(place_words(anomaly, finding))
    panels = tuple(maker.at_voxel(view, finding.peak_voxel) for view in maker.views)
    return Section(finding.rank, f"Finding {finding.rank}", tuple(facts), panels)


def _highest_section(maker: PanelMaker, anomaly: AnomalyVolume) -> Section:
    x, y, z = (int(index) for index in np.unravel_index(np.argmax(anomaly.scores), anomaly.scores.shape))
    panels = tuple(maker.at_voxel(view, (x, y, z)) for view in maker.views)
    facts = (f"score {anomaly.peak_score:.2f}", "below the threshold: shown for orientation only")
    return Section(0, "Highest score", facts, panels)


def _overview(maker: PanelMaker) -> tuple[Panel, ...]:
    """Evenly spaced slices of the scored plane; none where the pictures above show them all."""
    if maker.main_view.n_slices == 1:
        return ()
    return tuple(maker.at_slice(maker.main_view, index) for index in maker.spread(MOST_OVERVIEW))


def _all_findings(anomaly: AnomalyVolume) -> list[tuple[Finding, FindingMeasures]]:
    """Return findings with their measures; those that a reader rejected come last."""
    rejected = [(one.finding, one.measures) for one in anomaly.rejected]
    return [*zip(anomaly.findings, anomaly.measures, strict=True), *rejected]


def _row(anomaly: AnomalyVolume, finding: Finding, measures: FindingMeasures) -> TableRow:
    return TableRow(
        rank=finding.rank,
        size=size_words(finding),
        diameters=diameter_words(measures),
        intensity=intensity_words(measures),
        peak=f"{finding.peak_score:.3f}",
        mean=f"{finding.mean_score:.3f}",
        place=place_words(anomaly, finding),
        slices=slice_words(finding),
        review=review_words(finding),
    )


def _convention(anomaly: AnomalyVolume) -> str:
    if anomaly.volume.has_orientation:
        return (
            "Radiological convention: the patient's right is on the left of axial and coronal slices. R right, L left, "
            "A anterior, P posterior, S superior, I inferior."
        )
    lengths = "" if anomaly.volume.has_spacing else "; lengths are in pixels"
    return f"The image is shown as stored{lengths}."


def _record_rows(anomaly: AnomalyVolume) -> tuple[tuple[str, str], ...]:
    """The part of `run.json` that a reader may want to know, in words."""
    run = anomaly.record
    model, settings, software = run.model, run.settings, run.software[0]
    return (
        ("Model", f"{model.name} {model.version}"),
        ("Model hash", model.sha256),
        ("Engine", run.engine.description),
        ("Threshold", f"{settings.threshold:.4g} ({settings.threshold_source})"),
        ("Image type", settings.kind.value),
        ("Intensity window", f"{settings.window.low:.5g} to {settings.window.high:.5g}"),
        ("Planes", ", ".join(settings.planes)),
        ("Input hash", run.input.sha256),
        ("Software", f"{software.name} {software.version}"),
        ("Scored", run.created),
        ("Time to score", f"{run.outcome.seconds:.1f} s"),
        ("Run", run.run_id),
    )
