"""Volumes, maps, findings and experts as napari layers."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_moeclip.placement import Placement, place
from napari_moeclip.volumes import same_grid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moeclip_transforms.volume import Grid
    from napari import Viewer
    from napari.layers import Image, Layer
    from napari.utils.colormaps import Colormap, CyclicLabelColormap
    from numpy.typing import NDArray

    from moeclip_med.scoring.measures import FindingMeasures
    from napari_moeclip.volumes import SharedVolume, VolumeReference

METADATA_KEY = "moeclip_med"
"""Where a layer's metadata keeps its `LayerOrigin`."""

_SELECTED_COLOUR = (0.0, 1.0, 1.0, 1.0)
_OUTLINE_COLOUR = (1.0, 1.0, 1.0, 0.75)
_EDIT_COLOUR = (0.96, 0.77, 0.26, 1.0)
_LABELS = 2**16 - 1
_EXPERT_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
"""Okabe and Ito's colours, told apart with every kind of colour vision."""


@dataclass(frozen=True)
class LayerOrigin:
    """What stands behind a layer.

    Attributes:
        volume: The volume it shows, or whose map it shows.
        placement: How the volume's axes became the layer's.
        role: "image", "scores" (a map that is not on its image), "anomaly", "findings", "experts" or "edit".
    """

    volume: SharedVolume
    placement: Placement
    role: str = "image"

    def shown(self) -> NDArray[Any]:
        """Return the volume's values as its layer shows them."""
        colours = self.volume.colours
        if colours is None:
            return self.placement.show(self.volume.voxels[0])
        return np.stack([self.placement.show(colours[..., channel]) for channel in range(3)], axis=-1)

    def world_to_patient(self) -> NDArray[np.float64]:
        """Return the 4x4 matrix from the viewer's world to the patient's, mm, RAS+, on this volume's axes."""
        shape = self.volume.light.shape
        to_voxel = np.eye(4)
        to_voxel[:3, 3] = self.placement.to_voxel((0.0, 0.0, 0.0), shape)
        for axis in range(3):
            to_voxel[:3, axis] = self.placement.to_voxel(np.eye(3)[axis], shape) - to_voxel[:3, 3]
        matrix: NDArray[np.float64] = (
            self.volume.light.affine.matrix @ to_voxel @ np.linalg.inv(self.placement.to_world())
        )
        return matrix


def origin_of(layer: Layer) -> LayerOrigin | None:
    """Return what stands behind a layer of this plugin; None for any other."""
    origin = layer.metadata.get(METADATA_KEY)
    return origin if isinstance(origin, LayerOrigin) else None


def image_layer_data(volume: SharedVolume, name: str, role: str = "image") -> tuple[Any, dict[str, Any], str]:
    """Make the layer data tuple of a volume; the pixels are not copied.

    Args:
        volume: The volume.
        name: The layer's name.
        role: What it is, see `LayerOrigin`.
    """
    origin = LayerOrigin(volume, place(volume.light), role)
    attributes: dict[str, Any] = {"name": name, "metadata": {METADATA_KEY: origin}, **origin.placement.transform}
    shown = origin.shown()
    if volume.colours is not None:
        return shown, attributes | {"rgb": True}, "image"
    low, high = start_window(volume)
    attributes |= {"colormap": "gray", "contrast_limits": (low, high), "interpolation2d": "linear"}
    return shown, attributes, "image"


def start_window(volume: SharedVolume) -> tuple[float, float]:
    """Return the window to show a volume with at first: that of its image type, never empty."""
    windows = volume.reference.windows
    low, high = windows.get(volume.light.series.image_type.value, next(iter(windows.values())))
    return (low, high) if high > low else (low, low + 1.0)


def layer_transform(layer: Layer, leading: tuple[int, ...] = ()) -> dict[str, Any]:
    """Return the place of a layer, for another one that has to lie exactly on it.

    Args:
        layer: The layer.
        leading: Which of its images the other one lies on: an index along the axes before the last three.
    """
    translate = np.array(layer.translate, dtype=float)
    if leading:
        start, there = np.zeros(layer.ndim), np.zeros(layer.ndim)
        there[: len(leading)] = leading
        shift = np.asarray(layer.data_to_world(there)) - np.asarray(layer.data_to_world(start))
        translate += np.linalg.solve(np.asarray(layer.affine.affine_matrix)[:-1, :-1], shift)
    return {
        "scale": layer.scale,
        "translate": translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": np.asarray(layer.affine.affine_matrix),
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def anomaly_layer_attributes(image: Layer, origin: LayerOrigin, threshold: float) -> dict[str, Any]:
    """Return the attributes of the map's layer: lies on the image, transparent below the threshold."""
    return {
        "name": f"anomaly map · {image.name}",
        "metadata": {METADATA_KEY: origin},
        "colormap": anomaly_colormap(),
        "contrast_limits": anomaly_contrast(threshold),
        "blending": "translucent_no_depth",
        "opacity": 0.65,
        "interpolation2d": "linear",
        **layer_transform(image, origin.placement.leading),
    }


def anomaly_contrast(threshold: float) -> tuple[float, float]:
    """Return contrast limits that hide all scores below a threshold."""
    return (min(threshold, 1.0 - 1e-3), 1.0)


def anomaly_colormap() -> Colormap:
    """Make the map's colours: the brighter part of inferno (perceptually uniform), transparent below the limits."""
    from napari.utils.colormaps import Colormap, ensure_colormap

    colours = ensure_colormap("inferno").map(np.linspace(0.4, 0.95, 128))
    return Colormap(colours, name="anomaly", low_color=(0.0, 0.0, 0.0, 0.0))


def findings_layer_attributes(image: Layer, origin: LayerOrigin, colours: CyclicLabelColormap) -> dict[str, Any]:
    """Return the attributes of the outlines' layer."""
    return {
        "name": f"findings · {image.name}",
        "metadata": {METADATA_KEY: origin},
        "opacity": 1.0,
        "colormap": colours,
        **layer_transform(image, origin.placement.leading),
    }


def edit_layer_attributes(image: Layer, origin: LayerOrigin, name: str) -> dict[str, Any]:
    """Return the attributes of the layer on which an outline is edited."""
    from napari.utils.colormaps import DirectLabelColormap

    clear = np.zeros(4)
    return {
        "name": f"{name} · {image.name}",
        "metadata": {METADATA_KEY: origin},
        "colormap": DirectLabelColormap(color_dict={None: clear, 0: clear, 1: _EDIT_COLOUR}),
        **layer_transform(image, origin.placement.leading),
    }


def diameter_lines(origin: LayerOrigin, measures: FindingMeasures) -> NDArray[np.float64]:
    """Return a finding's diameters as napari's vectors on the image's layer, (line, start and direction, axis)."""
    lines = [line for line in (measures.longest, measures.perpendicular) if line is not None]
    shape = origin.volume.light.shape
    ends = [[origin.placement.to_index(end, shape) for end in (line.start, line.stop)] for line in lines]
    leading = len(origin.placement.leading)
    vectors = np.zeros((len(lines), 2, leading + origin.placement.ndim))
    for row, (start, stop) in enumerate(ends):
        vectors[row, 0, leading:], vectors[row, 1, leading:] = start, stop - start
    return vectors


def image_on_same_grid(viewer: Viewer, volume: Grid) -> Image | None:
    """Return the image layer whose voxels lie where a volume's lie; None if there is none."""
    return next((layer for layer, origin in _open_images(viewer) if same_grid(origin.volume.light, volume)), None)


def open_images(viewer: Viewer) -> tuple[VolumeReference, ...]:
    """Return the images of this plugin that a viewer shows, in the order of its layers."""
    return tuple(origin.volume.reference for _, origin in _open_images(viewer))


def _open_images(viewer: Viewer) -> Iterator[tuple[Image, LayerOrigin]]:
    for layer in viewer.layers:
        if (origin := origin_of(layer)) is not None and origin.role == "image":
            yield layer, origin


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
    """Return the attributes of the layer that shows which expert took each patch, with names and shares."""
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
        **layer_transform(image, origin.placement.leading),
    }


def expert_name(expert: int, share: float) -> str:
    """Name an expert, with the share of patches it took."""
    return f"expert {expert + 1} ({share:.0%})"


def expert_colour(expert: int) -> str:
    """Return an expert's colour, as a hexadecimal RGB string."""
    return _EXPERT_COLOURS[expert % len(_EXPERT_COLOURS)]


@contextmanager
def same_active(viewer: Viewer) -> Iterator[None]:
    """Keep the active layer while another is added, which napari makes the active one."""
    active = viewer.layers.selection.active
    yield
    viewer.layers.selection.active = active
