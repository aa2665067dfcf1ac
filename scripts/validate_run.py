"""Score a run's best checkpoint, or a model folder, on the held-out industrial validation of today's recipe.

Runs whose own validation differed (other synthetic families) are compared by this one number.

    python scripts/validate_run.py FOLDER --data industrial=PATH --hold-out steel_strip --hold-out road_crack ...

FOLDER holds either `best.pt` (a run) or `metadata.json` (a model).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from moeclip_transforms.errors import InputError

from moeclip_med.cli.train import read_data
from moeclip_med.model.architecture import Architecture
from moeclip_med.model.zero_shot import ZeroShotClip
from moeclip_med.training.image_task import ImageTask
from moeclip_med.training.run_state import BEST_FILE, SETTINGS_FILE, load_trained_state
from moeclip_med.training.settings import LiteSettings
from moeclip_med.weights import load_model
from moeclip_med.weights.loading import build_network

if TYPE_CHECKING:
    from moeclip_med.model.fused import FusedNetwork
    from moeclip_med.model.network import MoEClip


def network_of(folder: Path) -> MoEClip | FusedNetwork:
    """The network of a model's folder, or of a run's best checkpoint."""
    run = folder / BEST_FILE
    if not run.exists():
        network = load_model(str(folder)).network
        if isinstance(network, ZeroShotClip):
            raise InputError(f'"{folder}" holds a model without learned parts; name a run or a trained model.')
        return network
    settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    network, _ = build_network(Architecture.from_json(settings["architecture"]))
    load_trained_state(network, torch.load(run, map_location="cpu", weights_only=True)["network"])
    return network


def main() -> None:
    """Print the selection score and every figure behind it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--hold-out", action="append", required=True)
    arguments = parser.parse_args()
    settings = LiteSettings(held_out=tuple(arguments.hold_out))
    task = ImageTask(read_data(arguments.data), settings, network_of(arguments.folder))
    validation = task.validate()
    print(json.dumps({"score": validation.score, **validation.values}, indent=2))


if __name__ == "__main__":
    main()
