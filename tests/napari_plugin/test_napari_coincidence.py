"""A map and its image coincide in the viewer's world, however the slices lie and whichever way they are opened."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from napari_helpers import make_affine, make_head, open_widget, press, save, settled, wait_for_run
from napari_moeclip.layers import origin_of

from moeclip_med.batch.driver import run_batch
from moeclip_med.demo import write_dicom_series

pytestmark = pytest.mark.usefixtures("shared")

VOXELS = np.random.default_rng(7).integers(0, 30, size=(12, 3))  # inside, in whichever order a reader takes the axes


def write_series(folder, kind):
    """Write the head as a CT of straight, oblique, sagittal, tilted or unevenly spaced slices."""
    affine = {
        "oblique": make_affine(23.0),
        "sagittal": make_affine(axes=(1, 2, 0), signs=(-1, -1, 1)),
    }.get(kind, make_affine())
    if "tilted" in kind:
        affine[:3, 2] = (0.0, -4.0 * np.tan(np.radians(18.0)), 4.0)
    write_dicom_series(folder, make_head().astype(np.int16), affine, "SIMULATED head")
    if "uneven" in kind:
        for path in sorted(folder.iterdir()):
            header = pydicom.dcmread(path)
            number = int(header.InstanceNumber)
            step = affine[:3, 2] * [-1, -1, 1] * (0.6 if number > 20 else 0.0)
            header.ImagePositionPatient = [float(value) for value in np.add(header.ImagePositionPatient, step)]
            header.save_as(path)
    return folder


def worlds(layer):
    """Where a layer shows some voxels of its volume."""
    origin = origin_of(layer)
    shape = origin.volume.light.shape
    return np.array([layer.data_to_world(origin.placement.to_index(voxel, shape)) for voxel in VOXELS])


def values(layer):
    """What a layer shows at these voxels, looked up by their place."""
    indices = [np.round(layer.world_to_data(point)).astype(int) for point in worlds(layer)]
    return [layer.data[tuple(index)] for index in indices]


def named(viewer, start):
    return next(layer for layer in viewer.layers if layer.name.startswith(start))


def facts(widget):
    """What is known of the findings without the image."""
    findings = widget.controller.session.findings
    return [(one.key, one.peak_score, round(one.volume_ml, 6), *np.round(one.centre_lps_mm, 3)) for one in findings]


def open_run(qtbot, widget, folder):
    widget.controller.files.open_run(str(folder))
    wait_for_run(qtbot, widget)


@pytest.mark.parametrize("kind", ["straight", "oblique", "sagittal", "tilted", "uneven", "tilted uneven"])
def test_map_and_image_coincide_however_they_are_opened(make_napari_viewer, qtbot, tmp_path, kind):
    series, run = write_series(tmp_path / "in", kind), tmp_path / "out"
    viewer = make_napari_viewer()
    widget = open_widget(viewer)
    (image,) = viewer.open(str(series), plugin="moeclip-med")
    press(qtbot, widget.runner.run_button)
    wait_for_run(qtbot, widget)
    press(qtbot, widget.results.review.reject)
    settled(qtbot, widget)
    save(qtbot, widget, run, formats=("nifti", "run"))
    expected, scored = worlds(image), named(viewer, "anomaly map")
    found = facts(widget)
    np.testing.assert_allclose(worlds(scored), expected, atol=0.01)
    scores = np.array(values(scored))
    assert scores.max() > scores.min()

    again = make_napari_viewer()
    widget = open_widget(again)
    open_run(qtbot, widget, run)  # without its image, which comes later
    alone = named(again, "out (scores)")
    assert facts(widget) == found
    assert [one.mean for one in widget.controller.session.measures] == [None] * len(found)
    assert widget.choices.layer is None, "a map is nothing to score"
    open_run(qtbot, widget, run)
    assert [one.mean for one in widget.controller.session.measures] == [None] * len(found), "a map is no image"
    (image,) = again.open(str(series), plugin="moeclip-med")
    (dropped,) = again.open(str(run / "anomaly.nii.gz"), plugin="moeclip-med")
    (folder,) = again.open(str(run), plugin="moeclip-med")
    open_run(qtbot, widget, run)  # on its image
    on_image = named(again, f"anomaly map · {image.name}")
    for layer in (image, alone, dropped, folder, on_image):
        np.testing.assert_allclose(worlds(layer), expected, atol=0.01)
    for layer in (alone, dropped, folder, on_image):
        np.testing.assert_array_equal(values(layer), scores)
    session = widget.controller.session
    assert facts(widget) == found
    assert session.findings[-1].review.decision == "rejected"
    assert all(one.mean is not None for one in session.measures)


def test_a_tilted_study_of_a_worklist_lies_on_its_image(make_napari_viewer, qtbot, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "batch"))
        from batch_fakes import ExecutorWithoutProcesses, LoadFake, Recorder, settings

        patch.setattr("moeclip_med.batch.driver.make_executor", ExecutorWithoutProcesses)
        write_series(tmp_path / "in", "tilted uneven")
        run_batch(settings(tmp_path / "in", tmp_path / "out"), Recorder(), load=LoadFake())
    viewer = make_napari_viewer()
    widget = open_widget(viewer)
    widget.open_worklist(str(tmp_path / "out"))
    qtbot.waitUntil(lambda: widget.is_idle and widget.controller.session is not None, timeout=60_000)
    image, overlay = viewer.layers[0], named(viewer, "anomaly map")
    assert widget.controller.session.origin.volume is origin_of(image).volume
    np.testing.assert_allclose(worlds(overlay), worlds(image), atol=0.01)
    assert widget.controller.session.measures[0].mean is not None, "measured on the image itself"
