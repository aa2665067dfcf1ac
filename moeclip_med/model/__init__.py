"""The network: towers, experts, aggregation, projection, prompts and map, one description for every tower."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moeclip_med.model.architecture import Architecture as Architecture
    from moeclip_med.model.network import MoEClip as MoEClip
    from moeclip_med.model.network import NetworkOutput as NetworkOutput
    from moeclip_med.model.network import TrainingOutput as TrainingOutput
    from moeclip_med.model.prompts import Prompts as Prompts

_HOME = {
    "Architecture": "architecture",
    "MoEClip": "network",
    "NetworkOutput": "network",
    "TrainingOutput": "network",
    "Prompts": "prompts",
}
__all__ = ["Architecture", "MoEClip", "NetworkOutput", "Prompts", "TrainingOutput"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute may be anything
    """Import on first use: describing a model must not load torch."""
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
