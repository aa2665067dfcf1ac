"""Names from outside on the terminal: shown, never obeyed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import pydicom
import pytest

from moeclip_med.cli.info import info_command

ESCAPE = "\x1b]0;owned\x07\x1b[2J[red]markup[/]"


def run(*arguments: str) -> str:
    told = subprocess.run(
        [sys.executable, "-m", "moeclip_med", *arguments],
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "400", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return (told.stdout + told.stderr).decode("utf-8", "replace")


@pytest.mark.slow
def test_a_description_that_holds_escapes_and_markup_is_shown_as_text(tmp_path):
    dataset = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    dataset.SeriesDescription = ESCAPE
    dataset.save_as(tmp_path / "a.dcm")
    said = run("info", str(tmp_path / "a.dcm"))
    assert "\x1b" not in said
    assert "\x07" not in said
    assert "[red]" in "".join(said.split())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows takes no such names")
def test_a_file_name_that_holds_escapes_and_line_breaks_is_shown_as_text(tmp_path):
    path = tmp_path / "a\x1b[31m\nerror: forged.dcm"
    path.write_bytes(b"no image")
    said = run("info", str(path))
    assert "\x1b" not in said
    assert "\nerror: forged" not in said


def test_an_archive_of_many_broken_files_does_not_flood_the_terminal(tmp_path, capsys, caplog):
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        archive.write(pydicom.data.get_testdata_file("CT_small.dcm"), "a.dcm")
        for number in range(300):
            archive.writestr(f"{number}.dcm", "")
    with caplog.at_level("WARNING"):
        info_command(tmp_path / "many.zip")
    assert len(caplog.messages) == 51
    assert caplog.messages[-1] == "250 more are skipped; moeclip-med info --json lists them all"
    assert capsys.readouterr().out.count("128 × 128") == 1
