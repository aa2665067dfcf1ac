"""From a module to an OpenVINO model."""

import numpy as np
import pytest
import torch
from torch import nn

openvino_convert = pytest.importorskip("moeclip_med.engines.openvino_convert")


class Counting(nn.Module):
    """A convolution that counts how often it runs."""

    def __init__(self):
        super().__init__()
        self.convolution, self.runs = nn.Conv2d(3, 2, 3), 0

    def forward(self, images):
        self.runs += 1
        return self.convolution(images)


def test_a_network_runs_once_to_be_converted_and_takes_any_batch():
    torch.manual_seed(0)
    module = Counting().eval()

    converted = openvino_convert.to_openvino(module, (torch.zeros(1, 3, 8, 8),))

    assert module.runs == 1, "each further run costs a large network seconds"
    compiled = openvino_convert.openvino.compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    images = torch.rand(3, 3, 8, 8)
    with torch.inference_mode():
        wanted = module.convolution(images).numpy()
    np.testing.assert_allclose(compiled(images.numpy())[0], wanted, atol=1e-5)
