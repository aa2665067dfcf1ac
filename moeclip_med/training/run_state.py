"""What a run needs to go on exactly where it stopped, and the refusal to go on with anything else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from moeclip_transforms.errors import InputError

from moeclip_med.weights.tensors import read_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from moeclip_med.model.fused import FusedNetwork
    from moeclip_med.model.network import MoEClip

SETTINGS_FILE = "settings.json"
LAST_FILE = "last.pt"
BEST_FILE = "best.pt"


@dataclass
class TrainingProgress:
    """How far a run is.

    Attributes:
        step: Optimizer steps done.
        epoch: Passes over the training list done.
        best_score: Best validation score so far.
        best_epoch: The epoch it was reached in, counted from 1; 0 before the first validation.
    """

    step: int = 0
    epoch: int = 0
    best_score: float = float("-inf")
    best_epoch: int = 0


def claim_folder(folder: Path, settings: dict[str, Any]) -> bool:
    """Take a folder for a run, or recognise it as this run's own.

    Args:
        folder: Where the run keeps its files; made if missing.
        settings: Everything that shapes the run, as JSON.

    Returns:
        True where an earlier part of the same run left a checkpoint to resume from.

    Raises:
        InputError: The folder belongs to a run with other settings, or its settings are damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SETTINGS_FILE
    settings = json.loads(json.dumps(settings))
    if path.exists():
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise _damaged(path) from error
        if not isinstance(earlier, dict):
            raise _damaged(path)
        if changed := differences(earlier, settings):
            name, (before, now) = next(iter(changed.items()))
            raise InputError(
                f'"{folder}" holds a run with {name} = {before!r}, this one has {now!r}; '
                "choose another output folder, or repeat the settings of the run to resume."
            )
    else:
        write_atomically(path, json.dumps(settings, indent=2).encode())
    return (folder / LAST_FILE).exists()


def differences(first: dict[str, Any], second: dict[str, Any], prefix: str = "") -> dict[str, tuple[object, object]]:
    """The settings that differ, by dotted name: (value in the first, value in the second)."""
    changed: dict[str, tuple[object, object]] = {}
    for key in sorted(first.keys() | second.keys()):
        before, now = first.get(key), second.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            changed |= differences(before, now, f"{prefix}{key}.")
        elif before != now:
            changed[f"{prefix}{key}"] = (before, now)
    return changed


def load_trained_state(network: MoEClip | FusedNetwork, state: dict[str, torch.Tensor]) -> None:
    """Put back what `learned_state` gave.

    Raises:
        InputError: The state belongs to another network.
    """
    missing, unexpected = network.load_state_dict(state, strict=False)
    missing = [name for name in missing if not f".{name}".count(".tower.")]
    if missing or unexpected:
        raise InputError(
            f"The checkpoint does not fit the network: {len(missing)} tensors missing, {len(unexpected)} unknown; "
            "it was made by another version, start a new run."
        )


def save_run(
    path: Path,
    network: MoEClip | FusedNetwork,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    progress: TrainingProgress,
) -> None:
    """Write everything that an exact resume needs; the file appears whole or not at all."""
    state = {
        "network": network.learned_state(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "progress": vars(progress),
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def resume_run(
    path: Path, network: MoEClip | FusedNetwork, optimizer: Optimizer, scheduler: LRScheduler
) -> TrainingProgress:
    """Restore a run from `save_run`.

    No generator's state is kept: every random number of a run is a function of its seed and the step (`seed_step`).

    Raises:
        InputError: The checkpoint is damaged, or of another network.
    """
    state = read_checkpoint(path)
    try:
        load_trained_state(network, state["network"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        return TrainingProgress(**state["progress"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise _damaged(path) from error


def _damaged(path: Path) -> InputError:
    return InputError(f'"{path}" is damaged: delete it to begin anew, or choose another output folder.')


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch for one step of one process, so that a resumed run draws what an uninterrupted one would have."""
    torch.manual_seed((seed * 1_000_003 + step) * 1_009 + rank)


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside, then rename: a reader never sees half a file."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)
