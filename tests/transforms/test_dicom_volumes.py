"""Which single-frame files make a volume together. Pixel [0, 0] of each slice says which slice of which time it is."""

from __future__ import annotations

import numpy as np
import pytest
from marked_frames import CELLS, TIME_BY_TIME, all_marks, expected, marked, marks
from moeclip_transforms import InputError, open_source
from pydicom.uid import MRImageStorage, PositronEmissionTomographyImageStorage


@pytest.fixture
def write_frames(tmp_path, make_slice):
    """Write one single-frame file per (slice, time), in a jumbled order of names."""

    def write(cells, change, gap=3.0, folder="series", **attributes):
        target = tmp_path / folder
        target.mkdir(exist_ok=True)
        names = np.random.default_rng(5).permutation(len(cells))
        for number, (z, t) in enumerate(cells):
            dataset = make_slice(position=(0, 0, gap * z), pixels=marked(z, t), number=number + 1, **attributes)
            change(dataset, z, t)
            dataset.save_as(target / f"{names[number]:03d}")
        return target

    return write


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("TemporalPositionIdentifier", [1, 2, 3]),
        ("EchoTime", [2.3, 4.6, 6.9]),
        ("InversionTime", [100, 500, 900]),
        ("DiffusionBValue", [0.0, 500.0, 1000.0]),
        ("NominalPercentageOfCardiacPhase", [0.0, 30.0, 60.0]),
        ("TriggerTime", [0.0, 120.5, 241.0]),
        ("EchoNumbers", [1, 2, 3]),
        ("FlipAngle", [2.0, 10.0, 20.0]),
        ("RepetitionTime", [500.0, 1000.0, 3000.0]),
        ("KVP", [80, 100, 140]),
        ("ConvolutionKernel", ["B30f", "B50f", "B70f"]),
        ("FrameReferenceTime", [31000.0, 91000.0, 151000.0]),
        ("AcquisitionNumber", [3, 5, 9]),
        ("AcquisitionDateTime", ["20240101235950", "20240102000010", "20240102000030"]),
    ],
)
def test_every_attribute_that_tells_volumes_apart_does(write_frames, keyword, values):
    def change(dataset, z, t):
        setattr(dataset, keyword, values[t])
        dataset.ContentTime = f"1010{(7 * z + 5 * t) % 12:02d}"  # in no order: it must not decide
        dataset.InstanceNumber = 1 + (5 * (4 * t + z)) % 12  # nor may this

    assert all_marks(write_frames(CELLS, change, modality="MR", sop_class=MRImageStorage)) == expected(4, range(3))


def private(dataset, group, creator, element, vr, value):
    dataset.private_block(group, creator, create=True).add_new(element, vr, value)


@pytest.mark.parametrize(
    "add",
    [
        lambda dataset, t: private(dataset, 0x0043, "GEMS_PARM_01", 0x39, "IS", [10**9 + 500 * t, 8, 0, 0]),
        lambda dataset, t: private(dataset, 0x2001, "Philips Imaging DD 001", 0x03, "FL", 500.0 * t),
        lambda dataset, t: private(dataset, 0x0019, "SIEMENS MR HEADER", 0x0C, "IS", 500 * t),
        lambda dataset, t: private(dataset, 0x0065, "Image Private Header", 0x09, "FD", 500.0 * t),
    ],
    ids=["GE", "Philips", "Siemens", "UIH"],
)
def test_b_values_of_vendors_tell_volumes_apart(write_frames, add):
    def change(dataset, z, t):
        add(dataset, t)
        dataset.InstanceNumber = 1 + (5 * (4 * t + z)) % 12  # in no order: it must not decide

    assert all_marks(write_frames(CELLS, change, modality="MR", sop_class=MRImageStorage)) == expected(4, range(3))


@pytest.mark.parametrize(
    ("group", "creator", "first"),
    [(0x0019, "GEMS_ACQU_01", 0xBB), (0x2005, "Philips MR Imaging DD 001", 0xB0)],
)
def test_gradients_of_vendors_tell_volumes_apart(write_frames, group, creator, first):
    def change(dataset, z, t):
        for axis in range(3):
            private(dataset, group, creator, first + axis, "DS" if group == 0x0019 else "FL", float(axis == t))
        dataset.InstanceNumber = 1 + (5 * (4 * t + z)) % 12

    found = all_marks(write_frames(CELLS, change, modality="MR", sop_class=MRImageStorage))
    assert sorted(found) == expected(4, range(3))


def test_gradient_directions_of_one_b_value_are_volumes_in_the_order_of_their_acquisition(write_frames):
    directions = [[1.0, 0.0, 0.0], [-0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]

    def change(dataset, _, t):
        dataset.DiffusionBValue, dataset.DiffusionGradientOrientation = 1000.0, directions[t]

    folder = write_frames(TIME_BY_TIME, change, modality="MR", sop_class=MRImageStorage)
    assert all_marks(folder) == expected(4, range(3))


def test_a_run_over_midnight_keeps_its_order(write_frames):
    def change(dataset, z, t):
        second = 86_390 + 8 * t + z
        dataset.AcquisitionDate = "20240101" if second < 86_400 else "20240102"
        clock = second % 86_400
        dataset.AcquisitionTime = f"{clock // 3600:02d}{clock // 60 % 60:02d}{clock % 60:02d}"

    assert all_marks(write_frames(TIME_BY_TIME, change)) == expected(4, range(3))


def test_rank_is_the_last_resort_and_says_so(write_frames):
    def change(dataset, z, t):
        dataset.ContentTime = f"10{(7 * z + 5 * t) % 12:02d}00"

    folder = write_frames(TIME_BY_TIME, change)
    assert all_marks(folder) == expected(4, range(3))
    with open_source(folder) as source:
        notes = source.read(source.series[0]).notes
    assert any(
        "Nothing in the headers says which of the 3 slices" in note and "instance number" in note for note in notes
    )


def test_an_interrupted_series_has_whole_volumes_and_the_rest(write_frames):
    folder = write_frames(TIME_BY_TIME[:-2], lambda *_: None)
    assert all_marks(folder) == [*expected(4, range(2)), [2, 12]]
    with open_source(folder) as source:
        notes = source.read(source.series[0]).notes
    assert any("instance number" in note and "2 of 4" in note for note in notes)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("TriggerTime", lambda z, t: 50.0 * t + 1.5 * z),
        ("FrameReferenceTime", lambda z, t: 1000.0 * t + 3.0 * z),
        ("AcquisitionDateTime", lambda z, t: f"20240102101{t}{3 * z:02d}"),
    ],
)
def test_times_that_drift_from_slice_to_slice_rank_before_the_instance_number(write_frames, keyword, value):
    cells = [(z, (z + turn) % 3) for z in range(4) for turn in range(3)]
    assert all_marks(write_frames(cells, lambda dataset, z, t: setattr(dataset, keyword, value(z, t)))) == expected(
        4, range(3)
    )


def test_acquisitions_that_interleave_are_volumes_of_their_own(write_frames):
    def change(dataset, z, t):
        dataset.AcquisitionNumber = t + 1
        dataset.ImagePositionPatient = [0, 0, 5.0 * z + 1.3 * t]

    cells = [(z, 0) for z in range(8)] + [(z, 1) for z in range(7)]
    folder = write_frames(cells, change)
    with open_source(folder) as source:
        (series,) = source.series
        assert series.shape == (8, 6, 8, 2)
        volumes = [source.read(series, time_point=t) for t in (0, 1)]
    assert [marks(volume) for volume in volumes] == [[10 * z for z in range(8)], [10 * z + 1 for z in range(7)]]
    assert all(volume.is_regular for volume in volumes)
    assert volumes[1].affine.origin[2] == pytest.approx(1.3)


def test_slices_acquired_in_two_packs_stay_one_volume(write_frames):
    def change(dataset, z, _):
        dataset.AcquisitionNumber = 1 + z % 2

    assert all_marks(write_frames([(z, 0) for z in range(8)], change)) == expected(8, [0])


def test_b0_beside_b2000_are_two_volumes(write_frames):
    def change(dataset, z, t):
        dataset.DiffusionBValue = 2000.0 * t
        dataset.ImagePositionPatient = [0, 0, 4.0 * z + 3.51 * t]

    folder = write_frames(TIME_BY_TIME[:8], change, modality="MR", sop_class=MRImageStorage)
    assert all_marks(folder) == expected(4, range(2))


@pytest.mark.parametrize("has_number", [True, False])
def test_repeats_a_hair_apart_are_no_thin_slices(write_frames, has_number):
    def change(dataset, z, t):
        dataset.ImagePositionPatient = [0, 0, 5.0 * z + 0.02 * t]
        if has_number:
            dataset.AcquisitionNumber = t

    assert all_marks(write_frames(TIME_BY_TIME, change)) == expected(4, range(3))


def test_dense_oct_is_no_repetition(write_frames):
    folder = write_frames([(z, 0) for z in range(64)], lambda *_: None, gap=0.006, modality="OPT")
    with open_source(folder) as source:
        (series,) = source.series
        assert series.shape == (8, 6, 64, 1)
        volume = source.read(series)
    assert volume.is_regular
    assert volume.affine.spacing[2] == pytest.approx(0.006)


def test_a_slice_counter_for_temporal_position_makes_no_volumes(write_frames):
    def change(dataset, z, _):
        dataset.TemporalPositionIdentifier = z + 1

    assert all_marks(write_frames([(z, 0) for z in range(5)], change)) == expected(5, [0])


def test_the_order_of_dynamic_pet_is_that_of_its_reference_times(write_frames):
    shuffled = [2, 0, 1]

    def change(dataset, z, t):
        dataset.FrameReferenceTime, dataset.ContentTime = 1000.0 * t, f"09{shuffled[t]:02d}00"
        dataset.AcquisitionTime, dataset.InstanceNumber = "090000", 4 * shuffled[t] + z + 1
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, 0

    sop_class = PositronEmissionTomographyImageStorage
    folder = write_frames(CELLS, change, modality="PT", sop_class=sop_class)
    assert all_marks(folder) == [[2 * mark for mark in volume] for volume in expected(4, range(3))]


def test_one_instance_uid_on_many_slices_loses_none(write_frames):
    folder = write_frames([(z, 0) for z in range(5)], lambda *_: None, SOPInstanceUID="1.2.3.4")
    with open_source(folder) as source:
        volume = source.read(source.series[0])
    assert marks(volume) == [0, 10, 20, 30, 40]
    assert any("5 different images share their SOP Instance UID" in note for note in volume.notes)


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID"])
def test_two_patients_under_one_series_uid_are_two_series(write_frames, keyword):
    def change(dataset, _, t):
        setattr(dataset, keyword, f"1.{t}")

    folder = write_frames([(z, t) for z in range(3) for t in range(2)], change)
    with open_source(folder) as source:
        assert [(series.uid, series.shape[2:]) for series in source.series] == [
            ("1.2.3#1", (3, 1)),
            ("1.2.3#2", (3, 1)),
        ]
        volumes = [source.read(series) for series in source.series]
    assert sorted(marks(volume) for volume in volumes) == expected(3, range(2))
    assert all("2 patients or studies" in volume.notes[0] for volume in volumes)


def test_a_series_uid_per_slice_is_told_and_can_be_read_as_one(write_frames):
    def change(dataset, z, t):
        dataset.SeriesInstanceUID, dataset.AcquisitionNumber = f"1.2.3.{z + 1}", t

    folder = write_frames(TIME_BY_TIME, change)
    with open_source(folder) as source:
        single = [series for series in source.series if not series.skip_reason]
        assert len(single) == 4
        assert all('name "1.2.3" to read them as one' in series.notes[-1] for series in single)
        (whole,) = [series for series in source.series if series.skip_reason]
        assert whole.uid == "1.2.3"
        assert marks(source.read(whole, time_point=2)) == expected(4, [2])[0]


def test_single_slices_of_unrelated_series_uids_are_offered_as_one_where_they_fit(write_frames):
    def change(dataset, z, _):
        dataset.SeriesInstanceUID = f"1.2.{(7 * z) % 5 + 3}.{z}.4"

    with open_source(write_frames([(z, 0) for z in range(5)], change)) as source:
        whole = next(series for series in source.series if series.uid.endswith("#all"))
        assert "5 series of one slice" in whole.skip_reason
        assert marks(source.read(whole)) == [0, 10, 20, 30, 40]
        assert all("look like one series" in series.notes[-1] for series in source.series if series is not whole)


def test_single_slices_with_uneven_gaps_are_series_of_their_own(write_frames):
    def change(dataset, z, _):
        dataset.SeriesInstanceUID = f"1.2.{z + 3}.{z}.4"
        dataset.ImagePositionPatient = [0, 0, z * z]

    with open_source(write_frames([(z, 0) for z in range(5)], change)) as source:
        assert len(source.series) == 5


def test_slices_without_a_series_uid_are_one_series_of_their_study(write_frames):
    def change(dataset, z, t):
        del dataset.SeriesInstanceUID
        dataset.SeriesNumber = t + 1

    with open_source(write_frames([(z, t) for z in range(4) for t in range(2)], change)) as source:
        assert [series.shape for series in source.series] == [(8, 6, 4, 1)] * 2
        assert sorted(marks(source.read(series)) for series in source.series) == expected(4, range(2))
        assert all("no Series Instance UID" in note for series in source.series for note in series.notes)


def test_a_volume_that_is_not_there_is_told(write_frames):
    folder = write_frames(TIME_BY_TIME, lambda dataset, _, t: setattr(dataset, "EchoTime", float(t + 1)))
    with open_source(folder) as source, pytest.raises(InputError, match="numbered 0 to 2; 3 is none of them"):
        source.read(source.series[0], time_point=3)
