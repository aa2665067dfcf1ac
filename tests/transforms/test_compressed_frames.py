"""Encapsulated frames: as many as there are, whatever headers and offset tables say."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from moeclip_transforms import InputError, read_volume
from moeclip_transforms.codestream import compressed_frames
from pydicom.encaps import encapsulate, itemize_fragment
from pydicom.uid import JPEGLSLossless, RLELossless, UltrasoundMultiFrameImageStorage

N_HELD = 20


@pytest.fixture
def clip(make_slice):
    """Return a function that makes a grey ultrasound cine of 20 frames, frame k all k, compressed."""

    def make(syntax=JPEGLSLossless, fragments_per_frame=1):
        stored = np.repeat(np.arange(N_HELD, dtype=np.uint8), 48).reshape(N_HELD, 6, 8)
        dataset = make_slice(
            position=None, orientation=None, pixels=stored, modality="US", sop_class=UltrasoundMultiFrameImageStorage
        )
        dataset.NumberOfFrames = N_HELD
        if syntax is RLELossless:
            dataset.compress(RLELossless)
            return dataset
        dataset.file_meta.TransferSyntaxUID = syntax
        frames = [imagecodecs.jpegls_encode(frame) for frame in stored]
        dataset.PixelData = encapsulate(frames, fragments_per_frame=fragments_per_frame)
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        return dataset

    return make


def read(dataset, tmp_path):
    dataset.save_as(tmp_path / "clip.dcm")
    return read_volume(tmp_path / "clip.dcm")


def marks(volume):
    return volume.array[0, 0, 0].astype(int).tolist()


@pytest.mark.parametrize("syntax", [JPEGLSLossless, RLELossless])
def test_more_frames_than_declared_are_told(clip, tmp_path, syntax):
    dataset = clip(syntax)
    dataset.NumberOfFrames = N_HELD - 1
    volume = read(dataset, tmp_path)
    assert marks(volume) == list(range(N_HELD - 1))
    told = '"clip.dcm" has pixels for 20 frames, but Number of Frames (0028,0008) says 19: the others are not read.'
    assert told in volume.notes


@pytest.mark.parametrize("syntax", [JPEGLSLossless, RLELossless])
def test_a_frame_that_is_missing_is_told(clip, tmp_path, syntax):
    dataset = clip(syntax)
    dataset.NumberOfFrames = N_HELD + 1
    volume = read(dataset, tmp_path)
    assert marks(volume) == list(range(N_HELD))
    assert any("1 damaged slice was skipped" in note for note in volume.notes)


def test_many_missing_frames_are_refused_with_both_numbers(clip, tmp_path):
    dataset = clip()
    dataset.NumberOfFrames = 2 * N_HELD
    with pytest.raises(InputError, match=r"holds 20 compressed frames, but Number of Frames \(0028,0008\) says 40"):
        read(dataset, tmp_path)


def test_further_frames_of_a_file_that_declares_none_are_told(clip, tmp_path):
    dataset = clip()
    del dataset.NumberOfFrames
    volume = read(dataset, tmp_path)
    assert marks(volume) == [0]
    assert any("has pixels for 20 frames" in note for note in volume.notes)


@pytest.mark.parametrize("table", ["none", "one entry", "wrong places"])
@pytest.mark.parametrize("fragments_per_frame", [1, 3])
def test_frames_do_not_depend_on_the_offset_table(clip, tmp_path, table, fragments_per_frame):
    dataset = clip(fragments_per_frame=fragments_per_frame)
    fragments = dataset.PixelData[8 + 4 * N_HELD :]
    offsets = {"none": [], "one entry": [0], "wrong places": range(N_HELD)}[table]
    dataset.PixelData = itemize_fragment(np.array(offsets, dtype="<u4").tobytes()) + fragments
    assert marks(read(dataset, tmp_path)) == list(range(N_HELD))


def test_fragments_of_one_frame_are_joined(clip):
    whole, parts = clip(), clip(fragments_per_frame=3)
    padded = [frame.rstrip(b"\0") for frame in compressed_frames(parts)]
    assert padded == [frame.rstrip(b"\0") for frame in compressed_frames(whole)]
