"""Put volumes into shared memory; runs in the scoring process, which has torch and MONAI."""

from __future__ import annotations

import pickle
from dataclasses import replace
from math import ceil, prod
from typing import TYPE_CHECKING, Any

import numpy as np
from moeclip_transforms import ImageType, InputError, fit_window, open_source, slice_views
from moeclip_transforms.intensity import CT_WINDOWS

from napari_moeclip.shared import SharedArray
from napari_moeclip.volumes import VolumeFacts, VolumeReference, store_shape, unstore

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_transforms import Volume

    from moeclip_med.scoring import AnomalyVolume

_COLOUR_CHANNELS = 3
_SAMPLE = 1_000_000
_DECODED = (2, 1, 0)
"""How DICOM slices lie in memory: z, rows (y), columns (x)."""


def share(volume: Volume, decoded: SharedArray | None = None) -> tuple[VolumeReference, list[SharedArray]]:
    """Put a volume into shared memory that the viewer is to adopt.

    Args:
        volume: The volume.
        decoded: (channel, z, y, x), where its voxels may lie already; they are copied where they do not.

    Returns:
        How the viewer finds it; and the arrays, to be kept until the viewer has.
    """
    image = volume.array
    if decoded is not None and np.may_share_memory(image, decoded.array):
        storage, voxels = _DECODED, decoded
    else:
        storage = slice_views(volume)[0].axes
        voxels = SharedArray.create((image.shape[0], *store_shape(volume.shape, storage)), np.float32)
        unstore(voxels.array, storage, leading=1)[...] = image
    arrays = {"voxels": voxels}
    shape = store_shape(volume.shape, storage)
    if volume.padding_mask is not None:
        padding = arrays["padding"] = SharedArray.create(shape, np.bool_)
        unstore(padding.array, storage)[...] = volume.padding_mask
    if image.shape[0] == _COLOUR_CHANNELS:
        colours = arrays["colours"] = SharedArray.create((*shape, _COLOUR_CHANNELS), np.uint8)
        _show_colours(volume, unstore(colours.array, storage))
    if volume.source.headers:
        pickled = np.frombuffer(pickle.dumps(volume.source.headers), np.uint8)
        headers = arrays["headers"] = SharedArray.create(pickled.shape, np.uint8)
        headers.array[...] = pickled
    references = {name: array.hand_over() for name, array in arrays.items()}
    reference = VolumeReference(VolumeFacts.of(volume), storage, **references, windows=windows_of(volume))
    return reference, list(arrays.values())


def windows_of(volume: Volume) -> dict[str, tuple[float, float]]:
    """Return the window of every image type that this volume could be shown with, by name.

    They are to look through, so a sample of the voxels is enough; scoring fits its own to all of them.
    """
    image_type = volume.series.image_type
    step = max(1, ceil((prod(volume.shape) / _SAMPLE) ** (1 / 3)))
    tensor = volume.tensor[:, ::step, ::step, ::step].clone()  # apart, they fit the processor's cache
    sample = replace(volume, tensor=tensor, padding_mask=None)
    windows = {one.value: fit_window(sample, one) for one in (CT_WINDOWS if image_type in CT_WINDOWS else [image_type])}
    return {name: (window.low, window.high) for name, window in windows.items()}


def open_run(folder: Path) -> AnomalyVolume:
    """Read a finished run back: its map, its threshold, and the findings in them.

    Args:
        folder: A folder with `anomaly.nii.gz` and `run.json`, as `moeclip-med score` and this plugin write. Of a tilted
            or uneven series the scores on the slices as acquired are read, which lie on the image.

    Raises:
        InputError: When it is not such a folder.
    """
    from moeclip_med.results.formats import as_acquired
    from moeclip_med.results.nifti import read_acquired_geometry
    from moeclip_med.results.run_record import read_record
    from moeclip_med.scoring import AnomalyVolume, find_findings

    scores_path, record_path = folder / "anomaly.nii.gz", folder / "run.json"
    for path in (scores_path, record_path):
        if not path.is_file():
            raise InputError(
                f'"{folder.name}" holds no {path.name}, so it is not a finished run; choose a folder that has one.'
            )
    record = read_record(record_path)
    acquired_path = as_acquired(scores_path)
    with open_source(acquired_path) as source:  # `read_volume` refuses maps, which are nothing to score
        volume = source.read(source.series[0])
    if acquired_path != scores_path:
        volume = replace(volume, is_regular=False, frame_geometry=read_acquired_geometry(acquired_path))
    scores = volume.array[0]
    found = find_findings(scores, volume, record.settings.threshold, min_volume_ml=record.settings.smallest_finding_ml)
    return AnomalyVolume(volume, scores, found.labels, found.findings, record)


def _show_colours(volume: Volume, into: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    """Convert colours to 8 bits through the volume's own window, slice by slice to spare memory."""
    window = fit_window(volume, ImageType.PLAIN)
    image = volume.tensor
    for index in range(volume.shape[2]):
        values = window.apply(image[..., index]).numpy()
        into[:, :, index] = np.round(np.moveaxis(values, 0, -1) * 255).astype(np.uint8)
