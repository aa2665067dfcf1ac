"""From a name or a folder to a network that is ready to run."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from moeclip_transforms.errors import InputError, NoticeWarning

from moeclip_med.model.architecture import (
    Architecture,
    FusedArchitecture,
    LearnedArchitecture,
    TowerSpec,
    ZeroShotArchitecture,
)
from moeclip_med.model.fused import FusedNetwork
from moeclip_med.model.network import MoEClip
from moeclip_med.model.prompts import Prompts
from moeclip_med.model.towers import build_tower
from moeclip_med.weights import efficientnet, openclip
from moeclip_med.weights.cache import cache_folder, written_whole
from moeclip_med.weights.metadata import ModelMetadata, Threshold, uncalibrated_scale
from moeclip_med.weights.registry import ZERO_SHOT_PREFIX, find_folder
from moeclip_med.weights.store import read_adapters, read_metadata
from moeclip_med.weights.tensors import check_state, read_safetensors
from moeclip_med.weights.tower_weights import OpenedTower, find_weights, is_openai_file, open_network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from moeclip_med.model.text import TextTower
    from moeclip_med.model.zero_shot import ZeroShotClip

    Network = MoEClip | FusedNetwork | ZeroShotClip


_TEXT_ADAPTER = "text_adapter.linear.weight"


class ModelWarning(NoticeWarning):
    """Something about a model that weakens a result; shown to the user, never an error."""


@dataclass(frozen=True, repr=False)
class LoadedModel:
    """A network with its weights, ready to run.

    Attributes:
        source: The network, or what builds it.
        metadata: What is known about it, with the prompts in use.
        text: (width, 2) embeddings of the prompts, normal and abnormal; None with learned prompts.
        identity_hash: SHA-256 over everything that changes a score.
        notes: What the user should be told about this model, one sentence each.
        members: The networks of a fused one by themselves, in its order; engines run each as suits it.
    """

    source: Network | partial[MoEClip] | partial[MoEClip | FusedNetwork]
    metadata: ModelMetadata
    text: Tensor | None
    identity_hash: str
    notes: tuple[str, ...] = ()
    members: tuple[LoadedModel, ...] = ()

    def __repr__(self) -> str:
        """Return one line: the model and the start of its identity."""
        return f"<LoadedModel {self.metadata.name} {self.metadata.version}, identity {self.identity_hash[:12]}>"

    @cached_property
    def network(self) -> Network:
        """The network in evaluation mode, float32, on the CPU.

        Built on first use: an engine that finds its compiled model in the cache needs neither the network nor the
        library of its tower, which takes longer to import than the network to run. A copy of the model
        (`dataclasses.replace`) does not hold it.

        Raises:
            InputError: The adapters do not fit the tower, or the tower is not the one they were trained on.
        """
        return self.source() if isinstance(self.source, partial) else self.source


def load_model(
    name_or_path: str | Path, *, prompts: Prompts | None = None, tower_weights: Path | None = None
) -> LoadedModel:
    """Load a model.

    Args:
        name_or_path: `lite`, another name of `weights list`, `clip-zero-shot:<open_clip name>`, or a model folder.
        prompts: What to look for, where the model has a text tower; its own where not given.
        tower_weights: A file with the tower's weights, instead of the published ones.

    Raises:
        InputError: The model is unknown, was never trained, or its files are missing, damaged or do not fit.
    """
    name = str(name_or_path)
    if name.startswith(ZERO_SHOT_PREFIX):
        return _load_zero_shot(name, prompts or Prompts(), tower_weights)
    folder = find_folder(name)
    metadata = read_metadata(folder)
    return assemble(metadata, read_adapters(folder, metadata), prompts=prompts, tower_weights=tower_weights)


def assemble(
    metadata: ModelMetadata,
    adapters: dict[str, Tensor],
    *,
    prompts: Prompts | None = None,
    tower_weights: Path | None = None,
) -> LoadedModel:
    """Put adapters around their tower; with learned prompts, when the network is first used.

    Raises:
        InputError: The adapters do not fit the tower, or the tower is not the one they were trained on.
    """
    architecture = metadata.architecture
    if isinstance(architecture, ZeroShotArchitecture):
        raise InputError(
            f'model "{metadata.name}": plain CLIP has no adapters; load it by its name {ZERO_SHOT_PREFIX}….'
        )
    notes = list(metadata.notes)
    if isinstance(architecture, FusedArchitecture) or architecture.prompts == "learned":
        if prompts is not None:
            notes.append(f'model "{metadata.name}" has learned prompts: the typed prompts are ignored.')
            warnings.warn(notes[-1], ModelWarning, stacklevel=3)
        if tower_weights is not None:  # looked at now: an engine that has its compiled model builds no network
            _, opened = build_network(architecture, tower_weights)
            _check_tower(metadata, opened)
            metadata = replace(metadata, tower_sha256=opened.sha256)
        build = partial(_build_with_learned_prompts, metadata, architecture, adapters, tower_weights)
        members = _members(metadata, architecture, adapters, tower_weights)
        return LoadedModel(build, metadata, None, metadata.identity(), tuple(notes), members)
    opened = open_network(architecture, tower_weights)
    network = _build_with_text(metadata, architecture, adapters, opened)
    used = prompts or metadata.prompts or Prompts()
    text_tower = _text_tower(opened.network, architecture.tower.name, projected=False)
    phrases = (used.normal_phrases(), used.abnormal_phrases())
    features = _encode(text_tower, phrases, f"{opened.sha256} {architecture.tower.activation} features")
    adapter = network.text_adapter
    if adapter is None:
        raise InputError(f'model "{metadata.name}": no text adapter was built.')
    with torch.no_grad():
        text = adapter(*features)
    known = replace(metadata, prompts=used, tower_sha256=opened.sha256)
    # The network just built is let go, with a gigabyte: an engine that has its compiled model needs it no more.
    again = partial(_build_again, metadata, architecture, adapters, tower_weights)
    return LoadedModel(again, known, text, known.identity(), tuple(notes))


def _members(
    metadata: ModelMetadata, architecture: LearnedArchitecture, adapters: dict[str, Tensor], tower_weights: Path | None
) -> tuple[LoadedModel, ...]:
    """The networks of a fused one as models of their own; none for any other."""
    if isinstance(architecture, Architecture):
        return ()
    digests = metadata.tower_sha256.split("+") if metadata.tower_sha256 else [""] * len(architecture.members)
    models = []
    for index, (member, digest) in enumerate(zip(architecture.members, digests, strict=True)):
        prefix = f"members.{index}."
        own = {name.removeprefix(prefix): tensor for name, tensor in adapters.items() if name.startswith(prefix)}
        known = replace(metadata, architecture=member, tower_sha256=digest)
        build = partial(_build_with_learned_prompts, known, member, own, _given(member, tower_weights))
        models.append(LoadedModel(build, known, None, known.identity()))
    return tuple(models)


def _given(member: Architecture, tower_weights: Path | None) -> Path | None:
    """The file for a member's tower, which is not the one that this package brings."""
    return None if member.tower.name == efficientnet.TIMM_NAME else tower_weights


def _build_with_text(
    metadata: ModelMetadata, architecture: Architecture, adapters: dict[str, Tensor], opened: OpenedTower
) -> MoEClip:
    _check_tower(metadata, opened)
    text_width = adapters[_TEXT_ADAPTER].shape[1] if _TEXT_ADAPTER in adapters else None
    network = MoEClip(architecture, build_tower(opened.network.visual, architecture), text_width=text_width)
    _fill(network, adapters, metadata.name)
    return network.eval()


def _build_again(
    metadata: ModelMetadata, architecture: Architecture, adapters: dict[str, Tensor], tower_weights: Path | None
) -> MoEClip:
    return _build_with_text(metadata, architecture, adapters, open_network(architecture, tower_weights))


def _build_with_learned_prompts(
    metadata: ModelMetadata, architecture: LearnedArchitecture, adapters: dict[str, Tensor], tower_weights: Path | None
) -> MoEClip | FusedNetwork:
    network, opened = build_network(architecture, tower_weights)
    _check_tower(metadata, opened)
    _fill(network, adapters, metadata.name)
    return network.eval()


def build_network(
    architecture: LearnedArchitecture, tower_weights: Path | None = None, *, seed: int = 0
) -> tuple[MoEClip | FusedNetwork, OpenedTower]:
    """Open the towers of a network with learned prompts and put learned parts with fresh initial values around them.

    Args:
        architecture: What to build.
        tower_weights: A file with the tower's weights; in a fused network those of the tower that this package does
            not bring.
        seed: Of the initial values.

    Returns:
        The network, and its tower or towers: digests and terms joined.

    Raises:
        InputError: A tower is unknown, or its weights are missing or do not fit.
    """
    if isinstance(architecture, Architecture):
        opened = open_network(architecture, tower_weights)
        tower = build_tower(opened.network, architecture)
        torch.manual_seed(seed)
        return MoEClip(architecture, tower), opened
    members: list[MoEClip | FusedNetwork] = []
    towers: list[OpenedTower] = []
    for member in architecture.members:
        network, opened = build_network(member, _given(member, tower_weights), seed=seed)
        members.append(network)
        towers.append(opened)
    digest, terms = "+".join(tower.sha256 for tower in towers), "; ".join(tower.terms for tower in towers)
    return FusedNetwork(architecture, members), OpenedTower(None, digest, terms)


def _check_tower(metadata: ModelMetadata, opened: OpenedTower) -> None:
    if metadata.tower_sha256 and metadata.tower_sha256 != opened.sha256:
        raise InputError(
            f'model "{metadata.name}": its adapters were trained on a tower with SHA-256 {metadata.tower_sha256}, '
            f"the one found has {opened.sha256}; bring the right weights of "
            f'"{metadata.architecture.tower.name}" ({metadata.architecture.tower.pretrained}).'
        )


def _fill(network: MoEClip | FusedNetwork, adapters: dict[str, Tensor], name: str) -> None:
    check_state(adapters, network.learned_state(), where=f'model "{name}"')
    network.load_state_dict(adapters, strict=False)


def _text_tower(clip: Any, name: str, *, projected: bool) -> TextTower:  # noqa: ANN401 - OpenCLIP is untyped
    import open_clip

    from moeclip_med.model.text import TextTower

    return TextTower(clip, open_clip.get_tokenizer(name), projected=projected)


def _encode(tower: TextTower, phrases: tuple[Sequence[str], Sequence[str]], tower_key: str) -> tuple[Tensor, Tensor]:
    """Encode normal and abnormal phrases, or take them from the cache, which is keyed by all that matters."""
    from safetensors.torch import save_file

    key = hashlib.sha256(json.dumps([tower_key, *phrases]).encode()).hexdigest()
    path = cache_folder() / "text" / f"{key}.safetensors"
    if path.is_file():
        try:
            stored, _ = read_safetensors(path)
            return stored["normal"], stored["abnormal"]
        except (InputError, KeyError):
            message = f"prompt embeddings kept at {path} are damaged; they are computed again."
            warnings.warn(message, ModelWarning, stacklevel=3)
    normal, abnormal = (tower(side) for side in phrases)
    try:
        with written_whole(path) as temporary:
            save_file({"normal": normal.contiguous(), "abnormal": abnormal.contiguous()}, temporary)
    except OSError as error:
        warnings.warn(
            f"prompt embeddings could not be kept in {path.parent} ({error.strerror}); they are computed each time.",
            ModelWarning,
            stacklevel=3,
        )
    return normal, abnormal


def zero_shot_architecture(name: str, weights: Path | None = None) -> ZeroShotArchitecture:
    """Describe `clip-zero-shot:MODEL`, `:MODEL:TAG` or `:MODEL:FILE`.

    The activation is the one OpenCLIP names for the weights: QuickGELU for OpenAI's. For another file it is that of
    the model's name, so `ViT-B-16-quickgelu` asks for QuickGELU.

    Raises:
        InputError: OpenCLIP knows no such model or weights.
    """
    import open_clip

    model, _, tag = name.removeprefix(ZERO_SHOT_PREFIX).partition(":")
    base = model.removesuffix("-quickgelu")
    config = openclip.clip_config(base)
    tags = open_clip.list_pretrained_tags_by_model(base)
    pretrained = tag or str(weights or ("openai" if "openai" in tags else next(iter(tags), "")))
    published = open_clip.get_pretrained_cfg(base, pretrained)
    is_quick = model != base or bool(published.get("quick_gelu")) or bool(config.get("quick_gelu"))
    if not published and not is_quick:
        is_quick = is_openai_file(find_weights(TowerSpec("openclip", base, pretrained, "gelu")))
    size = config["vision_cfg"]["image_size"]
    activation: openclip.Activation = "quick_gelu" if is_quick else "gelu"
    if not openclip.is_transformer(config):
        activation = "native"
    defaults = ZeroShotArchitecture(TowerSpec("openclip", base, pretrained, activation), size, size, blur=None)
    mean, std = published.get("mean", defaults.mean), published.get("std", defaults.std)
    return replace(defaults, mean=tuple(mean), std=tuple(std))


def _load_zero_shot(name: str, prompts: Prompts, weights: Path | None) -> LoadedModel:
    from moeclip_med.model.heads import mean_direction
    from moeclip_med.model.zero_shot import ZeroShotClip

    architecture = zero_shot_architecture(name, weights)
    opened = open_network(architecture, weights)
    network = ZeroShotClip(architecture, opened.network.visual)
    text_tower = _text_tower(opened.network, architecture.tower.name, projected=True)
    tower_key = f"{opened.sha256} {architecture.tower.activation} projected"
    features = _encode(text_tower, prompts.plain_phrases(), tower_key)
    text = torch.stack([mean_direction(side) for side in features], dim=-1)
    note = "plain CLIP: nothing was trained to find anomalies; a baseline, not MoECLIP."
    metadata = ModelMetadata(
        name=name,
        version="1",
        architecture=architecture,
        score_scale=uncalibrated_scale(architecture),
        threshold=Threshold(0.5, "where the normal and the abnormal prompts are equally near"),
        licence="none: no adapters",
        tower_licence=opened.terms,
        prompts=prompts,
        tower_sha256=opened.sha256,
        notes=(note,),
    )
    return LoadedModel(network, metadata, text, metadata.identity(), (note,))
