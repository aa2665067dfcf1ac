"""Named models: where their files come from, what they were made of, and how they are loaded."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moeclip_med.weights.loading import LoadedModel as LoadedModel
    from moeclip_med.weights.loading import load_model as load_model
    from moeclip_med.weights.metadata import ModelMetadata as ModelMetadata
    from moeclip_med.weights.metadata import ScoreScale as ScoreScale
    from moeclip_med.weights.metadata import Threshold as Threshold
    from moeclip_med.weights.metadata import TrainingData as TrainingData
    from moeclip_med.weights.store import save_model as save_model

_HOME = {
    "LoadedModel": "loading",
    "load_model": "loading",
    "ModelMetadata": "metadata",
    "ScoreScale": "metadata",
    "Threshold": "metadata",
    "TrainingData": "metadata",
    "save_model": "store",
}
__all__ = ["LoadedModel", "ModelMetadata", "ScoreScale", "Threshold", "TrainingData", "load_model", "save_model"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute may be anything
    """Import on first use: listing models must not load torch."""
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
