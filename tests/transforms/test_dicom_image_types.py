import pydicom
import pytest
from moeclip_transforms import ImageType, InputError, open_source, read_volume
from pydicom.data import get_testdata_file
from pydicom.uid import (
    CTImageStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    MRImageStorage,
    OphthalmicTomographyImageStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    VLEndoscopicImageStorage,
    VLWholeSlideMicroscopyImageStorage,
)
from sentences import facts, lacking


def scanned(tmp_path, make_slice, **attributes):
    make_slice(**attributes).save_as(tmp_path / "image")
    with open_source(tmp_path / "image") as source:
        (series,) = source.series
        return series


@pytest.mark.parametrize(
    ("attributes", "image_type"),
    [
        ({"BodyPartExamined": "HEAD"}, ImageType.CT_BRAIN),
        ({"BodyPartExamined": "BRAIN", "ConvolutionKernel": "H60s"}, ImageType.CT_BRAIN),
        ({"SeriesDescription": "Head_routine 5mm"}, ImageType.CT_BRAIN),
        ({"StudyDescription": "CT BRAIN W/O CONTRAST"}, ImageType.CT_BRAIN),
        ({"BodyPartExamined": "HEADNECK"}, ImageType.CT_SOFT_TISSUE),
        ({"SeriesDescription": "HEAD AND NECK"}, ImageType.CT_SOFT_TISSUE),
        ({"BodyPartExamined": "ABDOMEN"}, ImageType.CT_SOFT_TISSUE),
        ({"BodyPartExamined": "ABDOMEN", "StudyDescription": "HEAD"}, ImageType.CT_SOFT_TISSUE),
        ({"BodyPartExamined": "CHEST"}, ImageType.CT_SOFT_TISSUE),
        ({"BodyPartExamined": "CHEST", "ConvolutionKernel": "B70f"}, ImageType.CT_LUNG),
        ({"BodyPartExamined": "CHEST", "ConvolutionKernel": ["Bl57d", "3"]}, ImageType.CT_LUNG),
        ({"BodyPartExamined": "CHEST", "SeriesDescription": "LUNG 1.0"}, ImageType.CT_LUNG),
        ({"BodyPartExamined": "LUNG"}, ImageType.CT_LUNG),
        ({}, ImageType.CT_SOFT_TISSUE),
        ({"modality": "MR", "sop_class": MRImageStorage}, ImageType.MR),
        ({"modality": "ES", "sop_class": VLEndoscopicImageStorage}, ImageType.ENDOSCOPY),
        ({"modality": "OT", "sop_class": VLEndoscopicImageStorage}, ImageType.ENDOSCOPY),
        ({"modality": "OPT", "sop_class": OphthalmicTomographyImageStorage}, ImageType.OCT),
        ({"modality": "US"}, ImageType.PLAIN),
        ({"modality": ""}, ImageType.PLAIN),
    ],
)
def test_image_type_comes_from_the_header(tmp_path, make_slice, attributes, image_type):
    series = scanned(tmp_path, make_slice, **attributes)
    assert series.image_type is image_type
    assert series.skip_reason == ""


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a scout (localizer)"),
        ({"Manufacturer": "MoECLIP-Med"}, "a result of MoECLIP-Med itself"),
        (
            {"modality": "CT", "sop_class": SecondaryCaptureImageStorage, "SeriesDescription": "Dose Report"},
            "a dose report",
        ),
        (
            {"modality": "CT", "sop_class": SecondaryCaptureImageStorage, "position": None, "orientation": None},
            "a screen capture, not acquired slices",
        ),
        ({"sop_class": SegmentationStorage}, "registration, segmentation or raw data, not an image"),
        ({"sop_class": ParametricMapStorage}, "a parametric map made from another series"),
        ({"sop_class": EncapsulatedPDFStorage}, "an encapsulated document, not an image"),
        ({"sop_class": GrayscaleSoftcopyPresentationStateStorage}, "a presentation state, not an image"),
        ({"sop_class": VLWholeSlideMicroscopyImageStorage}, "whole-slide microscopy, stored as tiles"),
        (
            {"modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]},
            "a mosaic: many slices tiled in one image; convert it to NIfTI or enhanced MR",
        ),
    ],
)
def test_what_is_not_worth_scoring_says_why(tmp_path, make_slice, attributes, reason):
    assert scanned(tmp_path, make_slice, **attributes).skip_reason == reason


def test_secondary_captures_with_a_place_are_slices(write_series):
    volume = read_volume(write_series([0, 2, 4], modality="CT", sop_class=SecondaryCaptureImageStorage))
    assert (volume.shape, volume.has_orientation) == ((8, 6, 3), True)


@pytest.mark.parametrize("sop_class", [CTImageStorage, "1.3.12.2.1107.5.9.1"])
def test_rows_without_pixels_are_no_image(tmp_path, make_slice, sop_class):
    for part in ("pixel data", "rows"):
        dataset = make_slice(sop_class=sop_class)
        del dataset.PixelData
        if part == "rows":
            del dataset.Rows
        dataset.save_as(tmp_path / "image")
        with open_source(tmp_path / "image") as source:
            (series,) = source.series
            assert not lacking(series.skip_reason, "no image", f"no {part}", "cut off")
            with pytest.raises(InputError, match=f"no {part}"):
                source.read(series)


@pytest.mark.parametrize(
    ("creator", "tag", "vr"), [("Image Private Header", 0x00651050, "DS"), ("SIEMENS MR HEADER", 0x0019100A, "US")]
)
def test_mosaics_that_do_not_say_so_are_set_aside(tmp_path, make_slice, creator, tag, vr):
    dataset = make_slice(modality="MR", sop_class=MRImageStorage, ImageType=["ORIGINAL", "PRIMARY", "M", "ND"])
    dataset.add_new((tag & 0xFFFF0000) | 0x10, "LO", creator)
    dataset.add_new(tag, vr, 16)
    dataset.save_as(tmp_path / "image")
    with open_source(tmp_path / "image") as source:
        assert source.series[0].skip_reason.startswith("a mosaic")


@pytest.mark.parametrize(
    ("image_type", "reason"),
    [
        (["ORIGINAL", "PRIMARY", "P", "ND"], "a phase image"),
        (["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"], "a phase image"),
        (["ORIGINAL", "PRIMARY", "R", "ND"], "the real or imaginary part"),
        (["ORIGINAL", "PRIMARY", "B0 MAP", "B0", "UNSPECIFIED"], "a field map"),
        (["ORIGINAL", "PRIMARY", "M", "ND"], ""),
        (["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"], ""),
        (["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], ""),
    ],
)
def test_phase_and_field_maps_are_set_aside(tmp_path, make_slice, image_type, reason):
    series = scanned(tmp_path, make_slice, modality="MR", sop_class=MRImageStorage, ImageType=image_type)
    assert series.skip_reason.startswith(reason)
    assert bool(series.skip_reason) == bool(reason)


def test_a_ct_map_in_another_unit_has_no_ct_window(tmp_path, make_slice):
    series = scanned(tmp_path, make_slice, BodyPartExamined="HEAD", RescaleType="PCT")
    assert series.image_type is ImageType.PLAIN
    assert 'is "PCT", not HU' in series.notes[0]
    assert scanned(tmp_path, make_slice, BodyPartExamined="HEAD", RescaleType="HU").image_type is ImageType.CT_BRAIN


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("test-SR.dcm", "a structured report, not an image"),
        ("rtdose.dcm", "radiotherapy data, not an acquired image"),
        ("liver.dcm", "registration, segmentation or raw data, not an image"),
        ("waveform_ecg.dcm", "a waveform, not an image"),
    ],
)
def test_real_documents_are_skipped_and_cannot_be_read(name, reason):
    path = get_testdata_file(name)
    with open_source(path) as source:
        (series,) = source.series
        assert series.skip_reason == reason
        with pytest.raises(InputError, match=f"cannot be read as an image: {reason}"):
            source.read(series)
    with pytest.raises(InputError) as caught:
        read_volume(path)
    assert facts(caught.value) == facts(f'"{path}" holds nothing to score: it is {reason}.')


def test_scout_within_a_series_does_not_spoil_it(write_series):
    def change(index, dataset):
        if index == 3:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    volume = read_volume(write_series([0, 1, 2, 50], change=change))
    assert volume.shape[2] == 3
    assert volume.is_regular


def test_mpeg_video_is_skipped(tmp_path, make_slice):
    dataset = make_slice(modality="ES", position=None, orientation=None)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG4HP41
    dataset.PixelData = pydicom.encaps.encapsulate([b"\0\0"])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "image")
    with open_source(tmp_path / "image") as source:
        assert not lacking(source.series[0].skip_reason, "MPEG", "export its frames")


def test_a_scan_keeps_nothing_that_names_the_patient(tmp_path, make_slice):
    make_slice(sop_class=CTImageStorage, BodyPartExamined="HEAD").save_as(tmp_path / "image")
    with open_source(tmp_path / "image") as source:
        shown = repr(source.series)
        volume = source.read(source.series[0])
    for text in (shown, repr(volume.notes), repr(volume.to_monai().meta)):
        assert "Doe" not in text
        assert "secret-4711" not in text
