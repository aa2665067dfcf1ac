"""Reading tensors from files without trusting them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over tensors in the order of their names: name, shape and values as float32.

    The same for weights that came as safetensors or as `.pt`, in half or in single precision.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().to(dtype=torch.float32, device="cpu").contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, and the text metadata in its header.

    Raises:
        InputError: The file does not exist or may not be read, is truncated or is no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    _check_readable(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise InputError(f"{path}: no complete safetensors file ({error}); copy or download it again.") from None


def read_checkpoint(path: Path) -> Any:  # noqa: ANN401 - whatever was saved
    """What a `.pt` or `.pth` file holds, tensors and plain containers only; other pickles are never run.

    Raises:
        InputError: The file does not exist or may not be read, is truncated, or holds anything else.
    """
    import pickle

    _check_readable(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path}: holds Python objects other than tensors, which are never loaded because they can run code; "
            "save it again as a state dictionary or safetensors."
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: no complete PyTorch file ({reason}); copy or download it again.") from None


def check_state(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str) -> None:
    """Compare tensors with those a network has.

    Raises:
        InputError: Names the first tensor that is missing, unknown, misshapen, of another type or not finite.
    """
    missing = [name for name in wanted if name not in found]
    if missing:
        raise InputError(
            f'{where}: missing tensor "{missing[0]}"{_and_more(missing)}; is this the right file for the model?'
        )
    extra = [name for name in found if name not in wanted]
    if extra:
        raise InputError(
            f'{where}: unknown tensor "{extra[0]}"{_and_more(extra)}; is this the right file for the model?'
        )
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape:
            raise InputError(
                f'{where}: tensor "{name}" has shape {tuple(found[name].shape)}, expected {tuple(tensor.shape)}; '
                "it was made for another tower or setting."
            )
        if found[name].is_floating_point() != tensor.is_floating_point():
            raise InputError(
                f'{where}: tensor "{name}" has the type {found[name].dtype}, expected {tensor.dtype}; it was written '
                "wrongly: copy or download the file again."
            )
        if not torch.isfinite(found[name]).all():
            raise InputError(
                f'{where}: tensor "{name}" holds NaN or infinity; the training failed or the file is damaged.'
            )


def _and_more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _check_readable(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path.")
    try:
        path.open("rb").close()
    except OSError as error:  # safetensors would say that it is not there
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions.") from None
