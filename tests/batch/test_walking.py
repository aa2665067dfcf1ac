"""Trees as they are found: loops, devices, names that are not text, folders that nobody may enter."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from pydicom.data import get_testdata_file

from moeclip_med.batch.headers import look_at_file
from moeclip_med.batch.planning import OutsideLink, WalkProblem, walk
from moeclip_med.batch.pseudonyms import Pseudonyms
from moeclip_med.batch.records import FileStamp

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


def names(root: Path, *leave_out: Path) -> list[str]:
    return [str(found.path.relative_to(root)) for found in walk(root, leave_out) if isinstance(found, FileStamp)]


def make(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x" * len(path))


def test_every_file_once_in_order_with_size_and_time(tmp_path):
    make(tmp_path, "b/two", "a/one", "a/deep/er/three", "top")
    os.utime(tmp_path / "top", ns=(0, 123_456_789))
    found = list(walk(tmp_path))
    assert [str(stamp.path.relative_to(tmp_path)) for stamp in found] == [
        "top", "a/one", "a/deep/er/three", "b/two",
    ]  # fmt: skip
    assert found[0] == FileStamp(tmp_path / "top", 3, 123_456_789)


def test_a_single_file_is_a_tree_of_one(tmp_path):
    make(tmp_path, "scan.nii")
    assert [found.path for found in walk(tmp_path / "scan.nii")] == [tmp_path / "scan.nii"]


def test_the_output_folder_is_not_searched(tmp_path):
    make(tmp_path, "scans/one", "results/triage.csv", "results/studies/a/anomaly.nii.gz")
    assert names(tmp_path, tmp_path / "results") == ["scans/one"]


@posix_only
def test_the_private_part_of_another_batch_is_not_searched(tmp_path):
    make(tmp_path, "image", "earlier/.batch/key", "earlier/studies/a/anomaly")
    assert names(tmp_path) == ["image", "earlier/studies/a/anomaly"]


@pytest.mark.parametrize(("name", "is_told"), [("IM0001", True), ("1.2.84", True), (".gitkeep", False), ("a.c", False)])
def test_an_empty_file_is_told_where_an_image_is_missed(tmp_path, name, is_told):
    (tmp_path / name).touch()
    assert look_at_file(tmp_path / name, Pseudonyms(b"k" * 32)).problem == ("it is empty (0 bytes)" if is_told else "")


def test_links_in_a_circle_end_and_nothing_is_found_twice(tmp_path):
    make(tmp_path, "a/one", "b/two")
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    (tmp_path / "b" / "again").symlink_to(tmp_path / "a" / "one")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    assert names(tmp_path) == ["a/one", "b/two"]


@posix_only
def test_links_out_of_the_tree_are_told_and_followed_once_where_asked_for(tmp_path):
    make(tmp_path, "tree/one", "elsewhere/two", "elsewhere/three")
    (tmp_path / "tree" / "first").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "tree" / "second").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "tree" / "secret.nii").symlink_to(tmp_path / "elsewhere" / "two")
    tree = tmp_path / "tree"
    assert names(tree) == ["one"]
    assert [found.path.name for found in walk(tree) if isinstance(found, OutsideLink)] == [
        "first", "second", "secret.nii",
    ]  # fmt: skip
    followed = [str(found.path.relative_to(tree)) for found in walk(tree, follow_links=True)]
    assert followed == ["one", "secret.nii", "first/three", "first/two"]


@posix_only
def test_links_to_missing_files_are_told_where_they_are_named_as_images(tmp_path):
    (tmp_path / "scan.nii.gz").symlink_to(tmp_path / ".git" / "annex" / "objects" / "x")
    (tmp_path / "notes.txt").symlink_to(tmp_path / "missing")
    (found,) = walk(tmp_path)
    assert isinstance(found, WalkProblem)
    assert found.path.name == "scan.nii.gz"
    assert "not there" in found.reason


@posix_only
@pytest.mark.timeout(20)
def test_devices_pipes_and_sockets_are_never_opened(tmp_path, monkeypatch):
    make(tmp_path, "one")
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "zero.dcm").symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path)  # a socket's path is limited to about 100 characters
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.dcm")
        assert names(tmp_path) == ["one"]


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="this file system takes only UTF-8 names")
def test_names_that_are_not_text(tmp_path):
    raw = os.fsencode(tmp_path) + b"/M\xfcller.dcm"
    with open(raw, "wb") as stream:  # noqa: PTH123 - bytes are no Path
        stream.write(b"1234")
    (found,) = walk(tmp_path)
    assert os.fsencode(found.path) == raw
    assert found.size == 4


@posix_only
def test_a_folder_that_nobody_may_enter_is_told_and_the_rest_goes_on(tmp_path, monkeypatch):
    make(tmp_path, "closed/one", "open/two")
    real = os.scandir

    def guarded(path):
        if str(path).endswith("closed"):  # tests may run as root, whom permissions do not stop
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found = list(walk(tmp_path))
    assert WalkProblem(tmp_path / "closed", "there is no permission to read it") in found
    assert [stamp.path.name for stamp in found if isinstance(stamp, FileStamp)] == ["two"]


MEASURE = """
    import sys, time, tracemalloc
    from pathlib import Path
    from moeclip_med.batch.planning import walk

    tracemalloc.start()
    started = time.process_time()
    print(sum(1 for _ in walk(Path(sys.argv[1]))), time.process_time() - started, tracemalloc.get_traced_memory()[1])
"""


def test_ten_thousand_files_take_little_memory(tmp_path):
    _, peak = measure_walk(tmp_path)
    assert peak < 2 * 2**20


@pytest.mark.timed
def test_ten_thousand_files_take_little_time(tmp_path):
    seconds, _ = measure_walk(tmp_path)
    assert seconds < 5


def measure_walk(root):
    """Processor time in s and peak memory in bytes of walking over ten thousand files."""
    for folder in range(100):
        (root / f"{folder:03d}").mkdir()
        for number in range(100):
            (root / f"{folder:03d}" / f"{number:05d}").touch()
    # In a process of its own: threads that other tests left in this one would be measured as well.
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), root],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    count, seconds, peak = told.stdout.split()
    assert int(count) == 10_000
    return float(seconds), int(peak)


def test_a_first_look_says_nothing_of_what_a_header_holds(tmp_path, recwarn):
    content = Path(get_testdata_file("CT_small.dcm")).read_bytes()
    assert content.count(b"ISO_IR 100") == 1
    (tmp_path / "image").write_bytes(content.replace(b"ISO_IR 100", b"Doe^Jane X"))
    assert look_at_file(tmp_path / "image", Pseudonyms(b"k" * 32)).study
    assert [str(warning.message) for warning in recwarn] == []


def test_slices_that_name_no_study_are_one_of_their_folder(tmp_path):
    names = Pseudonyms(b"k" * 32)
    variants = {
        "1": {},
        "2": {"InstanceNumber": 2},
        "other series": {"SeriesNumber": 9},
        "no place": {"ImagePositionPatient": None},
    }
    for name, changes in variants.items():
        dataset = dcmread(get_testdata_file("CT_small.dcm"))
        for keyword, value in {"StudyInstanceUID": None, "SeriesInstanceUID": None, **changes}.items():
            setattr(dataset, keyword, value)
        dataset.save_as(tmp_path / name)
    studies = {name.name: look_at_file(name, names).study for name in tmp_path.iterdir()}
    assert studies["1"] == studies["2"]
    assert len(set(studies.values())) == 3


def test_both_files_of_a_nifti_pair_are_one_study(tmp_path):
    nibabel.save(nibabel.Nifti1Pair(np.zeros((4, 4, 4), np.float32), np.eye(4)), tmp_path / "a.img")
    (tmp_path / "b.img").write_bytes(b"no header beside it")
    names = Pseudonyms(b"k" * 32)
    studies = {name: look_at_file(tmp_path / name, names).study for name in ("a.hdr", "a.img", "b.img")}
    assert studies["a.hdr"] == studies["a.img"] != ""
    assert studies["b.img"] == ""


@pytest.mark.parametrize(
    ("header", "data"),
    [("a.mhd", "a.raw"), ("a.mhd", "a.zraw"), ("a.nhdr", "a.raw"), ("a.nhdr", "a.raw.gz"), ("b.mhd", "voxels.raw")],
)
def test_both_files_of_an_itk_pair_are_one_study(tmp_path, header, data):
    written = "a.mhd" if header.endswith("mhd") else "a.nhdr"
    image = SimpleITK.GetImageFromArray(np.arange(64, dtype=np.int16).reshape(4, 4, 4))
    SimpleITK.WriteImage(image, str(tmp_path / written), useCompression=data.endswith(("zraw", "gz")))
    (stored,) = (path for path in tmp_path.iterdir() if path.name != written)
    stored.rename(tmp_path / data)
    text = (tmp_path / written).read_text().replace(stored.name, data)
    (tmp_path / written).unlink()
    (tmp_path / header).write_text(text)
    (tmp_path / "other.raw").write_bytes(b"no header names it")
    names = Pseudonyms(b"k" * 32)
    studies = [look_at_file(tmp_path / name, names).study for name in (header, data, "other.raw")]
    assert studies[0] == studies[1] != ""
    assert studies[2] == ""


def test_an_image_of_a_format_that_is_not_read_is_a_study_and_a_document_is_none(tmp_path):
    (tmp_path / "brain.mgz").write_bytes(b"some other format")
    (tmp_path / "notes.md").write_bytes(b"# notes")
    names = Pseudonyms(b"k" * 32)
    assert look_at_file(tmp_path / "brain.mgz", names).study
    assert not look_at_file(tmp_path / "notes.md", names).study
