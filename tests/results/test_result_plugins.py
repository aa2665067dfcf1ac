"""Formats of other packages are found by entry point, like the built-in ones."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from moeclip_transforms import InputError, plugins

from moeclip_med.cli.score import parse_formats
from moeclip_med.results import write_results, writers
from moeclip_med.results.formats import DICOM_FORMATS, ResultFormat
from moeclip_med.results.writers import GROUP, ResultWriter, known_formats


def write_peak(anomaly, path, notes):
    path.write_text(f"{anomaly.peak_score:.2f}\n{len(notes)}\n", encoding="utf-8")


def fail(anomaly, path, notes):
    raise RuntimeError


PEAK = ResultWriter("peak.txt", write_peak)
FAILING = ResultWriter("failing.txt", fail)
OUTSIDE = ResultWriter("../peak.txt", write_peak)
TAKEN = ResultWriter("findings.csv", write_peak)


@pytest.fixture
def register(monkeypatch):
    """Register objects of this module as results, as an installed package would."""

    def add(**values):
        points = {name: EntryPoint(name, f"{__name__}:{value}", GROUP) for name, value in values.items()}
        known = {**plugins.registered(GROUP), **points}
        monkeypatch.setattr(writers, "registered", lambda _: known)
        monkeypatch.setattr(plugins, "registered", lambda _: known)

    return add


def test_the_built_in_formats_are_registered():
    assert plugins.registered(GROUP).keys() == {fmt.value for fmt in set(ResultFormat) - DICOM_FORMATS}


def test_a_format_of_another_package_is_written_beside_the_others(nifti_anomaly, tmp_path, register):
    register(peak="PEAK")
    assert known_formats()[-1] == "peak"
    assert parse_formats("csv,peak") == {ResultFormat.CSV, "peak"}
    written = write_results(nifti_anomaly, tmp_path / "out", ["csv", "peak"])
    assert written.files["peak"].read_text(encoding="utf-8").startswith("0.92\n")
    again = write_results(nifti_anomaly, tmp_path / "out", ["peak"])
    assert set(again.files) == {"peak"}


def test_a_writer_that_fails_costs_itself_alone(nifti_anomaly, tmp_path, register):
    register(failing="FAILING")
    written = write_results(nifti_anomaly, tmp_path / "out", ["csv", "failing"])
    assert set(written.files) == {"csv"}
    assert "RuntimeError" in written.failed["failing"]


@pytest.mark.parametrize("value", ["OUTSIDE", "TAKEN", "GROUP"])
def test_a_writer_that_would_do_harm_is_refused(value, nifti_anomaly, tmp_path, register):
    register(strange=value)
    with pytest.raises(InputError, match='"strange"'):
        write_results(nifti_anomaly, tmp_path / "out", ["csv", "strange"])
    assert not (tmp_path / "peak.txt").exists()
