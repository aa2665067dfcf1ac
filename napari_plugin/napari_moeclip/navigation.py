"""Where one is in the patient: letters at the edges, the slice number, and going to a finding."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_moeclip.layers import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari import Viewer
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_moeclip.layers import LayerOrigin
    from napari_moeclip.session import Session

_EDGES = {"left": "middle_left", "right": "middle_right", "top": "top_center", "bottom": "bottom_center"}
_SLICE_KEY = "moeclip_slice"
_STATE_KEY = "moeclip_state"
_LETTER_SIZE = 14
_TEXT_SIZE = 8
_PLANE_OF_AXIS = ("axial", "coronal", "sagittal")


def prepare_current_viewer() -> None:
    """Prepare the viewer that something is about to be opened in, if there is one."""
    from napari import current_viewer

    viewer = current_viewer()
    if viewer is not None:
        prepare_viewer(viewer)


def prepare_viewer(viewer: Viewer) -> None:
    """Show orientation letters and the slice number for volumes, and their first slices as acquired; once."""
    from napari.components.overlays import TextOverlay

    if _SLICE_KEY in viewer.canvas.overlays:
        return
    viewer.scene.camera.synced = False  # else 3-D and back leaves the slice that was read, and its zoom
    for edge, position in _EDGES.items():
        viewer.canvas.overlays[f"moeclip_{edge}"] = TextOverlay(position=position, font_size=_LETTER_SIZE)
    viewer.canvas.overlays[_SLICE_KEY] = TextOverlay(position="top_left", font_size=_TEXT_SIZE)
    viewer.canvas.overlays[_STATE_KEY] = TextOverlay(position="bottom_left", font_size=_TEXT_SIZE)
    viewer.layers.events.inserted.connect(partial(_on_inserted, viewer))
    update = partial(_update_texts, viewer)
    for emitter in (
        viewer.dims.events.current_step,
        viewer.dims.events.order,
        viewer.dims.events.ndisplay,
        viewer.layers.events.inserted,
        viewer.layers.events.removed,
        viewer.layers.selection.events.changed,
        viewer.scene.camera.events.orientation,
    ):
        emitter.connect(update)
    _update_texts(viewer)


def keep_in_sight(viewer: Viewer | ViewerModel) -> Callable[..., None]:
    """Return what lets a picture grow or shrink with its canvas, to be called when that has another size."""
    before = viewer.canvas.size

    def follow(_: object = None) -> None:
        nonlocal before
        after = viewer.canvas.size
        spans = np.ptp(viewer.layers.extent.world, axis=0)[list(viewer.dims.displayed)]
        if viewer.dims.ndisplay == 2 and min(*spans, *before, *after) > 0:  # noqa: PLR2004 - a plane
            viewer.scene.camera.zoom *= np.divide(after, spans).min() / np.divide(before, spans).min()
        before = after

    return follow


def show_state(viewer: Viewer, text: str) -> None:
    """Say something about the map on the picture; "" takes it away."""
    overlay = viewer.canvas.overlays[_STATE_KEY]
    if overlay.text != text:
        overlay.text, overlay.visible = text, bool(text)


def go_to(viewer: Viewer, image: Layer, origin: LayerOrigin, voxel: Sequence[float]) -> None:
    """Move all planes to a voxel, and the camera where it is out of sight.

    Args:
        viewer: The viewer.
        image: The layer of the scored volume.
        origin: What stands behind it.
        voxel: Where to go, (x, y, z).
    """
    index = origin.placement.to_index(voxel, origin.volume.light.shape)
    leading = origin.placement.leading
    world = np.asarray(image.data_to_world([*leading, *index]))
    axes = range(viewer.dims.ndim - image.ndim, viewer.dims.ndim)
    viewer.dims.set_point(axes, world.tolist())  # at once: each move draws all layers
    shown = [axis - (viewer.dims.ndim - image.ndim) for axis in viewer.dims.displayed]
    target = [float(world[axis]) for axis in shown]
    if not _is_in_sight(viewer, target):
        centre = list(viewer.scene.camera.center)
        centre[-len(target) :] = target
        viewer.scene.camera.center = (centre[0], centre[1], centre[2])


def voxel_at(viewer_point: Sequence[float], layer: Layer, origin: LayerOrigin) -> tuple[int, int, int] | None:
    """Return the voxel (x, y, z) at a point of the viewer's world; None outside the volume or at another time."""
    data = np.asarray(layer.world_to_data(viewer_point))
    index, leading = data[-origin.placement.ndim :], data[: -origin.placement.ndim]
    if layer.ndim == origin.placement.ndim + len(origin.placement.leading) and any(
        np.round(leading) != origin.placement.leading
    ):
        return None
    shape = origin.volume.light.shape
    voxel = np.round(origin.placement.to_voxel(index, shape)).astype(int)
    if (voxel < 0).any() or (voxel >= shape).any():
        return None
    x, y, z = (int(value) for value in voxel)
    return (x, y, z)


def describe_point(viewer: Viewer, image: Layer | None, session: Session | None) -> str:
    """Say what lies under the mouse: score, finding and place; "" where that is outside the scored image."""
    if session is None or image is None or image not in viewer.layers or not viewer.mouse_over_canvas:
        return ""
    if viewer.dims.ndisplay != 2:  # noqa: PLR2004 - in 3-D the mouse points at no single voxel
        return ""
    voxel = voxel_at(viewer.cursor.position, image, session.origin)
    return "" if voxel is None else f"{session.describe(voxel)} · {describe_place(voxel, session.origin)}"


def describe_place(voxel: tuple[int, int, int], origin: LayerOrigin) -> str:
    """Say where a voxel lies: in the patient (mm, LPS+) where that is known, else in the image."""
    volume = origin.volume.light
    if not volume.has_orientation:
        frame = f", frame {voxel[2] + 1}" if volume.shape[2] > 1 else ""
        return f"column {voxel[0] + 1}, row {voxel[1] + 1}{frame}"
    from moeclip_med.scoring.findings import voxel_to_lps

    x, y, z = (float(value) for value in voxel_to_lps(volume, np.asarray(voxel, dtype=float)))
    return " ".join(
        f"{abs(value):.1f} mm {positive if value >= 0 else negative}"
        for value, negative, positive in ((x, "R", "L"), (y, "A", "P"), (z, "I", "S"))
    )


def shown_slice(viewer: Viewer, layer: Layer, axis: int) -> int:
    """Return the layer's index on screen along one of its last three axes."""
    point = viewer.dims.point[-layer.ndim :]
    index = layer.world_to_data(point)
    return round(float(index[axis - 3]))


def shown_volume_slice(viewer: Viewer, layer: Layer, origin: LayerOrigin, axis: int) -> int:
    """Return the volume's index, along one of its own axes, of the slice on screen.

    Args:
        viewer: The viewer.
        layer: A layer that lies on the volume.
        origin: What stands behind it.
        axis: The volume's axis.
    """
    index = np.zeros(3)
    along = origin.placement.axes.index(axis)
    if not origin.placement.is_flat:
        index[along] = shown_slice(viewer, layer, along)
    return round(float(origin.placement.to_voxel(index[3 - origin.placement.ndim :], origin.volume.light.shape)[axis]))


def other_time(viewer: Viewer, image: Layer, origin: LayerOrigin) -> str:
    """Say of which time point the map is where another one is on screen; "" where it is that one, or the only one."""
    leading = origin.placement.leading
    shown = image.world_to_data(viewer.dims.point[-image.ndim :])[: len(leading)]
    if tuple(round(float(index)) for index in shown) == leading:
        return ""
    return f"the map is of time point {', '.join(str(index + 1) for index in leading)}"


def cuts_along(viewer: Viewer, origin: LayerOrigin, axis: int) -> bool:
    """Whether the slices on screen are cut along one of the volume's axes."""
    along = origin.placement.axes.index(axis) + viewer.dims.ndim - 3
    return viewer.dims.ndisplay == 2 and along not in viewer.dims.displayed  # noqa: PLR2004 - a plane


def _is_in_sight(viewer: Viewer, target: Sequence[float]) -> bool:
    """Whether a point of the displayed plane is on the canvas."""
    centre = np.asarray(viewer.scene.camera.center)[-len(target) :]
    size = np.asarray(viewer.canvas.size) / max(viewer.scene.camera.zoom, 1e-6)
    return bool((np.abs(np.asarray(target)[-2:] - centre[-2:]) < 0.45 * size).all())


def _on_inserted(viewer: Viewer, event: Any) -> None:  # noqa: ANN401 - napari's events are untyped
    """Show a first volume in the plane in which it was acquired, on black as on a reading room's screen."""
    origin = origin_of(event.value)
    if origin is not None and viewer.canvas.background_color_override is None:
        viewer.canvas.background_color_override = "black"
    if origin is None or len(viewer.layers) > 1 or viewer.dims.ndim != 3:  # noqa: PLR2004
        return
    viewer.dims.order = origin.placement.dims_order
    axis = origin.placement.slice_axis
    viewer.dims.set_current_step(axis, viewer.dims.nsteps[axis] // 2)


def _update_texts(viewer: Viewer, event: Any = None) -> None:  # noqa: ANN401, ARG001 - napari's events are untyped
    overlays = viewer.canvas.overlays
    layer = _topmost_volume(viewer)
    letters = {} if layer is None else _letters(viewer, cast("LayerOrigin", origin_of(layer)))
    for edge in _EDGES:
        overlay = overlays[f"moeclip_{edge}"]
        overlay.text = letters.get(edge, "")
        overlay.visible = edge in letters
    text = "" if layer is None else _slice_text(viewer, layer)
    overlays[_SLICE_KEY].text = text
    overlays[_SLICE_KEY].visible = bool(text)


def _topmost_volume(viewer: Viewer) -> Layer | None:
    return next((layer for layer in reversed(viewer.layers) if layer.visible and origin_of(layer)), None)


def _letters(viewer: Viewer, origin: LayerOrigin) -> dict[str, str]:
    """Return the letter of each edge; nothing in 3-D or without orientation."""
    ends = origin.placement.ends
    if ends is None or viewer.dims.ndisplay != 2:  # noqa: PLR2004 - a plane
        return {}
    offset = viewer.dims.ndim - 3
    if min(viewer.dims.displayed) < offset:
        return {}
    (top, bottom), (left, right) = (ends[axis - offset] for axis in viewer.dims.displayed)
    vertical, horizontal = viewer.scene.camera.orientation2d
    if str(vertical) == "up":
        top, bottom = bottom, top
    if str(horizontal) == "left":
        left, right = right, left
    return {"left": left, "right": right, "top": top, "bottom": bottom}


def _slice_text(viewer: Viewer, layer: Layer) -> str:
    """Say which slice is shown, as all results count: along the volume's own axis, from 1. napari's slider differs."""
    origin = cast("LayerOrigin", origin_of(layer))
    offset = viewer.dims.ndim - 3
    hidden = [axis - offset for axis in viewer.dims.not_displayed if axis >= offset]
    if viewer.dims.ndisplay != 2 or len(hidden) != 1 or origin.placement.is_flat:  # noqa: PLR2004 - a plane
        return ""
    axis = origin.placement.axes[hidden[0]]
    number, count = shown_volume_slice(viewer, layer, origin, axis) + 1, origin.volume.light.shape[axis]
    if not 1 <= number <= count:
        return ""
    what = "frame" if origin.placement.ends is None else _PLANE_OF_AXIS[hidden[0]]
    slider = viewer.dims.current_step[hidden[0] + offset]
    return f"{what}\n{number} of {count}\n(slider: {slider})"  # narrow, beside the letter at the top
