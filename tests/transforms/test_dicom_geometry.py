import shutil

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moeclip_transforms import InputError, Plane, open_source, read_volume, resample_to_orthogonal, slice_views
from pydicom.uid import MRImageStorage
from scipy.spatial.transform import Rotation
from sentences import facts, lacking


def test_missing_slice_is_said_and_makes_the_volume_irregular(write_series):
    volume = read_volume(write_series([0, 2, 4, 8, 10]))
    assert not volume.is_regular
    (note,) = volume.notes
    assert not lacking(note, "1 slice is missing", "2 mm", "3 and 4")


def test_several_missing_slices(write_series):
    volume = read_volume(write_series([0, 2, 4, 6, 12, 14, 18]))
    (note,) = volume.notes
    assert not lacking(note, "3 slices are missing", "2 mm", "4 and 5, 6 and 7")


def test_uneven_gaps(write_series):
    volume = read_volume(write_series([0, 4, 8, 9.08, 16.08, 20.08]))
    assert not volume.is_regular
    (note,) = volume.notes
    assert not lacking(note, "uneven", "1.08, 4, 7 mm")


def test_gantry_tilt_alone_is_irregular_but_its_affine_is_exact(write_series):
    tilt = np.radians(18.5)
    orientation = (1, 0, 0, 0, np.cos(tilt), -np.sin(tilt))
    volume = read_volume(write_series([(0, 0, z) for z in (0, 4, 8, 12)], orientation=orientation))
    (note,) = volume.notes
    assert not lacking(note, "tilted by 18.5°", "gantry tilt")
    assert not volume.is_regular
    assert volume.affine.tilt() == pytest.approx(18.5)
    np.testing.assert_allclose(volume.affine.matrix @ [0, 0, 3, 1], [0, 0, 12, 1], atol=1e-9)


def test_rounded_positions_are_regular(write_series):
    positions = [(round(0.0123 * k, 3), 0, round(0.9000001 * k, 3)) for k in range(30)]
    normal = np.array([0.0123, 0, 0.9000001])
    normal /= np.linalg.norm(normal)
    orientation = (normal[2], 0, -normal[0], 0, 1, 0)
    volume = read_volume(write_series(positions, orientation=orientation))
    assert volume.is_regular
    assert volume.notes == ()


def test_duplicate_position_is_said(write_series):
    positions = [float(z) for z in range(20)] + [7.0]
    volume = read_volume(write_series(positions))
    assert volume.shape[2] == 20
    (note,) = volume.notes
    assert not lacking(note, "1 slice", "position", "first")


def test_copied_file_is_said(write_series):
    folder = write_series([0, 1, 2])
    shutil.copy(folder / "0002", folder / "copy")
    volume = read_volume(folder)
    assert volume.shape[2] == 3
    assert len(volume.series.files) == 4
    (note,) = volume.notes
    assert not lacking(note, "1 file", "SOP Instance UID", "one copy")


def test_many_slices_at_one_place_are_refused(write_series):
    folder = write_series([0, 0, 0, 1, 2, 2])
    with open_source(folder) as source:
        (series,) = source.series
        assert series.skip_reason
        with pytest.raises(InputError) as caught:
            source.read(series)
    assert "1 to 3 slices at the same position" in str(caught.value)


def test_repeated_positions_are_time_points_in_the_order_of_their_headers(write_series):
    def change(index, dataset):
        dataset.TemporalPositionIdentifier = 2 - index // 3

    folder = write_series([0, 1, 2, 0, 1, 2], change=change)
    with open_source(folder) as source:
        (series,) = source.series
        assert series.shape == (8, 6, 3, 2)
        assert source.read(series).tensor[0, 1, 1].tolist() == [300, 400, 500]
        assert source.read(series, time_point=1).tensor[0, 1, 1].tolist() == [0, 100, 200]


def test_incomplete_time_point_comes_last_and_says_so(write_series):
    def change(index, dataset):
        dataset.EchoTime = float(3 - index // 4)

    folder = write_series([0, 1, 2, 3, 0, 1, 2, 3, 0, 1], change=change)
    with open_source(folder) as source:
        (series,) = source.series
        assert series.shape == (8, 6, 4, 3)
        assert source.read(series).array[0, 1, 1].tolist() == [400, 500, 600, 700]
        last = source.read(series, time_point=2)
    assert last.shape == (8, 6, 2)
    assert "This volume has 2 slices, others 4." in last.notes


def test_slices_of_other_size_or_direction_are_series_of_their_own(write_series):
    def change(index, dataset):
        if index == 3:
            dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        if index == 4:
            dataset.Rows, dataset.PixelData = 5, dataset.PixelData[: 5 * 8 * 2]

    with open_source(write_series([0, 1, 2, 3, 4], change=change)) as source:
        assert sorted((series.uid, series.shape[1:3]) for series in source.series) == [
            ("1.2.3#1", (5, 1)),
            ("1.2.3#2", (6, 1)),
            ("1.2.3#3", (6, 3)),
        ]
        for series in source.series:
            assert source.read(series).shape == series.shape[:3]


def test_magnitude_and_phase_are_series_of_their_own(write_series):
    def change(index, dataset):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "MP"[index % 2]]

    folder = write_series([0, 0, 1, 1, 2, 2], change=change, modality="MR", sop_class=MRImageStorage)
    with open_source(folder) as source:
        assert [series.shape for series in source.series] == [(8, 6, 3, 1)] * 2
        first = source.read(source.series[0]).tensor[0, 1, 1].tolist()
        assert first in ([0, 200, 400], [100, 300, 500])


def test_wrong_orientation_is_refused(write_series):
    folder = write_series([0, 1], orientation=(1, 0, 0, 0.5, 0.5, 0))
    with open_source(folder) as source, pytest.raises(InputError) as caught:
        source.read(source.series[0])
    assert str(caught.value).endswith(
        "is 1\\0\\0\\0.5\\0.5\\0; expected two perpendicular unit vectors; export the series again."
    )


def test_missing_pixel_spacing_takes_the_orientation_away(write_series):
    def change(_, dataset):
        del dataset.PixelSpacing

    volume = read_volume(write_series([0, 1], change=change))
    assert not volume.has_orientation
    stored, without_place = volume.notes
    assert not lacking(stored, "where the slices lie", "as stored")
    assert not lacking(without_place, "Pixel Spacing (0028,0030)")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    gap=st.floats(0.5, 6),
    order=st.permutations(range(4)),
)
def test_world_coordinates_agree_with_simpleitk(tmp_path_factory, make_slice, angles, gap, order):
    folder = tmp_path_factory.mktemp("oblique")
    row, column, normal = Rotation.from_euler("xyz", angles, degrees=True).as_matrix().T
    names = []
    for k in order:
        position = np.round(np.array([10, -20, 30]) + k * gap * normal, 6)
        orientation = np.round([*row, *column], 9)
        dataset = make_slice(position=position, orientation=orientation, pixels=np.full((6, 8), k, dtype=np.int16))
        dataset.save_as(folder / f"{k}")
    names = [str(folder / f"{k}") for k in range(4)]
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(names)
    image = reader.Execute()
    volume = read_volume(folder)
    assert volume.is_regular
    assert volume.tensor[0, 0, 0].tolist() == [0, 1, 2, 3]
    for index in [(0, 0, 0), (7, 5, 3), (2, 4, 1)]:
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose((volume.affine.matrix @ [*index, 1])[:3], lps * [-1, -1, 1], atol=1e-4)


def ramp_volume(write_series, positions, tilt_degrees=0.0):
    """A series whose values are linear in the world: exact under linear interpolation."""
    tilt = np.radians(tilt_degrees)
    orientation = (1, 0, 0, 0, np.cos(tilt), -np.sin(tilt))

    def change(index, dataset):
        columns, rows = np.meshgrid(np.arange(8), np.arange(6))
        y = rows * 0.5 * np.cos(tilt)
        z = positions[index] - rows * 0.5 * np.sin(tilt)
        x = columns * 0.25
        dataset.PixelData = np.round(1000 + 100 * x + 40 * y + 30 * z).astype(np.int16).tobytes()

    return read_volume(write_series([(0, 0, z) for z in positions], change=change, orientation=orientation))


@pytest.mark.parametrize("tilt", [0.0, 18.5, -30.0])
def test_resampling_puts_every_value_where_it_belongs(write_series, tilt):
    volume = ramp_volume(write_series, [0, 4, 8, 9.1, 16.1, 20.1], tilt)
    assert not volume.is_regular
    values, grid = resample_to_orthogonal(volume.tensor[0].numpy(), volume)
    assert grid.is_orthogonal
    assert grid.spacing == pytest.approx((0.25, 0.5, 4 * np.cos(np.radians(tilt))), abs=1e-6)
    voxels = np.argwhere(np.ones(values.shape))
    points = grid.to_world(voxels) * [-1, -1, 1]
    geometry = volume.frame_geometry
    row, column = np.array(geometry[0].row_direction), np.array(geometry[0].column_direction)
    offsets = points[:, None] - np.array([frame.position for frame in geometry])
    along = offsets @ np.cross(row, column)
    rows = offsets @ column / 0.5
    before = (along >= -1e-9).sum(axis=1) - 1
    after = np.minimum(before + 1, len(geometry) - 1)
    each = np.arange(len(voxels))
    is_between = [(rows[each, k] > -1e-6) & (rows[each, k] < 5 + 1e-6) for k in (before, after)]
    whole = is_between[0] & is_between[1] & (before >= 0) & (along[:, -1] <= 1e-9)
    assert whole.sum() >= 50
    expected = 1000 + points[whole] @ [100, 40, 30]
    np.testing.assert_allclose(values[tuple(voxels[whole].T)], expected, atol=1.5)


def test_resampling_labels_keeps_them_whole(write_series):
    volume = read_volume(write_series([0, 2, 4, 9]))
    labels = np.zeros(volume.shape, dtype=np.int32)
    labels[..., 1], labels[..., 3] = 5, 9
    resampled, _ = resample_to_orthogonal(labels, volume, interpolation="nearest")
    assert resampled.dtype == np.int32
    assert set(np.unique(resampled)) == {0, 5, 9}


def test_resampling_an_even_series_changes_nothing(write_series):
    volume = read_volume(write_series([0, 2, 4, 6]))
    image = volume.tensor[0].numpy()
    resampled, affine = resample_to_orthogonal(image, volume)
    np.testing.assert_array_equal(resampled, image)
    np.testing.assert_allclose(affine.matrix, volume.affine.matrix, atol=1e-9)


def test_resampling_needs_positions(write_series):
    volume = read_volume(write_series([0, 2], orientation=None))
    with pytest.raises(InputError) as caught:
        resample_to_orthogonal(np.zeros(volume.shape), volume)
    assert facts(caught.value) == facts(
        "Resampling needs one slice position for each of the 2 slices, but this volume has 0."
    )


def test_real_tilted_head(shared_dicom):
    volume = read_volume(shared_dicom / "ct_head_gantry_tilt.zip")
    assert volume.shape == (512, 512, 28)
    gaps, tilt = volume.notes
    assert not lacking(gaps, "uneven", "1.08, 4, 7 mm")
    assert not lacking(tilt, "tilted by 18.5°", "gantry tilt")
    assert not volume.is_regular
    assert volume.series.image_type == "ct-brain"
    assert slice_views(volume)[0].plane == "axial"
    with pytest.raises(InputError, match="unevenly spaced or tilted"):
        slice_views(volume, Plane.ALL)


def test_real_mr_head(shared_dicom):
    with open_source(shared_dicom / "mr_head_t1.zip") as source:
        (series,) = source.series
        assert (series.shape, series.image_type) == ((256, 256, 192, 1), "mr")
        volume = source.read(series)
        assert volume.is_regular
        assert volume.notes == ()
        names = [str(frame.path) for frame in volume.frames]
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(names)
        image = reader.Execute()
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), volume.tensor[0].numpy().transpose(2, 1, 0))
    for index in [(0, 0, 0), (255, 0, 191), (17, 200, 99)]:
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose((volume.affine.matrix @ [*index, 1])[:3], lps * [-1, -1, 1], atol=1e-4)
