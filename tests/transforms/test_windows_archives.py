"""What was unpacked from an archive is removed where open files cannot be deleted."""

from __future__ import annotations

import tempfile
from pathlib import Path
from zipfile import ZipFile

import pytest
from moeclip_transforms import open_source


@pytest.mark.parametrize("kind", ["dicom", "nifti"])
def test_nothing_unpacked_is_still_open_or_left_behind(
    kind, dicom_folder, nifti_file, windows_files, tmp_path, monkeypatch
):
    files = sorted(dicom_folder.iterdir()) if kind == "dicom" else [nifti_file]
    with ZipFile(tmp_path / "study.zip", "w") as archive:
        for file in files:
            archive.write(file, file.name)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with open_source(tmp_path / "study.zip") as source:
        volume = source.read(source.series[0])
    assert volume.array.max() > 0
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
