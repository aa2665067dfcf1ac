"""OpenCLIP models: their description, and their networks with a checked activation."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Literal

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

Activation = Literal["gelu", "quick_gelu", "native"]


def clip_config(name: str) -> dict[str, Any]:
    """OpenCLIP's description of a model, a copy.

    Raises:
        InputError: OpenCLIP knows no such model, or the name fixes the activation.
    """
    import open_clip

    if name.endswith("-quickgelu"):
        raise InputError(
            f'model "{name}": the activation is part of our description, not of the name; '
            f'use "{name.removesuffix("-quickgelu")}" with activation quick_gelu.'
        )
    config: dict[str, Any] | None = open_clip.get_model_config(name)
    if config is None:
        near = difflib.get_close_matches(name, open_clip.list_models(), n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(near)}?" if near else "; see open_clip.list_models()."
        raise InputError(f'model "{name}" is not known to OpenCLIP {open_clip.__version__}{hint}')
    return config


def is_transformer(config: Mapping[str, Any]) -> bool:
    """Whether the image tower is OpenCLIP's own vision transformer, whose activation can be chosen."""
    vision = config["vision_cfg"]
    return "timm_model_name" not in vision and isinstance(vision.get("layers"), int)


def build_clip(config: Mapping[str, Any], activation: Activation, state: Mapping[str, Tensor] | None = None) -> Any:  # noqa: ANN401 - OpenCLIP is untyped
    """Build a network from its description, with given weights or random ones.

    Args:
        config: From `clip_config`.
        activation: "gelu" or "quick_gelu" for OpenCLIP's transformers, "native" for other image towers.
        state: Every tensor by OpenCLIP's own names; None for a random initialization.

    Raises:
        InputError: The activation cannot be chosen for this tower, or tensors are missing, unknown or misshapen.
    """
    import open_clip
    import torch

    from moeclip_med.weights.tensors import check_state

    arguments = dict(config)
    is_custom = bool(arguments.pop("custom_text", False)) or "hf_model_name" in arguments["text_cfg"]
    if is_transformer(config) == (activation == "native"):
        wanted = "gelu or quick_gelu" if is_transformer(config) else "native"
        raise InputError(f"tower.activation is {activation}, but this image tower takes {wanted}.")
    arguments["quick_gelu"] = activation == "quick_gelu"
    arguments.pop("multimodal_cfg", None)
    # Initial values that weights replace are never made: on "meta" a tensor is a shape without memory. Networks of timm
    # may hold buffers that no file stores, so they are built in full.
    is_light = state is not None and is_transformer(config)
    with torch.device("meta" if is_light else "cpu"):
        clip = (open_clip.CustomTextCLIP if is_custom else open_clip.CLIP)(**arguments)
    if is_transformer(config):
        check_activation(clip, activation)
    if state is not None:
        check_state(state, clip.state_dict(), where="tower weights")
        clip.load_state_dict(state, assign=is_light)
    if is_light:
        text = getattr(clip, "text", clip)
        text.attn_mask = None if text.attn_mask is None else _causal_mask(text.attn_mask.shape[0])
    return clip.float().eval()


def _causal_mask(length: int) -> Tensor:
    """The text tower's additive mask, which OpenCLIP does not store: no token sees a later one."""
    import torch

    return torch.full((length, length), float("-inf")).triu_(1)


def check_activation(clip: Any, activation: Activation) -> None:  # noqa: ANN401 - OpenCLIP is untyped
    """Make sure that the blocks hold the activation that the adapters were trained with.

    Weights of OpenAI's were trained with QuickGELU, and building them with plain GELU gives no error, only other
    numbers; so what was built is looked at.

    Raises:
        InputError: A block holds another activation.
    """
    wanted = {"gelu": "GELU", "quick_gelu": "QuickGELU"}[activation]
    text = getattr(clip, "text", clip)
    for blocks in (clip.visual.transformer.resblocks, text.transformer.resblocks):
        for block in blocks:
            built = type(block.mlp.gelu).__name__
            if built != wanted:
                raise InputError(f"the tower was built with {built}, but the model's metadata says {wanted}.")
