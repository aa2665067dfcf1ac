"""`moeclip-med batch` and `pacs` as typed, with the model that ships."""

from __future__ import annotations

import pytest
from hospital_files import write_nifti
from sentences import lacking

from moeclip_med.batch.overview import DryRun
from moeclip_med.cli.batch_display import print_dry_run


@pytest.mark.slow
def test_a_batch_says_what_it_would_do_does_it_and_tells_how_it_went(command, tmp_path):
    root, output = tmp_path / "archive", tmp_path / "out"
    write_nifti(root / "fine.nii.gz", shape=(40, 44, 4))
    (root / "broken.nii.gz").write_bytes(b"\x1f\x8b not really")

    dry = command("batch", root, "-o", output, "--dry-run", "--quiet")
    assert dry.returncode == 3
    assert "1 series would be scored" in dry.stdout
    assert not output.exists()

    ran = command("batch", root, "-o", output, "--results", "json", "--workers", 1, "--quiet")
    assert (ran.returncode, ran.stderr) == (3, "")
    assert "1 series scored in 2 studies" in ran.stdout
    assert (output / "triage.html").is_file()

    status = command("batch", "status", output)
    assert status.returncode == 0
    assert "2 of 2 studies finished" in status.stdout
    assert "1 series scored, 0 skipped, 1 failed" in status.stdout

    again = command("batch", root, "-o", output, "--threshold", 0.6, "--results", "json", "--quiet")
    assert again.returncode == 2
    assert not lacking(again.stderr, "error: ", f'"{output}"', "threshold unset", "0.6")


def test_one_is_told_in_the_singular(capsys):
    for count, words in ((1, "in 1 study\n"), (2, "in 2 studies\n")):
        print_dry_run(DryRun((), studies=count, done_before=0, problems=()))
        assert words in capsys.readouterr().out


def test_nothing_would_come_of_a_pacs_score_that_neither_stores_nor_keeps(command):
    idle = command("pacs", "score", "--url", "http://localhost/dicom-web", "--study", "1.2.3")
    assert idle.returncode == 2
    assert idle.stderr.startswith("error: ")
    assert not lacking(idle.stderr, "nothing", "--store", "--c-store", "--output")


def test_a_pacs_is_stored_to_in_one_way(command):
    both = command(
        "pacs", "score", "--url", "http://localhost/dicom-web", "--study", "1.2.3", "--store", "--c-store", "A@b:104"
    )
    assert both.returncode == 2
    assert not lacking(both.stderr, "--store", "--c-store", "exclude each other")
