"""Networks and forked processes: the threads that a network runs on stay behind in the parent."""

from __future__ import annotations

import os

_first: list[int] = []
"""The process in which the first network was made ready; a forked process inherits it."""


def refuse_forked_process() -> None:
    """Remember this process, and refuse one that was forked from a process in which a network had been made ready.

    There it would wait forever for threads that do not exist (OpenMP, OpenVINO).

    Raises:
        RuntimeError: This process was forked so.
    """
    if not _first:
        _first.append(os.getpid())
    if _first[0] != os.getpid():
        message = (
            "This process was forked after a model had been loaded in its parent, and no network can run in it: "
            'start processes with multiprocessing.get_context("spawn"), or load models in the new processes only.'
        )
        raise RuntimeError(message)
