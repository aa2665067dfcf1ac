"""The conformance statement says what the program does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pydicom
import pytest

from moeclip_med.results.dicom.objects import OBJECTS
from moeclip_med.results.formats import DICOM_FORMATS

ROOT = Path(__file__).resolve().parents[2]


def load_script():
    spec = importlib.util.spec_from_file_location("dicom_conformance", ROOT / "scripts" / "dicom_conformance.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_statement_is_current():
    script = load_script()
    assert script.TARGET.read_text(encoding="utf-8") == script.statement(), "run: python scripts/dicom_conformance.py"


def test_every_dicom_result_is_described():
    assert set(OBJECTS) == DICOM_FORMATS


@pytest.mark.parametrize("fmt", sorted(DICOM_FORMATS))
def test_objects_are_what_the_table_says(written, fmt):
    path = written("axial").paths[fmt]
    dataset = pydicom.dcmread(next(path.iterdir()) if path.is_dir() else path)
    described = OBJECTS[fmt]
    assert dataset.SOPClassUID in described.sop_class_uids
    assert dataset.file_meta.TransferSyntaxUID == described.transfer_syntax_uid
    assert (dataset.SeriesNumber, dataset.SeriesDescription) == (described.series_number, described.series_description)
    assert [module for module, keyword in described.modules.items() if keyword not in dataset] == []
