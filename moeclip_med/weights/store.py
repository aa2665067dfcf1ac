"""A model folder: `adapters.safetensors` and `metadata.json`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.weights.cache import written_whole
from moeclip_med.weights.metadata import ModelMetadata

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

ADAPTERS = "adapters.safetensors"
METADATA = "metadata.json"
_LARGEST_METADATA = 4 * 2**20


def save_model(folder: Path, state: Mapping[str, Tensor], metadata: ModelMetadata) -> ModelMetadata:
    """Write a model folder; the adapters' hash is filled in.

    Each file is written beside its place and renamed, the metadata last, so that a folder is never half new.

    Args:
        folder: Made if missing.
        state: `MoEClip.learned_state()`.
        metadata: What is known about the model.

    Returns:
        The metadata as written.
    """
    from safetensors.torch import save_file

    from moeclip_med.weights.tensors import sha256_of

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    header = {"format": "moeclip-med adapters", "tower": metadata.architecture.tower.name}
    with written_whole(folder / ADAPTERS) as path:
        save_file(tensors, path, metadata=header)
        complete = replace(metadata, adapters_sha256=sha256_of(path))
    write_metadata(folder, complete)
    return complete


def write_metadata(folder: Path, metadata: ModelMetadata) -> None:
    """Write a model folder's metadata, leaving its weights as they are."""
    text = json.dumps(metadata.to_json(), indent=2, ensure_ascii=False) + "\n"
    with written_whole(folder / METADATA) as path:
        path.write_text(text, encoding="utf-8")


def read_metadata(folder: Path) -> ModelMetadata:
    """Read a model folder's metadata.

    Raises:
        InputError: The folder is no model folder, or its metadata cannot be understood.
    """
    path = folder / METADATA
    if not path.is_file():
        found = "no such folder" if not folder.is_dir() else f"no {METADATA} in it"
        raise InputError(
            f"{folder}: {found}; a model folder holds {ADAPTERS} and {METADATA}, as `weights import` writes them."
        )
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_METADATA + 1)
        if len(content) > _LARGEST_METADATA:
            raise InputError(
                f"{path}: more than {_LARGEST_METADATA} bytes, which no model's description has; copy the model again."
            )
        data = json.loads(content)
    except (ValueError, RecursionError) as error:  # 5000 digits are no number, 10,000 brackets no description
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not JSON ({str(error)[:200]}); the file is damaged, copy the model again.") from None
    return ModelMetadata.from_json(data, str(path))


def read_adapters(folder: Path, metadata: ModelMetadata) -> dict[str, Tensor]:
    """Read a model folder's adapters and check that they are the ones that its metadata describes.

    Raises:
        InputError: The file is missing, truncated, altered, or made for another tower.
    """
    from moeclip_med.weights.tensors import read_safetensors, sha256_of

    path = folder / ADAPTERS
    tensors, header = read_safetensors(path)
    tower = metadata.architecture.tower.name
    if header.get("tower", tower) != tower:
        raise InputError(
            f'{path}: made for tower "{header["tower"]}", but {METADATA} names "{tower}"; these are of two models.'
        )
    found = sha256_of(path)
    if found != metadata.adapters_sha256:
        raise InputError(
            f"{path}: SHA-256 {found}, but {METADATA} says {metadata.adapters_sha256 or 'nothing'}; "
            "the file was altered or belongs to another model, copy it again."
        )
    return tensors
