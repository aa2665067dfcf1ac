"""Slices as pictures: grey, overlay, outlines, letters and scale bar, in mm (pixels without orientation)."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from moeclip_transforms import Affine, Plane, foreground_box, slice_views
from PIL import Image
from skimage.measure import find_contours

from moeclip_med.results.overlay import overlay_rgba
from moeclip_med.scoring.anomaly import low_threshold
from moeclip_med.scoring.scored_plane import scored_view

if TYPE_CHECKING:
    from moeclip_transforms import EdgeLetters, SliceView, Volume, Window
    from numpy.typing import NDArray

    from moeclip_med.scoring.anomaly import AnomalyVolume, Finding

_MARGIN = 0.12
"""Room left around the body for letters, as a share of its size."""

_ENOUGH_SAMPLES = 96
"""Voxels per axis that are looked at to find the body; finer is not visible in a margin."""

_BODY_SHARE = 0.02
"""A slice with less body than this is excluded from the overview."""

_IMAGE_QUALITY = 88
"""WebP quality of the grey images: no visible loss; the scores themselves are kept without loss."""
LONGEST_SIDE = 1600
"""Pixels of a picture, more than the page shows."""


@dataclass(frozen=True)
class OutlinePath:
    """The border of one finding in one slice.

    Attributes:
        rank: The finding's rank.
        path: SVG path data, in the panel's units.
        label_x: Where its rank is written.
        label_y: Where its rank is written.
    """

    rank: int
    path: str
    label_x: float
    label_y: float


@dataclass(frozen=True)
class ScaleBar:
    """A bar of a round length, from (x, y) to (x + length, y)."""

    length: float
    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Panel:
    """One slice, ready to be drawn as SVG; lengths in mm, or pixels where the image has no orientation.

    Attributes:
        plane: "axial", ...; "image" without orientation.
        number: Slice number, counted from 1.
        count: Number of slices in this plane.
        frame: What is shown: (left, top, width, height).
        width: Width of the whole slice.
        height: Height of the whole slice.
        image: The grey or colour image as a data URI.
        overlay: The coloured scores as a data URI.
        outlines: The findings' borders.
        letters: What stands at the four edges; None without orientation.
        scale_bar: None without orientation.
    """

    plane: str
    number: int
    count: int
    frame: tuple[float, float, float, float]
    width: float
    height: float
    image: str
    overlay: str
    outlines: tuple[OutlinePath, ...]
    letters: EdgeLetters | None
    scale_bar: ScaleBar | None

    @property
    def view_box(self) -> str:
        """The frame as SVG writes it."""
        return " ".join(f"{value:.2f}" for value in self.frame)


class PanelMaker:
    """Draws slices of one scored volume, all with the window in which they were scored."""

    def __init__(self, anomaly: AnomalyVolume) -> None:
        self._anomaly = anomaly
        volume = anomaly.volume
        self.window: Window = anomaly.record.settings.window
        self.main_view = scored_view(anomaly)
        self.views = self._all_views()
        self._frames: dict[str, tuple[float, float, float, float]] = {}
        self._sparse = _thinned(volume)

    def at_voxel(self, view: SliceView, voxel: tuple[int, int, int]) -> Panel:
        """The slice of a view that holds a voxel (x, y, z)."""
        return self.at_slice(view, view.volume_index(voxel[view.axes[0]]))

    def at_slice(self, view: SliceView, index: int) -> Panel:
        """One slice of a view, counted from 0."""
        image = self.window.apply(view.take(self._anomaly.volume.tensor, [index]).contiguous())[0].numpy()
        scores = view.take(self._anomaly.scores[None], [index])[0, 0]
        labels = view.take(self._anomaly.labels[None], [index])[0, 0]
        frame = self._frame(view)
        return Panel(
            plane=view.plane,
            number=index + 1,
            count=view.n_slices,
            frame=frame,
            width=view.columns * self._unit(view)[1],
            height=view.rows * self._unit(view)[0],
            image=image_uri(image),
            overlay=overlay_uri(scores, self._anomaly.threshold),
            outlines=tuple(self._outlines(scores, labels, self._unit(view))),
            letters=view.letters,
            scale_bar=scale_bar(frame) if view.letters else None,
        )

    def spread(self, most: int) -> list[int]:
        """Evenly spaced slices of the main view, at most so many, from where the body begins to where it ends."""
        step = -(-self._anomaly.volume.shape[self.main_view.axes[0]] // _ENOUGH_SAMPLES)
        body = self.window.foreground(self._sparse.tensor).any(0).numpy()
        axis = self.main_view.axes[0]
        share = body.mean(axis=tuple(other for other in range(3) if other != axis))
        filled = np.flatnonzero(share > _BODY_SHARE) * step
        first, last = (filled[0], filled[-1]) if len(filled) else (0, self.main_view.n_slices - 1)
        places = np.linspace(first, last, min(most, last - first + 1) + 2)[1:-1]
        return sorted({self.main_view.volume_index(round(float(place))) for place in places})

    def _all_views(self) -> tuple[SliceView, ...]:
        """The scored plane first, then the other two where the volume has them."""
        volume = self._anomaly.volume
        if not (volume.has_orientation and volume.is_regular and min(volume.shape) > 1):
            return (self.main_view,)
        others = [view for view in slice_views(volume, Plane.ALL) if view.plane != self.main_view.plane]
        return (self.main_view, *others)

    @staticmethod
    def _unit(view: SliceView) -> tuple[float, float]:
        """Height and width of a pixel: mm, or 1 without orientation."""
        return (view.spacing[1], view.spacing[2]) if view.letters else (1.0, 1.0)

    def _frame(self, view: SliceView) -> tuple[float, float, float, float]:
        """What every panel of a view shows: a photograph whole, else the square around the body and all findings."""
        if view.plane in self._frames:
            return self._frames[view.plane]
        row_size, column_size = self._unit(view)
        if view.letters is None:
            frame = (0.0, 0.0, float(view.columns), float(view.rows))
        else:
            top, bottom, left, right = self._body(view.plane)
            for finding in self._anomaly.findings:
                (first_row, last_row), (first_column, last_column) = _extent_in_view(finding, view)
                top, bottom = min(top, first_row * row_size), max(bottom, last_row * row_size)
                left, right = min(left, first_column * column_size), max(right, last_column * column_size)
            side = max(bottom - top, right - left) * (1 + 2 * _MARGIN)
            frame = ((left + right - side) / 2, (top + bottom - side) / 2, side, side)
        self._frames[view.plane] = frame
        return frame

    def _body(self, plane: str) -> tuple[float, float, float, float]:
        """Top, bottom, left and right of the square around the body in a plane, mm."""
        view = next(view for view in slice_views(self._sparse, Plane(plane)) if view.plane == plane)
        box = foreground_box(self._sparse, view, self.window)
        row_size, column_size = self._unit(view)
        return (
            box.row_start * row_size,
            box.row_stop * row_size,
            box.column_start * column_size,
            box.column_stop * column_size,
        )

    def _outlines(
        self, scores: NDArray[np.float32], labels: NDArray[np.uint16], unit: tuple[float, float]
    ) -> list[OutlinePath]:
        """Smooth borders around the voxels of each finding, at the score to which findings reach."""
        ranks = {finding.label: finding.rank for finding in self._anomaly.findings}
        outlines, limit = [], low_threshold(self._anomaly.threshold)
        for label in np.unique(labels[labels > 0]):
            own = np.where((labels == label) | (scores < limit), scores, 0)
            curves = find_contours(np.pad(own, 1), limit - 1e-6)  # type: ignore[no-untyped-call]
            points = [(curve[:, ::-1] - 0.5) * unit[::-1] for curve in curves]  # pixel (0, 0) spans 0 to 1
            if not points:
                continue
            path = "".join("M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in curve) + "Z" for curve in points)
            largest = max(points, key=len)
            label_x, label_y = largest[:, 0].max(), largest[:, 1].min()
            outlines.append(OutlinePath(ranks[int(label)], path, round(float(label_x), 2), round(float(label_y), 2)))
        return outlines


def _thinned(volume: Volume) -> Volume:
    """Every n-th voxel of a volume: enough to see where the body lies."""
    steps = [-(-size // _ENOUGH_SAMPLES) for size in volume.shape]
    x, y, z = steps
    affine = Affine(volume.affine.matrix @ np.diag([x, y, z, 1.0]))
    return replace(volume, tensor=volume.tensor[:, ::x, ::y, ::z], affine=affine, padding_mask=None, frame_geometry=())


def _extent_in_view(finding: Finding, view: SliceView) -> tuple[tuple[int, int], tuple[int, int]]:
    """The bounding box of a finding as (first, one past last) row and column of a view."""
    sizes = (view.rows, view.columns)
    spans = []
    for axis, size, flip in zip(view.axes[1:], sizes, view.flips[1:], strict=True):
        start, stop = finding.box_start[axis], finding.box_stop[axis]
        spans.append((size - stop, size - start) if flip else (start, stop))
    return spans[0], spans[1]


def scale_bar(frame: tuple[float, float, float, float]) -> ScaleBar:
    """The longest of 1, 2, 5, 10, ... mm that fills at most a third of the frame, at its lower right."""
    left, top, width, height = frame
    power = 10.0 ** np.floor(np.log10(width / 3))
    length = max(step * power for step in (1, 2, 5) if step * power <= width / 3)
    inset = 0.05 * width
    return ScaleBar(length, left + width - inset - length, top + height - inset, f"{length:g} mm")


def image_uri(image: NDArray[np.float32]) -> str:
    """A (channel, rows, columns) image, 0 to 1, as WebP."""
    pixels = (image * 255).round().astype(np.uint8)
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels[:3], 0, -1))
    return _webp(_fitting(picture).convert("RGB"), quality=_IMAGE_QUALITY)


def overlay_uri(scores: NDArray[np.float32], threshold: float) -> str:
    """(rows, columns) scores, 0 to 1, as a transparent WebP in the colours of the overlay."""
    shown = np.asarray(_fitting(Image.fromarray(np.ascontiguousarray(scores, dtype=np.float32))))
    return _webp(Image.fromarray(overlay_rgba(shown, threshold), mode="RGBA"), lossless=True)


def _fitting(picture: Image.Image) -> Image.Image:
    """The picture with at most `LONGEST_SIDE` pixels a side.

    A mammogram's overlay would take a gigabyte to encode, and WebP takes no side longer than 16 383 pixels.
    """
    scale = min(1.0, LONGEST_SIDE / max(picture.size))
    if scale == 1:
        return picture
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BOX)


def _webp(picture: Image.Image, **options: Any) -> str:  # noqa: ANN401 - Pillow's own options
    """A picture as a data URI."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", method=4, **options)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
