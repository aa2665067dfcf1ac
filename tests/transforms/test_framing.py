"""The square that a network is shown."""

import numpy as np
import torch
from moeclip_transforms import (
    Affine,
    FileFormat,
    ImageType,
    Series,
    Volume,
    Window,
    foreground_box,
    slice_views,
)
from moeclip_transforms.volume import SourceRef


def volume_of(array, affine=None):
    x, y, z = array.shape
    data = torch.as_tensor(np.asarray(array, dtype=np.float32))[None]
    series = Series("1", FileFormat.NIFTI, (), "", ImageType.MR, "", (x, y, z, 1), 1)
    return Volume(data, affine or Affine(np.eye(4)), SourceRef(series, ""))


def test_foreground_box_is_square_in_mm_and_holds_the_foreground():
    array = np.zeros((40, 30, 5), dtype=np.float32)
    array[10:30, 5:15, 2] = 100  # 20 columns of 1 mm, 10 rows of 2 mm (flipped: rows run to the back)
    affine = Affine.from_axes(np.eye(3), [1, 2, 3], [0, 0, 0])
    volume = volume_of(array, affine)
    (view,) = slice_views(volume)
    box = foreground_box(volume, view, Window(0, 100))
    assert (box.row_start, box.row_stop) == (15, 25)
    assert (box.column_start, box.column_stop) == (10, 30)
    assert (box.row_stop - box.row_start) * 2 == box.column_stop - box.column_start


def test_foreground_box_may_reach_outside():
    array = np.zeros((10, 40, 2), dtype=np.float32)
    array[0:2] = 1
    volume = volume_of(array)
    (view,) = slice_views(volume)
    box = foreground_box(volume, view, Window(0, 1))
    assert (box.row_start, box.row_stop) == (0, 40)
    assert box.column_stop - box.column_start == 40
    assert box.column_start < 0


def test_foreground_box_of_nothing_is_the_square_around_the_slice():
    volume = volume_of(np.zeros((20, 10, 2)))
    box = foreground_box(volume, slice_views(volume)[0], Window(0, 0))
    assert (box.column_start, box.column_stop) == (0, 20)
    assert (box.row_start, box.row_stop) == (-5, 15)


def test_foreground_box_passes_over_specks():
    array = np.zeros((200, 200, 3), dtype=np.float32)
    array[80:120, 80:120] = 1
    array[3, 5, 1] = 1
    volume = volume_of(array)
    box = foreground_box(volume, slice_views(volume)[0], Window(0, 1))
    assert (box.column_start, box.column_stop) == (80, 120)
