"""Train the model duo, several seeds or variants at once, from crops that all runs share.

    python scripts/train_duo.py --data industrial=PATH -o RUNS [--run fused:0 --run fused:1 ...] [--crops 32000]

For a machine with a GPU and many cores: crops are made once, by all cores, and every run reads them in the same order.
A run goes to RUNS/VARIANT-SEED with its checkpoints, its log and its validation. With `--minutes` the cosine ends after
so many minutes or after all crops, whichever comes first. `moeclip-med train --recipe duo` trains one seed of the
same network on one machine without a GPU, resumably.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from moeclip_med.industrial.datasets import IndustrialImage, LayoutName, find_images, split_categories
from moeclip_med.industrial.mix import Mix, Sample, SampleKind
from moeclip_med.model.architecture import FusedArchitecture, LearnedArchitecture
from moeclip_med.model.fused import FusedNetwork
from moeclip_med.model.named_architectures import dino_architecture, duo_architecture, lite_architecture
from moeclip_med.model.network import MoEClip
from moeclip_med.model.towers import build_tower
from moeclip_med.training.image_task import ImageTask
from moeclip_med.training.lite import training_mix
from moeclip_med.training.loop import step_values
from moeclip_med.training.settings import LiteSettings
from moeclip_med.training.validation import hold_out_normals
from moeclip_med.weights.loading import build_network

if TYPE_CHECKING:
    from numpy.typing import NDArray

HELD_OUT = ("aluminium", "leather", "road_crack", "steel_strip")
NORMAL_ONLY = ("pcb",)
PENDING = 255
ROWS_APART = 50
TWIN_INPUTS = ("mirror", "mirror_magnitude", "asymmetry", "intensity_mirror", "mirror_gate", "mirror_nearest")


def architectures() -> dict[str, LearnedArchitecture]:
    """The network of every variant."""
    fused = duo_architecture()
    lite, dino = fused.members
    twins = replace(dino, token_inputs=(*dino.token_inputs, *TWIN_INPUTS))
    small = replace(dino_architecture(grid=20), token_inputs=twins.token_inputs)
    fine = dino_architecture(grid=36)
    return {
        "fused": fused,
        "lite": lite_architecture(),
        "dino": dino,
        "dino-twin": twins,
        "fused-twin": replace(fused, members=(lite, twins)),
        "fused-twin-280": replace(fused, members=(lite, small)),
        "fused-504": replace(fused, members=(lite, fine)),
    }


def build(architecture: LearnedArchitecture, seed: int, towers: Path | None) -> MoEClip | FusedNetwork:
    """The network with fresh initial values of the learned parts; towers from the packages, or from one file."""
    if towers is None:
        return build_network(architecture, seed=seed)[0]
    if isinstance(architecture, FusedArchitecture):
        return FusedNetwork(architecture, [build(member, seed, towers) for member in architecture.members])
    network = timm.create_model(architecture.tower.name, pretrained=False)
    prefix = "lite." if "efficientnet" in architecture.tower.name else "dino."
    stored = {n.removeprefix(prefix): t for n, t in load_file(towers).items() if n.startswith(prefix)}
    missing, unknown = network.load_state_dict(stored, strict=False)
    if unknown or any(not name.startswith(("conv_head", "bn2", "classifier")) for name in missing):
        sys.exit(f"{towers}: does not fit {architecture.tower.name}")
    tower = build_tower(network, architecture)
    torch.manual_seed(seed)
    return MoEClip(architecture, tower)


@dataclass(frozen=True)
class SharedCrops:
    """Training images made by other processes, in files that are mapped by all.

    Attributes:
        folder: Where they lie.
        count: How many there will be.
        size: Side of an image in pixels.
        wanted: Side of the image that a network takes.
    """

    folder: Path
    count: int
    size: int
    wanted: int

    def open(self, mode: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.uint8]]:
        """Images, masks and kinds; a kind of `PENDING` is not there yet."""
        shapes = (("images", np.uint8, (self.count, self.size, self.size, 3)),
                  ("masks", np.bool_, (self.count, self.size, self.size)),
                  ("kinds", np.uint8, (self.count,)))  # fmt: skip
        images, masks, kinds = (
            np.memmap(self.folder / f"{name}.bin", dtype=kind, mode=mode, shape=shape)  # type: ignore[call-overload]
            for name, kind, shape in shapes
        )
        return images, masks, kinds

    def __getitem__(self, index: int) -> Sample:
        images, masks, kinds = self.open("r")
        while kinds[index] == PENDING:
            time.sleep(0.02)
        image, mask, kind = np.array(images[index]), np.array(masks[index]), SampleKind(int(kinds[index]))
        if self.wanted != self.size:
            sides = (self.wanted, self.wanted)
            image = np.asarray(Image.fromarray(image).resize(sides, Image.Resampling.BICUBIC))
            mask = np.asarray(Image.fromarray(mask).resize(sides, Image.Resampling.NEAREST), dtype=np.bool_)
        return Sample(image, mask, kind)


def make_crops(shared: SharedCrops, mix: Mix, first: int, step: int) -> None:
    """Make every `step`-th crop from number `first` on."""
    os.nice(5)
    images, masks, kinds = shared.open("r+")
    for number in range(first, shared.count, step):
        sample = mix[number]
        images[number], masks[number], kinds[number] = sample.image, sample.mask, sample.kind


class Run:
    """One network that is trained: its task, where its weights and figures go, the best score so far."""

    def __init__(
        self, name: str, options: argparse.Namespace, shared: SharedCrops, images: tuple[IndustrialImage, ...]
    ) -> None:
        variant, _, seed = name.partition(":")
        architecture = architectures()[variant]
        self.name, self.options, self.seed, self.best = name, options, int(seed), -math.inf
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.settings = make_settings(options, self.seed, architecture.image_size)
        samples = replace(shared, wanted=architecture.image_size)
        built = build(architecture, self.seed, options.towers)
        self.task = ImageTask(images, self.settings, built, samples=samples, workers=options.loaders)
        self.network = self.task.network.to(self.device)
        self.folder = options.output / f"{variant}-{seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "settings.json").write_text(json.dumps(self.task.settings_json(), indent=2))
        self.best_file = self.folder / "best.safetensors"
        if options.export:
            self.best_file = options.export / f"{variant}-{seed}.safetensors"
        self.log = (options.export or self.folder) / "log.jsonl"

    def note(self, step: int, **values: float) -> None:
        """One row of the log."""
        row = {"run": self.name, "step": step, "seconds": time.time() - self.options.started, **values}
        with self.log.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def look(self, step: int) -> None:
        """Validate, keep the weights, and keep them as the best if they are."""
        validation = self.task.validate()
        print(f"{self.name} step {step} score {validation.score:.4f}", flush=True)
        self.note(step, score=validation.score, **validation.values)
        state = {key: tensor.detach().cpu().contiguous() for key, tensor in self.network.learned_state().items()}
        header = {"run": self.name, "step": str(step), "score": f"{validation.score:.4f}"}
        save_file(state, self.folder / "last.safetensors", metadata=header)
        if validation.score > self.best:
            save_file(state, self.best_file, metadata=header)
            self.best = validation.score
        self.network.train()

    def done(self, step: int) -> float:
        """The share of the run that is over, by steps or by the clock."""
        by_steps = step / self.task.steps_per_epoch
        minutes = self.options.minutes
        return max(by_steps, (time.time() - self.options.started) / (60 * minutes) if minutes else 0.0)

    def step(self, number: int, batch: list[torch.Tensor], done: float) -> None:
        """One step of the optimizer."""
        optimizer = self.task.optimizer
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * 0.5 * (1 + math.cos(math.pi * done))
        torch.manual_seed(self.seed * 1_000_003 + number)
        images, masks, kinds = (part.to(self.device, non_blocking=True) for part in batch)
        losses, output = self.task.losses(self.network, (images, masks, kinds))
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if (number + 1) % ROWS_APART == 0:
            self.note(number + 1, **step_values(losses, output, optimizer))
            print(f"{self.name} step {number + 1} loss {float(loss.detach()):.2f}", flush=True)


def train(name: str, options: argparse.Namespace, shared: SharedCrops, images: tuple[IndustrialImage, ...]) -> None:
    """One run, from the first step to the last."""
    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high")
    run = Run(name, options, shared, images)
    print(f"{name} {sum(len(group.images) for group in run.task.groups)} validation images", flush=True)
    run.network.train()
    step, next_look = 0, 1 / options.looks
    for batch in run.task.loader(pin=run.device.type == "cuda"):
        done = run.done(step)
        if done >= 1:
            break
        run.step(step, batch, done)
        step += 1
        if done >= next_look:
            run.look(step)
            next_look += 1 / options.looks
    run.look(step)


def make_settings(options: argparse.Namespace, seed: int, size: int) -> LiteSettings:
    """The recipe of every run; the loss grid's cells are 4 pixels wide."""
    return LiteSettings(
        seed=seed, crop_seed=options.crop_seed, crops=options.crops, epochs=1, batch_size=options.batch_size,
        learning_rate=options.learning_rate, loss_side=size // 4, held_out=HELD_OUT, normal_only=NORMAL_ONLY,
        validation_synthetic=options.validation_synthetic, validation_images=options.validation_images,
    )  # fmt: skip


def main() -> None:
    """Make crops and train all runs at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=lambda text: Path(text.removeprefix("industrial=")))
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--run", action="append", default=[], help="VARIANT:SEED")
    parser.add_argument("--crops", type=int, default=32000)
    parser.add_argument("--crop-seed", type=int, default=100)
    parser.add_argument("--crop-folder", type=Path, help="Where crops are kept; RUNS/crops where not given.")
    parser.add_argument("--makers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    parser.add_argument("--loaders", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--looks", type=int, default=4, help="Validations per run.")
    parser.add_argument("--validation-synthetic", type=int, default=240)
    parser.add_argument("--validation-images", type=int, default=40)
    parser.add_argument("--export", type=Path, help="Flat folder for the best weights of each run and one log.")
    parser.add_argument("--towers", type=Path, help="All towers in one safetensors file, instead of the packages.")
    options = parser.parse_args()
    options.started = time.time()
    if options.export:
        options.export.mkdir(parents=True, exist_ok=True)
    images = find_images(options.data, LayoutName.INDUSTRIAL)
    runs = options.run or ["fused:0", "fused:1", "fused:2"]
    size = max(architectures()[run.partition(":")[0]].image_size for run in runs)
    shared = SharedCrops(options.crop_folder or options.output / "crops", options.crops, size, size)
    context: Any = torch.multiprocessing.get_context("spawn")
    shared.folder.mkdir(parents=True, exist_ok=True)
    shared.open("w+")[2][:] = PENDING
    settings = make_settings(options, 0, size)
    trained, _ = hold_out_normals(split_categories(images, settings.held_out)[0], settings.held_out_normals)
    mix = training_mix(trained, settings, size)
    makers = [context.Process(target=make_crops, args=(shared, mix, n, options.makers), daemon=True)
              for n in range(options.makers)]  # fmt: skip
    trainers = [context.Process(target=train, args=(run, options, shared, images)) for run in runs]
    for process in (*makers, *trainers):
        process.start()
    for process in trainers:
        process.join()
    for process in makers:
        process.terminate()
    codes = [process.exitcode for process in trainers]
    print("exit codes", codes, flush=True)
    sys.exit(max(map(abs, codes)))


if __name__ == "__main__":
    main()
