"""The maps of `lite` on three fixed images, as they were when it was made.

Its tower's tensors are matched to timm's by order and shape, and timm has no upper bound: if a later version builds the
network otherwise, these maps move.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from moeclip_med.weights import load_model
from moeclip_med.weights.registry import packaged_versions

STORED = Path(__file__).parents[1] / "data" / "lite-outputs.json"
CELLS = 8
LARGEST_DIFFERENCE = 2e-3
"""Of the map's range; other processors round otherwise."""


def fixed_images(size: int) -> np.ndarray:
    """A striped square, a disc with an off-centre spot, and a coloured gradient with a dark cross; (3, 3, S, S)."""
    rows, columns = np.mgrid[:size, :size] / size - 0.5
    stripes = 0.5 + 0.3 * np.sin(40 * columns) * (np.abs(rows) < 0.4)
    disc = (0.5 + 0.1 * np.cos(25 * columns) * np.cos(18 * rows)) * (np.hypot(rows, 1.2 * columns) < 0.42)
    disc = np.where(np.hypot(rows + 0.1, columns - 0.15) < 0.06, 0.9, disc)
    cross = np.where((np.abs(rows) < 0.03) | (np.abs(columns - 0.1) < 0.02), 0.1, 0.6 + 0.3 * rows)
    grey = [np.stack([field] * 3) for field in (stripes, disc)]
    return np.stack([*grey, np.stack([cross, 0.7 * cross, 0.5 * cross + 0.1])]).astype(np.float32)


def coarse_maps(model: str) -> np.ndarray:
    """Raw maps of the fixed images, averaged to 8 x 8 cells: (3, 8, 8)."""
    network = load_model(model).network
    architecture = network.architecture
    mean, std = (torch.tensor(values)[:, None, None] for values in (architecture.mean, architecture.std))
    images = torch.from_numpy(fixed_images(architecture.image_size))
    with torch.inference_mode():
        maps = network((images - mean) / std).maps
    return torch.nn.functional.adaptive_avg_pool2d(maps[:, None], CELLS)[:, 0].numpy()


@pytest.mark.parametrize("version", sorted(packaged_versions("lite")))
def test_maps_are_those_that_were_stored(version):
    stored = np.array(json.loads(STORED.read_text())[f"lite@{version}"])
    found = coarse_maps(f"lite@{version}")
    assert np.abs(found - stored).max() <= LARGEST_DIFFERENCE * np.ptp(stored)
