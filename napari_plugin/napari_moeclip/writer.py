"""Save a layer as NIfTI with the patient's coordinates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from moeclip_transforms import InputError, resample_to_orthogonal

from napari_moeclip.layers import METADATA_KEY, LayerOrigin

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SCANNER = 1
_ALIGNED = 2


def write_map(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:  # noqa: ANN401 - napari's signature
    """Write one layer of this plugin (an anomaly map, or an image it opened) on its volume's own grid.

    Args:
        path: Ends in `.nii.gz` or `.nii`.
        data: The layer's array.
        attributes: The layer's attributes.

    Returns:
        The path written.

    Raises:
        InputError: For a layer of another plugin: where its voxels lie in the patient is not known.
    """
    origin = attributes.get("metadata", {}).get(METADATA_KEY)
    if not isinstance(origin, LayerOrigin) or attributes.get("rgb"):
        msg = (
            f'The layer "{attributes.get("name", "")}" holds no patient coordinates; save anomaly maps and grey '
            f"images that MoECLIP-Med opened as NIfTI, and other layers as TIFF."
        )
        raise InputError(msg)
    volume = origin.volume.light
    array: NDArray[np.float32] = np.ascontiguousarray(origin.placement.hide(np.asarray(data)), dtype=np.float32)
    affine = volume.affine
    if not volume.is_regular:
        array, affine = resample_to_orthogonal(array, volume)
    image: Any = nib.Nifti1Image(array, affine.matrix)
    image.set_sform(affine.matrix, _SCANNER if volume.has_orientation else _ALIGNED)
    image.header.set_xyzt_units("mm" if volume.has_orientation else "unknown")
    nib.save(image, Path(path))
    return [path]
