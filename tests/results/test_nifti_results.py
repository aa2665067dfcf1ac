"""Maps as NIfTI: on the input's own grid, in the input's own place."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moeclip_transforms import Affine, open_source
from moeclip_transforms.errors import InputError

from moeclip_med.results import result_notes, write_results
from moeclip_med.results.formats import as_acquired
from moeclip_med.results.nifti import read_acquired_geometry


def written(anomaly, folder, fmt="nifti"):
    return nib.load(write_results(anomaly, folder, [fmt]).files[fmt])


def test_scores_come_back_voxel_for_voxel_on_the_inputs_grid(nifti_anomaly, tmp_path):
    image = written(nifti_anomaly, tmp_path / "out")
    source = nib.load(nifti_anomaly.volume.series.files[0])
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asarray(image.dataobj), nifti_anomaly.scores)
    np.testing.assert_array_equal(image.affine, source.affine)
    assert image.shape == source.shape
    assert image.header.get_xyzt_units()[0] == "mm"


def test_a_template_space_stays_a_template_space(nifti_anomaly, tmp_path):
    header = written(nifti_anomaly, tmp_path / "out").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (4, 4)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(st.floats(-3, 3), min_size=9, max_size=9), origin=st.floats(-300, 300))
def test_any_affine_is_kept_even_sheared_or_mirrored(dicom_anomaly_axial, tmp_path, numbers, origin):
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(numbers, (3, 3)) + 4 * np.eye(3)
    affine[:3, 3] = origin
    if abs(np.linalg.det(affine)) < 1:
        return
    anomaly = dicom_anomaly_axial
    anomaly = replace(anomaly, volume=replace(anomaly.volume, affine=Affine(affine)))
    np.testing.assert_allclose(written(anomaly, tmp_path / "out").affine, affine, rtol=1e-6, atol=1e-6)


@pytest.fixture
def dicom_anomaly_axial(dicom_anomaly):
    return dicom_anomaly("axial")


def test_qform_and_sform_say_the_same_for_dicom_input(dicom_anomaly, tmp_path):
    image = written(dicom_anomaly("oblique"), tmp_path / "out")
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)


def test_a_tilted_series_is_resampled_and_says_so(dicom_anomaly, tmp_path):
    anomaly = dicom_anomaly("tilted")
    image = written(anomaly, tmp_path / "out")
    axes = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    peak = np.unravel_index(np.argmax(image.get_fdata()), image.shape)
    world = image.affine @ [*peak, 1]
    expected = anomaly.affine.matrix @ [*anomaly.findings[0].peak_voxel, 1]
    np.testing.assert_allclose(world, expected, atol=4)  # within the voxel's diagonal
    assert any("resampled to an orthogonal grid" in note for note in result_notes(anomaly, ["nifti"]))
    assert not any("resampled" in note for note in result_notes(anomaly, ["json"]))


def test_beside_resampled_scores_lie_those_of_the_acquired_slices(dicom_anomaly, nifti_anomaly, tmp_path):
    anomaly, folder = dicom_anomaly("tilted"), tmp_path / "out"
    written(anomaly, folder)
    acquired = nib.load(folder / "anomaly_acquired.nii.gz")
    np.testing.assert_array_equal(np.asarray(acquired.dataobj), anomaly.scores)
    np.testing.assert_allclose(acquired.affine, anomaly.affine.matrix, atol=1e-4)
    assert as_acquired(folder / "anomaly.nii.gz").name == "anomaly_acquired.nii.gz"
    assert read_acquired_geometry(folder / "anomaly_acquired.nii.gz") == anomaly.volume.frame_geometry
    with pytest.raises(InputError, match=r'"anomaly.nii.gz" does not say where its slices lie; move'):
        read_acquired_geometry(folder / "anomaly.nii.gz")
    nib.save(acquired.slicer[:, :, 1:], tmp_path / "fewer.nii.gz")
    with pytest.raises(InputError, match="fewer"):
        read_acquired_geometry(tmp_path / "fewer.nii.gz")
    with open_source(folder / "anomaly_acquired.nii.gz") as source:
        assert source.read(source.series[0]).slice_axis == anomaly.volume.slice_axis
    written(nifti_anomaly, folder)
    assert as_acquired(folder / "anomaly.nii.gz").name == "anomaly.nii.gz", "those of the run before are gone"


def test_raw_and_routing(nifti_anomaly, tmp_path):
    raw = (nifti_anomaly.scores * 40 - 7).astype(np.float32)
    routing = np.arange(3 * raw.size).reshape(3, *raw.shape).astype(np.uint8) % 4
    anomaly = replace(nifti_anomaly, raw=raw, routing=routing)
    np.testing.assert_array_equal(np.asarray(written(anomaly, tmp_path / "a", "raw").dataobj), raw)
    image = written(anomaly, tmp_path / "b", "routing")
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(image.dataobj), np.moveaxis(routing, 0, -1))
    np.testing.assert_allclose(image.affine, anomaly.affine.matrix, atol=1e-4)


def test_tilted_routing_holds_expert_numbers_only(dicom_anomaly, tmp_path):
    anomaly = dicom_anomaly("tilted")
    routing = np.full((2, *anomaly.volume.shape), 3, dtype=np.uint8)
    image = written(replace(anomaly, routing=routing), tmp_path / "out", "routing")
    assert set(np.unique(np.asarray(image.dataobj))) == {0, 3}


@pytest.mark.parametrize(("fmt", "what"), [("raw", "raw map"), ("routing", "routing")])
def test_maps_that_were_not_kept_are_refused(nifti_anomaly, tmp_path, fmt, what):
    with pytest.raises(InputError, match=rf"^{fmt}\.nii\.gz: .*{what}.*; score again"):
        write_results(nifti_anomaly, tmp_path / "out", [fmt])


def test_a_photograph_keeps_its_pixel_grid(photo_anomaly, tmp_path):
    image = written(photo_anomaly, tmp_path / "out")
    np.testing.assert_array_equal(image.affine, np.eye(4))
    assert image.header.get_xyzt_units()[0] == "unknown"
    assert any("no patient orientation" in note for note in result_notes(photo_anomaly))
