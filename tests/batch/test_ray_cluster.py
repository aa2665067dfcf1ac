"""The same work on a Ray cluster of two nodes: the same results bit for bit, also when a worker or a node dies."""

from __future__ import annotations

import csv
import gzip
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from batch_fakes import ExecutorWithoutProcesses, LoadFake, Recorder, settings
from hospital_files import write_nifti
from moeclip_transforms.errors import InputError
from sentences import lacking

from moeclip_med.batch.driver import run_batch
from moeclip_med.batch.records import StudyState

ray = pytest.importorskip("ray", reason="needs the extra cluster")


NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
STARTS = 3
"""Ray gives a node's own agent half a minute to start, which a busy machine may exceed; so it is asked again."""


def patiently(start):
    """Return what starts a node of Ray, at the third time at the latest."""
    for _ in range(STARTS - 1):
        with suppress(Exception):  # whatever part of Ray gave up
            return start()
    return start()


@pytest.fixture(scope="module")
def cluster():
    """Two nodes with one core each; the second can be taken away."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # measured, Ray's own programs take too long
        head = NODE | {"include_dashboard": False}
        made = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
        yield made
        made.shutdown()


def maps(output: Path) -> dict[str, bytes]:
    """The unpacked map of each source file."""
    with (output / "triage.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["state"] == "done"]
    return {row["study_uid"]: gzip.decompress((output / row["folder"] / "anomaly.nii.gz").read_bytes()) for row in rows}


@pytest.mark.slow
@pytest.mark.timeout(900)  # on a busy machine Ray's own programs take minutes to start
def test_two_nodes_give_the_same_bits_and_survive_the_death_of_a_worker_and_of_a_node(cluster, tmp_path):
    root = tmp_path / "archive"
    for number in range(16):
        write_nifti(root / f"{number:02d}.nii", blob=300.0 + 40 * number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moeclip_med.batch.driver.make_executor", ExecutorWithoutProcesses)
        run_batch(settings(root, tmp_path / "alone", identify=True), Recorder(), load=LoadFake())
    alone = maps(tmp_path / "alone")

    nodes = []
    deeds: list[str] = []
    pids = tmp_path / "pids"
    pids.mkdir()
    watcher = Recorder()

    def kill_a_worker_then_a_node(counts, slices):
        if not nodes:  # after the driver has joined, so that it is at home on the head
            nodes.append(patiently(lambda: cluster.add_node(**NODE)))
        if counts.finished >= 3 and not deeds:
            deeds.append("worker")
            os.kill(int(next(pids.iterdir()).name), 9)
        elif counts.finished >= 8 and len(deeds) == 1:
            deeds.append("node")
            cluster.remove_node(nodes[0], allow_graceful=False)

    watcher.working = kill_a_worker_then_a_node
    outcome = run_batch(
        settings(root, tmp_path / "cluster", ray_address=cluster.address, workers=2, identify=True),
        watcher,
        load=LoadFake(seconds_per_slice=0.08, pids=pids),
    )
    assert deeds == ["worker", "node"]
    assert outcome.counts.studies[StudyState.DONE] == 16
    assert not outcome.has_failures
    assert maps(tmp_path / "cluster") == alone
    assert list((tmp_path / "cluster" / ".batch").glob("ledger.sqlite*"))


def test_a_cluster_that_is_not_there_is_said(tmp_path):
    write_nifti(tmp_path / "archive" / "one.nii")
    with pytest.raises(InputError) as caught:
        run_batch(
            settings(tmp_path / "archive", tmp_path / "out", ray_address="127.0.0.1:1"), Recorder(), load=LoadFake()
        )
    assert not lacking(caught.value, '--ray "127.0.0.1:1"', "refused", '; start one with "ray start --head"')
