"""The paper's ViT-L/14-336 through the whole benchmark, with weights that anyone can rebuild.

    python benchmarks/paper_path.py OUT [--set ColonDB=PATH --set MVTec=PATH ...]

Every weight is noise seeded by its tensor's name, as in the parity tests, so the figures mean nothing; what is shown is
that released checkpoint, tower, prompts by class, 518 pixels and published rows go through, so that for the published
table only the download is missing. Without `--set`, a few made images in the layout of ColonDB and of MVTec are
evaluated. One image takes about ten seconds on two cores; name small sets.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

from moeclip_med.cli.app import app
from moeclip_med.engines.quantization_images import made_texture

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "model"))
from released_network import fill, released_names

TOWER = "ViT-L-14-336"


def write_tower(path: Path) -> None:
    """Write the tower's weights."""
    with torch.device("meta"):
        shapes = open_clip.CLIP(**open_clip.get_model_config(TOWER)).state_dict()
    save_file({name: fill(name, tensor).contiguous() for name, tensor in shapes.items()}, path)


def write_checkpoint(path: Path) -> None:
    """Write a checkpoint as the authors released theirs."""
    image = {name: fill(f"image_adapter.{name}", torch.empty(shape)) for name, shape in released_names().items()}
    text = {"0.fc.0.weight": fill("text_adapter.0.fc.0.weight", torch.empty(768, 768))}
    torch.save({"epoch": 20, "optimizer_state_dict": {}, "text_adapter": text, "image_adapter": image}, path)


def import_model(folder: Path) -> Path:
    """Write the tower, and a model folder from the checkpoint; give the latter."""
    tower, checkpoint, model = (folder / name for name in ("tower.safetensors", "moe_20.pth", "model"))
    write_tower(tower)
    write_checkpoint(checkpoint)
    imported = ["weights", "import", str(checkpoint), "--output", str(model), "--pretrained", str(tower)]
    app(imported, standalone_mode=False)
    return model


def write_sets(folder: Path) -> list[str]:
    """Write two images as ColonDB lays them out, and a good and a bad one as MVTec does; as `--set` takes them."""
    colon, mvtec = folder / "colon", folder / "mvtec" / "leather"
    for index in range(2):
        write_picture(index, colon / "images" / f"{index}.png", colon / "masks" / f"{index}.png")
    write_picture(2, mvtec / "test" / "cut" / "000.png", mvtec / "ground_truth" / "cut" / "000_mask.png")
    write_picture(3, mvtec / "test" / "good" / "000.png", None)
    return [f"ColonDB={colon}", f"MVTec={mvtec.parent}"]


def write_picture(seed: int, image: Path, mask: Path | None) -> None:
    """Write a made texture, with a patch of another where there is a place for its mask."""
    rng = np.random.default_rng(seed)
    texture = made_texture(518, rng)
    if mask is not None:
        defect = np.zeros((518, 518), dtype=bool)
        defect[150:230, 300:400] = True
        texture[defect] = made_texture(518, rng)[defect]
        write_pixels(mask, defect)
    write_pixels(image, texture)


def write_pixels(path: Path, values: np.ndarray) -> None:
    """Write values in [0, 1] as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * values.astype(np.float32)).round().astype(np.uint8)).save(path)


def main() -> None:
    """Rebuild the weights, import the checkpoint, evaluate the sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--set", action="append", dest="sets")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        model = import_model(Path(temporary))
        sets = arguments.sets or write_sets(Path(temporary, "sets"))
        options = [part for one in sets for part in ("--set", one)]
        run = ["benchmark", "--model", str(model), "--protocol", "paper", "--output", str(arguments.output)]
        app([*run, "--engine", "torch", "--clip-zero-shot", "none", *options], standalone_mode=False)


if __name__ == "__main__":
    main()
