"""What commands say on standard error and write into a log file, and what they keep out of it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import warnings

import pytest

from moeclip_med.batch.workers import load_noticed
from moeclip_med.cli import app as app_module
from moeclip_med.engines.base import EngineWarning

PATIENT = "DOE^JANE 19500102"


@pytest.fixture
def named_study(tmp_path, dicom_folder):
    """A study in a folder that is named like a patient, with a file that cannot be read."""
    folder = tmp_path / PATIENT / "1.2.840.113619.2.5"
    shutil.copytree(dicom_folder, folder)
    (folder / "JANE.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\x00\x00\x00broken")
    return folder


def events(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_log_file_holds_events_as_json_lines_and_no_identity(command, named_study, tmp_path):
    log = tmp_path / "events.jsonl"
    done = command("info", named_study, "--log-file", log)

    assert done.returncode == 3  # one file cannot be read
    assert "JANE.dcm" in done.stderr, "the terminal names the file"
    started, warning, ended = events(log)
    assert [started["level"], warning["level"], ended["level"]] == ["info", "warning", "info"]
    assert ended["command"] == "info"
    assert ended["seconds"] > 0
    text = log.read_text(encoding="utf-8")
    assert not [word for word in ("JANE", "DOE", "1950", "113619", str(tmp_path)) if word in text]


def test_a_command_writes_to_its_own_log_file_alone(monkeypatch, nifti_file, tmp_path, capsys):
    logger = logging.getLogger("moeclip_med")
    before = (tuple(logger.handlers), logger.level, logger.propagate, warnings.showwarning)
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    for path, options in (
        (nifti_file, ["--log-file", first]),
        (nifti_file, []),
        (tmp_path / "no", ["--log-file", second]),
    ):
        monkeypatch.setattr(sys, "argv", ["moeclip-med", "info", str(path), *map(str, options)])
        with pytest.raises(SystemExit):
            app_module.main()

    assert [event["level"] for event in events(first)] == ["info", "info"]
    assert [event["level"] for event in events(second)] == ["info", "error"]
    assert (tuple(logger.handlers), logger.level, logger.propagate, warnings.showwarning) == before


@pytest.mark.slow
def test_every_step_of_scoring_is_logged_with_its_time(command, nifti_file, tmp_path):
    log = tmp_path / "events.jsonl"
    done = command("score", nifti_file, "-o", tmp_path / "out", "--log-file", log, timeout=240)

    assert done.returncode == 0, done.stderr
    steps = [event for event in events(log) if event["logger"] == "moeclip_med.pipeline"]
    assert [event["message"].split(" in ")[0] for event in steps] == ["series read", "series scored", "series written"]
    assert all(event["seconds"] >= 0 for event in steps)
    assert any("model lite" in event["message"] for event in events(log))


def test_an_error_is_logged_and_the_file_is_appended_to(command, tmp_path):
    log = tmp_path / "events.jsonl"
    for _ in range(2):
        assert command("info", tmp_path / "missing.nii", "--log-file", log).returncode == 2

    assert [event["level"] for event in events(log)] == ["info", "error"] * 2
    assert "missing" not in log.read_text(encoding="utf-8")


def test_a_log_file_that_cannot_be_written_is_bad_input(command, nifti_file, tmp_path):
    done = command("info", nifti_file, "--log-file", tmp_path / "no-such-folder" / "events.jsonl")

    assert done.returncode == 2
    assert "--log-file" in done.stderr


def test_verbose_says_what_was_done_and_standard_output_stays_the_same(command, nifti_file):
    plain, verbose = command("info", nifti_file), command("info", nifti_file, "-v")

    assert verbose.stdout == plain.stdout
    assert plain.stderr == ""
    assert "info ended after" in verbose.stderr


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_no_color_is_heeded(command, tmp_path, no_color, coloured):
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm", "NO_COLOR": no_color}
    done = command("info", tmp_path / "missing", env=environment)

    assert ("\x1b[1;31m" in done.stderr) == coloured


def test_every_engine_fallback_is_shown(monkeypatch, capsys):
    monkeypatch.setattr(
        app_module, "app", lambda: warnings.warn("OpenVINO is not used: PyTorch runs", EngineWarning, stacklevel=1)
    )
    with warnings.catch_warnings():
        app_module.main()

    assert "warning: OpenVINO is not used" in capsys.readouterr().err


def warn_as_a_library_that_sets_its_own_filter():
    """As `openvino.runtime` of 2025 does when NNCF imports it."""
    warnings.simplefilter("default")
    warnings.warn("a value of a header", DeprecationWarning, stacklevel=1)
    warnings.warn("OpenVINO is not used: PyTorch runs", EngineWarning, stacklevel=1)


def test_a_library_cannot_show_its_own_warnings(monkeypatch, capsys):
    monkeypatch.setattr(app_module, "app", warn_as_a_library_that_sets_its_own_filter)
    with warnings.catch_warnings():
        app_module.main()

    assert capsys.readouterr().err.count("warning:") == 1


def test_nor_does_the_triage_list_take_them_for_notices():
    with warnings.catch_warnings():
        _, notices = load_noticed(warn_as_a_library_that_sets_its_own_filter)

    assert notices == ("OpenVINO is not used: PyTorch runs",)
