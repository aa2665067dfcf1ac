"""Which frames of multi-frame files make a volume together, and where they lie."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from marked_frames import JUMBLED, all_marks, enhanced, expected, item, marked, marks
from moeclip_transforms import open_source
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import CTImageStorage


@pytest.mark.parametrize("n_times", [1, 2])
def test_packages_of_slices_that_lie_evenly_together_are_one_volume(tmp_path, make_slice, n_times):
    def change(group, z, t):
        group.FrameContentSequence = item(StackID=str(1 + z % 3), InStackPositionNumber=1 + z // 3)
        group.FrameContentSequence[0].TemporalPositionIndex = t + 1

    cells = [(3 * k + part, t) for t in range(n_times) for part in range(3) for k in range(3)]
    enhanced(make_slice, cells, change).save_as(tmp_path / "image")
    assert all_marks(tmp_path / "image") == expected(9, range(n_times))


@pytest.mark.parametrize("shift", [0.0, 1.3])
def test_stacks_that_do_not_lie_evenly_together_are_volumes_of_their_own(tmp_path, make_slice, shift):
    def change(group, z, t):
        group.FrameContentSequence = item(StackID=str(1 + t), InStackPositionNumber=1 + z)
        group.PlanePositionSequence = item(ImagePositionPatient=[0, 0, 3.0 * z + shift * t])

    enhanced(make_slice, [(z, t) for z in range(4) for t in range(2)], change).save_as(tmp_path / "image")
    assert all_marks(tmp_path / "image") == expected(4, range(2))


def with_dimensions(dataset, pointers):
    parts = [item(DimensionIndexPointer=pointer)[0] for pointer in pointers]
    dataset.DimensionIndexSequence = DicomSequence(parts)
    return dataset


@pytest.mark.parametrize("pointers", [[0x00209056, 0x00209057, 0x00189089], []])
def test_dimension_indices_alone_tell_volumes(tmp_path, make_slice, pointers):
    def change(group, z, t):
        group.FrameContentSequence = item(DimensionIndexValues=[1, z + 1, t + 1])

    dataset = enhanced(make_slice, JUMBLED, change)
    (with_dimensions(dataset, pointers) if pointers else dataset).save_as(tmp_path / "image")
    assert all_marks(tmp_path / "image") == expected(4, range(3))


def test_one_enhanced_file_per_slice_and_time(tmp_path, make_slice):
    for number, (z, t) in enumerate(JUMBLED):

        def change(group, z, t):
            group.FrameContentSequence = item(
                DimensionIndexValues=[1, z + 1, 1], FrameAcquisitionNumber=4 * t + z, TemporalPositionIndex=1
            )
            group.MRModifierSequence = item(InversionTimes=[100.0 + 400 * t])

        enhanced(make_slice, [(z, t)], change, number=4 * t + z + 1).save_as(tmp_path / f"{number}")
    assert all_marks(tmp_path) == expected(4, range(3))


def test_one_enhanced_file_per_volume_is_one_series(tmp_path, make_slice):
    for t in (2, 0, 1):
        dataset = enhanced(make_slice, [(z, t) for z in range(4)], number=t + 1, AcquisitionNumber=t + 1)
        dataset.save_as(tmp_path / f"{(t + 1) % 3}")
    assert all_marks(tmp_path) == expected(4, range(3))


def test_a_concatenation_is_one_volume(tmp_path, make_slice):
    for part, cells in ((2, [(2, 0), (3, 0)]), (1, [(0, 0), (1, 0)])):
        dataset = enhanced(make_slice, cells, ConcatenationUID="1.2.9", InConcatenationNumber=part)
        dataset.save_as(tmp_path / f"{3 - part}")
    with open_source(tmp_path) as source:
        (series,) = source.series
        volume = source.read(series)
    assert marks(volume) == [0, 10, 20, 30]
    assert len({frame.sop_instance_uid for frame in volume.frames}) == 2
    assert len(volume.source.headers) == 2


@pytest.mark.parametrize(("present", "said"), [((1, 2, 3), ""), ((1, 3), "1 part is missing"), ((2,), "2 parts are")])
def test_missing_parts_of_a_concatenation_are_told(tmp_path, make_slice, present, said):
    for part in present:
        cells = [(2 * part, 0), (2 * part + 1, 0)]
        numbers = {"InConcatenationNumber": part, "InConcatenationTotalNumber": 3}
        enhanced(make_slice, cells, ConcatenationUID="1.2.9", **numbers).save_as(tmp_path / f"{part}")
    with open_source(tmp_path) as source:
        (series,) = source.series
    assert any(said in note for note in series.notes) if said else series.notes == ()


@pytest.mark.parametrize(
    "tell",
    [
        lambda t: {"MRArterialSpinLabelingSequence": item(ASLContext=["CONTROL", "LABEL", "M_ZERO_SCAN"][t])},
        lambda t: {"MRVelocityEncodingSequence": item(VelocityEncodingDirection=[float(k == t) for k in range(3)])},
        lambda t: {"MRTimingAndRelatedParametersSequence": item(FlipAngle=5.0 * (t + 1))},
    ],
    ids=["label or control", "velocity", "flip angle"],
)
def test_functional_groups_tell_volumes_apart(tmp_path, make_slice, tell):
    def change(group, _, t):
        for keyword, value in tell(t).items():
            setattr(group, keyword, value)

    enhanced(make_slice, JUMBLED, change).save_as(tmp_path / "image")
    assert sorted(all_marks(tmp_path / "image")) == expected(4, range(3))


def test_phase_and_field_map_are_set_aside_for_magnitude(tmp_path, make_slice):
    def change(group, z, t):
        component = ["PHASE", "MAGNITUDE", "B0 MAP"][t]
        group.MRImageFrameTypeSequence = item(FrameType=["ORIGINAL", "PRIMARY", component, "NONE"])

    enhanced(make_slice, JUMBLED, change).save_as(tmp_path / "image")
    with open_source(tmp_path / "image") as source:
        assert [series.uid for series in source.series] == ["1.2.3#1", "1.2.3#2", "1.2.3#3"]
        reasons = [series.skip_reason for series in source.series]
        assert marks(source.read(source.series[0])) == expected(4, [1])[0]
    assert reasons[0] == ""
    assert sorted(reason.split(",")[0].split(":")[0] for reason in reasons[1:]) == ["a field map", "a phase image"]


def test_parts_keep_their_names_behind_other_files(tmp_path, make_slice):
    def write(folder, names):
        (tmp_path / folder).mkdir()
        for number, (name, columns) in enumerate(names):
            pixels = np.full((6, columns), columns, dtype=np.int16)
            dataset = make_slice(pixels=pixels, number=columns, SOPInstanceUID=f"1.2.3.{columns}")
            dataset.save_as(tmp_path / folder / f"{number}{name}")
        with open_source(tmp_path / folder) as source:
            return [(series.uid, series.shape[0]) for series in source.series]

    one_way = write("one", [("a", 9), ("b", 7), ("c", 8)])
    other_way = write("other", [("c", 8), ("a", 9), ("b", 7)])
    assert one_way == other_way == [("1.2.3#1", 7), ("1.2.3#2", 8), ("1.2.3#3", 9)]


@pytest.mark.parametrize("sop_class", [CTImageStorage, "1.2.840.10008.5.1.4.1.1.7.3"])
def test_multi_frame_with_one_position_at_the_top_is_a_stack_of_slices(tmp_path, make_slice, sop_class):
    dataset = make_slice(sop_class=sop_class, SpacingBetweenSlices=0.75)
    dataset.NumberOfFrames, dataset.PixelData = 5, np.stack([marked(z, 0) for z in range(5)]).tobytes()
    dataset.save_as(tmp_path / "image")
    with open_source(tmp_path / "image") as source:
        (series,) = source.series
        assert (series.shape, series.skip_reason) == ((8, 6, 5, 1), "")
        volume = source.read(series)
    assert marks(volume) == [0, 10, 20, 30, 40]
    assert volume.affine.spacing[2] == pytest.approx(0.75)
    assert any("one position for all 5 frames" in note for note in volume.notes)


@pytest.mark.parametrize("modality", ["XA", "DX", "US"])
@pytest.mark.parametrize("rate", [{}, {"FrameTime": 40.0}])
def test_frames_with_one_position_are_slices_unless_they_have_a_rate(tmp_path, make_slice, modality, rate):
    dataset = make_slice(modality=modality, sop_class="1.2.840.10008.5.1.4.1.1.12.1", SpacingBetweenSlices=0.75, **rate)
    dataset.NumberOfFrames, dataset.PixelData = 5, np.stack([marked(z, 0) for z in range(5)]).tobytes()
    dataset.save_as(tmp_path / "image")
    with open_source(tmp_path / "image") as source:
        volume = source.read(source.series[0])
    assert (volume.has_orientation, volume.series.is_cine) == (not rate, bool(rate))
    assert marks(volume) == [0, 10, 20, 30, 40]


@pytest.mark.parametrize("step", [4.4, -4.4])
def test_nuclear_tomography_lies_where_its_detector_says(tmp_path, make_slice, step):
    dataset = make_slice(position=None, orientation=None, modality="NM", sop_class="1.2.840.10008.5.1.4.1.1.20")
    dataset.ImageType, dataset.SpacingBetweenSlices = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"], step
    dataset.DetectorInformationSequence = item(
        ImagePositionPatient=[-60, -60, 100], ImageOrientationPatient=[1, 0, 0, 0, 1, 0]
    )
    dataset.NumberOfFrames, dataset.PixelData = 3, np.stack([marked(z, 0) for z in range(3)]).tobytes()
    dataset.save_as(tmp_path / "image")
    with open_source(tmp_path / "image") as source:
        volume = source.read(source.series[0])
    for z, mark in enumerate(marks(volume)):
        assert volume.affine.to_world([0, 0, z])[2] == pytest.approx(100 + step * mark / 10)


def test_gated_tomography_is_a_volume_for_each_time_slot(tmp_path, make_slice):
    cells = list(product(range(4), range(3)))
    dataset = make_slice(position=None, orientation=None, modality="NM", sop_class="1.2.840.10008.5.1.4.1.1.20")
    dataset.ImageType, dataset.SpacingBetweenSlices = ["ORIGINAL", "PRIMARY", "RECON GATED TOMO", "EMISSION"], 5.0
    dataset.DetectorInformationSequence = item(
        ImagePositionPatient=[-60, -60, 100], ImageOrientationPatient=[1, 0, 0, 0, 1, 0]
    )
    dataset.SliceVector, dataset.TimeSlotVector = [z + 1 for z, _ in cells], [t + 1 for _, t in cells]
    dataset.NumberOfFrames, dataset.PixelData = 12, np.stack([marked(z, t) for z, t in cells]).tobytes()
    dataset.save_as(tmp_path / "image")
    assert all_marks(tmp_path / "image") == expected(4, range(3))


def test_an_ultrasound_volume_is_placed(tmp_path, make_slice):
    cells = [(z, 0) for z in (3, 2, 1, 0)]

    def change(group, z, _):
        del group.PlanePositionSequence
        group.PlanePositionVolumeSequence = item(ImagePositionVolume=[0, 0, 2.0 * z])

    dataset = enhanced(make_slice, cells, change, modality="US", sop_class="1.2.840.10008.5.1.4.1.1.6.2")
    shared = dataset.SharedFunctionalGroupsSequence[0]
    del shared.PlaneOrientationSequence
    shared.PlaneOrientationVolumeSequence = item(ImageOrientationVolume=[1, 0, 0, 0, 1, 0])
    dataset.save_as(tmp_path / "image")
    with open_source(tmp_path / "image") as source:
        volume = source.read(source.series[0])
    assert (volume.series.is_cine, volume.has_orientation, marks(volume)) == (False, True, [0, 10, 20, 30])
    assert any("not of the patient" in note for note in volume.notes)
