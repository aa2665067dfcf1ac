"""What is written agrees with the published JSON schemas."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from moeclip_med.results import write_results

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("anomaly", ["nifti_anomaly", "photo_anomaly"])
@pytest.mark.parametrize("name", ["findings", "run"])
def test_results_agree_with_their_schema(anomaly, name, request, tmp_path):
    write_results(request.getfixturevalue(anomaly), tmp_path / "out", ["json", "run"])
    schema = json.loads((ROOT / "docs" / "reference" / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(json.loads((tmp_path / "out" / f"{name}.json").read_text(encoding="utf-8")))


def test_the_schema_of_a_run_is_made_from_its_types():
    made = runpy.run_path(str(ROOT / "scripts" / "schemas.py"))
    schema = json.loads(json.dumps(made["run_schema"]()))
    assert json.loads(made["OUTPUT"].read_text(encoding="utf-8")) == schema
