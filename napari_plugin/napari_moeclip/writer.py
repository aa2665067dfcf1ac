"""Save a layer as NIfTI with the patient's coordinates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from moeclip_transforms import InputError

from moeclip_med.results.nifti import write_map as write_grid_map
from napari_moeclip.layers import METADATA_KEY, LayerOrigin


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
        raise InputError(
            f'The layer "{attributes.get("name", "")}" holds no patient coordinates; save anomaly maps and grey '
            f"images that MoECLIP-Med opened as NIfTI, and other layers as TIFF."
        )
    array = np.ascontiguousarray(origin.placement.hide(np.asarray(data)))
    write_grid_map(array, origin.volume.light, Path(path), "layer")
    return [path]
