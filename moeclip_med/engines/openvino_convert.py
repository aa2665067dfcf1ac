"""From a PyTorch module to an OpenVINO model, for the engine, the export and the training alike."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from moeclip_med.engines.openvino_import import openvino

if TYPE_CHECKING:
    from torch import Tensor, nn


def to_openvino(module: nn.Module, example: tuple[Tensor, ...]) -> openvino.Model:
    """Convert a module; the first input's batch stays open, all other sizes are fixed.

    Args:
        module: In evaluation mode; it returns a tensor or a tuple of tensors.
        example: Inputs, images (B, 3, S, S) first.
    """
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # only once openvino_import is loaded

    images, *others = example
    shapes = [openvino.PartialShape([-1, *images.shape[1:]]), *(openvino.PartialShape(list(o.shape)) for o in others)]
    with torch.inference_mode(), warnings.catch_warnings():
        # Sizes are read while tracing; they are meant to be constant.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        # OpenVINO traces by what PyTorch will replace one day.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        # PyTorch's own check runs the module twice more, on the same input: a third of all the time. Who scores or
        # exports by the result compares it on other images.
        decoder = TorchScriptPythonDecoder(module, example_input=example, trace_kwargs={"check_trace": False})
        return openvino.convert_model(decoder, example_input=example, input=shapes)
