import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from moeclip_transforms import FileFormat, ImageSource, InputError, open_source, read_volume
from PIL import Image
from pydicom.data import get_testdata_file
from sentences import facts, lacking


def message_of(path, **options):
    with pytest.raises(InputError) as caught:
        read_volume(path, **options)
    return str(caught.value)


@pytest.fixture
def mixed_tree(tmp_path, write_series):
    (tmp_path / "tree").mkdir()
    write_series([0, 1, 2], series_uid="1.1", folder="tree/a")
    write_series([0, 1], series_uid="1.2", folder="tree/a", SeriesDescription="second")
    deep = tmp_path / "tree" / "b" / "c"
    deep.mkdir(parents=True)
    shutil.copy(get_testdata_file("MR_small.dcm"), deep / "no suffix")
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(deep / "photo.png")
    (deep / "notes.txt").write_text("nothing")
    return tmp_path / "tree"


def test_folder_of_any_depth_is_grouped_into_series(mixed_tree):
    with open_source(mixed_tree) as source:
        found = {(series.uid[:4], series.format, series.shape) for series in source.series}
        assert ("1.1", FileFormat.DICOM, (8, 6, 3, 1)) in found
        assert ("1.2", FileFormat.DICOM, (8, 6, 2, 1)) in found
        assert {series.format for series in source.series} == {FileFormat.DICOM, FileFormat.IMAGE}
        assert len(source.series) == 4
        assert source.unreadable == ()


def test_series_must_be_named_when_there_are_several(mixed_tree):
    message = message_of(mixed_tree)
    assert message.startswith(f'"{mixed_tree}" holds 4 series where one is expected; name one of: ')
    assert "1.1 (CT, 8×6×3)" in message
    assert read_volume(mixed_tree, series="1.2").shape == (8, 6, 2)
    missing = message_of(mixed_tree, series="9.9")
    assert f'"{mixed_tree}"' in missing
    assert '"9.9"' in missing
    assert "1.2 (CT, 8×6×2)" in missing, "it lists what can be named"


def test_one_name_chooses_all_stacks_of_a_series(mixed_tree):
    with open_source(mixed_tree) as source:
        first, *others = source.series
        source.series = (replace(first, uid="7.7#1"), replace(first, uid="7.7#2"), replace(first, uid="7.70"), *others)
        assert [series.uid for series in source.choose("7.7")] == ["7.7#1", "7.7#2"]
        assert [series.uid for series in source.choose("7.7#2")] == ["7.7#2"]


def test_zip_is_unpacked_and_cleaned_up(mixed_tree, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "study"), "zip", mixed_tree))
    with open_source(archive) as source:
        place = Path(source.series[0].files[0])
        assert len(source.series) == 4
        assert source.read(next(one for one in source.series if one.uid == "1.1")).shape == (8, 6, 3)
        assert place.exists()
    assert not place.exists()


def test_zip_inside_a_folder_is_found(mixed_tree, tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    shutil.make_archive(str(folder / "study"), "zip", mixed_tree)
    (folder / "broken.zip").write_bytes(b"PK\x03\x04 rubbish")
    with open_source(folder) as source:
        assert len(source.series) == 4
        assert [path.name for path, _ in source.unreadable] == ["broken.zip"]


@pytest.mark.parametrize("suffix", ["zip", "tar", "gztar"])
def test_a_series_beside_its_own_archive_has_a_name_of_its_own(tmp_path, write_series, suffix):
    folder = write_series([0, 1, 2], folder="in/series")
    shutil.make_archive(str(tmp_path / "in" / "copy"), suffix, folder)
    with open_source(tmp_path / "in") as source:
        assert [series.uid for series in source.series] == ["1.2.3", "1.2.3#2"]
        assert source.read(source.series[0]).array.tolist() == source.read(source.series[1]).array.tolist()


def test_temporary_folder_goes_even_when_nothing_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("nothing")
    archive = shutil.make_archive(str(tmp_path / "texts"), "zip", tmp_path / "in")
    assert facts(message_of(archive)) == facts(
        f'"{archive}" holds 1 other files but no image; '
        "expected DICOM, NIfTI, .mha, .nrrd, PNG, JPEG, TIFF or BMP files."
    )
    assert list((tmp_path / "temporary").iterdir()) == []


def test_dicomdir_gives_what_it_lists():
    path = Path(get_testdata_file("DICOMDIR"))
    with open_source(path) as source:
        listed = sum(len(series.files) for series in source.series)
        assert listed == 31
        assert {series.modality for series in source.series} == {"CR", "CT", "MR"}
        assert {series.skip_reason for series in source.series} == {"", "a scout (localizer)"}


def test_dicomdir_whose_files_are_missing_says_which(tmp_path):
    shutil.copy(get_testdata_file("DICOMDIR"), tmp_path / "DICOMDIR")
    path = tmp_path / "DICOMDIR"
    message = message_of(path)
    assert message.startswith(f'None of the 31 image files in "{path}" can be read; the first: ')
    assert message.endswith('is listed in "DICOMDIR" but missing.')


def test_dicom_without_mark_is_found(tmp_path, make_slice):
    dataset = make_slice()
    dataset.save_as(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    start = content.index(b"\x08\x00\x16\x00UI")
    (tmp_path / "whole").write_bytes(content[start:])
    volume = read_volume(tmp_path / "whole")
    np.testing.assert_array_equal(volume.tensor[0, :, :, 0].numpy().T.ravel(), np.arange(48))


def test_missing_path(tmp_path):
    assert facts(message_of(tmp_path / "nothing")) == facts(f'"{tmp_path / "nothing"}" does not exist; check the path.')


def test_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    assert facts(message_of(tmp_path / "empty")) == facts(
        f'"{tmp_path / "empty"}" holds no files; expected DICOM, NIfTI, .mha, .nrrd, PNG, JPEG, TIFF or BMP files.'
    )


def test_not_an_image(tmp_path):
    path = tmp_path / "letter.doc"
    path.write_bytes(b"Dear colleague, " * 40)
    assert facts(message_of(path)) == facts(
        f'"{path}" is not an image; expected DICOM, NIfTI, .mha, .nrrd, PNG, JPEG, TIFF or BMP files.'
    )


def test_empty_file(tmp_path):
    path = tmp_path / "image.dcm"
    path.touch()
    assert facts(message_of(path)) == facts('"image.dcm" is empty (0 bytes).')


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX file types")
@pytest.mark.timeout(30)
def test_pipes_devices_and_loops_never_hang(write_series):
    folder = write_series([0, 1])
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "self").symlink_to(folder / "self")
    (folder / "zero").symlink_to("/dev/zero")
    assert read_volume(folder).shape == (8, 6, 2)
    assert facts(message_of(folder / "pipe")) == facts(
        f'"{folder / "pipe"}" is a device or pipe; give a file or folder.'
    )
    assert facts(message_of("/dev/zero")) == facts('"/dev/zero" is a device or pipe; give a file or folder.')


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_unreadable_file_is_reported(tmp_path):
    path = tmp_path / "image.dcm"
    path.write_bytes(b"x")
    path.chmod(0)
    assert facts(message_of(path)) == facts(f'"{path}" cannot be opened (Permission denied); check its permissions.')


def test_names_that_are_not_utf8(tmp_path, make_slice):
    if sys.platform != "linux":
        pytest.skip("needs a file system that takes any bytes as a name")
    folder = tmp_path / "folder"
    folder.mkdir()
    make_slice().save_as(Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9")))
    assert read_volume(folder).shape == (8, 6, 1)


@pytest.mark.timed
def test_scan_reads_no_pixels_and_is_fast(write_series):
    folder = write_series(list(range(192)))
    times = []
    for _ in range(3):
        start = time.process_time()
        with ImageSource(folder) as source:
            assert source.series[0].shape == (8, 6, 192, 1)
        times.append(time.process_time() - start)
    assert min(times) < 1.5  # of processor time; 0.2 s on a quiet machine


@pytest.mark.slow
def test_2000_slices(tmp_path, make_slice):
    make_slice(position=(0, 0, 7777.5), SOPInstanceUID="1.2.3.77777").save_as(tmp_path / "template")
    template = (tmp_path / "template").read_bytes()
    (tmp_path / "template").unlink()
    for k in range(2000):
        content = template.replace(b"7777.5", f"{0.5 * k:06.1f}".encode()).replace(b"77777", str(10000 + k).encode())
        (tmp_path / str(k)).write_bytes(content)
    volume = read_volume(tmp_path)
    assert volume.shape == (8, 6, 2000)
    assert volume.is_regular
    assert volume.affine.matrix[2, 2] == pytest.approx(0.5)


def test_truncated_file_names_file_and_sizes(tmp_path, make_slice):
    make_slice(pixels=np.zeros((200, 100), np.int16)).save_as(tmp_path / "image")
    content = (tmp_path / "image").read_bytes()
    (tmp_path / "image").write_bytes(content[: len(content) // 2])
    message = message_of(tmp_path / "image")
    assert message == (
        f'"image" is truncated: its pixels need 40000 bytes, the whole file has {len(content) // 2}; copy it again.'
    )


def test_truncated_header(tmp_path, make_slice):
    make_slice().save_as(tmp_path / "image")
    (tmp_path / "image").write_bytes((tmp_path / "image").read_bytes()[:200])
    assert message_of(tmp_path / "image")


def test_huge_declared_size_claims_no_memory(tmp_path, make_slice, monkeypatch):
    memory = namedtuple("memory", "available")
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory(2**40))
    dataset = make_slice()
    dataset.Rows = dataset.Columns = 65535
    dataset.save_as(tmp_path / "image")
    assert '"image" is truncated: its pixels need 8589672450 bytes' in message_of(tmp_path / "image")


def corrupt(folder, names):
    for path in sorted(folder.iterdir()):
        if path.name in names:
            path.write_bytes(path.read_bytes()[:-40])


def test_one_corrupt_slice_is_left_out_and_said(write_series):
    folder = write_series([2 * k for k in range(12)])
    corrupt(folder, {"0005"})
    volume = read_volume(folder)
    assert volume.shape[2] == len(volume.frames) == len(volume.frame_geometry) == 11
    assert 700 not in volume.tensor[0, 1, 1].tolist()
    assert not volume.is_regular
    damaged, missing = volume.notes
    assert not lacking(damaged, "1 damaged slice", "instance number 5")
    assert not lacking(missing, "1 slice is missing", "2 mm", "7 and 8")


def test_many_corrupt_slices_refuse_the_series(write_series):
    folder = write_series([2 * k for k in range(12)])
    corrupt(folder, {"0003", "0005"})
    message = message_of(folder)
    assert message.startswith(
        "2 of 12 slices of series 1.2.3 cannot be decoded, more than the tenth that may be skipped"
    )


def test_slice_with_a_broken_header_is_unreadable_and_missing(write_series):
    folder = write_series([2 * k for k in range(12)])
    (folder / "0005").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 300)
    with open_source(folder) as source:
        assert [path.name for path, _ in source.unreadable] == ["0005"]
        volume = source.read(source.series[0])
    (note,) = volume.notes
    assert not lacking(note, "1 slice is missing", "2 mm", "7 and 8")


def test_constant_volume_says_so(write_series):
    def change(_, dataset):
        dataset.PixelData = np.full(48, 7, dtype=np.int16).tobytes()

    volume = read_volume(write_series([0, 1], change=change))
    (note,) = volume.notes
    assert not lacking(note, "same value (7)")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"/annex/objects/MD5E-s9--0.nii.gz\n", "git annex get"),
    ],
)
@pytest.mark.parametrize("name", ["a.nii.gz", "a.dcm", "a.mha", "a.png"])
def test_pointers_are_named_as_such(tmp_path, content, words, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f'"{name}" is only a pointer.*{words}'):
        open_source(tmp_path / name)


def test_links_that_lead_nowhere_are_told(tmp_path):
    (tmp_path / "a.nii.gz").symlink_to(tmp_path / "annex" / "objects" / "missing")
    with pytest.raises(InputError, match=r'"a\.nii\.gz" is a link to a file that is not there'):
        open_source(tmp_path)


def test_what_macos_keeps_beside_files_is_no_image(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    for name in ("._a.png", "._b.nii.gz", "._c.dcm"):
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07 Mac OS X")
    with open_source(tmp_path) as source:
        assert ([series.files[0].name for series in source.series], source.unreadable) == (["a.png"], ())


def test_a_series_that_declares_more_than_this_machine_has_free_is_refused(tmp_path, make_slice, monkeypatch):
    """`score` and napari have no other bound: a batch has its budget."""
    memory = namedtuple("memory", "available")
    make_slice().save_as(tmp_path / "image")
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory(100))
    with pytest.raises(InputError, match=r'"image" declares 8×6×1 voxels, .* this machine has 0\.0 GiB'):
        read_volume(tmp_path / "image")


def test_an_archive_inside_an_archive_and_an_empty_one_are_told(tmp_path, make_slice):
    make_slice().save_as(tmp_path / "image")
    with zipfile.ZipFile(tmp_path / "inner", "w") as inner:
        inner.write(tmp_path / "image", "other")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.write(tmp_path / "inner", "renamed.dcm")
    (tmp_path / "inner").unlink()
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with open_source(tmp_path) as source:
        assert len(source.series) == 1
        assert ['"renamed.dcm" in "outer.zip" is another archive' in said for _, said in source.unreadable] == [True]
        assert [said for _, said in source.excluded] == ['"empty.zip" holds no files.']


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        *((name, "convert") for name in ("brain.mnc", "brain.mgz", "T1.REC", "T1+orig.BRIK", "slide.SVS", "colon.mp4")),
        *((name, "convert") for name in ("a.webp", "a.avif", "a.jxl")),
        *((name, "unpack") for name in ("brain.nii.xz", "slice.dcm.bz2", "a.mha.zst", "study.7z", "study.rar")),
    ],
)
def test_images_of_formats_that_are_not_read_are_told(tmp_path, make_slice, name, advice):
    (tmp_path / name).write_bytes(b"some other format")
    with pytest.raises(InputError, match=advice):
        open_source(tmp_path)
    make_slice().save_as(tmp_path / "slice.dcm")
    (tmp_path / "notes.md").write_bytes(b"# notes")
    with open_source(tmp_path) as source:
        assert len(source.series) == 1
        (told,) = source.excluded
    assert told[0].name == name
    assert f'"{name}"' in told[1]
    assert advice in told[1]


@pytest.mark.parametrize("name", ["IM0003", "1.2.840.113", "scan.nii", "a.png", "slice.dcm"])
def test_an_empty_file_that_should_be_an_image_is_told(tmp_path, name):
    Image.fromarray(np.eye(32, dtype=np.uint8)).save(tmp_path / "sound.png")
    (tmp_path / name).touch()
    with open_source(tmp_path) as source:
        assert [path.name for path, _ in source.unreadable] == [name]


def test_empty_files_that_are_no_images_and_the_private_part_of_a_batch_are_not_told(tmp_path):
    Image.fromarray(np.eye(32, dtype=np.uint8)).save(tmp_path / "sound.png")
    (tmp_path / ".batch").mkdir()
    for name in (".gitkeep", "__init__.py", "notes.txt", "voxels.img", "voxels.raw", ".batch/lock"):
        (tmp_path / name).touch()
    with open_source(tmp_path) as source:
        assert source.unreadable == ()
        assert len(source.series) == 1
