"""The DICOM results as DCMTK reads them: the same voxels in the same place, without any Python library for DICOM."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from result_cases import PLACED, SOURCES

pytestmark = pytest.mark.skipif(
    not (shutil.which("dcm2json") and shutil.which("dcm2pnm")), reason="needs DCMTK (Debian package dcmtk)"
)


def read(path: Path) -> dict[str, Any]:
    """A file in the DICOM JSON model (PS3.18, annex F), made by DCMTK."""
    told = subprocess.run(["dcm2json", path], capture_output=True, check=True, timeout=60)
    return json.loads(told.stdout)


def item(dataset: dict[str, Any], *path: str) -> dict[str, Any]:
    """The first item of a sequence in a sequence …"""
    for tag in path:
        dataset = dataset[tag]["Value"][0]
    return dataset


def positions(dataset: dict[str, Any]) -> list[list[float]]:
    """ImagePositionPatient of each frame."""
    frames = dataset["52009230"]["Value"]
    return [item(frame, "00209113")["00200032"]["Value"] for frame in frames]


def slice_at(anomaly, position) -> int:
    distances = [np.abs(np.subtract(position, frame.position)).max() for frame in anomaly.volume.frame_geometry]
    assert min(distances) < 1e-3, "each frame lies where a source frame lies"
    return int(np.argmin(distances))


@pytest.mark.parametrize("source", PLACED)
def test_every_voxel_of_the_segmentation(written, source):
    result = written(source)
    dataset = read(result.paths["seg"])
    rows, columns, frames = (dataset[tag]["Value"][0] for tag in ("00280010", "00280011", "00280008"))
    bits = np.frombuffer(base64.b64decode(dataset["7FE00010"]["InlineBinary"]), dtype=np.uint8)
    masks = np.unpackbits(bits, bitorder="little")[: rows * columns * int(frames)].reshape(-1, rows, columns)
    segments = [item(frame, "0062000A")["0062000B"]["Value"][0] for frame in dataset["52009230"]["Value"]]
    found = np.zeros(result.anomaly.labels.shape, dtype=np.int32)
    for mask, segment, position in zip(masks, segments, positions(dataset), strict=True):
        label = result.anomaly.findings[segment - 1].label
        found[:, :, slice_at(result.anomaly, position)] += label * mask.T.astype(np.int32)
    np.testing.assert_array_equal(found, result.anomaly.labels)


@pytest.mark.parametrize("source", PLACED)
def test_every_score_of_the_parametric_map(written, source):
    result = written(source)
    dataset = read(result.paths["pm"])
    rows, columns = (dataset[tag]["Value"][0] for tag in ("00280010", "00280011"))
    values = np.frombuffer(base64.b64decode(dataset["7FE00008"]["InlineBinary"]), dtype="<f4")
    found = np.full(result.anomaly.scores.shape, np.nan, dtype=np.float32)
    for frame, position in zip(values.reshape(-1, rows, columns), positions(dataset), strict=True):
        found[:, :, slice_at(result.anomaly, position)] = frame.T
    np.testing.assert_array_equal(found, result.anomaly.scores)


@pytest.mark.parametrize("source", SOURCES)
def test_every_pixel_of_a_secondary_capture(written, source, tmp_path):
    paths = sorted(written(source).paths["sc"].iterdir())
    path = paths[len(paths) // 2]
    subprocess.run(["dcm2pnm", path, tmp_path / "seen.ppm"], capture_output=True, check=True, timeout=60)
    with Image.open(tmp_path / "seen.ppm") as picture:
        np.testing.assert_array_equal(np.asarray(picture), pydicom.dcmread(path).pixel_array)
