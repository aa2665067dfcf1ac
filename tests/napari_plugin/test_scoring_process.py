"""The second process: shared arrays, answers, failures, ends."""

import gc
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from moeclip_transforms import InputError, read_volume
from napari_helpers import FAKE_SERVER
from napari_moeclip import messages, shared
from napari_moeclip.backend import Backend
from napari_moeclip.shared import SharedArray
from napari_moeclip.tasks import Tasks
from napari_moeclip.volumes import SharedVolume
from qtpy.QtCore import QTimer

from moeclip_med.demo import write_dicom_series


def test_shared_array_lives_as_long_as_a_view_of_it_and_no_longer():
    owner = SharedArray.create((3, 4), np.float32)
    name = owner.reference.path
    owner.array[1] = 7
    view = owner.array[::-1].T
    del owner
    gc.collect()
    other = SharedArray.attach(shared.SharedArrayReference(name, (3, 4), "<f4"))
    assert other.array[1, 2] == 7
    other.array[0, 0] = 3
    assert view[0, 2] == 3
    del view, other
    gc.collect()
    assert not Path(name).exists()


def test_what_a_killed_process_held_is_given_back_and_nothing_else():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folder = Path(SharedArray.create((1,), np.int8).reference.path).parent
    kept = [folder / f"moeclip-med-{psutil.Process().ppid()}-running", folder / "moeclip-med-x-another"]
    left = folder / f"moeclip-med-{ended.pid}-left"
    for path in (left, *kept):
        path.touch()
    code = "from napari_moeclip.shared import SharedArray; SharedArray.create((1,), 'int8')"
    subprocess.run([sys.executable, "-c", code], check=True)
    there = [path.exists() for path in kept]
    for path in kept:
        path.unlink(missing_ok=True)
    assert there == [True, True]
    assert not left.exists()


def test_shared_array_changes_hands():
    made = SharedArray.create((2,), np.int32)
    adopted = SharedArray.adopt(made.hand_over())
    made.array[0] = 5
    del made
    gc.collect()
    assert adopted.array[0] == 5


def test_dicom_is_decoded_where_the_viewer_draws_from(tmp_path, monkeypatch):
    image = np.random.default_rng(0).integers(0, 900, (7, 8, 9), dtype=np.int16)
    write_dicom_series(tmp_path, image, np.diag([1.0, 2.0, 3.0, 1.0]), "SIMULATED noise")
    made = []
    create = SharedArray.create.__func__
    monkeypatch.setattr(SharedArray, "create", classmethod(lambda *given: made.append(given[1]) or create(*given)))
    tasks = Tasks()
    do = partial(tasks.do, on_progress=lambda _: None, should_stop=lambda: False)
    (series,) = do(messages.ScanRequest(str(tmp_path))).series
    volume = SharedVolume(do(messages.ReadRequest(str(tmp_path), series.uid)), owns=True)
    assert [shape for shape in made if len(shape) > 1] == [(1, 9, 8, 7)], "nothing is copied into a second array"
    np.testing.assert_array_equal(volume.voxels, read_volume(tmp_path).array)
    assert {int(value) for value in np.unique(volume.voxels)} == set(np.unique(image).tolist())
    tasks.close()


def test_headers_travel_in_shared_memory_not_in_messages(tmp_path):
    write_dicom_series(tmp_path, np.zeros((4, 4, 3), np.int16), np.eye(4), "SIMULATED noise")
    tasks = Tasks()
    do = partial(tasks.do, on_progress=lambda _: None, should_stop=lambda: False)
    (series,) = do(messages.ScanRequest(str(tmp_path))).series
    reference = do(messages.ReadRequest(str(tmp_path), series.uid))
    expected = read_volume(tmp_path)
    volume = SharedVolume(reference, owns=True)
    assert len(expected.source.headers) == 3
    assert volume.light.source.headers == ()
    assert volume.full() == expected
    assert volume.full().source == expected.source
    tasks.close()


def test_too_large_an_array_is_refused_in_a_sentence(monkeypatch):
    class Disk:
        free = 1000

    monkeypatch.setattr(shared.shutil, "disk_usage", lambda _: Disk)
    monkeypatch.setattr(shared, "_LINUX_MEMORY", shared.Path.cwd())
    with pytest.raises(InputError, match=r"4 MiB of shared memory.*close"):
        SharedArray.create((1024, 1024), np.float32)


def test_answers_failures_and_faults_come_back_as_such(backend):
    info = backend.wait_for(messages.LoadRequest("lite"))
    assert (info.name, info.threshold, info.experts) == ("lite", 0.8, 4)
    with pytest.raises(InputError, match=r'"missing".*fetch'):
        backend.wait_for(messages.LoadRequest("missing"))
    with pytest.raises(InputError, match=r"^Internal error in MoECLIP-Med \(RuntimeError\).*MOECLIP_MED_DEBUG") as told:
        backend.wait_for(messages.LoadRequest("broken"))
    assert "Doe" not in str(told.value)
    with pytest.raises(InputError, match=r'"/no/such/file" does not exist'):
        backend.wait_for(messages.ScanRequest("/no/such/file"))
    with pytest.raises(InputError, match=r"holds no anomaly\.nii\.gz, so it is not a finished run"):
        backend.wait_for(messages.OpenRunRequest("a", str(Path.cwd())))
    assert backend.wait_for(messages.LoadRequest("lite")).name == "lite"


def test_a_killed_process_is_told_in_a_sentence_and_starts_again(own_backend, qtbot):
    own_backend.wait_for(messages.LoadRequest("lite"))
    task = own_backend.ask(messages.SampleRequest("endoscopy"))
    failures = []
    task.failed.connect(failures.append)
    psutil.Process(own_backend.process_id).kill()
    qtbot.waitUntil(lambda: bool(failures), timeout=30_000)
    (sentence,) = failures
    assert sentence == (
        "The scoring process ended unexpectedly (it was killed, most likely because memory ran out); "
        "press Run to start again."
    )
    assert not own_backend.is_running
    assert own_backend.wait_for(messages.LoadRequest("lite")).name == "lite"


def test_closing_the_viewer_ends_a_wait(own_backend):
    QTimer.singleShot(0, own_backend.end)
    with pytest.raises(InputError, match="viewer was closed"):
        own_backend.wait_for(messages.SampleRequest("endoscopy"))


def test_what_a_dying_process_prints_is_not_quoted(own_backend):
    with pytest.raises(InputError, match=r"ended unexpectedly \(exit code 3\); press Run.*MOECLIP_MED_DEBUG") as told:
        own_backend.wait_for(messages.LoadRequest("fatal"))
    assert "Doe" not in str(told.value)


def test_an_answer_is_heard_while_another_is_being_handled(backend, qtbot):
    heard = []

    def ask_again(description):
        heard.append(description.name)
        heard.append(backend.wait_for(messages.LoadRequest("lite")).name)

    for name in ("first", "second"):
        backend.ask(messages.DescribeRequest(name)).finished.connect(ask_again)
    qtbot.waitUntil(lambda: len(heard) == 4, timeout=30_000)
    assert sorted(heard) == ["first", "lite", "lite", "second"]


def test_a_process_that_cannot_start_is_told_in_a_sentence(qapp):
    backend = Backend([FAKE_SERVER], parent=qapp, interpreter="/no/such/python")
    for _ in range(2):
        with pytest.raises(InputError, match=r"cannot be started \(.+\)"):
            backend.wait_for(messages.LoadRequest("lite"))
    backend.end()


def test_ending_leaves_no_process(qapp):
    backend = Backend([FAKE_SERVER], parent=qapp)
    backend.wait_for(messages.LoadRequest("lite"))
    process = psutil.Process(backend.process_id)
    backend.end()
    assert not process.is_running()
    backend.end()


def test_the_process_ends_when_the_viewer_dies():
    code = (
        "import os, sys; from qtpy.QtWidgets import QApplication; app = QApplication([]);"
        "from napari_moeclip.backend import Backend; from napari_moeclip.messages import LoadRequest;"
        "b = Backend([sys.argv[1]]); b.wait_for(LoadRequest('lite')); print(b.process_id, flush=True); os._exit(9)"
    )
    died = subprocess.run([sys.executable, "-c", code, FAKE_SERVER], capture_output=True, text=True, check=False)
    number = int(died.stdout)
    psutil.wait_procs([psutil.Process(number)] if psutil.pid_exists(number) else [], timeout=10)
    assert not psutil.pid_exists(number)
