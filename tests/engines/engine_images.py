"""Images that engines are compared on."""

from __future__ import annotations

import numpy as np
import torch

from moeclip_med.engines.quantization_images import CalibrationImages


def images_for(model, count=6):
    batches = CalibrationImages(None, count).batches(model.metadata.architecture)
    return torch.from_numpy(np.concatenate(list(batches)))
