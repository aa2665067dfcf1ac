"""Parametric map: the scores themselves, with their meaning."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest
from result_cases import PLACED


@pytest.mark.parametrize("source", PLACED)
def test_scores_come_back_bit_for_bit_in_their_place(written, source):
    result = written(source)
    dataset = result.read("pm")
    pixels = dataset.pixel_array
    volume = result.anomaly.volume
    assert pixels.dtype == np.float32
    for frame, item in zip(pixels, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(item.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        distances = [np.abs(position - geometry.position).max() for geometry in volume.frame_geometry]
        z = int(np.argmin(distances))
        assert min(distances) < 1e-3
        np.testing.assert_array_equal(frame, result.anomaly.scores[:, :, z].T)


def test_highdicom_builds_the_volume_with_every_score_in_its_place(written):
    result = written("oblique")
    volume = hd.imread(result.paths["pm"]).get_volume(apply_real_world_transform=True)
    for peak in (finding.peak_voxel for finding in result.anomaly.findings):
        ras = result.anomaly.affine.matrix @ [*peak, 1]
        place = np.linalg.inv(volume.affine) @ [-ras[0], -ras[1], ras[2], 1]
        index = tuple(np.round(place[:3]).astype(int))
        np.testing.assert_allclose(place[:3], index, atol=1e-3)
        assert volume.array[index] == result.anomaly.scores[peak]


def test_values_are_class_activation_without_unit_for_research(written):
    dataset = written("axial").read("pm")
    assert dataset.ContentQualification == "RESEARCH"
    (mapping,) = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeMeaning == "Class activation"
    assert (mapping.DoubleFloatRealWorldValueFirstValueMapped, mapping.DoubleFloatRealWorldValueLastValueMapped) == (
        0.0,
        1.0,
    )
    descriptions = [item.get("ContributionDescription", "") for item in dataset.ContributingEquipmentSequence]
    assert any("model_sha256=" + "ab" * 32 in text and "threshold=0.5" in text for text in descriptions)
