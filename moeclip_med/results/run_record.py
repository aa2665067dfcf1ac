"""`run.json`: what it takes to repeat a run, and nothing that names a patient."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from moeclip_med._version import __version__
from moeclip_med.results.notes import RESEARCH_USE

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_med.scoring.anomaly import AnomalyVolume


def run_document(anomaly: AnomalyVolume, notes: tuple[str, ...]) -> dict[str, Any]:
    """The content of `run.json`: the scorer's provenance, and how the result came out.

    Args:
        anomaly: The scored volume.
        notes: What has to be said beside the numbers.

    Returns:
        A dictionary that `json` can write with `plain`.
    """
    return {
        "format": "moeclip-med run",
        "format_version": 1,
        "intended_use": RESEARCH_USE,
        "written_by": f"moeclip-med {__version__}",
        **anomaly.provenance,
        "result": {
            **anomaly.provenance.get("result", {}),
            "peak_score": round(anomaly.peak_score, 6),
            "threshold": round(anomaly.threshold, 6),
            "is_calibrated": anomaly.is_calibrated,
            "is_complete": anomaly.scored is None,
            "planes": list(anomaly.planes),
            "findings": len(anomaly.findings),
            "notes": list(notes),
        },
    }


def write_run_record(anomaly: AnomalyVolume, path: Path, notes: tuple[str, ...]) -> None:
    """Write `run.json`.

    Raises:
        TypeError: Where provenance holds anything but plain data: a path, for example, may name a patient.
    """
    text = json.dumps(run_document(anomaly, notes), indent=2, ensure_ascii=False, default=_plain)
    path.write_text(text + "\n", encoding="utf-8")


def _plain(value: object) -> object:
    """NumPy's numbers as Python's; everything else is refused."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    msg = f"provenance holds a {type(value).__name__}; only numbers, texts, lists and dictionaries may be"
    raise TypeError(msg)
