"""Zip archives unpacked safely: nothing outside the folder, nothing larger than allowed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArchiveLimits:
    """What a zip archive may hold.

    Attributes:
        max_bytes: Largest sum of the unpacked files' sizes.
        max_ratio: Largest ratio of unpacked to packed size of one file (checked above 1 MiB).
        max_members: Largest number of files.
    """

    max_bytes: int = 64 * 2**30
    max_ratio: float = 1000.0
    max_members: int = 1_000_000
