"""Archives as strangers leave them: nothing that one input does ends a run, or reads beyond what it may."""

from __future__ import annotations

import gzip
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import pytest
from batch_fakes import LoadFake, Recorder, settings
from hospital_files import Patient, write_nifti, write_series
from pydicom.uid import DeflatedExplicitVRLittleEndian

from moeclip_med.batch import headers, resources
from moeclip_med.batch.driver import run_batch
from moeclip_med.batch.headers import HeaderScanner, look_at_file
from moeclip_med.batch.ledger import Ledger
from moeclip_med.batch.overview import look_at_archive
from moeclip_med.batch.pseudonyms import Pseudonyms
from moeclip_med.batch.records import SeriesRecord, SeriesState, StudyReport, StudyState
from moeclip_med.batch.resources import new_scratch

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
KEY = b"k" * 32


def killing(path: Path, pseudonyms: Pseudonyms) -> headers.FileHeader:
    """Look at a file; some of them end the process."""
    if "deadly" in path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return headers.FileHeader(path, study="study-a")


def _look_at_files(paths, key):
    return [killing(path, Pseudonyms(key)) for path in paths]


@posix_only
@pytest.mark.slow
def test_a_file_that_ends_the_process_that_reads_it_costs_itself_alone(monkeypatch):
    monkeypatch.setattr(headers, "_FEW", 0)
    monkeypatch.setattr(headers, "_CHUNK", 8)
    monkeypatch.setattr(headers, "_look_at_files", _look_at_files)
    paths = [Path(f"/a/{number}{'-deadly' if number == 5 else ''}.dcm") for number in range(12)]
    with HeaderScanner(KEY, len(paths), 2, 2**31) as scanner:
        found = [header for part in scanner.scan(paths) for header in part]
    assert sorted(found, key=lambda header: paths.index(header.path)) == found
    assert [header.path.name for header in found if header.problem] == ["5-deadly.dcm"]
    assert sum(header.study == "study-a" for header in found) == 11


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the memory of a process")
def test_a_process_that_reads_headers_is_held_to_its_memory():
    code = (
        "from moeclip_med.batch.headers import bound_memory; bound_memory(600 * 2**20)\n"
        "try: bytearray(800 * 2**20)\n"
        "except MemoryError: print('bounded')"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert told.stdout.strip() == "bounded"


def broken_archive(root: Path) -> None:
    """One good volume among files that have ended runs before."""
    write_nifti(root / "good.nii.gz")
    patient = Patient()
    write_series(root / "late", patient, shape=(16, 16, 1))
    for path in (root / "late").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = "22630101"
        dataset.save_as(path)
    for name, members in {"dot": ["."], "nameless": [""], "slash": ["/"], "dots": [".."]}.items():
        with zipfile.ZipFile(root / f"{name}.zip", "w") as archive:
            for member in members:
                archive.writestr(zipfile.ZipInfo(member or "x"), b"content")
    with zipfile.ZipFile(root / "lzma.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.dcm", bytes(range(256)) * 40)
    content = bytearray((root / "lzma.zip").read_bytes())
    content[60:80] = b"\xff" * 20
    (root / "lzma.zip").write_bytes(content)
    for name, text in {
        "minus": "NDims = -1\n", "many": "NDims = 100000\n",
        "format": "NDims = 3\nElementDataFile = %n%n%s%s.raw 1 3 1\n",
        "infinite": "NDims = 3\nDimSize = 2 2 2\nTransformMatrix = 1e308 1e308 0 0 1 0 0 0 1\n"
        "ElementDataFile = LOCAL\n",
        "outside": "NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = /etc/passwd\n",
        "above": "NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = ../../secret.raw\n",
    }.items():  # fmt: skip
        (root / f"{name}.mhd").write_text("ObjectType = Image\n" + text)
    (root / "waits.nrrd").write_text("NRRD0004\ntype: uchar\ndimension: 1\nsizes: 8\nencoding: raw\ndata file: -\n\n")
    packed = bytearray(gzip.compress(bytes(300)))
    packed[-6] ^= 0xFF  # its checksum: found by fuzzing, as an error of zlib that ended every scan
    (root / "checksum.dcm.gz").write_bytes(packed)
    (root / "checksum.gz").write_bytes(packed)
    (root / "picture.png").write_bytes(b"%!PS-Adobe-3.0\n(showpage) run\n")


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("without_processes")
def test_files_that_have_ended_runs_are_listed_and_the_rest_is_scored(tmp_path):
    broken_archive(tmp_path / "archive")
    (tmp_path / "secret.raw").write_bytes(b"secret")
    chosen = settings(tmp_path / "archive", tmp_path / "out")
    look = look_at_archive(chosen, Recorder())
    assert any(line.path.name == "good.nii.gz" and not line.reason for line in look.series)
    outcome = run_batch(chosen, Recorder(), load=LoadFake())
    assert outcome.counts.series[SeriesState.DONE] >= 1
    assert outcome.has_failures
    listed = (tmp_path / "out" / "triage.csv").read_text()
    assert "internal error" not in listed
    assert "root:" not in "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*.json"))


def test_a_deflated_bomb_is_refused_within_the_memory_of_the_scan(tmp_path):
    """2 MB that inflate to gigabytes: the look at its header takes neither."""
    import resource

    dataset = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.ImageComments = "x" * 1000
    dataset.add_new(0x00091010, "OB", bytes(600 * 2**20))
    path = tmp_path / "bomb.dcm"
    dataset.save_as(path)
    del dataset
    assert path.stat().st_size < 2 * 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    header = look_at_file(path, Pseudonyms(KEY))
    assert time.process_time() - started < 20
    assert header.problem or header.study
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


# Who may read what is written.


@posix_only
@pytest.mark.usefixtures("without_processes")
@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_results_are_open_to_their_owner_alone(tmp_path, mask):
    write_nifti(tmp_path / "archive" / "a.nii.gz")
    before = os.umask(mask)
    try:
        run_batch(settings(tmp_path / "archive", tmp_path / "out"), Recorder(), load=LoadFake())
        run_batch(settings(tmp_path / "archive", tmp_path / "out", redo=True), Recorder(), load=LoadFake())
    finally:
        os.umask(before)
    found = list((tmp_path / "out").rglob("*"))
    assert len(found) > 8
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o755 & ~mask, "others may put nothing in place of a list"
    for path in found:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o077 == 0, path


@posix_only
def test_only_a_folder_of_our_own_is_cleared_and_a_new_one_cannot_be_guessed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "private").mkdir()
    first = new_scratch(tmp_path / "private")
    (first / "patient").touch()
    second = new_scratch(tmp_path / "private")
    assert not first.exists(), "what a killed run left is removed"
    assert first.name != second.name
    assert stat.S_IMODE(second.stat().st_mode) == 0o700
    precious = tmp_path / "precious"
    precious.mkdir()
    for named in (precious, tmp_path, Path("/")):
        (tmp_path / "private" / "scratch").write_text(str(named))
        new_scratch(tmp_path / "private")
        assert named.exists()
    link = tmp_path / "moeclip-med-link"
    link.symlink_to(precious)
    (tmp_path / "private" / "scratch").write_text(str(link))
    new_scratch(tmp_path / "private")
    assert precious.exists()


def test_filters_that_changed_look_again_at_what_filters_left_out_whatever_the_sentence_says(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    for name, is_filtered in (("study-a", True), ("study-b", False)):
        with ledger.transaction():
            ledger.add_study(name, "patient", "s", [])
        record = SeriesRecord(f"series-{name}", SeriesState.SKIPPED, "says --filter", is_filtered=is_filtered)
        ledger.finish(StudyReport(name, StudyState.DONE, series=(record,)))
    ledger.retry(failed=False, filtered=True)
    assert {row.study: row.state for row in ledger.studies()} == {
        "study-a": StudyState.WAITING, "study-b": StudyState.DONE,
    }  # fmt: skip
    ledger.close()


@pytest.mark.parametrize("version", [1, 2])
def test_memory_heeds_the_control_group(tmp_path, monkeypatch, version):
    root = tmp_path / "cgroup"
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    group = root / "pod" / "container"
    group.mkdir(parents=True)
    for folder, limit in ((group, "max" if version == 2 else str(2**63 - 4096)), (root / "pod", str(2**30))):
        (folder / names[0]).write_text(limit + "\n")
        (folder / names[1]).write_text(str(300 * 2**20))
        (folder / "memory.stat").write_text(f"inactive_file {100 * 2**20}\n")
    monkeypatch.setattr(resources, "_UNIFIED" if version == 2 else "_LEGACY", root)
    monkeypatch.setattr(resources, "_LEGACY" if version == 2 else "_UNIFIED", tmp_path / "none")
    monkeypatch.setattr(resources, "_own_group", lambda controller: "/pod/container")
    assert resources.default_memory() == int(0.8 * (2**30 - 200 * 2**20))


@posix_only
@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_leaves_nothing_behind(tmp_path, name, code):
    """A batch that is told to end removes what it unpacked and ends its workers."""
    (tmp_path / "archive").mkdir()
    rng = np.random.default_rng(0)
    write_nifti(tmp_path / "large.nii.gz", shape=(96, 96, 60))
    with zipfile.ZipFile(tmp_path / "archive" / "study.zip", "w") as archive:
        archive.write(tmp_path / "large.nii.gz", "large.nii.gz")
        archive.writestr("noise.txt", rng.bytes(1000))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    run = subprocess.Popen(
        [sys.executable, "-m", "moeclip_med", "batch", str(tmp_path / "archive"), "-o", str(tmp_path / "out"), "-q"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=partial(signal.signal, getattr(signal, name), signal.SIG_DFL),  # noqa: PLW1509 - under nohup, too
    )  # fmt: skip
    end = time.monotonic() + 200
    while time.monotonic() < end and not list(temporary.rglob("large.nii.gz")) and run.poll() is None:
        time.sleep(0.05)
    run.send_signal(getattr(signal, name))
    _, told = run.communicate(timeout=60)
    assert run.returncode == code
    assert "interrupted" in told
    assert [path for path in temporary.rglob("*") if path.is_file()] == []
