"""Medical images in: found in files and folders, read with their geometry checked, cut into slices.

Importing this package is light: nothing heavy (torch, MONAI, SimpleITK) is loaded before a name is used (PEP 562).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
