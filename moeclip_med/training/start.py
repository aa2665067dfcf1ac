"""Where a training begins: from models that were trained before, instead of fresh initial values."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.model.architecture import Architecture, FusedArchitecture
from moeclip_med.weights.registry import find_folder
from moeclip_med.weights.store import read_adapters, read_metadata
from moeclip_med.weights.tensors import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from moeclip_med.model.architecture import LearnedArchitecture
    from moeclip_med.model.fused import FusedNetwork
    from moeclip_med.model.network import MoEClip

_log = logging.getLogger(__name__)


def start_from(network: MoEClip | FusedNetwork, names: Sequence[str]) -> str:
    """Load the learned weights of models into a network, the later ones' over the earlier ones'.

    A model of one tower fills, in a network of several, the one with the same tower; of a model of several towers, a
    network of one takes that part. What no model has keeps its fresh initial values.

    Args:
        network: What will be trained.
        names: Models by name or folder.

    Returns:
        SHA-256 of the learned weights that the training starts from; empty where no model is named.

    Raises:
        InputError: A model is unknown or damaged, has another tower, or a tensor of another name or shape.
    """
    if not names:
        return ""
    fresh = set(network.learned_state())
    for name in names:
        folder = find_folder(name)
        metadata = read_metadata(folder)
        state = read_adapters(folder, metadata)
        taken = _fitting(state, metadata.architecture, network, name)
        network.load_state_dict(taken, strict=False)
        fresh -= set(taken)
    _log.info("start from %s; tensors with fresh values: %s", ", ".join(names), ", ".join(sorted(fresh)) or "none")
    return fingerprint(network.learned_state())


def _fitting(state: dict[str, Tensor], source: object, network: MoEClip | FusedNetwork, name: str) -> dict[str, Tensor]:
    """A model's learned weights under the names that the network has for them."""
    if not isinstance(source, (Architecture, FusedArchitecture)):
        raise InputError(f'--start-from: model "{name}" has no learned weights; name a trained model.')
    parts = _parts(source)
    places = {architecture.tower: prefix for prefix, architecture in _parts(network.architecture).items()}
    taken = {
        places[architecture.tower] + key.removeprefix(prefix): tensor
        for prefix, architecture in parts.items()
        if architecture.tower in places
        for key, tensor in state.items()
        if key.startswith(prefix)
    }
    wanted = network.learned_state()
    if not taken or any(key not in wanted or wanted[key].shape != tensor.shape for key, tensor in taken.items()):
        towers = ", ".join(architecture.tower.name for architecture in parts.values())
        raise InputError(
            f'--start-from: the weights of model "{name}" ({towers}) do not fit the network that is trained; '
            "name a model of the same recipe, or of one of its towers."
        )
    return taken


def _parts(architecture: LearnedArchitecture) -> dict[str, Architecture]:
    """The networks of one tower by the prefix of their tensors' names."""
    if isinstance(architecture, FusedArchitecture):
        return {f"members.{number}.": member for number, member in enumerate(architecture.members)}
    return {"": architecture}
