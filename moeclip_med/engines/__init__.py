"""How the network runs: PyTorch or OpenVINO behind one small interface.

`make_engine` gives the engine for a loaded model, as asked for or chosen by what the machine can do. Names are loaded
on first use, so importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moeclip_med.engines.base import Engine as Engine
    from moeclip_med.engines.choice import make_engine as make_engine

_HOME = {"Engine": "base", "make_engine": "choice"}

__all__ = ["Engine", "make_engine"]


def __getattr__(name: str) -> object:
    """Load a public name from its module on first use (PEP 562)."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
