"""A tiny tower and a tiny industrial data set, both made by the tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def industrial_folder(tmp_path_factory):
    """Three categories: striped and plain tiles (some scratched), and boards that are held out."""
    root = tmp_path_factory.mktemp("industrial")
    rng = np.random.default_rng(0)
    for category, count in (("tile", 24), ("plain", 12), ("board", 6)):
        folder = root / category
        folder.mkdir()
        for number in range(count):
            pixels = rng.normal(120, 12, (80, 90))
            if category != "plain":
                pixels += 40 * np.sin(np.arange(90) / (3 + number % 3))
            if category != "plain" and number % 3 == 0:
                mask = np.zeros((80, 90), dtype=np.uint8)
                row, column = rng.integers(10, 60, 2)
                mask[row : row + 14, column : column + 12] = 255
                pixels[mask > 0] += 90
                Image.fromarray(mask).save(folder / f"{number:02d}_mask.png")
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number:02d}.png")
    return root


@pytest.fixture
def tiny_network():
    """A function from a seed to a small network of the lite kind, without pretrained weights."""
    import torch
    from torch import nn

    from moeclip_med.model.architecture import ExpertsSpec, ProjectionSpec, TowerSpec
    from moeclip_med.model.named_architectures import lite_architecture
    from moeclip_med.model.network import MoEClip
    from moeclip_med.model.towers import ConvolutionalTower

    def build(seed):
        architecture = replace(
            lite_architecture(),
            tower=TowerSpec("timm", "tiny", "none", "native"),
            levels=(1, 2),
            experts=ExpertsSpec(rank=2),
            projection=ProjectionSpec(width=16, hidden=16),
            image_size=64,
            map_size=32,
            surroundings=(5, 3),
        )
        torch.manual_seed(12)  # the frozen tower is the same whatever the run's seed
        stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU())
        blocks = [nn.Conv2d(8, 16, 3, padding=1), nn.Sequential(nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1))]
        tower = ConvolutionalTower(stem, blocks, architecture)
        torch.manual_seed(seed)
        return MoEClip(architecture, tower)

    return build
