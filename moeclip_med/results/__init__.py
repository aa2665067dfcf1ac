"""Results of a scored volume: NIfTI, tables, an HTML report, and DICOM objects that a PACS takes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
