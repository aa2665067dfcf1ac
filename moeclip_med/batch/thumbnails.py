"""A small picture per series for the triage list: the slice with the highest score, what was found outlined."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms import Window, foreground_box
from PIL import Image, ImageDraw, ImageFont

from moeclip_med.scoring.scored_plane import scored_view

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_transforms import EdgeLetters, SliceView
    from numpy.typing import NDArray

    from moeclip_med.scoring import AnomalyVolume

SIZE = 144
"""Longest side, pixels."""

_OUTLINE = (255, 176, 0)
_LETTER = (255, 255, 255)
_QUALITY = 60
_MARGIN = 3


def write_thumbnail(anomaly: AnomalyVolume, path: Path) -> None:
    """Write the slice that holds the highest score, in true proportions, with the letters of its sides.

    Radiological convention; the findings' outline in amber; WebP. The letters are part of the picture, so that no
    copy of it can lose them. Images without patient orientation carry none.
    """
    draw_thumbnail(anomaly).save(path, "WEBP", quality=_QUALITY)


def draw_thumbnail(anomaly: AnomalyVolume) -> Image.Image:
    """Draw the picture that `write_thumbnail` writes."""
    view = scored_view(anomaly)
    index = _slice_of_peak(anomaly, view)
    window = anomaly.record.settings.window
    part = _foreground(anomaly, view, window)
    grey = _grey(anomaly, view, index, window)[part]
    size = _size_in_mm(grey.shape, view)
    picture = Image.fromarray(grey).resize(size, Image.Resampling.LANCZOS).convert("RGB")
    labels = view.take(anomaly.labels[None], [index])[0, 0][part]
    if labels.any():
        mask = np.asarray(Image.fromarray(np.asarray(labels > 0)).resize(size, Image.Resampling.NEAREST))
        pixels = np.array(picture)
        pixels[_outline(mask)] = _OUTLINE
        picture = Image.fromarray(pixels)
    if view.letters is not None:
        _write_letters(picture, view.letters)
    return picture


def _slice_of_peak(anomaly: AnomalyVolume, view: SliceView) -> int:
    axes = tuple(axis for axis in range(3) if axis != view.axes[0])
    peak = int(np.argmax(anomaly.scores.max(axis=axes)))
    return view.volume_index(peak)  # its own inverse


def _foreground(anomaly: AnomalyVolume, view: SliceView, window: Window) -> tuple[slice, slice]:
    """The rows and columns around the body, as far as they lie in the slice."""
    box = foreground_box(anomaly.volume, view, window)
    rows = slice(max(0, box.row_start), min(view.rows, box.row_stop))
    columns = slice(max(0, box.column_start), min(view.columns, box.column_stop))
    return rows, columns


def _grey(anomaly: AnomalyVolume, view: SliceView, index: int, window: Window) -> NDArray[np.uint8]:
    """(rows, columns) or (rows, columns, 3), with the window that the model saw."""
    values = np.asarray(view.take(anomaly.volume.tensor, [index])[0])
    shown: NDArray[np.uint8] = (np.asarray(window.apply(values)) * 255).round().astype(np.uint8)
    return np.ascontiguousarray(shown[0] if shown.shape[0] == 1 else np.moveaxis(shown[:3], 0, -1))


def _size_in_mm(shape: tuple[int, ...], view: SliceView) -> tuple[int, int]:
    """Width and height in pixels, with the proportions of the body, of a part of so many rows and columns."""
    width, height = shape[1] * view.spacing[2], shape[0] * view.spacing[1]
    scale = SIZE / max(width, height)
    return max(8, round(width * scale)), max(8, round(height * scale))


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask that touch its outside."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def _write_letters(picture: Image.Image, letters: EdgeLetters) -> None:
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(20)
    width, height = picture.size
    places = ((_MARGIN, "lm", letters.left), (width - _MARGIN, "rm", letters.right))
    for x, anchor, letter in places:
        draw.text(
            (x, height / 2), letter, fill=_LETTER, font=font, anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0)
        )
