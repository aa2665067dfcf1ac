"""Results are written alike where open files cannot be renamed, and where lines end otherwise."""

from __future__ import annotations

import csv
import json
import mmap

import pytest

from moeclip_med.results import ResultFormat, write_results

ALL = ("nifti", "csv", "json", "report", "run", "seg", "pm", "sr", "sc", "rtstruct")


def test_the_simulation_refuses_to_touch_open_and_mapped_files(windows_files, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"123")
    with path.open("rb"), pytest.raises(PermissionError):
        path.unlink()
    with path.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    with pytest.raises(PermissionError):
        path.replace(tmp_path / "other")
    mapped.close()
    path.unlink()


def test_no_result_is_still_open_when_it_is_renamed_or_replaced(windows_files, small_anomaly, tmp_path):
    for _ in range(2):  # the second time over the first
        written = write_results(small_anomaly, tmp_path / "out", ALL)
    assert not written.failed
    assert set(written.files) == {ResultFormat(name) for name in ALL}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_line_ends_of_windows_change_no_table(windows_newlines, small_anomaly, tmp_path):
    files = write_results(small_anomaly, tmp_path / "out", ["csv", "json", "run", "report"]).files
    with files["csv"].open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(small_anomaly.findings) == 1
    assert all(b"\r\r" not in path.read_bytes() for path in files.values())
    assert len(json.loads(files["json"].read_bytes())["findings"]) == 1
