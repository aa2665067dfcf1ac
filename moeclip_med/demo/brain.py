"""A brain with a simulated lesion: the MNI152 template with a bright region whose place is known.

The template is the ICBM 2009a nonlinear symmetric T1 average of 152 healthy adults (Fonov et al., NeuroImage 47, 2009)
that the package nilearn ships. The lesion is drawn by this module. Nothing here is a patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms import Affine
from moeclip_transforms.errors import MissingExtraError
from scipy import ndimage
from scipy.special import expit

if TYPE_CHECKING:
    from numpy.typing import NDArray

LESION_CENTRE_RAS_MM = (32.0, -18.0, 26.0)
"""Where the lesion's centre lies, mm, RAS+: white matter of the right hemisphere."""

LESION_RADIUS_MM = 15.0
_TEMPLATE_SCALE = 1000.0
_LESION_GAIN = 0.55
_ROUGHNESS_MM = 3.0
_NOISE = 0.012
_SEED = 152


@dataclass(frozen=True)
class SimulatedBrain:
    """A simulated T1-weighted volume.

    Attributes:
        image: (x, y, z) int16, 0 to about 1500, arbitrary MR units.
        affine: 4x4 voxel-to-world matrix, mm, RAS+; 1 mm spacing.
        lesion: (x, y, z) bool, True in the simulated lesion.
    """

    image: NDArray[np.int16]
    affine: NDArray[np.float64]
    lesion: NDArray[np.bool_]


def simulate_brain(radius_mm: float = LESION_RADIUS_MM) -> SimulatedBrain:
    """Make the demo volume; the same voxels every time.

    Args:
        radius_mm: Radius of the lesion, mm; 0 draws none.

    Raises:
        MissingExtraError: If nilearn, which ships the template, is not installed.
    """
    try:
        from nilearn.datasets import load_mni152_template
    except ImportError as error:
        raise MissingExtraError(package="nilearn", extra="demo", purpose="the simulated brain") from error

    template = load_mni152_template(resolution=1)
    affine = np.asarray(template.affine, dtype=np.float64)
    image = np.asarray(template.dataobj, dtype=np.float32)
    random = np.random.default_rng(_SEED)

    distance = _distance_mm(image.shape, affine)
    roughness = ndimage.gaussian_filter(random.standard_normal(image.shape, dtype=np.float32), _ROUGHNESS_MM)
    roughness *= _ROUGHNESS_MM / roughness.std()
    inside = expit((radius_mm - distance - roughness) / 0.8) * (radius_mm > 0)
    brain = image > 0
    simulated = image * (1.0 + _LESION_GAIN * inside)
    simulated += _NOISE * random.standard_normal(image.shape, dtype=np.float32) * brain
    scaled = np.clip(np.round(simulated * _TEMPLATE_SCALE), 0, np.iinfo(np.int16).max).astype(np.int16)
    return SimulatedBrain(scaled, affine, (inside > 0.5) & brain)  # noqa: PLR2004 - the lesion's own edge


def _distance_mm(shape: tuple[int, ...], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """Distance of every voxel from the lesion's centre, mm; the template's axes are orthogonal."""
    centre = np.linalg.inv(affine) @ np.array([*LESION_CENTRE_RAS_MM, 1.0])
    x, y, z = np.ogrid[: shape[0], : shape[1], : shape[2]]
    squared = sum(
        ((axis - at) * mm) ** 2 for axis, at, mm in zip((x, y, z), centre, Affine(affine).spacing, strict=False)
    )
    distance: NDArray[np.float32] = np.sqrt(squared).astype(np.float32)
    return distance
