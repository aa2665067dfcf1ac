"""Folders with links that lead out of them, and folders nobody may list."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pydicom
import pytest
from moeclip_transforms import InputError
from moeclip_transforms.source import open_source

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows needs rights to make links")


@pytest.fixture
def tree(tmp_path):
    """A folder with one image, and an image elsewhere that links lead to."""
    source = pydicom.data.get_testdata_file("CT_small.dcm")
    (tmp_path / "given" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(source, tmp_path / "given" / "own.dcm")
    dataset = pydicom.dcmread(source)
    dataset.SeriesInstanceUID = dataset.SOPInstanceUID = "1.2.3.4"
    dataset.save_as(tmp_path / "elsewhere" / "other.dcm")
    return tmp_path / "given"


def test_links_out_of_the_folder_are_told_and_followed_only_where_asked_for(tree):
    for number in range(3):
        (tree / "deep" / f"{number}.dcm").symlink_to(tree.parent / "elsewhere" / "other.dcm")
    with open_source(tree) as source:
        assert [series.files[0].name for series in source.series] == ["own.dcm"]
        ((_, said),) = source.unreadable
    assert "0.dcm" in said
    assert "2 more are links" in said
    assert "--follow-links" in said
    with open_source(tree, follow_links=True) as source:
        assert len(source.series) == 2


def test_links_inside_the_folder_are_followed(tree):
    (tree / "deep" / "again.dcm").symlink_to(tree / "own.dcm")
    with open_source(tree) as source:
        assert source.unreadable == ()


def test_a_folder_of_links_alone_says_so(tree):
    (tree / "own.dcm").unlink()
    (tree / "a.dcm").symlink_to(tree.parent / "elsewhere" / "other.dcm")
    with pytest.raises(InputError, match="is a link out of"):
        open_source(tree)


def test_a_forbidden_folder_is_told(tree, monkeypatch):
    real = os.scandir

    def guarded(path):
        if str(path).endswith("deep"):  # tests may run as root, whom permissions do not stop
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with open_source(tree) as source:
        assert len(source.series) == 1
        ((path, said),) = source.unreadable
    assert path.name == "deep"
    assert "Permission denied" in said


def test_folders_nested_deeper_than_a_path_may_be_long(tmp_path, monkeypatch):
    """Deeper than Python calls itself, too."""
    shutil.copy(pydicom.data.get_testdata_file("CT_small.dcm"), tmp_path / "own.dcm")
    monkeypatch.chdir(tmp_path)
    levels = 1500
    for _ in range(levels):
        Path("aaa").mkdir()
        os.chdir("aaa")
    try:
        with open_source(tmp_path) as source:
            assert len(source.series) == 1
            assert "cannot be listed (File name too long)" in source.unreadable[0][1]
    finally:  # what cleans up after tests calls itself, too
        for _ in range(levels):
            os.chdir("..")
            Path("aaa").rmdir()


def test_a_link_to_a_folder_outside_is_told_and_entered_once_where_asked_for(tree):
    (tree / "deep" / "out").symlink_to(tree.parent / "elsewhere")
    (tree / "deep" / "up").symlink_to(tree.parent)
    (tree / "deep" / "round").symlink_to("round")
    with open_source(tree) as source:
        assert [series.files[0].name for series in source.series] == ["own.dcm"]
        ((_, said),) = source.unreadable
    assert '"out" and 1 more are links out of "given"' in said
    with open_source(tree, follow_links=True) as source:
        assert sorted(path.name for series in source.series for path in series.files) == ["other.dcm", "own.dcm"]


@pytest.mark.parametrize("linked", ["IMAGES", "IMAGES/other.dcm"])
def test_a_dicomdir_reaches_no_file_outside_its_folder_through_a_link(tmp_path, linked):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(pydicom.data.get_testdata_file("CT_small.dcm"), elsewhere / "other.dcm")
    link = tmp_path / "medium" / linked
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere if linked == "IMAGES" else elsewhere / "other.dcm")
    directory = pydicom.dcmread(pydicom.data.get_testdata_file("DICOMDIR"))
    directory.DirectoryRecordSequence = [pydicom.Dataset()]
    directory.DirectoryRecordSequence[0].ReferencedFileID = ["IMAGES", "OTHER"]
    directory.save_as(tmp_path / "medium" / "DICOMDIR")
    with pytest.raises(InputError, match='"other.dcm" is a link out of the folder of "DICOMDIR"'):
        open_source(tmp_path / "medium" / "DICOMDIR")
    with open_source(tmp_path / "medium" / "DICOMDIR", follow_links=True) as source:
        assert len(source.series) == 1
