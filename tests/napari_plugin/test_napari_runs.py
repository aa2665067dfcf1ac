"""Scoring in a real viewer: Run, the live map, Cancel, closing, and a viewer that never waits."""

import nibabel as nib
import numpy as np
import psutil
import pytest
from napari_helpers import BLOB, make_affine, make_head, open_widget, wait_for_run
from napari_moeclip import answers
from napari_moeclip.layers import METADATA_KEY, origin_of
from qtpy.QtCore import Qt

ENDS = 30_000


def press(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


pytestmark = pytest.mark.usefixtures("shared")


@pytest.fixture
def slow(opened):
    """A viewer whose runs take 30 ms a slice, 30 slices."""
    viewer, widget = opened
    widget.choices.model.choices = [("slow", "slow")]
    return viewer, widget


@pytest.mark.usefixtures("screen")
def test_a_first_time_user_presses_only_run(scored):
    viewer, widget = scored
    assert [layer.name.split(" · ")[0] for layer in viewer.layers] == ["head", "anomaly map", "findings", "diameters"]
    (finding,) = widget.results.table.findings
    for axis, part in enumerate(BLOB):
        assert part.start <= finding.centre_voxel[axis] < part.stop
    scores = widget.controller.session.scores
    assert scores[BLOB].min() >= 0.8 > scores[0, 0, 0]
    assert widget.results.headline.text() == f"1 finding, {finding.volume_ml:.1f} ml"
    assert "30 slices in" in widget.runner.text.text()
    assert "The threshold is uncalibrated" in widget.results.notes.text()


@pytest.mark.parametrize("where", ["a step in the viewer", "a reader"])
def test_an_internal_error_names_its_type_and_what_to_do(opened, head_file, monkeypatch, capfd, errors, where):
    viewer, widget = opened

    def fail(*_):
        raise KeyError("Doe^Jane")

    if where == "a reader":
        monkeypatch.setattr("napari_moeclip.reader.image_layer_data", fail)
        viewer.open(str(head_file), plugin="moeclip-med")
    else:
        monkeypatch.setattr(widget.controller.layers, "show_threshold", fail)
        widget.controller.move_threshold(0.4)
    (told,) = [record.message for record in errors]
    errors.clear()
    assert "(KeyError)" in told
    assert "MOECLIP_MED_DEBUG" in told
    assert "Doe" not in told + "".join(capfd.readouterr())
    assert widget.is_idle


@pytest.mark.usefixtures("screen")
def test_the_research_line_is_always_in_sight(opened):
    viewer, widget = opened
    banner = widget.findChild(object, "moeclip_banner")
    for size in ((900, 620), (700, 400)):
        viewer.window.resize(*size)
        assert banner.text() == "Research use only. Not a medical device."
        assert banner.isVisible()
        assert not banner.visibleRegion().isEmpty()


@pytest.mark.parametrize("model", ["gated", "gated and missing"])
def test_a_run_can_be_cancelled_while_its_model_loads(opened, qtbot, tmp_path, model):
    viewer, widget = opened
    choices = widget.choices
    choices.model.choices = [(model, model), ("lite", "lite")]
    qtbot.waitUntil(lambda: choices.prompt.enabled, timeout=ENDS)
    gate = tmp_path / "gate"
    choices.prompt.value = str(gate)
    press(qtbot, widget.runner.run_button)
    qtbot.waitUntil(lambda: widget.runner.text.text().startswith("Loading the model"), timeout=ENDS)
    press(qtbot, widget.runner.cancel_button)
    assert widget.is_idle
    assert widget.runner.text.text() == "Stopped before scoring began."
    assert widget.runner.cancel_button.isHidden()
    assert widget.runner.run_button.isEnabled()
    assert len(viewer.layers) == 1
    choices.model.value = "lite"
    press(qtbot, widget.runner.run_button)
    gate.touch()  # the model that nobody waits for comes, or fails, first
    wait_for_run(qtbot, widget)
    assert [layer.name.split(" · ")[0] for layer in viewer.layers][:2] == ["head", "anomaly map"]


@pytest.mark.usefixtures("screen")
def test_the_slice_on_screen_comes_first_then_its_neighbours(slow, qtbot):
    viewer, widget = slow
    axis = 0
    viewer.dims.set_current_step(axis, 22)
    on_screen = 29 - 22  # the viewer counts from the head, the file from the feet
    heard = []
    widget.controller.progressed.connect(heard.append)
    press(qtbot, widget.runner.run_button)
    qtbot.waitUntil(lambda: len(heard) > 0, timeout=ENDS)
    assert on_screen in heard[0].indices
    assert set(heard[0].indices) == set(range(3, 11)) or set(heard[0].indices) == set(range(4, 12))
    overlay = viewer.layers["anomaly map · head"]
    assert overlay.data[22].max() > 0
    assert overlay.data[0].max() == 0
    qtbot.waitUntil(lambda: widget.is_idle, timeout=ENDS)
    assert sorted(index for part in heard for index in part.indices) == list(range(30))
    assert "slices/s" in widget.runner.text.text()


def test_a_slice_whose_neighbours_are_still_to_come_is_called_provisional(slow, qtbot, tmp_path):
    viewer, widget = slow
    viewer.layers.clear()
    thin = make_affine()
    thin[:3, 2] /= 2  # thin slices are scored together with their neighbours
    nib.save(nib.Nifti1Image(make_head(), thin), tmp_path / "thin.nii.gz")
    viewer.open(str(tmp_path / "thin.nii.gz"), plugin="moeclip-med")
    press(qtbot, widget.runner.run_button)
    heard = []
    widget.controller.progressed.connect(heard.append)
    qtbot.waitUntil(lambda: len(heard) > 0, timeout=ENDS)
    waiting = set(widget.controller.session.provisional[1])
    assert waiting
    viewer.dims.set_current_step(0, 29 - min(waiting))
    assert "provisional" in viewer.canvas.overlays["moeclip_state"].text
    qtbot.waitUntil(lambda: widget.is_idle, timeout=ENDS)
    assert viewer.canvas.overlays["moeclip_state"].text == ""
    assert widget.controller.session.provisional[1] == set()


@pytest.mark.usefixtures("screen")
def test_cancel_keeps_what_was_scored_and_stops_within_one_batch(opened, qtbot, tmp_path):
    _, widget = opened
    choices, gate = widget.choices, tmp_path / "gate"
    choices.model.choices = [("held", "held")]
    qtbot.waitUntil(lambda: choices.prompt.enabled, timeout=ENDS)
    choices.prompt.value = str(gate)
    heard = []
    widget.controller.progressed.connect(heard.append)
    press(qtbot, widget.runner.run_button)
    qtbot.waitUntil(lambda: len(heard) > 0, timeout=ENDS)
    press(qtbot, widget.runner.cancel_button)
    at_cancel = heard[-1].done
    gate.touch()  # the second batch, which has begun, ends after the cancel on every machine
    qtbot.waitUntil(lambda: widget.is_idle, timeout=ENDS)
    outcome = widget.controller.session.outcome
    assert not outcome.is_complete
    assert at_cancel <= outcome.slices_scored <= at_cancel + 8 < 30
    assert widget.controller.session.scores.max() > 0
    assert widget.runner.text.text().startswith("Stopped: ")
    assert f"in the {outcome.slices_scored} of 30 slices scored" in widget.results.headline.text()
    assert not widget.runner.cancel_button.isVisible()
    press(qtbot, widget.runner.run_button)
    wait_for_run(qtbot, widget)
    assert widget.controller.session.outcome.is_complete


def test_of_thin_slices_those_count_that_are_to_be_scored(make_napari_viewer, shared, qtbot, tmp_path):
    head, affine = np.repeat(make_head(), 2, axis=2), make_affine() @ np.diag([1, 1, 0.25, 1])
    nib.save(nib.Nifti1Image(head, affine), tmp_path / "thin.nii")
    viewer = make_napari_viewer()
    viewer.open(str(tmp_path / "thin.nii"), plugin="moeclip-med")
    widget = open_widget(viewer)
    choices, gate, heard = widget.choices, tmp_path / "gate", []
    choices.model.choices = [("held", "held")]
    qtbot.waitUntil(lambda: choices.prompt.enabled, timeout=ENDS)
    choices.prompt.value = str(gate)
    widget.controller.progressed.connect(heard.append)
    press(qtbot, widget.runner.run_button)
    qtbot.waitUntil(lambda: len(heard) > 0, timeout=ENDS)
    press(qtbot, widget.runner.cancel_button)
    gate.touch()
    qtbot.waitUntil(lambda: widget.is_idle, timeout=ENDS)
    assert 16 < heard[-1].total < 30, "some of 60 slices 1 mm apart are enough"
    assert f"of {heard[-1].total} slices scored" in widget.results.headline.text()
    choices.every_slice.value = True
    press(qtbot, widget.runner.run_button)
    wait_for_run(qtbot, widget)
    assert widget.controller.session.outcome.slices_scored == 60


def test_the_bar_is_empty_before_the_first_slice_and_does_not_move_back_and_forth(slow, qtbot):
    _, widget = slow
    heard = []
    widget.controller.busy.connect(lambda *_: heard.append((widget.runner.bar.value(), widget.runner.bar.maximum())))
    press(qtbot, widget.runner.run_button)
    qtbot.waitUntil(lambda: widget.is_idle, timeout=ENDS)
    assert len(heard) >= 2
    assert set(heard) == {(0, 1)}  # Qt moves a bar from 0 to 0


def test_without_an_image_a_sentence_says_what_to_do(make_napari_viewer, shared, errors):
    viewer = make_napari_viewer()
    widget = open_widget(viewer)
    widget.runner.run_button.click()
    assert [record.message for record in errors] == [
        "There is no image to score; drop a DICOM folder, a NIfTI file or a picture on the viewer."
    ]
    assert widget.is_idle


def test_a_model_that_cannot_be_loaded_is_told_in_a_sentence(opened, qtbot, errors):
    _, widget = opened
    widget.choices.model.choices = [("missing", "missing")]
    widget.runner.run_button.click()
    qtbot.waitUntil(lambda: len(errors) > 0, timeout=ENDS)
    assert errors[0].message == 'the weights of "missing" are not on this machine; fetch them first.'
    assert widget.is_idle
    assert widget.runner.run_button.isEnabled()


def test_a_plane_that_does_not_exist_is_told_in_a_sentence(make_napari_viewer, shared, qtbot, errors):
    viewer = make_napari_viewer()
    viewer.add_image(np.random.default_rng(0).random((5, 40, 40)))
    widget = open_widget(viewer)
    widget.choices.plane.value = "coronal"
    widget.runner.run_button.click()
    qtbot.waitUntil(lambda: len(errors) > 0, timeout=ENDS)
    assert errors[0].message == (
        'This image has no patient orientation, so it has no coronal plane; use the plane "auto".'
    )
    assert widget.is_idle


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((40, 50), {}),
        ((6, 40, 50), {"scale": (5, 2, 2)}),
        ((3, 6, 40, 50), {}),
        ((40, 50, 3), {"rgb": True}),
        ((6, 40, 50, 3), {"rgb": True}),
    ],
)
def test_layers_of_any_plugin_are_scored_in_place(make_napari_viewer, shared, qtbot, shape, options):
    viewer = make_napari_viewer()
    data = np.random.default_rng(0).integers(0, 60, shape).astype(np.uint8)
    spatial = data[..., 0] if options.get("rgb") else data
    spatial[..., 10:20, 30:40] = 255
    if options.get("rgb"):
        data[..., 1] = data[..., 2] = data[..., 0]
    image = viewer.add_image(data, **options)
    if image.ndim == 4:
        viewer.dims.set_current_step(0, 2)
    widget = open_widget(viewer)
    widget.runner.run_button.click()
    qtbot.waitUntil(lambda: widget.is_idle and widget.controller.session is not None, timeout=ENDS)
    overlay = next(layer for layer in viewer.layers if METADATA_KEY in layer.metadata and "anomaly" in layer.name)
    assert overlay.ndim == image.ndim
    assert overlay.data[..., 12:18, 32:38].min() > 0.8 > overlay.data[..., :5, :5].max()
    index = np.array([0] * (overlay.ndim - 2) + [15, 35])
    there = index + np.array([2, 0, 0, 0] if image.ndim == 4 else [0] * image.ndim)
    np.testing.assert_allclose(overlay.data_to_world(index), image.data_to_world(there))
    assert len(widget.results.table.findings) >= 1
    assert widget.results.table.findings[0].volume_ml is None


def test_all_three_planes_give_one_map(opened, qtbot):
    _, widget = opened
    widget.choices.plane.value = "all"
    widget.runner.run_button.click()
    wait_for_run(qtbot, widget)
    outcome = widget.controller.session.outcome
    assert outcome.is_complete
    assert outcome.slices_needed == 40 + 26 + 30, "of 48 slices 1.5 mm apart 26 are enough"


def test_scoring_again_uses_the_layers_again_and_keeps_what_the_user_set(scored, qtbot):
    viewer, widget = scored
    viewer.layers["anomaly map · head"].opacity = 0.3
    widget.runner.run_button.click()
    wait_for_run(qtbot, widget)
    assert len(viewer.layers) == 4
    assert viewer.layers["anomaly map · head"].opacity == 0.3
    assert viewer.layers["findings · head"].visible
    np.testing.assert_array_equal(
        origin_of(viewer.layers["head"]).placement.hide(viewer.layers["anomaly map · head"].data),
        widget.controller.session.scores,
    )


def test_layers_removed_by_hand_do_no_harm(scored, qtbot):
    viewer, widget = scored
    viewer.layers.remove("anomaly map · head")
    viewer.layers.remove("findings · head")
    widget.results.threshold.setValue(0.9)
    qtbot.waitUntil(lambda: widget.controller.session.outcome.threshold == pytest.approx(0.9), timeout=ENDS)
    widget.runner.run_button.click()
    wait_for_run(qtbot, widget)
    assert len(viewer.layers) == 4


def test_only_what_is_on_screen_is_drawn_while_scoring(scored):
    viewer, widget = scored

    def pause(*slices):
        heard = answers.Progress(2, slices, 0, 8, 30, 10.0)
        return widget.controller.layers.refresh_pause(widget.controller.session, heard)

    viewer.dims.set_current_step(0, 22)  # the viewer counts from the head, the file from the feet
    assert pause(6, 7) < 100
    assert pause(8, 9) is None
    viewer.dims.order = (1, 0, 2)
    assert pause(8, 9) == pause(6, 7) > 100
    viewer.dims.ndisplay = 3
    assert pause(8, 9) > 1000
    viewer.layers.remove("head")
    assert pause(6, 7) is None


def test_closing_the_viewer_during_a_run_leaves_no_process(slow, shared, qtbot):
    """The last test here, since the next one to use the process has to wait for a new one."""
    viewer, widget = slow
    heard = []
    widget.controller.progressed.connect(heard.append)
    process = psutil.Process(shared.process_id)
    press(qtbot, widget.runner.run_button)
    qtbot.waitUntil(lambda: len(heard) > 0, timeout=ENDS)
    shared.users -= 1  # the tests' own hold on the process
    viewer.close()
    qtbot.waitUntil(lambda: not process.is_running(), timeout=ENDS)
    assert not shared.is_running
    shared.users += 1
