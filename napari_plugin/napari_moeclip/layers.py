"""Volumes, maps, findings and experts as napari layers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from moeclip_transforms import Affine, FileFormat, ImageKind, Series
from moeclip_transforms.hashing import hash_array
from moeclip_transforms.volume import SourceRef

from napari_moeclip.placement import Placement, place
from napari_moeclip.shared import SharedArray
from napari_moeclip.volumes import SharedVolume, VolumeFacts, VolumeReference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image, Layer
    from napari.utils.colormaps import Colormap, CyclicLabelColormap

METADATA_KEY = "moeclip_med"
"""Where a layer's metadata keeps its `LayerOrigin`."""

_PLAIN_AXES = (2, 1, 0)
_SELECTED_COLOUR = (0.0, 1.0, 1.0, 1.0)
_OUTLINE_COLOUR = (1.0, 1.0, 1.0, 0.75)
_LABELS = 2**16 - 1
_EXPERT_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
"""Okabe and Ito's colours, told apart with every kind of colour vision."""


@dataclass(frozen=True)
class LayerOrigin:
    """What stands behind a layer.

    Attributes:
        volume: The volume it shows, or whose map it shows.
        placement: How the volume's axes became the layer's.
        role: "image", "anomaly", "findings" or "experts".
    """

    volume: SharedVolume
    placement: Placement
    role: str = "image"


def origin_of(layer: Layer) -> LayerOrigin | None:
    """Give what stands behind a layer of this plugin; None for any other."""
    origin = layer.metadata.get(METADATA_KEY)
    return origin if isinstance(origin, LayerOrigin) else None


def image_layer_data(volume: SharedVolume, name: str) -> tuple[Any, dict[str, Any], str]:
    """Make the layer data tuple of a volume; the pixels are not copied.

    Args:
        volume: The volume.
        name: The layer's name.
    """
    placement = place(volume.light)
    attributes: dict[str, Any] = {
        "name": name,
        "metadata": {METADATA_KEY: LayerOrigin(volume, placement)},
        **placement.transform,
    }
    colours = volume.colours
    if colours is not None:
        shown = np.stack([placement.show(colours[..., channel]) for channel in range(3)], axis=-1)
        return shown, attributes | {"rgb": True}, "image"
    low, high = start_window(volume)
    attributes |= {"colormap": "gray", "contrast_limits": (low, high), "interpolation2d": "linear"}
    return placement.show(volume.voxels[0]), attributes, "image"


def start_window(volume: SharedVolume) -> tuple[float, float]:
    """Give the window to show a volume with at first: that of its kind, never empty."""
    windows = volume.reference.windows
    low, high = windows.get(volume.light.series.kind.value, next(iter(windows.values())))
    return (low, high) if high > low else (low, low + 1.0)


def layer_transform(layer: Layer, ndim: int) -> dict[str, Any]:
    """Give the place of a layer, for another one that has to lie exactly on it.

    Args:
        layer: The layer.
        ndim: How many of its last axes the other one has.
    """
    affine = np.asarray(layer.affine.affine_matrix)
    corner = np.arange(layer.ndim - ndim, layer.ndim + 1)
    return {
        "scale": layer.scale[-ndim:],
        "translate": layer.translate[-ndim:],
        "rotate": layer.rotate[-ndim:, -ndim:],
        "affine": affine[np.ix_(corner, corner)],
        "units": layer.units[-ndim:],
        "axis_labels": layer.axis_labels[-ndim:],
    }


def anomaly_layer_attributes(image: Layer, origin: LayerOrigin, threshold: float) -> dict[str, Any]:
    """Give the attributes of the map's layer: lies on the image, transparent below the threshold."""
    return {
        "name": f"anomaly map · {image.name}",
        "metadata": {METADATA_KEY: origin},
        "colormap": anomaly_colormap(),
        "contrast_limits": anomaly_contrast(threshold),
        "blending": "translucent_no_depth",
        "opacity": 0.65,
        "interpolation2d": "linear",
        **layer_transform(image, origin.placement.ndim),
    }


def anomaly_contrast(threshold: float) -> tuple[float, float]:
    """Give contrast limits that hide all scores below a threshold."""
    return (min(threshold, 1.0 - 1e-3), 1.0)


def anomaly_colormap() -> Colormap:
    """Make the map's colours: the brighter part of inferno (perceptually uniform), transparent below the limits."""
    from napari.utils.colormaps import Colormap, ensure_colormap

    colours = ensure_colormap("inferno").map(np.linspace(0.4, 0.95, 128))
    return Colormap(colours, name="anomaly", low_color=(0.0, 0.0, 0.0, 0.0))


def findings_layer_attributes(image: Layer, origin: LayerOrigin, colours: CyclicLabelColormap) -> dict[str, Any]:
    """Give the attributes of the outlines' layer."""
    return {
        "name": f"findings · {image.name}",
        "metadata": {METADATA_KEY: origin},
        "opacity": 1.0,
        "colormap": colours,
        **layer_transform(image, origin.placement.ndim),
    }


def outline_colormap(selected: int | None) -> CyclicLabelColormap:
    """Make the outlines' colours: white, and cyan for the selected finding.

    Not a `DirectLabelColormap`: for labels of 16 bits napari goes through all 65536 of them in Python, at each click.
    """
    from napari.utils.colormaps import CyclicLabelColormap

    colours = np.full((_LABELS, 4), _OUTLINE_COLOUR, np.float32)
    colours[0] = 0
    if selected is not None:
        colours[selected] = _SELECTED_COLOUR
    return CyclicLabelColormap(colors=colours)


def experts_layer_attributes(image: Layer, origin: LayerOrigin, level: int, shares: Sequence[float]) -> dict[str, Any]:
    """Give the attributes of the layer that shows which expert took each patch, with names and shares."""
    from napari.utils.colormaps import DirectLabelColormap

    clear = np.zeros(4)
    colours: dict[int | None, Any] = {None: clear, 0: clear}
    for expert in range(len(shares)):
        colours[expert + 1] = _EXPERT_COLOURS[expert % len(_EXPERT_COLOURS)]
    names = ["not seen", *(expert_name(expert, share) for expert, share in enumerate(shares))]
    return {
        "name": f"experts, level {level + 1} · {image.name}",
        "metadata": {METADATA_KEY: origin},
        "colormap": DirectLabelColormap(color_dict=colours),
        "features": {"index": list(range(len(names))), "expert": names},
        "opacity": 0.45,
        **layer_transform(image, origin.placement.ndim),
    }


def expert_name(expert: int, share: float) -> str:
    """Name an expert, with the share of patches it took."""
    return f"expert {expert + 1} ({share:.0%})"


def expert_colour(expert: int) -> str:
    """Give an expert's colour, as a hexadecimal RGB string."""
    return _EXPERT_COLOURS[expert % len(_EXPERT_COLOURS)]


def adopt_layer(layer: Image, leading: tuple[int, ...] = ()) -> LayerOrigin:
    """Make a volume of an image layer that another plugin opened.

    Such a layer has no patient orientation that could be relied on, so it is scored as stored. May take seconds for
    large or lazy data: call it in a thread.

    Args:
        layer: 2-D, 3-D or 4-D, grey or RGB.
        leading: Which index to take along the axes before the last three.
    """
    data = layer.data[0] if layer.multiscale else layer.data
    pixels = data[leading] if leading else data
    is_flat = layer.ndim == 2  # noqa: PLR2004 - one image
    channels = 3 if layer.rgb else 1
    shape = (1, *pixels.shape[:2]) if is_flat else tuple(pixels.shape[:3])
    voxels = SharedArray.create((channels, *shape), np.float32)
    for index in range(shape[0]):
        plane = np.asarray(pixels if is_flat else pixels[index])
        voxels.array[:, index] = np.moveaxis(plane[..., :3], -1, 0) if layer.rgb else plane
    scale = (1.0, *layer.scale)[-3:] if is_flat else tuple(layer.scale[-3:])
    light = VolumeFacts(
        shape=(shape[2], shape[1], shape[0]),
        affine=Affine(np.diag([*np.abs(scale[::-1]), 1.0])),
        source=SourceRef(_foreign_series(layer, shape, channels), hash_array(voxels.array)),
        has_orientation=False,
        notes=("This image was not opened by MoECLIP-Med: its patient orientation is not known, shown as stored.",),
        display_range=_display_range(np.dtype(data.dtype), is_rgb=layer.rgb),
    )
    reference = VolumeReference(light, _PLAIN_AXES, voxels.reference)
    volume = SharedVolume(reference, owns=False, voxels=voxels)
    return LayerOrigin(volume, _plain_placement(is_flat=is_flat))


def _foreign_series(layer: Image, shape: tuple[int, ...], channels: int) -> Series:
    path = layer.source.path
    return Series(
        uid=layer.name,
        format=FileFormat.IMAGE,
        files=(Path(path),) if path is not None and Path(path).is_file() else (),
        modality="",
        kind=ImageKind.ENDOSCOPY if layer.rgb else ImageKind.PLAIN,
        study_uid="",
        shape=(shape[2], shape[1], shape[0], 1),
        channels=channels,
        is_clip=layer.rgb and shape[0] > 1,
    )


def _display_range(dtype: np.dtype[Any], *, is_rgb: bool) -> tuple[float, float] | None:
    if dtype == np.uint8:
        return (0.0, 255.0)
    if not is_rgb:
        return None
    return (0.0, 1.0) if dtype.kind == "f" else (0.0, float(np.iinfo(dtype).max))


def _plain_placement(*, is_flat: bool) -> Placement:
    return Placement(
        axes=_PLAIN_AXES,
        flips=(False, False, False),
        scale=(1.0, 1.0, 1.0),
        translate=(0.0, 0.0, 0.0),
        ends=None,
        slice_axis=0,
        is_flat=is_flat,
    )
