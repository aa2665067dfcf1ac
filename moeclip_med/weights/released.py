"""The authors' released checkpoints, turned into our names; shapes tell what they can."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_RENAMED = {
    "det_proj.ln.weight": "image_head.norm.weight",
    "det_proj.ln.bias": "image_head.norm.bias",
    "det_proj.adapter.0.weight": "image_head.depthwise.weight",
    "det_proj.adapter.2.weight": "image_head.pointwise.weight",
}
_TEXT_NAME = "0.fc.0.weight"
_PROJECTION = re.compile(r"seg_proj\.(\d+)\.fc\.(?:0\.)?weight")
_ROUTER = re.compile(r"moe_adapters\.(\d+)\.gate\.weight")
_EXPERT = re.compile(r"moe_adapters\.(\d+)\.experts\.(\d+)\.lora_([AB])\.weight")


@dataclass(frozen=True)
class ReleasedShapes:
    """What the shapes of a released checkpoint tell.

    Attributes:
        levels: Number of levels with experts.
        experts: Experts per level.
        rank: Rank of each expert.
        width: Width of the image tower.
        out_width: Width of the prompts' space.
        text_width: Width of the text tower.
        ends_with_activation: Whether projections end with LeakyReLU.
    """

    levels: int
    experts: int
    rank: int
    width: int
    out_width: int
    text_width: int
    ends_with_activation: bool


def convert_released(
    image_adapter: Mapping[str, Tensor], text_adapter: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], ReleasedShapes]:
    """Rename released tensors, stacking experts.

    Returns:
        The learned state by our names, and what the shapes tell.

    Raises:
        InputError: A tensor is unknown or missing.
    """
    state: dict[str, Tensor] = {}
    experts: dict[tuple[int, str], dict[int, Tensor]] = {}
    for name, tensor in image_adapter.items():
        if name in _RENAMED:
            state[_RENAMED[name]] = tensor
        elif match := _PROJECTION.fullmatch(name):
            state[f"projections.{match[1]}.0.weight"] = tensor
        elif match := _ROUTER.fullmatch(name):
            state[f"experts.{match[1]}.router"] = tensor
        elif match := _EXPERT.fullmatch(name):
            experts.setdefault((int(match[1]), match[3]), {})[int(match[2])] = tensor
        else:
            raise InputError(f'released checkpoint: unknown tensor "image_adapter.{name}".')
    for (level, matrix), parts in experts.items():
        state[f"experts.{level}.{'down' if matrix == 'A' else 'up'}"] = _stack(parts, level, matrix)
    if set(text_adapter) != {_TEXT_NAME}:
        names = ", ".join(sorted(text_adapter)) or "nothing"
        raise InputError(f'released checkpoint: "text_adapter" holds {names}, expected {_TEXT_NAME}.')
    state["text_adapter.linear.weight"] = text_adapter[_TEXT_NAME]
    return state, _read_shapes(state, ends_with_activation=any(".fc.0." in name for name in image_adapter))


def _stack(parts: dict[int, Tensor], level: int, matrix: str) -> Tensor:
    missing = sorted(set(range(max(parts) + 1)) - set(parts))
    if missing:
        raise InputError(f"released checkpoint: level {level} lacks lora_{matrix} of expert {missing[0]}.")
    return torch.stack([parts[index] for index in sorted(parts)])


def _read_shapes(state: Mapping[str, Tensor], *, ends_with_activation: bool) -> ReleasedShapes:
    needed = [
        "experts.0.down",
        "experts.0.up",
        "experts.0.router",
        "projections.0.0.weight",
        *_RENAMED.values(),
    ]
    for name in needed:
        if name not in state:
            raise InputError(f'released checkpoint: nothing that corresponds to "{name}".')
    levels = len([name for name in state if name.endswith(".router")])
    count, rank, width = state["experts.0.down"].shape
    out_width, text_width = state["text_adapter.linear.weight"].shape
    return ReleasedShapes(levels, count, rank, width, out_width, text_width, ends_with_activation)


def released_parts(checkpoint: Any, where: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:  # noqa: ANN401
    """The image and text adapters of a loaded checkpoint.

    Raises:
        InputError: It is not organised like a released checkpoint.
    """
    parts = ("image_adapter", "text_adapter")
    if not isinstance(checkpoint, dict) or any(not isinstance(checkpoint.get(part), dict) for part in parts):
        keys = ", ".join(map(str, checkpoint)) if isinstance(checkpoint, dict) else type(checkpoint).__name__
        raise InputError(f'{where}: expected "image_adapter" and "text_adapter", found {keys[:200]}.')
    return checkpoint["image_adapter"], checkpoint["text_adapter"]
