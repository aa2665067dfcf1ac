"""`anomaly.nii.gz`, `raw.nii.gz` and `routing.nii.gz`: maps on the grid of the input.

The arrays are in the volume's own axes, the affine is the volume's own (mm, RAS+; NIfTI-1, sform), so that
voxel (i, j, k) of a result is voxel (i, j, k) of the input. Volumes whose slices fit no single affine are
resampled first; `anomaly_acquired.nii.gz` holds their scores on the slices as acquired.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
import nibabel as nib
import numpy as np
from moeclip_transforms.errors import InputError
from moeclip_transforms.geometry import resample_to_orthogonal
from moeclip_transforms.naming import OWN_NAME
from moeclip_transforms.volume import FrameGeometry, Grid

from moeclip_med.results.formats import ACQUIRED_NAME, RESULT_NAMES, ResultFormat
from moeclip_med.results.writers import ResultWriter

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_transforms.geometry import Affine
    from moeclip_transforms.volume import SourceRef
    from numpy.typing import NDArray

    from moeclip_med.scoring.anomaly import AnomalyVolume

_SCANNER = 1
"""NIFTI_XFORM_SCANNER_ANAT: the affine is the scanner's frame."""
_ALIGNED = 2
"""NIFTI_XFORM_ALIGNED_ANAT: the affine is someone else's frame; here, of an image without orientation."""
_LONGEST_NIFTI_1 = 2**15 - 1
"""Voxels along an axis; a longer one needs NIfTI-2."""


class PlacedSource(Grid, Protocol):
    """A grid and where it came from: a `Volume`, or all that a viewer knows of one without its voxels."""

    @property
    def source(self) -> SourceRef:
        """Where it came from."""
        ...

    @property
    def has_spacing(self) -> bool:
        """Whether the affine is in mm."""
        ...


def write_scores(anomaly: AnomalyVolume, path: Path, notes: tuple[str, ...]) -> None:  # noqa: ARG001 - shared signature
    """Write the scores, float32, 0 to 1; where they have to be resampled, as they are beside them, too."""
    volume = anomaly.volume
    write_map(anomaly.scores, volume, path, "anomaly score, 0 to 1")
    if not volume.is_regular:
        beside = path.with_name(ACQUIRED_NAME)
        _save(anomaly.scores, volume.affine, volume, beside, "anomaly score, slices as acquired", volume.frame_geometry)


def write_raw(anomaly: AnomalyVolume, path: Path, notes: tuple[str, ...]) -> None:  # noqa: ARG001 - shared signature
    """Write the network's unbounded map, float32.

    Raises:
        InputError: Where it was not kept while scoring.
    """
    if anomaly.raw is None:
        raise InputError(
            f"{path.name}: the raw map was not kept while scoring; score again with the raw map asked for."
        )
    write_map(anomaly.raw, anomaly.volume, path, "raw anomaly map")


def write_routing(anomaly: AnomalyVolume, path: Path, notes: tuple[str, ...]) -> None:  # noqa: ARG001 - shared signature
    """Write the expert with the largest weight at each place, uint8, (x, y, z, level): 0 none, 1 the first expert.

    Raises:
        InputError: Where it was not kept while scoring.
    """
    if anomaly.routing is None:
        raise InputError(
            f"{path.name}: the routing was not kept while scoring; score again with the routing asked for."
        )
    levels = [_on_one_grid(level, anomaly.volume, interpolation="nearest") for level in anomaly.routing]
    _save(np.stack([level for level, _ in levels], axis=-1), levels[0][1], anomaly.volume, path, "experts taken")


def write_map(values: NDArray[Any], volume: PlacedSource, path: Path, what: str) -> None:
    """Write a map on the grid of the volume it belongs to, float32.

    Args:
        values: (x, y, z).
        volume: The volume, or all that is known of it but its voxels.
        path: Ends in `.nii.gz` or `.nii`.
        what: What the values are, for the header.
    """
    array, affine = _on_one_grid(values, volume)
    _save(array.astype(np.float32, copy=False), affine, volume, path, what)


def _on_one_grid(
    values: NDArray[Any], volume: PlacedSource, interpolation: Literal["linear", "nearest"] = "linear"
) -> tuple[NDArray[Any], Affine]:
    """The values and their affine: the volume's own, or an orthogonal grid where none fits the slices."""
    if volume.is_regular:
        return values, volume.affine
    return resample_to_orthogonal(values, volume, interpolation=interpolation)


def read_acquired_geometry(path: Path) -> tuple[FrameGeometry, ...]:
    """Read where each slice of `anomaly_acquired.nii.gz` lies: no affine says that of uneven slices.

    Args:
        path: The file.

    Returns:
        One for each index of z.

    Raises:
        InputError: When the file does not say it, or of another number of slices than it has.
    """
    loaded: Any = nib.load(path)
    frames: tuple[FrameGeometry, ...] = ()
    with suppress(ValueError):  # no extension, several, or another content
        (extension,) = loaded.header.extensions
        frames = msgspec.json.decode(extension.get_content(), type=tuple[FrameGeometry, ...])
    if len(frames) != math.prod(loaded.shape[2:3]):
        raise InputError(
            f'"{path.name}" does not say where its slices lie; move it away, and the resampled scores are opened.'
        )
    return frames


def _save(
    array: NDArray[Any],
    affine: Affine,
    volume: PlacedSource,
    path: Path,
    what: str,
    frames: tuple[FrameGeometry, ...] = (),
) -> None:
    make: Any = nib.Nifti1Image if max(array.shape) <= _LONGEST_NIFTI_1 else nib.Nifti2Image
    image = make(array, affine.matrix)
    # The code of a NIfTI input still holds on its own grid: a template stays a template.
    code = volume.source.nifti_code if affine == volume.affine else 0
    code = code or (_SCANNER if volume.has_orientation else _ALIGNED)
    image.set_sform(affine.matrix, code)
    if affine.is_orthogonal:  # a qform cannot hold a shear
        image.set_qform(affine.matrix, code)
    image.header.set_xyzt_units("mm" if volume.has_spacing else "unknown")
    if not volume.is_regular:  # readers would take another axis where slices lie close together
        image.header.set_dim_info(slice=volume.slice_axis)
    image.header["descrip"] = f"{OWN_NAME} {what}".encode()
    if frames:
        image.header.extensions.append(
            nib.nifti1.Nifti1Extension("comment", msgspec.json.encode(frames, enc_hook=float))
        )
    nib.save(image, path)


SCORES = ResultWriter(RESULT_NAMES[ResultFormat.NIFTI], write_scores)
RAW = ResultWriter(RESULT_NAMES[ResultFormat.RAW], write_raw)
ROUTING = ResultWriter(RESULT_NAMES[ResultFormat.ROUTING], write_routing)
