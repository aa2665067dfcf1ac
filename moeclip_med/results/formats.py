"""The kinds of result there are, and what each is called on disk."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


class ResultFormat(StrEnum):
    """What can be written about a scored volume."""

    NIFTI = "nifti"
    """`anomaly.nii.gz`: the scores, float32, 0 to 1."""
    CSV = "csv"
    """`findings.csv`: one line per finding."""
    JSON = "json"
    """`findings.json`: the findings, the threshold and the notes."""
    REPORT = "report"
    """`report.html`: one self-contained page for a reader."""
    RUN = "run"
    """`run.json`: model, hashes, versions, settings and timing."""
    ROUTING = "routing"
    """`routing.nii.gz`: which expert each patch took, uint8, one volume per level."""
    RAW = "raw"
    """`raw.nii.gz`: the network's unbounded map, float32."""
    SEG = "seg"
    """`segmentation.dcm`: DICOM Segmentation, one segment per finding."""
    PM = "pm"
    """`parametric_map.dcm`: DICOM Parametric Map of the scores, float32."""
    SR = "sr"
    """`measurements.dcm`: DICOM Comprehensive 3D SR, TID 1500, one measurement group per finding."""
    SC = "sc"
    """`overlay/`: DICOM Secondary Capture images with the overlay burnt in."""
    RTSTRUCT = "rtstruct"
    """`contours.dcm`: DICOM RT Structure Set, one region of interest per finding."""


RESULT_NAMES: dict[ResultFormat, str] = {
    ResultFormat.NIFTI: "anomaly.nii.gz",
    ResultFormat.CSV: "findings.csv",
    ResultFormat.JSON: "findings.json",
    ResultFormat.REPORT: "report.html",
    ResultFormat.RUN: "run.json",
    ResultFormat.ROUTING: "routing.nii.gz",
    ResultFormat.RAW: "raw.nii.gz",
    ResultFormat.SEG: "segmentation.dcm",
    ResultFormat.PM: "parametric_map.dcm",
    ResultFormat.SR: "measurements.dcm",
    ResultFormat.SC: "overlay",
    ResultFormat.RTSTRUCT: "contours.dcm",
}
"""File (for `sc`: folder) names inside a result folder."""

ACQUIRED_NAME = "anomaly_acquired.nii.gz"
"""Beside the resampled scores of a tilted or unevenly spaced series: its scores on the slices as acquired."""

AS_FOUND_NAMES: dict[ResultFormat, str] = {
    ResultFormat.SEG: "segmentation_as_found.dcm",
    ResultFormat.SR: "measurements_as_found.dcm",
}
"""Beside a reviewed report: the report before the review, which it cites as its predecessor, and its segments."""

DICOM_FORMATS = frozenset({ResultFormat.SEG, ResultFormat.PM, ResultFormat.SR, ResultFormat.SC, ResultFormat.RTSTRUCT})
"""The formats that cite DICOM source frames, and so need DICOM input."""

NEED_FINDINGS = frozenset({ResultFormat.SEG, ResultFormat.RTSTRUCT})
"""The formats that cannot be empty: without a finding they are skipped, and a note says so."""


def as_acquired(scores: Path) -> Path:
    """Return the file of the scores on the slices as acquired that lies beside one of resampled scores; else that one.

    Args:
        scores: Any file.
    """
    beside = scores.with_name(ACQUIRED_NAME)
    return beside if scores.name == RESULT_NAMES[ResultFormat.NIFTI] and beside.is_file() else scores


class SegmentationKind(StrEnum):
    """The ways in which a DICOM Segmentation holds its segments (PS3.3, C.8.20.2)."""

    BINARY = "binary"
    """One bit a voxel and segment: what every viewer of segmentations reads."""
    LABELMAP = "labelmap"
    """One number a voxel, the segment's: small, but an object of its own class, which newer viewers read."""
    FRACTIONAL = "fractional"
    """One byte a voxel and segment: the anomaly score inside each finding."""


@dataclass(frozen=True)
class CodedTerm:
    """A code with its scheme and meaning (PS3.3, 8.8), such as 39607008, SCT, "Lung".

    Attributes:
        value: The code.
        scheme: The coding scheme's designator, such as "SCT" for SNOMED CT.
        meaning: What it means, in words.
    """

    value: str
    scheme: str
    meaning: str

    def __str__(self) -> str:
        """Return it as `parse` reads it."""
        return f"{self.scheme}:{self.value}:{self.meaning}"

    @staticmethod
    def parse(text: str) -> CodedTerm:
        """Read "SCHEME:VALUE:MEANING".

        Raises:
            InputError: Where a part is missing, too long for DICOM, or not ASCII.
        """
        parts = [part.strip() for part in text.split(":", 2)]
        if len(parts) != len(_LONGEST_PARTS) or not all(parts):
            raise InputError(f'"{text}" is no code; expected SCHEME:VALUE:MEANING, such as "SCT:39607008:Lung".')
        for part, longest in zip(parts, _LONGEST_PARTS, strict=True):
            if len(part) > longest or not part.isascii() or not part.isprintable() or "\\" in part:
                raise InputError(
                    f'"{part}" cannot be part of a code; expected at most {longest} ASCII characters, no backslash.'
                )
        scheme, value, meaning = parts
        return CodedTerm(value, scheme, meaning)


_LONGEST_PARTS = (16, 16, 64)


@dataclass(frozen=True)
class DicomOptions:
    """What a user chooses about DICOM results.

    Attributes:
        segmentation: How a Segmentation holds its segments.
        finding_site: Where in the body findings lie, if the user knows: recorded with each finding.
    """

    segmentation: SegmentationKind = SegmentationKind.BINARY
    finding_site: CodedTerm | None = None

    @staticmethod
    def of(segmentation: SegmentationKind, finding_site: str | None) -> DicomOptions:
        """Make the options that a user gave as text.

        Raises:
            InputError: Where the finding site is no code.
        """
        return DicomOptions(segmentation, None if finding_site is None else CodedTerm.parse(finding_site))
