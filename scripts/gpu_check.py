"""Check on one GPU what cannot be checked without one, and print images per second; about a minute and a half.

    python scripts/gpu_check.py [--json FILE]

Networks have fresh values (no download, and neither speed nor agreement depends on them): lite, the duo
model, and a ViT-L/14 at 518 pixels for one training step. Checked are scoring on CUDA against the CPU, half precision,
`torch.compile`, copies from pinned memory, and the training step. Without a GPU it says so and ends with code 2.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from moeclip_med.model.architecture import Architecture, FusedArchitecture, LearnedArchitecture
from moeclip_med.model.fused import FusedNetwork
from moeclip_med.model.named_architectures import dino_architecture, duo_architecture, lite_architecture
from moeclip_med.model.network import MoEClip
from moeclip_med.model.towers import build_tower
from moeclip_med.training.objectives import industrial_losses
from moeclip_med.training.settings import LossWeights

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 32
SECONDS = 1.5
"""How long each speed is measured."""
NO_GPU = 2


def build(architecture: LearnedArchitecture) -> MoEClip | FusedNetwork:
    """A network with fresh values."""
    import timm

    if isinstance(architecture, FusedArchitecture):
        members = [build(member) for member in architecture.members]
        return FusedNetwork(architecture, [member for member in members if isinstance(member, MoEClip)]).eval()
    torch.manual_seed(0)
    tower = build_tower(timm.create_model(architecture.tower.name, pretrained=False), architecture)
    return MoEClip(architecture, tower).eval()


def rate(work: Callable[[], object], images: int) -> float:
    """Images per second, after three runs that do not count."""
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    start, runs = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        work()
        torch.cuda.synchronize()
        runs += 1
    return runs * images / (time.perf_counter() - start)


def differs(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference of two maps, as a share of the spread of the second."""
    return float((ours.float().cpu() - theirs).abs().max() / theirs.std())


@torch.inference_mode()
def check_scoring(name: str, network: MoEClip | FusedNetwork, *, compiled: bool) -> dict[str, float]:
    """Maps on CUDA against the CPU, and images per second, in single and half precision."""
    size = network.architecture.image_size
    images = torch.rand(BATCH, 3, size, size)
    expected = network(images[:2]).maps
    network = network.cuda()
    moved = images.cuda()
    found: dict[str, float] = {}
    kinds: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
    for label, dtype in kinds.items():

        def run(count: int = BATCH, dtype: torch.dtype | None = dtype) -> torch.Tensor:
            with torch.autocast("cuda", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
                maps: torch.Tensor = network(moved[:count]).maps
            return maps

        found[f"{name} {label}: difference from the CPU"] = differs(run(2), expected)
        found[f"{name} {label}: images/s"] = rate(run, BATCH)
    if compiled:
        start = time.perf_counter()
        fast: Any = torch.compile(network)

        def run_compiled() -> torch.Tensor:
            with torch.autocast("cuda", dtype=torch.bfloat16):
                maps: torch.Tensor = fast(moved).maps
            return maps

        run_compiled()
        torch.cuda.synchronize()
        found[f"{name} bfloat16, torch.compile: first call, s"] = time.perf_counter() - start
        found[f"{name} bfloat16, torch.compile: images/s"] = rate(run_compiled, BATCH)
    return found


def check_copies() -> dict[str, float]:
    """Gigabytes per second from pageable and from pinned memory."""
    host = torch.rand(64, 3, 518, 518)
    size = host.numel() * host.element_size() / 1e9
    pinned = host.pin_memory()
    return {
        "copy from pageable memory: GB/s": rate(host.cuda, 1) * size,
        "copy from pinned memory: GB/s": rate(lambda: pinned.cuda(non_blocking=True), 1) * size,
    }


def check_training() -> dict[str, float]:
    """One step of a ViT-L/14 at 518 pixels, batch 4, bfloat16: experts, projections, losses, AdamW."""
    architecture: Architecture = replace(
        dino_architecture("vit_large_patch14_clip_336", "none", depth=24, grid=37), token_inputs=("normalised",)
    )
    network = build(architecture)
    network.train().cuda()
    images, masks = torch.rand(4, 3, 518, 518).cuda(), torch.rand(4, 64, 64).cuda() > 0.9  # noqa: PLR2004
    kinds = torch.zeros(4, dtype=torch.uint8).cuda()
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-4)
    losses: list[float] = []

    def step() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = torch.stack(
                list(industrial_losses(network.forward_images(images), masks, kinds, LossWeights()).values())
            ).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))

    torch.cuda.reset_peak_memory_stats()
    speed = rate(step, 4)
    if not losses[-1] < losses[0]:
        sys.exit(f"the loss of the training step did not fall: {losses[0]:.3f} → {losses[-1]:.3f}")
    return {
        "ViT-L/14 at 518, training: images/s": speed,
        "ViT-L/14 at 518, training: peak GB": torch.cuda.max_memory_allocated() / 1e9,
        "ViT-L/14 at 518, training: loss before": losses[0],
        "ViT-L/14 at 518, training: loss after": losses[-1],
    }


def main() -> None:
    """Run every check and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="Also write the figures here.")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU: nothing was checked")
        sys.exit(NO_GPU)
    warnings.simplefilter("ignore", FutureWarning)
    found: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    started = time.perf_counter()
    found |= check_copies()
    found |= check_scoring("lite", build(lite_architecture()), compiled=True)
    found |= check_scoring("duo", build(duo_architecture()), compiled=False)
    found |= check_training()
    found["seconds in all"] = time.perf_counter() - started
    for name, value in found.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
