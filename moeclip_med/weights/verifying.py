"""Checking a model's files without scoring anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moeclip_transforms.errors import InputError

from moeclip_med.model.architecture import ZeroShotArchitecture
from moeclip_med.weights.loading import assemble
from moeclip_med.weights.registry import find_folder
from moeclip_med.weights.store import read_adapters, read_metadata
from moeclip_med.weights.tensors import check_state
from moeclip_med.weights.tower_weights import has_towers


@dataclass(frozen=True)
class VerifyReport:
    """What was found to be right.

    Attributes:
        name: The model.
        checks: What was checked, with the result.
        is_complete: False where the tower is not on this machine and so was left unchecked.
    """

    name: str
    checks: dict[str, str]
    is_complete: bool

    def to_json(self) -> dict[str, Any]:
        """As a dictionary that `json.dumps` takes."""
        return {"name": self.name, "checks": self.checks, "is_complete": self.is_complete}


def verify_model(name_or_path: str) -> VerifyReport:
    """Check everything about a model that can be checked on this machine; nothing is downloaded.

    Raises:
        InputError: The first thing that is wrong.
    """
    folder = find_folder(name_or_path)
    metadata = read_metadata(folder)
    if isinstance(metadata.architecture, ZeroShotArchitecture):
        raise InputError(f"{folder}: describes plain CLIP, which has no adapters to verify.")
    adapters = read_adapters(folder, metadata)
    check_state(adapters, adapters, where=str(folder))
    checks = {
        "metadata": f"format {metadata.format}, every key known",
        "adapters' SHA-256": metadata.adapters_sha256,
        "adapters' values": f"{len(adapters)} tensors, all finite",
    }
    is_complete = has_towers(metadata.architecture)
    if is_complete:
        assemble(metadata, adapters)
        checks["tower"] = metadata.tower_sha256 or "loaded; its hash was never recorded"
        checks["adapters' shapes"] = "fit the tower"
    return VerifyReport(metadata.name, checks, is_complete)
