"""PyTorch: every device that it knows, float32 or half precision."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from moeclip_med.engines import machine
from moeclip_med.engines.base import Precision, is_transformer, suitable_batch_size
from moeclip_med.model.attention import FusedAttention
from moeclip_med.model.outputs import NetworkOutput
from moeclip_med.model.towers import ConvolutionalTower

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor

    from moeclip_med.engines.base import Engine, EngineRequest
    from moeclip_med.weights import LoadedModel

_HALVES = {Precision.BF16: torch.bfloat16, Precision.F16: torch.float16}
_OF_MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.MultiheadAttention, FusedAttention)


class TorchEngine:
    """Runs the network itself.

    In half precision the matrix products and convolutions are half, with weights kept so; norms, softmax and the sum
    that flows from block to block stay in float32 (PyTorch's autocast).

    Attributes:
        name: "torch".
        description: What runs where, in which arithmetic, and why.
        batch_size: Images at a time that suit it.
        fallback_reason: Why it runs instead of the engine that was meant; "" where it was.
    """

    name = "torch"

    def __init__(
        self, model: LoadedModel, *, device: str, precision: Precision, description: str, fallback_reason: str = ""
    ) -> None:
        """Place a copy of the network on the device; float32 weights on the processor are shared, not copied."""
        self.description = description
        self.fallback_reason = fallback_reason
        self.batch_size = suitable_batch_size(device, is_transformer=is_transformer(model.metadata.architecture))
        self._device = torch.device(device)
        self._half = _HALVES.get(precision)
        self._network = placed_copy(model.network, self._device, self._half)
        tower = getattr(self._network, "tower", None)
        self._is_convolutional = isinstance(tower, ConvolutionalTower)
        fold_batch_norms(self._network)
        if isinstance(tower, ConvolutionalTower) and self._half is not None:
            tower.stages[0] = _InFloat32(tower.stages[0], self._device.type)
        self._text = None if model.text is None else model.text.to(self._device)

    @torch.inference_mode()
    def run(self, images: Tensor, *, want_routing: bool = False) -> NetworkOutput:
        """Map anomalies; see `Engine.run`."""
        with self._arithmetic():
            output: NetworkOutput = self._network(self._sent(images), self._text, want_routing=want_routing)
        routing = output.routing
        return NetworkOutput(
            output.maps.float().cpu(),
            routing=None if routing is None else tuple(level.cpu() for level in routing),
        )

    def _sent(self, images: Tensor) -> Tensor:
        """Bring images to the device: pinned memory and one copy on CUDA; channels last where convolutions follow."""
        if self._is_convolutional:
            images = images.contiguous(memory_format=torch.channels_last)
        if self._device.type == "cuda":
            return images.pin_memory().to(self._device, non_blocking=True)
        return images.to(self._device)

    def _arithmetic(self) -> AbstractContextManager[object]:
        if self._half is None:
            return nullcontext()
        return torch.autocast(self._device.type, self._half)


class _InFloat32(nn.Module):
    """A part that autocast leaves alone.

    What follows a convolutional tower's first stage takes differences of its features (a token less its mirror twin,
    or its surroundings), where the rounding of half precision would show: lite's maps would correlate 0.9989 with
    those in float32, and do 0.9999 with this one stage exact.
    """

    def __init__(self, part: nn.Module, device_type: str) -> None:
        super().__init__()
        self.part, self.device_type = part, device_type

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(self.device_type, enabled=False):
            result: Tensor = self.part(images)
        return result


def placed_copy(network: nn.Module, device: torch.device, half: torch.dtype | None) -> nn.Module:
    """Copy a network to a device, its large matrices in half precision.

    Args:
        network: Left as it is.
        device: Where the copy goes. Tensors that need no change are shared with the original.
        half: What matrices and convolution kernels become; None for no change. A convolutional tower's first stage
            stays as it is.
    """
    tower = getattr(network, "tower", None)
    exact = set(tower.stages[0].modules()) if isinstance(tower, ConvolutionalTower) else set()
    matrices = {
        id(parameter)
        for module in network.modules()
        if isinstance(module, _OF_MATRICES) and module not in exact
        for parameter in module.parameters(recurse=False)
        if parameter.dim() > 1
    }
    placed: dict[int, object] = {}
    for tensor in chain(network.parameters(), network.buffers()):
        moved = tensor.detach().to(device, half if id(tensor) in matrices else None)
        placed[id(tensor)] = nn.Parameter(moved, requires_grad=False) if isinstance(tensor, nn.Parameter) else moved
    # deepcopy takes what its memo already holds, so that only the modules are copied, no weights twice.
    return copy.deepcopy(network, placed)


def fold_batch_norms(network: nn.Module) -> int:
    """Fold each batch norm into the convolution before it; the same function, one pass over the map less.

    Only where the two stand in sequence for certain: in timm's EfficientNet blocks, whose members are registered in
    the order in which they run, and in `nn.Sequential`.

    Returns:
        How many were folded.
    """
    folded = 0
    for parent in list(network.modules()):
        if not (isinstance(parent, nn.Sequential) or type(parent).__module__.endswith("_efficientnet_blocks")):
            continue
        for (first, convolution), (second, norm) in pairwise(list(parent.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, first, fuse_conv_bn_eval(convolution, norm))
                setattr(parent, second, getattr(norm, "act", nn.Identity()))
                folded += 1
    return folded


def make_torch(model: LoadedModel, request: EngineRequest) -> Engine:
    """Return the engine "torch"; see `EngineFactory`. Its threads are those of the whole process."""
    if request.threads is not None and request.device == "cpu":
        torch.set_num_threads(request.threads)
    place = f"{machine.processor_name()}, {torch.get_num_threads()} threads"
    if request.device.startswith("cuda"):
        place = torch.cuda.get_device_name(request.device)
    elif request.device == "mps":
        place = "Apple GPU"
    return TorchEngine(
        model,
        device=request.device,
        precision=request.precision,
        description=request.describe(torch.__version__, place),
        fallback_reason=request.fallback_reason,
    )
