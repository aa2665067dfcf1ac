"""From a volume to anomaly scores on its own grid, and to the findings in them.

`load_detector` gives a model ready to run, `score_volume` scores a volume with it, `find_findings` lists the regions
above the threshold. Names are loaded on first use, so importing this package costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
