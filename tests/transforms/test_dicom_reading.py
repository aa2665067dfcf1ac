import tracemalloc

import jpeg_ls
import numpy as np
import pydicom
import pytest
from moeclip_transforms import ArchiveLimits, ImageType, InputError, open_source, read_volume
from openjpeg.utils import encode_array
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGLSLossless,
    SecondaryCaptureImageStorage,
    VideoEndoscopicImageStorage,
)
from sentences import facts, lacking


def read(name):
    return read_volume(get_testdata_file(name))


def test_slices_are_sorted_by_position_and_keep_their_references(write_series):
    folder = write_series([30, 10, 20])
    volume = read_volume(folder)
    assert volume.shape == (8, 6, 3)
    assert volume.tensor[0, 1, 1].tolist() == [100, 200, 0]
    assert [frame.position[2] for frame in volume.frame_geometry] == [10, 20, 30]
    for reference, geometry in zip(volume.frames, volume.frame_geometry, strict=True):
        header = pydicom.dcmread(reference.path)
        assert header.SOPInstanceUID == reference.sop_instance_uid
        assert tuple(header.ImagePositionPatient) == geometry.position
    assert volume.is_regular
    assert volume.notes == ()


def test_affine_agrees_with_the_standards_formula(write_series):
    orientation = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)  # sagittal: columns to the back, rows to the feet
    folder = write_series([(-5, 1, 2), (-2, 1, 2), (1, 1, 2)], orientation=orientation)
    volume = read_volume(folder)
    # PS3.3 C.7.6.2.1.1: position + column · column spacing · row direction + row · row spacing · column direction
    column, row = 3, 2
    for z, geometry in enumerate(volume.frame_geometry):
        lps = np.array(geometry.position) + column * 0.25 * np.array([0, 1, 0]) + row * 0.5 * np.array([0, 0, -1])
        ras = volume.affine.matrix @ [column, row, z, 1]
        np.testing.assert_allclose(ras[:3], lps * [-1, -1, 1], atol=1e-9)
    assert volume.tensor[0, 0, 0].tolist() == [2, 1, 0]  # sorted along the normal, here to the right


def test_rescale_and_padding(write_series):
    def change(index, dataset):
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, -1024 - index
        dataset.PixelPaddingValue = 0
        pixels = np.full((6, 8), 500, dtype=np.int16)
        pixels[:2] = 0
        dataset.PixelData = pixels.tobytes()

    volume = read_volume(write_series([0, 1], change=change))
    image = volume.tensor[0]
    assert image[0, 5].tolist() == [-24, -25]
    assert volume.padding_mask[:, :2].all()
    assert not volume.padding_mask[:, 2:].any()
    assert image[0, 0].tolist() == [-25, -25]  # the lowest measured value, not the padding


def test_padding_range(write_series):
    def change(_, dataset):
        dataset.PixelPaddingValue, dataset.PixelPaddingRangeLimit = -2000, -1990
        pixels = np.full((6, 8), 7, dtype=np.int16)
        pixels[0, :3] = [-2000, -1995, -1989]
        dataset.PixelData = pixels.tobytes()

    volume = read_volume(write_series([0], change=change))
    assert volume.padding_mask[:3, 0, 0].tolist() == [True, True, False]


def test_monochrome1_is_turned_so_that_bright_is_high(write_series):
    def change(_, dataset):
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 0, 12, 11
        dataset.PixelData = np.arange(48, dtype=np.uint16).tobytes()

    volume = read_volume(write_series([0], change=change, modality="CR"))
    assert volume.tensor[0, :3, 0, 0].tolist() == [4095, 4094, 4093]


def test_monochrome1_is_turned_behind_its_modality_lut(write_series):
    def change(_, dataset):
        dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME1", 0
        dataset.PixelData = (np.arange(48, dtype=np.uint16) % 4).tobytes()
        table = Dataset()
        table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "US"
        table.add_new("LUTData", "OW", np.array([100, 200, 300, 1000], np.uint16).tobytes())
        dataset.ModalityLUTSequence = DicomSequence([table])

    volume = read_volume(write_series([0], change=change, modality="CR"))
    # PS3.3 C.11.1: stored values pass the Modality LUT first; it gives 100 to 1000, of which low is bright
    assert volume.array[0, :4, 0, 0].tolist() == [1000, 900, 800, 100]


def overlaid(make_slice, is_signed):
    """A 12-bit image with an overlay in bit 12, as stored values and as what they mean."""
    low = -2048 if is_signed else 0
    meant = np.linspace(low, low + 4095, 64 * 48).astype(np.int16).reshape(48, 64)
    overlay = (np.indices((48, 64)).sum(axis=0) % 7 == 0).astype(np.uint16) << 12
    stored = (meant.astype(np.uint16) & 0x0FFF) | overlay
    dataset = make_slice(pixels=stored)
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, int(is_signed)
    return dataset, stored, meant


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless, JPEG2000Lossless])
def test_overlay_bits_above_the_stored_ones_are_no_values(tmp_path, make_slice, is_signed, syntax):
    dataset, stored, meant = overlaid(make_slice, is_signed)
    if syntax != ExplicitVRLittleEndian:
        dataset.file_meta.TransferSyntaxUID = syntax
        encode = jpeg_ls.encode_array if syntax == JPEGLSLossless else encode_array
        dataset.PixelData = encapsulate([bytes(encode(stored))])
        dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "image")
    np.testing.assert_array_equal(read_volume(tmp_path / "image").array[0, :, :, 0].T, meant)


def test_what_follows_too_few_pixels_is_not_taken_for_pixels(tmp_path, make_slice):
    dataset = make_slice(modality="US", position=None, orientation=None)
    needed = len(dataset.PixelData)
    dataset.PixelData = dataset.PixelData[: needed // 2]
    dataset.DataSetTrailingPadding = b"\xee" * 4 * needed
    dataset.save_as(tmp_path / "image")
    with pytest.raises(InputError) as caught:
        read_volume(tmp_path / "image")
    assert not lacking(caught.value, "image", f"{needed // 2} bytes of pixels", str(needed), "copy")


def test_what_follows_the_pixels_is_no_further_frame(tmp_path, make_slice):
    dataset = make_slice(modality="US", position=None, orientation=None)
    dataset.DataSetTrailingPadding = b"\xee" * 4 * len(dataset.PixelData)
    dataset.save_as(tmp_path / "image")
    assert not any("frames" in note for note in read_volume(tmp_path / "image").notes)


def test_more_pixels_than_the_header_declares_are_told(tmp_path, make_slice):
    dataset = make_slice(modality="US", position=None, orientation=None)
    dataset.PixelData = dataset.PixelData * 3
    dataset.save_as(tmp_path / "image")
    assert any("has pixels for 3 frames" in note and "says 1" in note for note in read_volume(tmp_path / "image").notes)


def test_a_large_radiograph_takes_little_more_memory_than_its_volume(tmp_path, make_slice):
    pixels = np.zeros((2400, 2400), dtype=np.uint16)
    pixels[::7] = 4000
    dataset = make_slice(pixels=pixels, modality="DX", PixelPaddingValue=0, RescaleSlope=2, RescaleIntercept=-5)
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.save_as(tmp_path / "image")
    with open_source(tmp_path / "image", limits=ArchiveLimits()) as source:
        (series,) = source.series
        tracemalloc.start()
        volume = source.read(series)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    size = volume.array.nbytes
    assert peak < size + pixels.nbytes + 4 * 2**20 + volume.padding_mask.nbytes + size // 2


@pytest.mark.parametrize(
    ("compressed", "plain", "tolerance"),
    [
        ("MR_small_jp2klossless.dcm", "MR_small.dcm", 0),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm", 0),
        ("MR_small_RLE.dcm", "MR_small.dcm", 0),
        ("MR_small_bigendian.dcm", "MR_small.dcm", 0),
        ("MR_small_implicit.dcm", "MR_small.dcm", 0),
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb.dcm", 0),
        ("SC_rgb_rle.dcm", "SC_rgb.dcm", 0),
        ("SC_rgb_gdcm_KY.dcm", "SC_rgb_gdcm2k_uncompressed.dcm", 0),
        ("SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_ebcr_dcmd.dcm", 1),
        ("emri_small_jpeg_ls_lossless.dcm", "emri_small.dcm", 0),
        ("emri_small_RLE.dcm", "emri_small.dcm", 0),
        ("OBXXXX1A_rle_2frame.dcm", "OBXXXX1A_2frame.dcm", 0),
    ],
)
def test_every_way_of_storing_gives_the_same_pixels(compressed, plain, tolerance):
    one, other = read(compressed).tensor, read(plain).tensor
    assert one.shape == other.shape
    assert float((one - other).abs().max()) <= tolerance


def test_uncompressed_ybr_is_turned_to_rgb():
    stored = pydicom.pixels.pixel_array(get_testdata_file("SC_ybr_full_uncompressed.dcm"), raw=True)
    expected = pydicom.pixels.convert_color_space(stored, "YBR_FULL", "RGB")
    got = read("SC_ybr_full_uncompressed.dcm").tensor[:, :, :, 0].numpy().transpose(2, 1, 0)
    np.testing.assert_array_equal(got, expected)
    assert got.max() > 250


def test_htj2k_is_read(tmp_path, make_slice):
    pixels = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64)
    # HTJ2K is a part of JPEG 2000 and shares its decoder: a plain code stream under its transfer syntax shows the way.
    dataset = make_slice(pixels=pixels)
    dataset.file_meta.TransferSyntaxUID = HTJ2KLossless
    dataset.PixelData = encapsulate([encode_array(pixels)])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "image")
    np.testing.assert_array_equal(read_volume(tmp_path / "image").tensor[0, :, :, 0].numpy().T, pixels)


def test_palette_colour_clip():
    volume = read("OBXXXX1A_2frame.dcm")
    assert volume.series.is_cine
    assert volume.shape == (800, 600, 2)
    assert volume.tensor.shape[0] == volume.series.channels == 3
    assert volume.display_range == (0.0, 255.0)
    assert not volume.has_orientation
    dataset = pydicom.dcmread(get_testdata_file("OBXXXX1A_2frame.dcm"))
    expected = pydicom.pixels.apply_color_lut(dataset.pixel_array[1], dataset)
    scale = 255 / np.iinfo(expected.dtype).max
    np.testing.assert_allclose(volume.tensor[:, :, :, 1].numpy().transpose(2, 1, 0), expected * scale, atol=1e-3)


def test_ultrasound_clip_in_ybr_is_read_as_rgb():
    volume = read("examples_ybr_color.dcm")
    assert (volume.shape, volume.series.is_cine, volume.series.image_type) == ((320, 240, 30), True, ImageType.PLAIN)
    expected = pydicom.pixels.pixel_array(get_testdata_file("examples_ybr_color.dcm"), index=29)
    np.testing.assert_array_equal(volume.tensor[:, :, :, 29].numpy().transpose(2, 1, 0), expected)


def test_endoscopy_is_known_as_such(tmp_path, make_slice):
    dataset = make_slice(position=None, orientation=None, modality="ES", sop_class=VideoEndoscopicImageStorage)
    dataset.NumberOfFrames, dataset.SamplesPerPixel, dataset.PlanarConfiguration = 2, 3, 0
    dataset.PhotometricInterpretation, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = "RGB", 8, 8, 7
    dataset.PixelRepresentation = 0
    pixels = np.random.default_rng(0).integers(0, 255, size=(2, 6, 8, 3), dtype=np.uint8)
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(tmp_path / "clip")
    volume = read_volume(tmp_path / "clip")
    assert (volume.series.image_type, volume.series.is_cine) == (ImageType.ENDOSCOPY, True)
    np.testing.assert_array_equal(volume.tensor.numpy().transpose(3, 2, 1, 0), pixels)


def test_enhanced_ct_of_the_standard_library_has_its_geometry():
    path = get_testdata_file("eCT_Supplemental.dcm")
    header = pydicom.dcmread(path)
    volume = read_volume(path)
    groups = header.PerFrameFunctionalGroupsSequence
    positions = [tuple(group.PlanePositionSequence[0].ImagePositionPatient) for group in groups]
    assert sorted(frame.position for frame in volume.frame_geometry) == sorted(positions)
    assert volume.has_orientation
    stored = header.pixel_array
    for z, reference in enumerate(volume.frames):
        transform = header.SharedFunctionalGroupsSequence[0].get("PixelValueTransformationSequence")
        transform = transform or groups[reference.frame].PixelValueTransformationSequence
        hounsfield = stored[reference.frame] * float(transform[0].RescaleSlope) + float(transform[0].RescaleIntercept)
        np.testing.assert_allclose(volume.tensor[0, :, :, z].numpy().T, hounsfield)


def enhanced(make_slice, positions, b_values=None, slopes=None):
    pixels = np.stack([np.full((6, 8), index + 1, dtype=np.uint16) for index in range(len(positions))])
    dataset = make_slice(position=None, orientation=None, modality="MR", sop_class=EnhancedMRImageStorage)
    del dataset.PixelSpacing
    dataset.NumberOfFrames, dataset.PixelData, dataset.PixelRepresentation = len(positions), pixels.tobytes(), 0

    def item(**values):
        made = Dataset()
        for keyword, value in values.items():
            setattr(made, keyword, value)
        return DicomSequence([made])

    dataset.SharedFunctionalGroupsSequence = item(
        PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelMeasuresSequence=item(PixelSpacing=[0.5, 0.25], SliceThickness=3),
    )
    groups = []
    for index, position in enumerate(positions):
        group = item(PlanePositionSequence=item(ImagePositionPatient=[0, 0, position]))[0]
        if b_values:
            group.MRDiffusionSequence = item(DiffusionBValue=b_values[index])
        if slopes:
            group.PixelValueTransformationSequence = item(
                RescaleSlope=slopes[index], RescaleIntercept=0, RescaleType="US"
            )
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = DicomSequence(groups)
    return dataset


def test_enhanced_frames_are_sorted_and_rescaled_one_by_one(tmp_path, make_slice):
    enhanced(make_slice, [9, 3, 6], slopes=[1, 10, 100]).save_as(tmp_path / "image")
    volume = read_volume(tmp_path / "image")
    assert volume.tensor[0, 0, 0].tolist() == [20, 300, 1]
    assert [reference.frame for reference in volume.frames] == [1, 2, 0]
    np.testing.assert_allclose(volume.affine.matrix[:, 3], [0, 0, 3, 1])
    np.testing.assert_allclose(volume.affine.matrix.diagonal(), [-0.25, -0.5, 3, 1])


def test_enhanced_b_values_are_time_points(tmp_path, make_slice):
    enhanced(make_slice, [0, 3, 0, 3], b_values=[1000, 1000, 0, 0]).save_as(tmp_path / "image")
    with open_source(tmp_path / "image") as source:
        (series,) = source.series
        assert series.shape == (8, 6, 2, 2)
        assert source.read(series, time_point=0).tensor[0, 0, 0].tolist() == [3, 4]
        second = source.read(series, time_point=1)
        assert (second.tensor[0, 0, 0].tolist(), second.source.time_point) == ([1, 2], 1)
        with pytest.raises(InputError, match="has 2 time points, numbered 0 to 1; 2 is none of them"):
            source.read(series, time_point=2)


def test_functional_groups_that_contradict_the_frame_count_are_refused(tmp_path, make_slice):
    dataset = enhanced(make_slice, [0, 3, 6])
    dataset.PerFrameFunctionalGroupsSequence.pop()
    dataset.save_as(tmp_path / "image")
    with pytest.raises(InputError) as caught:
        read_volume(tmp_path / "image")
    assert facts(caught.value) == facts(
        '"image" declares 3 frames but describes 2 in its functional groups; export it again.'
    )


def test_cross_sections_without_position_say_so():
    volume = read("emri_small.dcm")
    assert not volume.has_orientation
    (note,) = volume.notes
    assert not lacking(note, "where the slices lie", "as stored")


def test_secondary_capture_stays_as_stored():
    volume = read("SC_rgb.dcm")
    expected = pydicom.dcmread(get_testdata_file("SC_rgb.dcm"))
    assert expected.SOPClassUID == SecondaryCaptureImageStorage
    np.testing.assert_array_equal(volume.tensor[:, :, :, 0].numpy().transpose(2, 1, 0), expected.pixel_array)
    assert volume.notes == ()


def test_missing_transfer_syntax_is_made_up_for():
    path = get_testdata_file("OT-PAL-8-face.dcm")
    volume = read_volume(path)
    assert volume.series.channels == 3
    assert float(volume.tensor.max()) > 100
