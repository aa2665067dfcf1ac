import os
from pathlib import Path

import isolated_functions as functions
import numpy as np
import pydicom
import pytest
from moeclip_transforms import InputError
from moeclip_transforms.isolation import CallLimits, IsolatedProcess, call_isolated
from PIL import Image


@pytest.fixture
def process():
    with IsolatedProcess(CallLimits(seconds=30, memory_bytes=1 << 30)) as made:
        yield made


@pytest.mark.parametrize("shape", [(0,), (5, 6), (200, 300, 10)])
def test_values_come_back_as_they_are_and_can_be_written(process, shape):
    values = np.asfortranarray(np.random.default_rng(1).normal(size=shape))
    answer = process.call(functions.double, values, what='"a"')
    np.testing.assert_array_equal(answer["twice"], values * 2)
    assert answer["twice"].flags.writeable
    assert answer["process"] != os.getpid()


def test_a_death_is_told_and_the_next_call_is_answered(process):
    first = process.call(functions.double, 1, what='"a"')["process"]
    with pytest.raises(InputError, match=r'"b\.mha" ended the process that reads it \(SIGABRT\)'):
        process.call(functions.die, what='"b.mha"')
    assert process.call(functions.double, 1, what='"c"')["process"] != first


def test_the_process_is_kept_between_calls(process):
    first, second = (process.call(functions.double, 1, what="") for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("function", "limit"), [(functions.hang, "1 s;"), (functions.spin, "0.2 s of processor time")])
def test_a_hang_ends_at_the_time_limit(process, function, limit):
    process.call(functions.double, 1, what="")  # what its start takes is not counted
    with pytest.raises(InputError, match=rf'"slow\.mha".* {limit}'):
        process.call(function, what='"slow.mha"', limits=CallLimits(seconds=0.2))


def test_a_call_that_others_keep_waiting_is_not_ended(process):
    """What counts is the processor time that it takes; a busy machine gives it little."""
    process.call(functions.double, 1, what="")
    assert process.call(functions.hang, 1.5, what='"sound.png"', limits=CallLimits(seconds=1)) == 1.5


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited on Linux alone")
def test_memory_is_limited_for_the_call_alone(process):
    with pytest.raises(InputError, match=r'"huge\.mha".*1024 MiB'):
        process.call(functions.grow, 2 << 30, what='"huge.mha"')
    assert process.call(functions.grow, 1 << 20, what='"small.mha"') == 1 << 20


def test_refusals_and_faults_are_raised_here(process):
    with pytest.raises(InputError, match=r'"a\.mha"'):
        process.call(functions.refuse, what='"a.mha"')
    with pytest.raises(KeyError):
        process.call(functions.stumble, what='"a.mha"')
    with pytest.raises(RuntimeError):
        process.call(functions.not_to_be_sent, what='"a.mha"')


def test_what_a_library_prints_does_not_disturb_the_answer(process):
    assert process.call(functions.chatter, what="") == 7


def test_the_shared_process_answers():
    assert call_isolated(functions.double, 4, what="")["twice"] == 8


def test_a_codec_that_ends_its_process_costs_a_sentence_and_not_the_reader(tmp_path, monkeypatch):
    from moeclip_transforms import isolation, read_volume

    monkeypatch.setattr(isolation, "_is_expendable", False)
    monkeypatch.setattr("moeclip_transforms.dicom_pixels._decoded", functions.die_of)
    dataset = pydicom.dcmread(pydicom.data.get_testdata_file("examples_jpeg2k.dcm"))
    dataset.save_as(tmp_path / "deadly.dcm")
    with pytest.raises(InputError, match=r"deadly\.dcm.*ended the process"):
        read_volume(tmp_path / "deadly.dcm")


@pytest.mark.parametrize("name", ["examples_jpeg2k.dcm", "MR_small_RLE.dcm", "emri_small_jpeg_2k_lossless.dcm"])
def test_compressed_frames_come_out_the_same_from_another_process(name, monkeypatch):
    from moeclip_transforms import isolation, read_volume

    path = pydicom.data.get_testdata_file(name)
    monkeypatch.setattr(isolation, "_is_expendable", True)
    here = read_volume(path).array.copy()
    monkeypatch.setattr(isolation, "_is_expendable", False)
    assert np.array_equal(read_volume(path).array, here)


@pytest.mark.parametrize("function", ["_facts_of", "_read_pixels"])
def test_a_picture_that_ends_its_process_costs_a_sentence_and_not_the_reader(tmp_path, monkeypatch, function):
    from moeclip_transforms import isolation, read_volume

    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "deadly.png")
    monkeypatch.setattr(isolation, "_is_expendable", False)
    monkeypatch.setattr(f"moeclip_transforms.images.{function}", functions.die_of)
    with pytest.raises(InputError, match=r'"deadly\.png" ended the process that reads it'):
        read_volume(tmp_path / "deadly.png")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited on Linux alone")
def test_an_expendable_process_keeps_the_memory_limit(monkeypatch):
    from moeclip_transforms import isolation

    monkeypatch.setattr(isolation, "_is_expendable", True)
    with pytest.raises(InputError, match=r'"huge\.mha" needs more memory to read than the 64 MiB'):
        isolation.call_foreign(functions.grow, 1 << 30, what='"huge.mha"', limits=CallLimits(memory_bytes=1 << 26))
    assert isolation.call_foreign(functions.grow, 1 << 20, what="") == 1 << 20


def test_the_limits_of_one_call_are_its_own(process):
    with pytest.raises(InputError, match=r'"slow\.png" takes longer to read than 2\.5 s'):
        process.call(functions.hang, what='"slow.png"', limits=CallLimits(seconds=0.5))
