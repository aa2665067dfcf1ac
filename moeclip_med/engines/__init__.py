"""How the network runs: PyTorch or OpenVINO behind one small interface.

`make_engine` gives the engine for a loaded model, as asked for or chosen by what the machine can do. Names are loaded
on first use, so importing this package costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
