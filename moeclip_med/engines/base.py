"""What every engine offers, and the words for arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from moeclip_transforms.errors import InputError, NoticeWarning

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from moeclip_med.model import NetworkOutput
    from moeclip_med.model.architecture import AnyArchitecture
    from moeclip_med.weights import LoadedModel


class Precision(StrEnum):
    """The arithmetic of the network's large products; what is small and delicate stays in float32."""

    F32 = "f32"
    BF16 = "bf16"
    F16 = "f16"
    INT8 = "int8"


_TIMM_TRANSFORMERS = ("vit_", "eva", "deit", "beit", "naflexvit_")

CORRELATION_FLOOR = {Precision.F32: 0.99999, Precision.BF16: 0.9995, Precision.F16: 0.9995, Precision.INT8: 0.998}
"""The least correlation of an engine's maps with PyTorch's in float32 at which it may be used."""


def is_transformer(architecture: AnyArchitecture) -> bool:
    """Whether the tower is a vision transformer, whose time goes into large matrix products."""
    tower = architecture.tower
    if tower.kind == "timm":
        return tower.name.startswith(_TIMM_TRANSFORMERS)
    return tower.activation != "native"


def suitable_batch_size(device: str, *, is_transformer: bool) -> int:
    """Return the images at a time that suit a device and tower, as measured in `docs/performance.md`.

    One image fills a processor: a transformer by itself, a convolutional tower with the mirror image it may bring;
    more were a twentieth faster and took 0.06 GB each.
    """
    if device == "cpu":
        return 1
    return 8 if is_transformer else 32


class Engine(Protocol):
    """A network ready to run.

    Attributes:
        name: "torch" or "openvino".
        description: What runs where, in which arithmetic, and why it was chosen; for reports.
        batch_size: Images at a time that suit it: more would cost memory and make a cancel wait, and gain nothing.
        fallback_reason: Why it runs instead of the engine that was meant, a sentence for the user; "" where it was.
    """

    name: str
    description: str
    batch_size: int
    fallback_reason: str

    def run(self, images: Tensor, *, want_routing: bool = False) -> NetworkOutput:
        """Map anomalies.

        Args:
            images: (B, 3, S, S) float32 on the CPU, normalised as the architecture says.
            want_routing: Also give the expert with the largest weight per patch.

        Returns:
            Maps (B, M, M) float32, and the routing if wanted, on the CPU.

        Raises:
            InputError: The images have another size than the model's, or the model has no experts to show.
        """
        ...


@dataclass(frozen=True)
class EngineRequest:
    """What an engine is asked to do.

    Attributes:
        device: "cpu", "cuda:N" or "mps".
        precision: The arithmetic.
        describe: From the engine's version and what the device is called to one line for reports.
        threads: Threads on the processor; as many as the engine thinks best if None.
        calibration: Folder of industrial images to quantise with, for int8.
        fallback_reason: Why it runs instead of the engine that was meant; "" where it is the one.
    """

    device: str
    precision: Precision
    describe: Callable[[str, str], str]
    threads: int | None = None
    calibration: Path | None = None
    fallback_reason: str = ""


class EngineFactory(Protocol):
    """What an entry point in the group "moeclip_med.engines" names."""

    def __call__(self, model: LoadedModel, request: EngineRequest) -> Engine:
        """Make a model ready to run.

        Raises:
            ConversionError: The engine cannot run this model; where the user left the choice open, PyTorch does.
            InputError: A wish that this machine cannot meet.
        """
        ...


class ConversionError(InputError):
    """An engine cannot run this model, or not accurately enough."""


class EngineWarning(NoticeWarning):
    """A weaker or slower path was taken than the one that was meant; shown to the user, never an error."""
