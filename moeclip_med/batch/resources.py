"""Cores and memory: how many there are, how they are shared out, how much a process uses."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

GIBIBYTE = 2**30
_SHARE = 0.8
"""Of the memory free at the start; the rest is for the system and its file cache."""

_WORKER_BYTES = 2 * GIBIBYTE
"""Memory to reckon with per worker when their number is chosen: libraries, model, and a volume of 100 MB."""


@dataclass(frozen=True)
class Resources:
    """What a run uses of this machine.

    Attributes:
        workers: Worker processes.
        threads: Threads per worker.
        memory_bytes: Memory per worker, bytes; None for no limit.
    """

    workers: int
    threads: int
    memory_bytes: int | None


def share(
    workers: int | None, threads: int | None, memory_bytes: int | None, device: str, ray_address: str | None
) -> Resources:
    """Share the machine out among workers.

    Single-thread workers get more out of the same cores than threads do, so there is one worker per core as far as
    memory goes; on a GPU there is one.

    Args:
        workers: As many as cores and memory allow if None.
        threads: Per worker; the cores divided by the workers if None (on Ray: 1).
        memory_bytes: For all workers together; four fifths of what is free if None.
        device: The device that the model runs on.
        ray_address: Of a Ray cluster, which has its own way of sharing; None on this machine alone.
    """
    if ray_address is not None:
        return Resources(workers or 1, threads or 1, memory_bytes)
    memory = memory_bytes or default_memory()
    cores = _cores()
    if workers is None:
        room = cores if memory is None else memory // _WORKER_BYTES
        workers = 1 if _uses_gpu(device) else max(1, min(cores, room))
    return Resources(workers, threads or max(1, cores // workers), None if memory is None else memory // workers)


def can_measure() -> bool:
    """Whether the memory of other processes can be watched here."""
    return sys.platform == "linux" or importlib.util.find_spec("psutil") is not None


def resident_bytes(process: int) -> int | None:
    """Give the memory that a process holds, bytes; None where that cannot be told or it has ended."""
    if sys.platform == "linux":
        try:
            status = Path("/proc", str(process), "status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return None
        return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:")), None)
    psutil = _psutil()
    if psutil is None:
        return None
    try:
        return int(psutil.Process(process).memory_info().rss)
    except psutil.Error:
        return None


def default_memory() -> int | None:
    """Give the memory that a run may use unless told otherwise, bytes; None where it cannot be told."""
    if sys.platform == "linux":
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        return int(_SHARE * free)
    psutil = _psutil()
    return None if psutil is None else int(_SHARE * psutil.virtual_memory().available)


def _psutil() -> Any:  # noqa: ANN401 - a module, or None where it is not installed
    return import_module("psutil") if can_measure() else None


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _uses_gpu(device: str) -> bool:
    if device != "auto":
        return device != "cpu"
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()
