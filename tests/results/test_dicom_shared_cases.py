"""Small series with careless headers that others handed in: every DICOM result is written and valid."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import pytest
from moeclip_transforms import open_source
from result_cases import Blob, score
from test_dicom_validity import errors, files_of

from moeclip_med.results import write_results
from moeclip_med.results.formats import DICOM_FORMATS

SHARED = os.environ.get("MOECLIP_SHARED")

pytestmark = [
    pytest.mark.skipif(SHARED is None, reason="MOECLIP_SHARED does not name the folder with shared cases"),
    pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian package dicom3tools) is missing"),
    pytest.mark.slow,
]


@pytest.mark.parametrize(("case", "count"), [("25-character-sets", 8), ("26-dirty-headers", 28)])
def test_every_variant_has_every_result(tmp_path, case, count):
    with tarfile.open(Path(SHARED) / "cases" / "dicom" / case / "in.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    folders = sorted(path for path in (tmp_path / "in").iterdir() if path.is_dir())
    assert len(folders) == count
    for folder in folders:
        with open_source(folder) as source:
            (series,) = source.series
            volume = source.read(series)
        x, y, z = volume.shape
        anomaly = score(volume, (Blob((x * 0.6, y * 0.4, z // 2), min(x, y) / 10, 0.9),))
        written = write_results(anomaly, tmp_path / "out" / folder.name, ["nifti", *DICOM_FORMATS])
        assert written.failed == {}, folder.name
        for path in files_of({fmt: written.files[fmt] for fmt in DICOM_FORMATS}):
            assert errors(path) == [], f"{folder.name}: {path.name}"
