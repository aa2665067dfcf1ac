"""Where a training begins: from models that were trained before, instead of fresh initial values."""

from __future__ import annotations

import logging
from dataclasses import dataclass
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
    from moeclip_med.weights.metadata import TrainingData

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """What a training begins with.

    Attributes:
        sha256: Of the learned weights it starts from; empty for fresh initial values.
        models: The models as "name version", in the order in which they were loaded.
        training_data: What those models were trained on: the weights carry its terms.
    """

    sha256: str = ""
    models: tuple[str, ...] = ()
    training_data: tuple[TrainingData, ...] = ()


def start_from(network: MoEClip | FusedNetwork, names: Sequence[str]) -> Start:
    """Load the learned weights of models into a network, the later ones' over the earlier ones'.

    A model of one tower fills, in a network of several, the one with the same tower; of a model of several towers, a
    network of one takes that part. What no model has keeps its fresh initial values.

    Args:
        network: What will be trained.
        names: Models by name or folder.

    Returns:
        What the training starts from; nothing where no model is named.

    Raises:
        InputError: A model is unknown or damaged, has another tower, or a tensor of another name or shape.
    """
    if not names:
        return Start()
    fresh = set(network.learned_state())
    models, data = [], dict[str, "TrainingData"]()
    for name in names:
        folder = find_folder(name)
        metadata = read_metadata(folder)
        state = read_adapters(folder, metadata)
        taken = _fitting(state, metadata.architecture, network, name)
        network.load_state_dict(taken, strict=False)
        fresh -= set(taken)
        models.append(f"{metadata.name} {metadata.version}")
        data = {one.name: one for one in metadata.training_data} | data
    _log.info("start from %s; tensors with fresh values: %s", ", ".join(names), ", ".join(sorted(fresh)) or "none")
    return Start(fingerprint(network.learned_state()), tuple(models), tuple(data.values()))


def _fitting(state: dict[str, Tensor], source: object, network: MoEClip | FusedNetwork, name: str) -> dict[str, Tensor]:
    """A model's learned weights under the names that the network has for them."""
    if not isinstance(source, (Architecture, FusedArchitecture)):
        raise InputError(f'--start-from: model "{name}" has no learned weights; name a trained model.')
    parts, wanted_parts = _parts(source), _parts(network.architecture)
    places = {
        prefix: found
        for prefix, architecture in parts.items()
        if (found := _place(prefix, architecture, wanted_parts)) is not None
    }
    taken = {
        places[prefix] + key.removeprefix(prefix): tensor
        for prefix in places
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


def _place(prefix: str, architecture: Architecture, wanted: dict[str, Architecture]) -> str | None:
    """The prefix of the network with the same tower, at the same place where there are several; None without one."""
    fitting = [name for name, one in wanted.items() if one.tower == architecture.tower]
    return prefix if prefix in fitting else next(iter(fitting), None)


def _parts(architecture: LearnedArchitecture) -> dict[str, Architecture]:
    """The networks of one tower by the prefix of their tensors' names."""
    if isinstance(architecture, FusedArchitecture):
        return {f"members.{number}.": member for number, member in enumerate(architecture.members)}
    return {"": architecture}
