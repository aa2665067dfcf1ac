"""A batch runs, and runs again, where open files cannot be renamed or deleted, and where lines end otherwise."""

from __future__ import annotations

import csv

from batch_fakes import LoadFake, Recorder, settings

from moeclip_med.batch.driver import run_batch


def test_no_file_of_a_batch_is_open_when_it_is_renamed_or_deleted(
    hospital, without_processes, windows_files, windows_newlines, tmp_path
):
    archive, patients = hospital
    lists = []
    for _ in range(2):  # the second run continues in the same folder
        run_batch(settings(archive, tmp_path / "out"), Recorder(), load=LoadFake())
        with (tmp_path / "out" / "triage.csv").open(encoding="utf-8", newline="") as stream:
            lists.append(list(csv.DictReader(stream)))
    assert len(lists[0]) > len(patients)
    assert lists[0] == lists[1]
