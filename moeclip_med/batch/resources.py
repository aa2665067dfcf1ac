"""What a run takes of this machine: cores, memory, and folders for what may hold patients' data for a while."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

GIBIBYTE = 2**30
_SHARE = 0.8
"""Of the memory free at the start; the rest is for the system and its file cache."""

_WORKER_BYTES = 4 * GIBIBYTE
"""Memory per worker when their number is chosen: libraries and model (1.2 GiB), and what the largest mammogram takes
beyond (see docs/reliability.md)."""

_UNIFIED, _LEGACY = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")
_UNLIMITED = 2**60
"""A limit above this stands for none (version 1 writes the largest multiple of a page)."""


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
        workers = 1 if _uses_gpu(device) else max(1, min(cores, memory // _WORKER_BYTES))
    return Resources(workers, threads or max(1, cores // workers), memory // workers)


def resident_bytes(process: int) -> int | None:
    """Return the memory that a process holds, bytes; None where it has ended or may not be asked."""
    try:
        return int(psutil.Process(process).memory_info().rss)
    except psutil.Error:
        return None


def default_memory() -> int:
    """Return the memory that a run may use unless told otherwise, bytes: four fifths of what is free.

    In a container that is what its control group leaves free, where that is less than the machine's.
    """
    return int(_SHARE * min([psutil.virtual_memory().available, *_free_in_groups()]))


def _free_in_groups() -> list[int]:
    """What the control groups of this process leave free, bytes (Linux; versions 2 and 1).

    A group is bound by those above it as well. Memory that the group holds as file cache counts as free.
    """
    free = []
    for root, limit_name, used_name, part in (
        (_UNIFIED, "memory.max", "memory.current", ""),
        (_LEGACY, "memory.limit_in_bytes", "memory.usage_in_bytes", "memory"),
    ):
        group = root / _own_group(part).lstrip("/")
        for folder in [group, *group.parents]:
            if root not in [folder, *folder.parents]:
                break
            limit, used = _number(folder / limit_name), _number(folder / used_name)
            if limit is not None and used is not None and limit < _UNLIMITED:
                free.append(max(0, limit - max(0, used - _cache_bytes(folder / "memory.stat"))))
    return free


def _own_group(controller: str) -> str:
    """The path of this process's control group below the controller's root (cgroups(7)); "/" where unknown."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "/"
    fields = [line.split(":", 2) for line in lines]
    names = [field[2] for field in fields if len(field) == 3 and controller in field[1].split(",")]  # noqa: PLR2004
    return names[0] if names and ".." not in names[0] else "/"


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdecimal() else None


def _cache_bytes(path: Path) -> int:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return 0
    facts = dict(line.split(" ", 1) for line in lines if " " in line)
    text = facts.get("inactive_file", facts.get("total_inactive_file", "0"))
    return int(text) if text.isdecimal() else 0


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


_PREFIX = "moeclip-med-"
RECORD_NAME = "scratch"


def new_scratch(private: Path) -> Path:
    """Make a folder on this machine, and remove the one that an earlier run with the same output left.

    Args:
        private: The private folder of the output, which keeps the name.
    """
    record = private / RECORD_NAME
    left = _read(record)
    if left is not None:
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    record.write_text(str(folder), encoding="utf-8")
    record.chmod(0o600)
    return folder


def remove_scratch(private: Path, folder: Path) -> None:
    """Remove a folder that `new_scratch` made."""
    shutil.rmtree(folder, ignore_errors=True)
    (private / RECORD_NAME).unlink(missing_ok=True)


def _read(record: Path) -> Path | None:
    """The folder an earlier run left, if it is one of ours: nothing else is ever removed."""
    try:
        folder = Path(record.read_text(encoding="utf-8").strip())
        facts = folder.lstat()
    except (OSError, ValueError):
        return None
    is_ours = stat.S_ISDIR(facts.st_mode) and (not hasattr(os, "getuid") or facts.st_uid == os.getuid())
    is_in_place = folder.parent == Path(tempfile.gettempdir()) and folder.name.startswith(_PREFIX)
    return folder if is_ours and is_in_place else None


def close_to_others(folder: Path) -> None:
    """Let only the owner read a folder and what is in it (0700, 0600): results may hold names, and show bodies."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
