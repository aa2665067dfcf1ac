"""What a run knows of one set beside its counts: how the set is evaluated, and how far that is. One JSON file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from moeclip_transforms.errors import InputError

from moeclip_med.benchmark.outcomes import ThresholdKind  # noqa: TC001 - msgspec reads the annotations
from moeclip_med.benchmark.protocol import Protocol  # noqa: TC001
from moeclip_med.metrics.value import Metric  # noqa: TC001

if TYPE_CHECKING:
    from pathlib import Path

PROGRESS_NAME = "progress.json"


@dataclass(frozen=True)
class SystemRecord:
    """How a system is measured.

    Attributes:
        thresholds: The raw scores at which findings are measured.
        centre: The raw score that lies in the middle of the bins.
        spread: By how much raw scores differ, see `Binning`.
        froc_thresholds: Raw scores at which hits and false positives are counted.
    """

    thresholds: dict[ThresholdKind, float]
    centre: float
    spread: float
    froc_thresholds: tuple[float, ...]


@dataclass(frozen=True)
class SetRecord:
    """How a set is evaluated.

    Attributes:
        name: Its name.
        model: The name of the model under test.
        is_volumes: Whether its cases are volumes.
        is_industrial: Whether images are scored as the paper scores its industrial sets.
        units_are: What is resampled: "patients", "images" or "volumes".
        notes: What its reader had to say.
        protocols: Where pixels are compared, the headline first.
        threshold_from: The set on which thresholds were chosen; "" for none.
        baselines: Names of the systems that need no learning.
        systems: By name, the model under test first.
    """

    name: str
    model: str
    is_volumes: bool
    is_industrial: bool
    units_are: str
    notes: tuple[str, ...]
    protocols: tuple[Protocol, ...]
    threshold_from: str
    baselines: tuple[str, ...]
    systems: dict[str, SystemRecord]


@dataclass
class SetProgress:
    """How far the evaluation of a set is; changed while it runs.

    Attributes:
        settings_hash: Of all settings that change a figure.
        set: How the set is evaluated.
        done: Cases that were looked at.
        chunks: Files of rows.
        counts: The file of the running counts; "" for none.
        problems: Fault, case and detail of each problem.
        groups: Class to "system/protocol" to the exact pixel metrics.
        routing: System to (level, expert) counts of patches.
        seconds: Time spent.
        resampled: How many masks ("truth") and maps of a program lay on another grid.
        looks: How often the set had been looked at before, and with how many models; (-1, -1) if not recorded.
    """

    settings_hash: str
    set: SetRecord
    done: int = 0
    chunks: int = 0
    counts: str = ""
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    groups: dict[str, dict[str, dict[str, Metric]]] = field(default_factory=dict)
    routing: dict[str, list[list[int]]] = field(default_factory=dict)
    seconds: float = 0.0
    resampled: dict[str, int] = field(default_factory=dict)
    looks: tuple[int, int] = (-1, -1)

    def write(self, folder: Path) -> None:
        """Replace the file in a folder at once."""
        beside = folder / f"{PROGRESS_NAME}.new"
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))
        beside.replace(folder / PROGRESS_NAME)

    @staticmethod
    def read(folder: Path) -> SetProgress:
        """Read the file in a folder.

        Raises:
            InputError: It is damaged.
        """
        try:
            progress = msgspec.json.decode((folder / PROGRESS_NAME).read_bytes(), type=SetProgress)
        except ValueError as error:
            raise damaged_run(folder / PROGRESS_NAME) from error
        if progress.counts not in {"", f"counts-{progress.chunks - 1:05d}.npz"}:  # else a file elsewhere is meant
            raise damaged_run(folder / PROGRESS_NAME)
        return progress


def damaged_run(file: Path) -> InputError:
    """Return the error that a file of a run is damaged."""
    return InputError(
        f'"{file.parent.name}/{file.name}" of a benchmark run is damaged or missing; copy the run again, or make it '
        "anew with --restart"
    )
