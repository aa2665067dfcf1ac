"""MoECLIP-Med: zero-shot anomaly maps for medical images. Research use only: not a medical device.

>>> from moeclip_med import load_detector, read_volume, score_volume
>>> anomaly = score_volume(read_volume("brain.nii.gz"), load_detector("lite"))  # doctest: +SKIP

Names are loaded on first use, so importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from moeclip_med._version import __version__

if TYPE_CHECKING:
    from moeclip_transforms import InputError, open_source, read_volume

    from moeclip_med.results import write_results
    from moeclip_med.scoring import AnomalyVolume, Detector, Finding, find_findings, load_detector, score_volume

_HOME = {
    "AnomalyVolume": "moeclip_med.scoring",
    "Detector": "moeclip_med.scoring",
    "Finding": "moeclip_med.scoring",
    "InputError": "moeclip_transforms",
    "find_findings": "moeclip_med.scoring",
    "load_detector": "moeclip_med.scoring",
    "open_source": "moeclip_transforms",
    "read_volume": "moeclip_transforms",
    "score_volume": "moeclip_med.scoring",
    "write_results": "moeclip_med.results",
}

__all__ = [
    "AnomalyVolume",
    "Detector",
    "Finding",
    "InputError",
    "__version__",
    "find_findings",
    "load_detector",
    "open_source",
    "read_volume",
    "score_volume",
    "write_results",
]


def __getattr__(name: str) -> object:
    """Load a public name from its home on first use."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOME[name]), name)
