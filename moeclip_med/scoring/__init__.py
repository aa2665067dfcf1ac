"""From a volume to anomaly scores on its own grid, and to the findings in them.

`load_detector` gives a model ready to run, `score_volume` scores a volume with it, `find_findings` lists the regions
above the threshold. Names are loaded on first use, so importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moeclip_med.scoring.anomaly import AnomalyVolume, Finding
    from moeclip_med.scoring.detector import Detector, SliceMaps, load_detector
    from moeclip_med.scoring.findings import find_findings
    from moeclip_med.scoring.scorer import SliceScores, score_volume

_HOME = {
    "AnomalyVolume": "anomaly",
    "Finding": "anomaly",
    "Detector": "detector",
    "SliceMaps": "detector",
    "load_detector": "detector",
    "find_findings": "findings",
    "SliceScores": "scorer",
    "score_volume": "scorer",
}

__all__ = [
    "AnomalyVolume",
    "Detector",
    "Finding",
    "SliceMaps",
    "SliceScores",
    "find_findings",
    "load_detector",
    "score_volume",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module on first use."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
