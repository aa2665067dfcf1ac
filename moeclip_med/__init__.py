"""MoECLIP-Med: zero-shot anomaly maps for medical images."""

from moeclip_med._version import __version__

__all__ = ["__version__"]
