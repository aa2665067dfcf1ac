"""Identifiers: the same for the same run, never shared by different content."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from moeclip_med.results import write_results
from moeclip_med.results.dicom import identity as identity_module
from moeclip_med.results.dicom.identity import make_identity

KINDS = ("seg", "pm", "sr", "sc")


def uids(anomaly):
    identity = make_identity(anomaly)
    return {identity.instance_uid(kind) for kind in KINDS}


def with_provenance(anomaly, part, **changes):
    return replace(anomaly, provenance={**anomaly.provenance, part: {**anomaly.provenance[part], **changes}})


def test_writing_twice_gives_the_same_bytes(dicom_anomaly, tmp_path):
    anomaly = dicom_anomaly("oblique")
    first = write_results(anomaly, tmp_path / "a", KINDS)
    second = write_results(anomaly, tmp_path / "b", KINDS)
    for kind in ("seg", "pm", "sr"):
        assert first[kind].read_bytes() == second[kind].read_bytes(), kind
    for path in first["sc"].iterdir():
        assert path.read_bytes() == (second["sc"] / path.name).read_bytes()


def test_kinds_and_slices_never_share_an_identifier(written):
    result = written("axial")
    files = [result.paths[kind] for kind in ("seg", "pm", "sr")] + list(result.paths["sc"].iterdir())
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    instances = [header.SOPInstanceUID for header in headers]
    assert len(set(instances)) == len(instances) == 3 + 24
    assert len({header.SeriesInstanceUID for header in headers}) == 4
    assert all(uid.is_valid for uid in instances)
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in instances)


def test_other_content_model_settings_or_version_has_other_identifiers(dicom_anomaly, monkeypatch):
    anomaly = dicom_anomaly("axial")
    scores = anomaly.scores.copy()
    scores[3, 4, 5] = np.nextafter(scores[3, 4, 5], np.float32(1))
    frames = anomaly.volume.frames
    variants = [
        anomaly,
        replace(anomaly, scores=scores),
        replace(anomaly, threshold=0.6),
        with_provenance(anomaly, "model", sha256="ef" * 32),
        with_provenance(anomaly, "settings", kind="ct-brain"),
        replace(anomaly, volume=replace(anomaly.volume, frames=frames[::-1])),
        replace(anomaly, volume=replace(anomaly.volume, time_point=1)),
    ]
    found = [uids(variant) for variant in variants]
    monkeypatch.setattr(identity_module, "__version__", "99.0")
    found.append(uids(anomaly))
    assert len(set().union(*found)) == len(found) * len(KINDS)


def test_the_series_identifier_is_known_before_scoring(dicom_anomaly):
    anomaly = dicom_anomaly("axial")
    unscored = replace(anomaly, scores=np.zeros_like(anomaly.scores), labels=np.zeros_like(anomaly.labels))
    for kind in KINDS:
        assert make_identity(anomaly).series_uid(kind) == make_identity(unscored).series_uid(kind)
        assert make_identity(anomaly).instance_uid(kind) != make_identity(unscored).instance_uid(kind)


def test_prompts_are_parameters_and_other_scripts_are_escaped(dicom_anomaly):
    prompts = {"normal": ["a scan."], "abnormal": ["a damaged scan.", "rêsumé"]}
    identity = make_identity(with_provenance(dicom_anomaly("axial"), "model", prompts=prompts))
    assert identity.parameters["prompts_normal"] == "a scan."
    assert identity.parameters["prompts_abnormal"] == r"a damaged scan. | r\xeasum\xe9"
    assert "prompts_abnormal=a damaged scan." in identity.description()


def test_prompts_that_are_not_recorded_are_not_called_none(dicom_anomaly):
    anomaly = dicom_anomaly("axial")
    assert make_identity(anomaly).parameters["prompts"] == "none (learned embeddings)"
    model = {name: value for name, value in anomaly.provenance["model"].items() if name != "prompts"}
    unknown = replace(anomaly, provenance={**anomaly.provenance, "model": model})
    assert not [name for name in make_identity(unknown).parameters if name.startswith("prompts")]


def test_a_long_description_leaves_the_prompts_out_before_the_hash(dicom_anomaly):
    prompts = {"normal": ["a scan."], "abnormal": ["a damaged scan."] * 200}
    identity = make_identity(with_provenance(dicom_anomaly("axial"), "model", prompts=prompts))
    assert len(identity.description()) <= 1024
    assert "model_sha256=" + "ab" * 32 in identity.description()
    assert len(identity.parameters["prompts_abnormal"]) > 3000


def test_without_a_model_in_the_provenance_nothing_is_written(dicom_anomaly, tmp_path):
    anomaly = replace(dicom_anomaly("axial"), provenance={})
    with pytest.raises(KeyError, match="model"):
        write_results(anomaly, tmp_path / "out", ["pm"])
    assert not (tmp_path / "out").exists()
