"""The released network, rebuilt from weights that anyone can make: noise seeded by each tensor's name."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import open_clip
import torch

from moeclip_med.model.named_architectures import paper_architecture
from moeclip_med.model.network import MoEClip
from moeclip_med.model.prompts import Prompts
from moeclip_med.model.text import TextTower
from moeclip_med.model.towers import build_tower
from moeclip_med.weights.openclip import build_clip, clip_config
from moeclip_med.weights.released import convert_released

if TYPE_CHECKING:
    from torch import Tensor


def fill(name: str, tensor: Tensor, *, experts: int = 4) -> Tensor:
    """The reference weights: noise whose seed is the tensor's released name (README of the reference numbers)."""
    if tensor.dim() == 0:
        return torch.tensor(4.6052)
    noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if tensor.dim() == 1 and name.endswith("weight"):
        return noise.mul_(0.02).add_(1)
    if name.endswith("lora_A.weight"):
        expert = int(name.split(".experts.")[1].split(".", maxsplit=1)[0])
        width = tensor.shape[1] // experts
        block = torch.zeros_like(noise)
        block[:, expert * width : (expert + 1) * width] = 1
        return noise.mul_(block).mul_(0.02)
    return noise.mul_(0.02)


def released_names(levels: int = 4, experts: int = 4) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a released image adapter for ViT-L."""
    names: dict[str, tuple[int, ...]] = {
        "det_proj.ln.weight": (1024,),
        "det_proj.ln.bias": (1024,),
        "det_proj.adapter.0.weight": (1024, 1, 3),
        "det_proj.adapter.2.weight": (768, 1024, 1),
    }
    for level in range(levels):
        names[f"seg_proj.{level}.fc.weight"] = (768, 1024)
        names[f"moe_adapters.{level}.gate.weight"] = (experts, 1024)
        for expert in range(experts):
            names[f"moe_adapters.{level}.experts.{expert}.lora_A.weight"] = (8, 1024)
            names[f"moe_adapters.{level}.experts.{expert}.lora_B.weight"] = (1024, 8)
    return names


@dataclass
class Released:
    """The released network, rebuilt: ours with the reference weights."""

    network: MoEClip
    text: TextTower
    features: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def prompts(self, name: str) -> Tensor:
        if name not in self.features:
            asked = Prompts(name)
            self.features[name] = (self.text(asked.normal_phrases()), self.text(asked.abnormal_phrases()))
        return self.network.text_adapter(*self.features[name])


def build_released(image_size: int) -> Released:
    """ViT-L/14 with plain GELU and every weight filled by its name."""
    config = clip_config("ViT-L-14-336")
    config["vision_cfg"]["image_size"] = image_size
    with torch.device("meta"):
        shapes = open_clip.CLIP(**config).state_dict()
    clip = build_clip(config, "gelu", {name: fill(name, tensor) for name, tensor in shapes.items()})
    architecture = paper_architecture(image_size=image_size, activation="gelu")
    tower = build_tower(clip.visual, architecture)
    network = MoEClip(architecture, tower).eval()
    image_adapter = {
        name: fill(f"image_adapter.{name}", torch.empty(shape)) for name, shape in released_names().items()
    }
    text_adapter = {"0.fc.0.weight": fill("text_adapter.0.fc.0.weight", torch.empty(768, 768))}
    state, _ = convert_released(image_adapter, text_adapter)
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.startswith("tower.") for name in missing)
    return Released(network, TextTower(clip, open_clip.get_tokenizer("ViT-L-14-336"), projected=False))
