"""A checkpoint laid out like the ones that the authors released."""

from __future__ import annotations

import torch


def released_checkpoint(levels=4, experts=4, rank=4, width=64, text_width=32, out_width=32, *, activated=False) -> dict:
    """A checkpoint laid out like the authors', with random weights."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape):
        return 0.02 * torch.randn(shape, generator=generator)

    image = {
        "det_proj.ln.weight": 1 + noise(width),
        "det_proj.ln.bias": noise(width),
        "det_proj.adapter.0.weight": noise(width, 1, 3),
        "det_proj.adapter.2.weight": noise(out_width, width, 1),
    }
    block = width // experts
    for level in range(levels):
        image[f"seg_proj.{level}.fc.{'0.' if activated else ''}weight"] = noise(out_width, width)
        image[f"moe_adapters.{level}.gate.weight"] = noise(experts, width)
        for expert in range(experts):
            down = torch.zeros(rank, width)
            down[:, expert * block : (expert + 1) * block] = noise(rank, block)
            image[f"moe_adapters.{level}.experts.{expert}.lora_A.weight"] = down
            image[f"moe_adapters.{level}.experts.{expert}.lora_B.weight"] = noise(width, rank)
    text = {"0.fc.0.weight": noise(out_width, text_width)}
    return {"epoch": 20, "optimizer_state_dict": {"state": {}}, "text_adapter": text, "image_adapter": image}
