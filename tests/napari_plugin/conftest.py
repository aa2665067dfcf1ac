"""A real viewer, and one scoring process with a detector that needs no weights for all tests."""

import os
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import pytest
from napari_helpers import FAKE_SERVER, make_affine, make_head, open_widget, wait_for_run

# Mesa's software renderer and triton (which torch brings on Linux) each carry an LLVM. Loaded after Mesa's, triton
# crashes; before it, both live. Only tests need both in one process: the viewer's never loads torch.
with suppress(ImportError):
    import triton  # noqa: F401

# Let Mesa draw in the viewer's own thread, so that a test can tell what the viewer takes from what others take.
os.environ.setdefault("LP_NUM_THREADS", "0")


def pytest_collection_modifyitems(items):
    """Skip what needs a screen where there is none (Linux without a display server)."""
    if os.name == "posix" and os.uname().sysname == "Linux" and not os.environ.get("DISPLAY"):
        here = Path(__file__).parent
        for item in items:
            if here in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="no display: run with xvfb-run"))


@pytest.fixture(scope="session")
def backend(qapp):
    from napari_moeclip.backend import Backend

    started = Backend([FAKE_SERVER], parent=qapp)
    started.users = 1  # it outlives every widget: a new process would import torch again for every test
    started.start()
    yield started
    started.end()


@pytest.fixture
def own_backend(qapp):
    """A process of its own, for tests that end it."""
    from napari_moeclip.backend import Backend

    started = Backend([FAKE_SERVER], parent=qapp)
    yield started
    started.end()


@pytest.fixture
def shared(backend, monkeypatch):
    """Let readers and samples use the tests' process, too."""
    monkeypatch.setattr("napari_moeclip.backend._shared", backend)
    return backend


@pytest.fixture
def head_file(tmp_path):
    path = tmp_path / "head.nii.gz"
    nib.save(nib.Nifti1Image(make_head(), make_affine()), path)
    return path


@pytest.fixture
def errors():
    """What napari's notifications said."""
    from napari.utils.notifications import notification_manager

    notification_manager.records.clear()
    return notification_manager.records


@pytest.fixture(autouse=True)
def no_hidden_error():
    """Fail where napari or the plugin caught an exception and only said so."""
    from napari.utils.notifications import ErrorNotification, notification_manager

    notification_manager.records.clear()
    yield
    hidden = [record for record in notification_manager.records if isinstance(record, ErrorNotification)]
    told = [record.message for record in notification_manager.records if "Internal error" in record.message]
    assert not hidden
    assert not told


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """A home folder of its own, for runs that are kept unasked."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setattr(Path, "home", lambda: folder)
    return folder


@pytest.fixture
def screen():
    """Asked for by tests that look at pixels or use mouse and keys on the canvas: their viewer is shown."""


@pytest.fixture
def opened(make_napari_viewer, shared, head_file, qtbot, request):
    """A viewer with the head and the widget, ready to run; shown only where a test asks for the screen."""
    viewer = make_napari_viewer(show="screen" in request.fixturenames)
    viewer.window.resize(900, 620)
    viewer.open(str(head_file), plugin="moeclip-med")
    widget = open_widget(viewer)
    qtbot.waitUntil(lambda: widget.choices.model_detail.text() not in ("", "…"), timeout=60_000)
    return viewer, widget


@pytest.fixture
def scored(opened, qtbot):
    """The same after a run, with Run pressed by the mouse."""
    from qtpy.QtCore import Qt

    viewer, widget = opened
    widget.choices.keep_experts.value = True
    qtbot.mouseClick(widget.runner.run_button, Qt.MouseButton.LeftButton)
    wait_for_run(qtbot, widget)
    return viewer, widget
