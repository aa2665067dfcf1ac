"""The kinds of result there are, and what each is called on disk."""

from __future__ import annotations

from enum import StrEnum


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
}
"""File (for `sc`: folder) names inside a result folder."""

DICOM_FORMATS = frozenset({ResultFormat.SEG, ResultFormat.PM, ResultFormat.SR, ResultFormat.SC})
"""The formats that cite DICOM source frames, and so need DICOM input."""
