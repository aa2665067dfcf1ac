"""What the tests of the batch share."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # worker processes import `batch_fakes` from here

from batch_fakes import ExecutorWithoutProcesses
from hospital_files import Patient, build_hospital
from puppet import Puppet
from puppet_watch import Watch


@pytest.fixture
def hospital(tmp_path: Path) -> tuple[Path, list[Patient]]:
    """A small archive with something of everything, and the patients in it."""
    return build_hospital(tmp_path)


@pytest.fixture
def without_processes(monkeypatch):
    """Let runs score in this process, where no worker has to be killed."""
    monkeypatch.setattr("moeclip_med.batch.driver.make_executor", ExecutorWithoutProcesses)


@pytest.fixture
def puppet():
    served = Puppet()
    yield served
    served.close()


@pytest.fixture
def watch(puppet, tmp_path):
    with ExitStack() as opened:
        yield Watch(puppet, tmp_path, opened)
