"""Readers of other packages are found by entry point, like the built-in ones."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import numpy as np
import pytest
from moeclip_transforms import FileFormat, ImageType, InputError, Series, open_source, plugins, read_volume
from moeclip_transforms.assemble import make_volume
from moeclip_transforms.readers import GROUP, FileReader, reader_named


def scan_text(path):
    rows = path.read_text(encoding="utf-8").split("\n")
    shape = (len(rows[0].split()), len(rows), 1, 1)
    return Series(path.name, FileFormat.OTHER, (path,), "", ImageType.PLAIN, "", shape, 1, reader="numbers")


def read_text(series, *, time_point=0):
    assert time_point == 0
    rows = [[float(cell) for cell in row.split()] for row in series.files[0].read_text(encoding="utf-8").split("\n")]
    array = np.array(rows, dtype=np.float32).T[None, :, :, None]
    return make_volume(np.ascontiguousarray(array), np.eye(4), series, slice_axis=2, has_orientation=False)


NUMBERS = FileReader((".numbers",), scan_text, read_text)


@pytest.fixture
def register(monkeypatch):
    """Register an object of this module as a reader, as an installed package would."""

    def add(name, value):
        point = EntryPoint(name, f"{__name__}:{value}", GROUP)
        known = {**plugins.registered(GROUP), name: point}
        monkeypatch.setattr("moeclip_transforms.readers.registered", lambda _: known)
        monkeypatch.setattr(plugins, "registered", lambda _: known)

    return add


def test_the_built_in_readers_are_registered():
    assert {"nifti", "itk", "image"} <= plugins.registered(GROUP).keys()
    assert ".nii.gz" in reader_named("nifti").suffixes


def test_a_reader_of_another_package_reads_its_files(tmp_path, register):
    register("numbers", "NUMBERS")
    (tmp_path / "a.numbers").write_text("1 2 3\n4 5 6", encoding="utf-8")
    volume = read_volume(tmp_path / "a.numbers")
    assert volume.array[0, :, :, 0].T.tolist() == [[1, 2, 3], [4, 5, 6]]
    (tmp_path / "b.unknown").write_text("?", encoding="utf-8")
    with open_source(tmp_path) as source:
        assert [series.reader for series in source.series] == ["numbers"]


@pytest.mark.parametrize(
    ("name", "value", "words"), [("broken", "NOT_THERE", "AttributeError"), ("wrong", "GROUP", "FileReader")]
)
def test_a_reader_that_cannot_be_used_is_named(register, name, value, words):
    register(name, value)
    with pytest.raises(InputError, match=words):
        reader_named(name)


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(InputError, match=r'"nothing".*nifti'):
        reader_named("nothing")
