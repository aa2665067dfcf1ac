"""Medical images in: found in files and folders, read with their geometry checked, cut into slices.

Importing this package is light: nothing heavy (torch, MONAI, SimpleITK) is loaded before a name is used (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moeclip_transforms.archives import ArchiveLimits
    from moeclip_transforms.errors import InputError, MissingExtraError
    from moeclip_transforms.framing import SquareBox, foreground_box
    from moeclip_transforms.geometry import Affine, resample_to_orthogonal
    from moeclip_transforms.intensity import Window, fit_window
    from moeclip_transforms.slicing import EdgeLetters, Plane, SliceView, slice_views
    from moeclip_transforms.source import ImageSource, open_source, read_volume
    from moeclip_transforms.volume import (
        FileFormat,
        FrameGeometry,
        FrameReference,
        ImageKind,
        Series,
        Volume,
    )

_MODULE_OF_NAME = {
    "Affine": "geometry",
    "ArchiveLimits": "archives",
    "EdgeLetters": "slicing",
    "FileFormat": "volume",
    "FrameGeometry": "volume",
    "FrameReference": "volume",
    "ImageKind": "volume",
    "ImageSource": "source",
    "InputError": "errors",
    "MissingExtraError": "errors",
    "Plane": "slicing",
    "Series": "volume",
    "SliceView": "slicing",
    "SquareBox": "framing",
    "Volume": "volume",
    "Window": "intensity",
    "fit_window": "intensity",
    "foreground_box": "framing",
    "open_source": "source",
    "read_volume": "source",
    "resample_to_orthogonal": "geometry",
    "slice_views": "slicing",
}

__all__ = [
    "Affine",
    "ArchiveLimits",
    "EdgeLetters",
    "FileFormat",
    "FrameGeometry",
    "FrameReference",
    "ImageKind",
    "ImageSource",
    "InputError",
    "MissingExtraError",
    "Plane",
    "Series",
    "SliceView",
    "SquareBox",
    "Volume",
    "Window",
    "fit_window",
    "foreground_box",
    "open_source",
    "read_volume",
    "resample_to_orthogonal",
    "slice_views",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module on first use."""
    if name not in _MODULE_OF_NAME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(import_module(f"{__name__}.{_MODULE_OF_NAME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
