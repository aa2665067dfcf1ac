"""The model that ships, in a real viewer: on a simulated lesion, and on real studies where they are at hand."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari_helpers import open_widget, wait_for_run
from napari_moeclip.layers import origin_of
from qtpy.QtCore import Qt
from scipy.spatial.transform import Rotation

from moeclip_med.demo import simulate_brain, write_nifti

PART = slice(86, 98)


@pytest.fixture(scope="module")
def process(qapp):
    """The real scoring process, without the lower priority that would make it wait on a busy machine."""
    from napari_moeclip.backend import Backend

    code = "from napari_moeclip import server; server._step_back = lambda: None; server.main()"
    started = Backend(["-c", code], parent=qapp)
    started.users = 1
    yield started
    started.end()


@pytest.fixture
def desk(make_napari_viewer, process, monkeypatch):
    """A viewer with the widget, and the real model behind it."""
    monkeypatch.setattr("napari_moeclip.backend._shared", process)
    viewer = make_napari_viewer()
    widget = open_widget(viewer)
    return viewer, widget


@pytest.fixture(scope="module")
def studies():
    place = os.environ.get("MOECLIP_SHARED")
    if not place:
        pytest.skip("set MOECLIP_SHARED to the folder of reference data to run this test")
    return Path(place) / "data"


def run(qtbot, widget):
    qtbot.mouseClick(widget.runner.run_button, Qt.MouseButton.LeftButton)
    wait_for_run(qtbot, widget)
    return widget.controller.session


def letters(viewer):
    return [viewer.canvas.overlays[f"moeclip_{edge}"].text for edge in ("left", "right", "top", "bottom")]


@pytest.mark.slow
def test_lite_finds_the_simulated_lesion(desk, qtbot, tmp_path, errors):
    viewer, widget = desk
    brain = simulate_brain()
    affine = brain.affine.copy()
    affine[:3, 3] += affine[:3, 2] * PART.start
    write_nifti(tmp_path / "brain.nii.gz", brain.image[:, :, PART], affine)
    viewer.open(str(tmp_path / "brain.nii.gz"), plugin="moeclip-med")
    widget.choices.keep_experts.value = True
    session = run(qtbot, widget)
    assert "comes with the package" in widget.choices.model_detail.text()
    assert "nothing to download" in widget.choices.model_detail.text()
    lesion = brain.lesion[:, :, PART]
    first = session.labels == session.findings[0].label
    assert (first & lesion).sum() > 0.3 * first.sum()
    for shares in session.outcome.expert_shares:
        assert len(shares) == 4
        assert sum(shares) == pytest.approx(1)
    assert set(np.unique(session.experts)) <= {0, 1, 2, 3, 4}
    assert not [record for record in errors if record.severity.value == "error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "edges", "said"),
    [
        ("mr_head_t1.zip", ["A", "P", "S", "I"], "sagittal, 256 × 256 × 192 voxels"),
        ("ct_head_gantry_tilt.zip", ["R", "L", "A", "P"], "gantry tilt 18.5°"),
    ],
)
def test_real_studies_open_as_acquired_and_are_scored(desk, studies, qtbot, name, edges, said):
    viewer, widget = desk
    (layer,) = viewer.open(str(studies / "dicom" / name), plugin="moeclip-med")
    assert letters(viewer) == edges
    assert said in widget.choices.image_detail.text()
    session = run(qtbot, widget)
    assert session.scores.shape == origin_of(layer).volume.light.shape
    assert 0 <= session.scores.min() < session.scores.max() <= 1


@pytest.mark.slow
def test_a_real_study_is_aligned_with_itself_moved(desk, studies, qtbot, tmp_path):
    viewer, widget = desk
    (layer,) = viewer.open(str(studies / "dicom" / "mr_head_t1.zip"), plugin="moeclip-med")
    run(qtbot, widget)
    volume = origin_of(layer).volume
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", (2, -3, 4), degrees=True).as_matrix()
    motion[:3, 3] = (6, -4, 9)
    earlier = nib.Nifti1Image(volume.voxels[0], motion @ volume.light.affine.matrix)
    nib.save(earlier, tmp_path / "earlier.nii.gz")

    widget.results.comparison.study.emit(str(tmp_path / "earlier.nii.gz"))
    comparing = widget.controller.comparing
    qtbot.waitUntil(lambda: comparing.view is not None and widget.is_idle, timeout=600_000)
    fit = comparing.opened.fit
    assert fit.is_registered
    corners = volume.light.affine.to_world(list(np.ndindex(2, 2, 2)) * (np.array(volume.light.shape) - 1))
    moved = corners @ motion[:3, :3].T + motion[:3, 3]
    assert np.linalg.norm(fit.to_prior.to_world(corners) - moved, axis=1).max() < 1


@pytest.mark.slow
@pytest.mark.parametrize("subject", ["subject1", "subject2"])
def test_a_brats_tumour_is_among_the_first_three_findings(desk, studies, qtbot, subject):
    viewer, widget = desk
    folder = studies / "medical" / "brain_brats_volumes" / subject
    viewer.open(str(folder / "Flair_subtrMeanDivStd.nii.gz"), plugin="moeclip-med")
    session = run(qtbot, widget)
    tumour = nib.load(folder / "OTMultiClass.nii.gz").get_fdata() > 0
    covered = [(tumour & (session.labels == finding.label)).sum() / tumour.sum() for finding in session.findings[:3]]
    assert max(covered) > 0.5


@pytest.mark.slow
def test_endoscopy_frames_that_napari_opened_are_scored_as_a_clip(desk, studies, qtbot):
    viewer, widget = desk
    frames = sorted(str(path) for path in (studies / "medical" / "colon_polyp").glob("*.jpg"))[:4]
    viewer.open(frames, stack=True, plugin="napari")
    assert widget.choices.image_type.value == "endoscopy"
    session = run(qtbot, widget)
    assert session.outcome.slices_needed == 4
    assert viewer.layers[1].data.shape == viewer.layers[0].data.shape[:3]
