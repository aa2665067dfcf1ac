"""Identifiers: the same for the same run, never shared by different content."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
from moeclip_transforms import ImageType
from result_cases import changed

from moeclip_med.results import write_results
from moeclip_med.results.dicom import identity as identity_module
from moeclip_med.results.dicom.identity import make_identity
from moeclip_med.scoring.record import PromptRecord

KINDS = ("seg", "pm", "sr", "sc")


def uids(anomaly):
    identity = make_identity(anomaly)
    return {identity.instance_uid(kind) for kind in KINDS}


def test_writing_twice_gives_the_same_bytes(dicom_anomaly, tmp_path):
    anomaly = dicom_anomaly("oblique")
    first = write_results(anomaly, tmp_path / "a", KINDS).files
    second = write_results(anomaly, tmp_path / "b", KINDS).files
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


def with_source(anomaly, **changes):
    return replace(anomaly, volume=replace(anomaly.volume, source=replace(anomaly.volume.source, **changes)))


def test_another_release_of_the_same_schema_has_the_same_series(dicom_anomaly, monkeypatch):
    anomaly = dicom_anomaly("axial")
    before = make_identity(anomaly).series_uid("seg")
    monkeypatch.setattr(identity_module, "__version__", "99.0")
    assert make_identity(anomaly).series_uid("seg") == before


def test_other_content_model_settings_or_schema_has_other_identifiers(dicom_anomaly):
    anomaly = dicom_anomaly("axial")
    scores = anomaly.scores.copy()
    scores[3, 4, 5] = np.nextafter(scores[3, 4, 5], np.float32(1))
    frames = anomaly.volume.frames
    variants = [
        anomaly,
        replace(anomaly, scores=scores),
        changed(anomaly, "settings", threshold=0.6),
        changed(anomaly, "model", sha256="ef" * 32),
        changed(anomaly, "settings", kind=ImageType.CT_BRAIN),
        with_source(anomaly, frames=frames[::-1]),
        with_source(anomaly, time_point=1),
        replace(anomaly, record=replace(anomaly.record, schema_version=99)),
    ]
    found = [uids(variant) for variant in variants]
    assert len(set().union(*found)) == len(found) * len(KINDS)


def test_the_series_identifier_is_known_before_scoring(dicom_anomaly):
    anomaly = dicom_anomaly("axial")
    unscored = replace(anomaly, scores=np.zeros_like(anomaly.scores), labels=np.zeros_like(anomaly.labels))
    for kind in KINDS:
        assert make_identity(anomaly).series_uid(kind) == make_identity(unscored).series_uid(kind)
        assert make_identity(anomaly).instance_uid(kind) != make_identity(unscored).instance_uid(kind)


def test_prompts_are_parameters_and_other_scripts_are_escaped(dicom_anomaly):
    prompts = PromptRecord(("a scan.",), ("a damaged scan.", "rêsumé"))
    identity = make_identity(changed(dicom_anomaly("axial"), "model", prompts=prompts))
    assert identity.parameters["prompts_normal"] == "a scan."
    assert identity.parameters["prompts_abnormal"] == r"a damaged scan. | r\xeasum\xe9"
    assert "prompts_abnormal=a damaged scan." in identity.description()


def test_learned_embeddings_are_named_as_such(dicom_anomaly):
    assert make_identity(dicom_anomaly("axial")).parameters["prompts"] == "none (learned embeddings)"


def test_a_long_description_leaves_the_prompts_out_before_the_hash(dicom_anomaly):
    prompts = PromptRecord(("a scan.",), ("a damaged scan.",) * 200)
    identity = make_identity(changed(dicom_anomaly("axial"), "model", prompts=prompts))
    assert len(identity.description()) <= 1024
    assert "model_sha256=" + "ab" * 32 in identity.description()
    assert len(identity.parameters["prompts_abnormal"]) > 3000
