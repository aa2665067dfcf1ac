"""findings.json, findings.csv and run.json."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from moeclip_transforms.errors import InputError
from result_cases import changed
from sentences import lacking

from moeclip_med.results import result_notes, write_results
from moeclip_med.results.run_record import read_record


def read_json(anomaly, folder, fmt="json"):
    return json.loads(write_results(anomaly, folder, [fmt]).files[fmt].read_text(encoding="utf-8"))


def read_csv(anomaly, folder):
    with write_results(anomaly, folder, ["csv"]).files["csv"].open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_json_tells_findings_threshold_and_that_it_is_uncalibrated(nifti_anomaly, tmp_path):
    document = read_json(nifti_anomaly, tmp_path / "out")
    assert document["intended_use"] == "Research use only. Not a medical device."
    assert document["threshold"] == 0.5
    assert document["is_calibrated"] is False
    assert document["is_complete"] is True
    assert document["peak_score"] == pytest.approx(0.92, abs=1e-6)
    np.testing.assert_allclose(document["affine_ras_mm"], nifti_anomaly.affine.matrix)
    first = document["findings"][0]
    assert first["peak_voxel"] == [20, 40, 9]
    assert first["slice_range"] == list(nifti_anomaly.findings[0].slice_range)
    assert first["volume_ml"] == pytest.approx(nifti_anomaly.findings[0].volume_ml, abs=1e-4)


def test_centre_lps_is_the_affines_world_with_x_and_y_turned_round(nifti_anomaly, tmp_path):
    first = read_json(nifti_anomaly, tmp_path / "out")["findings"][0]
    ras = nifti_anomaly.affine.matrix @ [*first["centre_voxel"], 1]
    np.testing.assert_allclose(first["centre_lps_mm"], [-ras[0], -ras[1], ras[2]], atol=0.01)


def test_csv_has_the_same_numbers_as_json(nifti_anomaly, tmp_path):
    rows = read_csv(nifti_anomaly, tmp_path / "a")
    findings = read_json(nifti_anomaly, tmp_path / "b")["findings"]
    assert len(rows) == len(findings) == 2
    for row, finding in zip(rows, findings, strict=True):
        for name in ("rank", "label", "volume_ml", "voxel_count", "peak_score", "mean_score"):
            assert float(row[name]) == finding[name]
        assert [int(row[f"peak_voxel_{axis}"]) for axis in "xyz"] == finding["peak_voxel"]
        assert [float(row[f"centre_voxel_{axis}"]) for axis in "xyz"] == finding["centre_voxel"]
        assert [float(row[f"centre_lps_{axis}_mm"]) for axis in "xyz"] == finding["centre_lps_mm"]
        assert [int(row["slice_first"]), int(row["slice_last"])] == finding["slice_range"]
        assert row["is_calibrated"] == "false"


def test_diameters_and_intensities_are_those_of_the_finding(nifti_anomaly, tmp_path):
    rows = read_csv(nifti_anomaly, tmp_path / "a")
    findings = read_json(nifti_anomaly, tmp_path / "b")["findings"]
    image = nifti_anomaly.volume.array[0]
    for row, finding in zip(rows, findings, strict=True):
        values = image[nifti_anomaly.labels == finding["label"]]
        intensity = finding["intensity"]
        assert [intensity["mean"], intensity["sd"], intensity["max"]] == pytest.approx(
            [values.mean(), values.std(), values.max()], rel=1e-5
        )
        assert [float(row[f"{name}_intensity"]) for name in ("mean", "sd", "max")] == list(intensity.values())[:3]
        assert row["intensity_unit"] == "arbitrary"  # MR
        for name in ("longest_diameter", "perpendicular_diameter"):
            line = finding[name]
            ends = nifti_anomaly.affine.to_world([line["start_voxel"], line["stop_voxel"]])
            assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(line["mm"], abs=0.01)
            assert float(row[f"{name}_mm"]) == line["mm"]


def test_a_photograph_has_pixels_and_no_millimetres(photo_anomaly, tmp_path):
    (row,) = read_csv(photo_anomaly, tmp_path / "a")
    assert row["volume_ml"] == row["centre_lps_x_mm"] == row["longest_diameter_mm"] == row["mean_intensity"] == ""
    (finding,) = read_json(photo_anomaly, tmp_path / "b")["findings"]
    assert finding["volume_ml"] is None
    assert finding["centre_lps_mm"] is None
    assert finding["voxel_count"] == photo_anomaly.findings[0].voxel_count


def test_no_finding_is_an_empty_list_under_a_header(nifti_anomaly, tmp_path):
    anomaly = replace(nifti_anomaly, findings=(), labels=np.zeros_like(nifti_anomaly.labels))
    assert read_csv(anomaly, tmp_path / "a") == []
    assert (tmp_path / "a" / "findings.csv").read_text(encoding="utf-8").startswith("rank,label,volume_ml,")
    assert read_json(anomaly, tmp_path / "b")["findings"] == []


def test_an_early_stop_and_the_models_warnings_are_said(nifti_anomaly):
    scored = np.zeros(nifti_anomaly.volume.shape, dtype=bool)
    scored[:, :, :6] = True
    anomaly = changed(replace(nifti_anomaly, scored=scored), "settings", is_calibrated=True)
    anomaly = changed(anomaly, "outcome", weak_kind_warning="This model is weak on polyps.", regions_too_small=3)
    assert result_notes(anomaly) == (
        "This model is weak on polyps.",
        "Regions above the threshold excluded as too small: 3.",
        "Scoring was stopped early: 25% of the voxels have a score, the others are 0.",
    )


def test_slices_that_the_network_did_not_see_are_counted(nifti_anomaly):
    anomaly = changed(nifti_anomaly, "settings", is_calibrated=True, through_plane_mm=3.0)
    anomaly = changed(anomaly, "outcome", slices_scored=8, slices_total=24)
    (note,) = result_notes(anomaly)
    assert not lacking(note, "8 of 24 slices", "3 mm", "--every-slice")
    assert result_notes(changed(anomaly, "outcome", slices_scored=24)) == ()


def test_a_fallback_of_the_engine_is_said(nifti_anomaly):
    reason = "OpenVINO is not used: it failed. PyTorch runs the model instead, more slowly."
    assert reason in result_notes(changed(nifti_anomaly, "engine", fallback_reason=reason))


def test_the_record_of_a_run_comes_back_from_its_file(nifti_anomaly, tmp_path):
    paths = write_results(nifti_anomaly, tmp_path / "out", ["run"]).files
    content = json.loads(paths["run"].read_text(encoding="utf-8"))
    assert content["result"]["findings"] == 2
    assert content["model"]["name"] == "lite"
    assert read_record(paths["run"]) == nifti_anomaly.record


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 1, "run_id": "a"}', "[" * 100_000, "\x00"],
)
def test_what_is_no_record_is_refused_with_its_name(content, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"run\.json"):
        read_record(path)
