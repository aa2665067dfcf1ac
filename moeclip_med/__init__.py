"""MoECLIP-Med: zero-shot anomaly maps for medical images. Research use only: not a medical device.

>>> from moeclip_med import load_detector, read_volume, score_volume
>>> anomaly = score_volume(read_volume("brain.nii.gz"), load_detector("lite"))  # doctest: +SKIP

Names are loaded on first use, so importing this package costs nothing.
"""

import lazy_loader

from moeclip_med._version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
