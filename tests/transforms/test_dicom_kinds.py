import pydicom
import pytest
from moeclip_transforms import ImageKind, InputError, open_source, read_volume
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


def scanned(tmp_path, make_slice, **attributes):
    make_slice(**attributes).save_as(tmp_path / "image")
    with open_source(tmp_path / "image") as source:
        (series,) = source.series
        return series


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"BodyPartExamined": "HEAD"}, ImageKind.CT_BRAIN),
        ({"BodyPartExamined": "BRAIN", "ConvolutionKernel": "H60s"}, ImageKind.CT_BRAIN),
        ({"SeriesDescription": "Head_routine 5mm"}, ImageKind.CT_BRAIN),
        ({"StudyDescription": "CT BRAIN W/O CONTRAST"}, ImageKind.CT_BRAIN),
        ({"BodyPartExamined": "HEADNECK"}, ImageKind.CT_SOFT_TISSUE),
        ({"SeriesDescription": "HEAD AND NECK"}, ImageKind.CT_SOFT_TISSUE),
        ({"BodyPartExamined": "ABDOMEN"}, ImageKind.CT_SOFT_TISSUE),
        ({"BodyPartExamined": "ABDOMEN", "StudyDescription": "HEAD"}, ImageKind.CT_SOFT_TISSUE),
        ({"BodyPartExamined": "CHEST"}, ImageKind.CT_SOFT_TISSUE),
        ({"BodyPartExamined": "CHEST", "ConvolutionKernel": "B70f"}, ImageKind.CT_LUNG),
        ({"BodyPartExamined": "CHEST", "ConvolutionKernel": ["Bl57d", "3"]}, ImageKind.CT_LUNG),
        ({"BodyPartExamined": "CHEST", "SeriesDescription": "LUNG 1.0"}, ImageKind.CT_LUNG),
        ({"BodyPartExamined": "LUNG"}, ImageKind.CT_LUNG),
        ({}, ImageKind.CT_SOFT_TISSUE),
        ({"modality": "MR", "sop_class": MRImageStorage}, ImageKind.MR),
        ({"modality": "ES", "sop_class": VLEndoscopicImageStorage}, ImageKind.ENDOSCOPY),
        ({"modality": "OT", "sop_class": VLEndoscopicImageStorage}, ImageKind.ENDOSCOPY),
        ({"modality": "OPT", "sop_class": OphthalmicTomographyImageStorage}, ImageKind.OCT),
        ({"modality": "US"}, ImageKind.PLAIN),
        ({"modality": ""}, ImageKind.PLAIN),
    ],
)
def test_kind_comes_from_the_header(tmp_path, make_slice, attributes, kind):
    series = scanned(tmp_path, make_slice, **attributes)
    assert series.kind is kind
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
            {"modality": "CT", "sop_class": SecondaryCaptureImageStorage},
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
    assert str(caught.value) == f'"{path}" holds nothing to score: it is {reason}.'


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
        assert source.series[0].skip_reason == "a video stream (MPEG), which is not decoded: export its frames"


def test_a_scan_keeps_nothing_that_names_the_patient(tmp_path, make_slice):
    make_slice(sop_class=CTImageStorage, BodyPartExamined="HEAD").save_as(tmp_path / "image")
    with open_source(tmp_path / "image") as source:
        shown = repr(source.series)
        volume = source.read(source.series[0])
    for text in (shown, repr(volume.notes), repr(volume.to_monai().meta)):
        assert "Doe" not in text
        assert "secret-4711" not in text
