"""Time and memory of one training step of ViT-L/14-336 at 518 pixels, batch 2, against a reference implementation.

    python benchmarks/training_step.py [--steps 2] [--size 518]

The product's step is the one that `moeclip-med train --recipe vit-l-14-336 --values released` takes: its own
`build_transformer`, task, optimizer and Lightning Fabric. The reference computes the same losses as papers publish
them: the text tower in every step, attention weights formed in full, experts one by one with gather and scatter, every
token map resized on its own. Weights are noise seeded by name, since time and memory do not depend on them. Each
variant runs in a process of its own; memory is that process' peak, its start included.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))

from measured_models import released_rule
from reference import run_blocks, visit_experts

from moeclip_med.model.class_names import class_name
from moeclip_med.model.losses import map_loss
from moeclip_med.model.prompts import Prompts
from moeclip_med.model.text import TextTower
from moeclip_med.training.loop import RunOptions, make_fabric
from moeclip_med.training.transformer import TransformerTask, recipe_values
from moeclip_med.training.transformer_build import build_transformer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from moeclip_med.model.network import MoEClip

MODEL = "vit-l-14-336"
CATEGORIES = ("candle", "pcb1")
VARIANTS = {
    "reference implementation, float32": "32-true",
    "product, float32": "32-true",
    "product, bf16": "bf16-mixed",
    "product, bf16, recomputed": "bf16-mixed",
}
PLAIN = "reference implementation, float32"
KIB_PER_GB = 1e9 / 1024


def write_tower(path: Path) -> None:
    """Save a CLIP of OpenAI's shape whose every tensor is noise seeded by its name."""
    import open_clip

    from moeclip_med.weights.openclip import clip_config

    with torch.device("meta"):
        shapes = open_clip.CLIP(**clip_config("ViT-L-14-336")).state_dict()
    torch.save({name: released_rule().fill(name, tensor) for name, tensor in shapes.items()}, path)


def batch(size: int) -> tuple[Tensor, Tensor, list[str]]:
    """Two images of noise, a defect in each, and their categories."""
    images = [torch.randn(3, size, size, generator=torch.Generator().manual_seed(seed)) for seed in (7, 8)]
    masks = torch.zeros(2, 1, size, size, dtype=torch.bool)
    masks[0, 0, 100:180, 120:240] = masks[1, 0, 300:340, 60:200] = True
    return torch.stack(images), masks, list(CATEGORIES)


def reference_loss(
    network: MoEClip, text_tower: TextTower, images: Tensor, masks: Tensor, categories: list[str]
) -> Tensor:
    """The released losses, written out; balance and ETF do not act there."""
    phrases = [Prompts(class_name(category)) for category in categories]
    adapter = network.text_adapter
    if adapter is None:
        message = "the reference step needs a network with text"
        raise ValueError(message)
    text = torch.stack([adapter(text_tower(p.normal_phrases()), text_tower(p.abnormal_phrases())) for p in phrases])
    tower, scale = network.tower, network.architecture.logit_scale
    tokens, patches, target = images, images, masks.float()
    losses = []
    for level, stage in enumerate(tower.stages):
        mixture: Any = network.experts[level]
        tokens = visit_experts(mixture, run_blocks(stage, tokens))
        patches = tower.patches(level, tokens)
        for side in network.architecture.windows:
            pooled = functional.avg_pool2d(patches.permute(0, 3, 1, 2), side, stride=1, padding=side // 2)
            projected = network.projections[level](tower.normalise(pooled.permute(0, 2, 3, 1)))
            logits = scale * torch.matmul(functional.normalize(projected, dim=-1), text.unsqueeze(1))
            losses.append(map_loss(logits.permute(0, 3, 1, 2), target))
    embedding = network.embed_image(patches)
    image_logits = torch.matmul(embedding.unsqueeze(1), text).squeeze(1)
    losses.append(functional.cross_entropy(image_logits, masks.flatten(1).any(dim=1).long()))
    return torch.stack(losses).sum()


def steps_of(variant: str, weights: Path, size: int) -> tuple[MoEClip, Callable[[], Tensor]]:
    """The network, and a function that takes one optimizer step and gives its loss."""
    settings = replace(recipe_values("released"), recompute=variant.endswith("recomputed"), held_out=())
    built = build_transformer(MODEL, settings, CATEGORIES, weights)
    if built.network.architecture.image_size != size:
        message = f"the recipe takes {built.network.architecture.image_size} pixels, not {size}"
        raise ValueError(message)
    images, masks, categories = batch(size)
    if variant == PLAIN:
        text_tower = reference_text_tower(weights)
        network = built.network.eval()
        learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(learned, lr=settings.learning_rate, betas=settings.betas)

        def step() -> Tensor:
            optimizer.zero_grad(set_to_none=True)
            loss = reference_loss(network, text_tower, images, masks, categories)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return network, step
    task = TransformerTask((), settings, built.network, built.text)
    fabric = make_fabric(RunOptions(Path(), 0, {}, precision=VARIANTS[variant], device="cpu"))  # type: ignore[arg-type]
    network, prepared = fabric.setup(task.network, task.optimizer)
    network.mark_forward_method("forward_training")
    network.mark_forward_method("first_tokens")

    def product_step() -> Tensor:
        with fabric.autocast():
            losses, _ = task.losses(network, (images, masks, categories))
        loss = torch.stack(list(losses.values())).sum()
        prepared.zero_grad(set_to_none=True)
        fabric.backward(loss)
        prepared.step()
        return loss.detach()

    return built.network, product_step


def reference_text_tower(weights: Path) -> TextTower:
    """The text tower, run in every step."""
    import open_clip

    from moeclip_med.model.named_architectures import paper_architecture
    from moeclip_med.weights.tower_weights import open_network

    network = open_network(paper_architecture(activation="gelu"), weights).network
    return TextTower(network, open_clip.get_tokenizer("ViT-L-14-336"), projected=False)


def measure(variant: str, weights: Path, steps: int, size: int) -> dict[str, Any]:
    """Seconds a step, peak memory, and the first step's loss and gradient norms."""
    network, step = steps_of(variant, weights, size)
    seconds, loss, norms = [], None, {}
    for _ in range(steps):
        start = time.perf_counter()
        value = float(step())
        seconds.append(time.perf_counter() - start)
        if loss is None:
            loss, norms = value, dict(gradient_norms(network))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_GB
    return {"variant": variant, "seconds": seconds, "peak_gb": peak, "loss": loss, "norms": norms}


def gradient_norms(network: MoEClip) -> Iterator[tuple[str, float]]:
    """The norm of each learned tensor's gradient."""
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            yield name, float(parameter.grad.norm())


def row(result: dict[str, Any], plain: dict[str, Any]) -> str:
    """One row of the table."""
    best, of_plain = min(result["seconds"]), min(plain["seconds"])
    furthest = max(abs(norm / plain["norms"][name] - 1) for name, norm in result["norms"].items())
    return (
        f"| {result['variant']} | {best:.1f} | {100 * best / of_plain:.0f} % | {result['peak_gb']:.1f} | "
        f"{100 * result['peak_gb'] / plain['peak_gb']:.0f} % | {result['loss'] / plain['loss'] - 1:+.1e} | "
        f"{furthest:.1e} |"
    )


def main() -> None:
    """Measure every variant in its own process and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2, help="Steps in bf16; float32 takes one, as the reference.")
    parser.add_argument("--size", type=int, default=518)
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--child", choices=list(VARIANTS), help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help="Kept file of rebuilt weights; made if missing.")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.child, arguments.weights, arguments.steps, arguments.size)))
        return
    with tempfile.TemporaryDirectory() as folder:
        weights = arguments.weights or Path(folder) / "tower.pt"
        if not weights.exists():
            write_tower(weights)
        results = []
        for variant in arguments.only:
            command = [sys.executable, __file__, "--child", variant, "--weights", str(weights)]
            command += ["--steps", str(1 if "float32" in variant else arguments.steps), "--size", str(arguments.size)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - this script
            results.append(json.loads(done.stdout.strip().splitlines()[-1]))
            print(row(results[-1], results[0]), flush=True)
        print("columns: seconds a step, of the first row's, peak GB, of the first row's, loss and worst gradient norm")


if __name__ == "__main__":
    main()
