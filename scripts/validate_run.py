"""Score a run's best checkpoint, or a model folder, on the held-out industrial validation of today's recipe.

Runs whose own validation differed (other synthetic families) are compared by this one number.

    python scripts/validate_run.py FOLDER --data industrial=PATH --hold-out steel_strip --hold-out road_crack ...

FOLDER holds either `best.pt` (a run) or `adapters.safetensors` (a model).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from moeclip_med.cli.train import read_data
from moeclip_med.training.lite import LiteTask
from moeclip_med.training.run_state import BEST_FILE, load_trained_state
from moeclip_med.training.settings import LiteSettings
from moeclip_med.weights.tensors import read_safetensors


def main() -> None:
    """Print the selection score and every figure behind it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--hold-out", action="append", required=True)
    arguments = parser.parse_args()
    settings = LiteSettings(held_out=tuple(arguments.hold_out))
    task = LiteTask(read_data(arguments.data), settings, arguments.folder / "features")
    run = arguments.folder / BEST_FILE
    if run.exists():
        state = torch.load(run, map_location="cpu", weights_only=True)["network"]
    else:
        state, _ = read_safetensors(arguments.folder / "adapters.safetensors")
    load_trained_state(task.network, state)
    validation = task.validate()
    print(json.dumps({"score": validation.score, **validation.values}, indent=2))


if __name__ == "__main__":
    main()
