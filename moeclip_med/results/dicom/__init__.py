"""Results as DICOM objects of the source's own study: Segmentation, Parametric Map, structured report, captures."""

from __future__ import annotations

from moeclip_med.results.dicom.writing import write_dicom

__all__ = ["write_dicom"]
