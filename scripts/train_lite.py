"""Train `lite` by its recipe or with one part removed, from features that all runs share.

    python scripts/train_lite.py --data industrial=PATH -o RUNS [--variant no-fofs] [--seed 1] [--epochs 1]

Every run of a comparison sees the same crops (`--crop-seed`), whose features are computed once and kept in
RUNS/features; a run goes to RUNS/VARIANT-SEED and is resumed there. Held out are the categories whose terms do not
allow shipping. `--features-only` computes the features and stops.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from moeclip_med.cli.train import read_data
from moeclip_med.model.named_architectures import LITE_INPUTS, lite_architecture
from moeclip_med.training.artefact import write_learned_model
from moeclip_med.training.lite import LiteTask
from moeclip_med.training.loop import RunOptions, make_fabric, run_training
from moeclip_med.training.settings import LiteSettings, LossWeights
from moeclip_med.training.start import start_from
from moeclip_med.weights.loading import build_network

if TYPE_CHECKING:
    from moeclip_med.model.architecture import Architecture

HELD_OUT = ("aluminium", "leather", "road_crack", "steel_strip")
NORMAL_ONLY = ("pcb",)
LICENCE = "Apache-2.0"
SYMMETRY = {"mirror", "mirror_magnitude", "asymmetry", "intensity_mirror", "mirror_gate", "mirror_nearest"}
INTENSITY = {"intensity", "intensity_mirror", "mirror_gate"}


def architectures() -> dict[str, Architecture]:
    """The network of every variant."""
    whole = lite_architecture()
    variants = dict.fromkeys(("whole", "no-etf", "no-balance", "no-fused"), whole)
    variants["no-fofs"] = replace(whole, experts=replace(whole.experts, disjoint=False))
    for name, left_out in (("no-symmetry", SYMMETRY), ("no-intensity", INTENSITY)):
        variants[name] = replace(whole, token_inputs=tuple(i for i in LITE_INPUTS if i not in left_out))
    variants["one-expert"] = replace(whole, experts=replace(whole.experts, count=1, top_k=1))
    return variants


LOSSES = {
    "no-etf": LossWeights(etf=0.0),
    "no-balance": LossWeights(balance=0.0),
    "no-fused": LossWeights(fused=0.0, fused_dice=0.0, peak=0.0),
}


def main() -> None:
    """Train one variant with one seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--variant", default="whole", choices=sorted(architectures()))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--crop-seed", type=int, default=100)
    parser.add_argument("--crops", type=int, default=LiteSettings.crops)
    parser.add_argument("--epochs", type=int, default=LiteSettings.epochs)
    parser.add_argument("--fresh-every", type=int, default=LiteSettings.fresh_every)
    parser.add_argument("--first-round", type=int, default=0)
    parser.add_argument("--start-from", action="append", default=[], help="A model, from whose weights it goes on.")
    parser.add_argument("--learning-rate", type=float, default=LiteSettings.learning_rate)
    parser.add_argument("--name", help="The run's folder under RUNS; VARIANT-SEED if not given.")
    parser.add_argument("--most-steps", type=int, help="Most steps per epoch.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--features-only", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = LiteSettings(
        seed=arguments.seed,
        crop_seed=arguments.crop_seed,
        crops=arguments.crops,
        epochs=arguments.epochs,
        fresh_every=arguments.fresh_every,
        first_round=arguments.first_round,
        learning_rate=arguments.learning_rate,
        most_steps=arguments.most_steps,
        losses=LOSSES.get(arguments.variant, LossWeights()),
        held_out=HELD_OUT,
        normal_only=NORMAL_ONLY,
    )
    network, tower = build_network(architectures()[arguments.variant], seed=arguments.seed)
    begin = start_from(network, arguments.start_from)
    settings = replace(settings, starts_from=begin.sha256)
    task = LiteTask(
        read_data(arguments.data), settings, arguments.output / "features", network=network, keeps_features=True
    )
    folder = arguments.output / (arguments.name or f"{arguments.variant}-{arguments.seed}")
    options = RunOptions(folder, settings.seed, task.settings_json())
    fabric = make_fabric(options)
    if arguments.features_only:
        for epoch in range(0, settings.epochs, settings.fresh_every):
            next(iter(task.batches(epoch, 0, fabric)))
        return
    start = time.perf_counter()

    def report(done: int, total: int, loss: float) -> None:
        if done % options.log_every == 0:
            print(f"{done}/{total} loss {loss:.3f} {time.perf_counter() - start:.0f} s", flush=True)

    progress = run_training(task, options, fabric, report)
    write_learned_model(task, tower, folder, folder / "model", progress, licence=LICENCE, start=begin)
    print(json.dumps(vars(progress)))


if __name__ == "__main__":
    main()
