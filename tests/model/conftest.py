"""Networks that several tests share; all weights are made here, none is downloaded."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from released_network import Released, build_released

from moeclip_med.model.architecture import Architecture, ExpertsSpec
from moeclip_med.model.named_architectures import paper_architecture
from moeclip_med.model.network import MoEClip
from moeclip_med.model.towers import build_tower
from moeclip_med.weights.openclip import build_clip

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

PARITY = Path(__file__).parents[1] / "data" / "parity"


@pytest.fixture(scope="session", autouse=True)
def _two_threads():
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def released() -> Released:
    """The released network at image size 126 (1.7 GB; made once)."""
    return build_released(126)


@pytest.fixture(scope="session")
def reference() -> dict[str, np.ndarray]:
    """Numbers that the released code computed at image size 126."""
    with np.load(PARITY / "reference-126.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared reference material, where this machine has one."""
    place = os.environ.get("MOECLIP_SHARED")
    if not place:
        pytest.skip("MOECLIP_SHARED names no folder of reference numbers for size 518")
    return Path(place)


@pytest.fixture(scope="session")
def tiny_config() -> dict:
    """A CLIP small enough for quick tests: 4 blocks of width 64, patches of 8 pixels."""
    return {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": 4, "width": 64, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }


@pytest.fixture(scope="session")
def tiny_architecture() -> Architecture:
    """The paper's setting on the tiny CLIP."""
    base = paper_architecture(width=32, depth=4, image_size=64, activation="gelu")
    return replace(base, experts=ExpertsSpec(rank=4))


@pytest.fixture
def make_tiny(tiny_config, tiny_architecture) -> Callable[..., MoEClip]:
    """Make a tiny network with reproducible weights; keyword arguments change its architecture."""

    def make(seed: int = 0, **changes) -> MoEClip:
        torch.manual_seed(seed)
        architecture = replace(tiny_architecture, **changes)
        clip = build_clip(tiny_config, "gelu")
        return MoEClip(architecture, build_tower(clip.visual, architecture)).eval()

    return make


@pytest.fixture
def tiny_text() -> Tensor:
    """Normalised prompt embeddings for the tiny network, (32, 2)."""
    text = torch.randn(32, 2, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.normalize(text, dim=0)
