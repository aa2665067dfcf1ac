"""The gate's cues: what has a mirror axis is told from what has none, wherever the axis lies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from moeclip_med.model.axis import AXIS_CUES, AxisGate, axis_cues
from moeclip_med.model.midline import find_midline, mirrored

SIDE = 128


def body(seed, *, symmetric, tilt=0.0, shift=0):
    """A grey disc with structure, alike on both sides or not, (1, 3, SIDE, SIDE)."""
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 4)
    if symmetric:
        texture = texture + texture[:, ::-1]
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    image = np.where(np.hypot(rows, columns * 1.2) < SIDE * 0.42, 0.5 + 0.12 * texture / texture.std(), 0)
    image = ndimage.shift(ndimage.rotate(image, tilt, reshape=False, order=1), (0, shift), order=1)
    return torch.from_numpy(np.clip(image, 0, 1)).float().expand(1, 3, -1, -1)


def cues_of(image):
    return axis_cues(image, mirrored(image, find_midline(image)))[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("tilt", "shift"), [(0, 0), (7, 0), (-5, 4)])
def test_structure_is_alike_where_there_is_an_axis(seed, tilt, shift):
    with_axis, without = (cues_of(body(seed, symmetric=kind, tilt=tilt, shift=shift)) for kind in (True, False))
    assert with_axis[0] > 0.6
    assert without[0] < with_axis[0] - 0.2
    assert with_axis[2] > 0.9, "both outlines are symmetric"
    assert without[2] > 0.9, "both outlines are symmetric"
    assert with_axis[4] == without[4] == 0, "grey"


def test_colour_is_told_and_all_cues_stay_in_range():
    image = torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    cues = axis_cues(image, image.flip(3))
    assert cues.shape == (4, AXIS_CUES)
    assert (cues.abs() <= 1 + 1e-4).all()
    assert (cues[:, 4] == 1).all()


def test_an_empty_image_has_finite_cues():
    assert torch.isfinite(axis_cues(torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1, 3, SIDE, SIDE))).all()


def test_the_gate_learns_to_tell_them_apart():
    torch.manual_seed(0)
    gate = AxisGate()
    cues = torch.stack([cues_of(body(seed, symmetric=seed % 2 == 0)) for seed in range(16)])
    labels = torch.tensor([float(seed % 2 == 0) for seed in range(16)])
    optimizer = torch.optim.Adam(gate.parameters(), lr=0.05)
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(gate(cues), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    unseen = torch.stack([cues_of(body(seed, symmetric=seed % 2 == 0)) for seed in range(100, 108)])
    assert ((gate(unseen) > 0).float() == torch.tensor([1.0, 0.0] * 4)).all()
