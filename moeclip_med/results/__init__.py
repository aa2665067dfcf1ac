"""Results of a scored volume: NIfTI, tables, an HTML report, and DICOM objects that a PACS takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moeclip_med.results.dicom.refusal import refusals
    from moeclip_med.results.formats import ResultFormat
    from moeclip_med.results.writing import result_notes, write_results

__all__ = ["ResultFormat", "refusals", "result_notes", "write_results"]

_HOME = {
    "ResultFormat": "formats",
    "refusals": "dicom.refusal",
    "result_notes": "writing",
    "write_results": "writing",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attribute can be anything
    """Import on first use, so that `moeclip-med --help` does not wait for nibabel and highdicom."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
