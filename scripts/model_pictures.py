"""Pictures for the model card, of simulated images: what a model finds and misses, and where its experts work.

    python scripts/model_pictures.py MODEL docs/images

Writes `NAME-failures.png` (each simulated head above its score map, with what is drawn into it outlined) and
`NAME-routing.png` (for one head, the expert with the largest weight at every patch, one map per level). The heads are
ellipses and smooth noise: no patient is in them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy import ndimage

from moeclip_med.industrial.fields import ellipse_level, smooth_noise, soften, turn_and_shift
from moeclip_med.weights import load_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeclip_med.weights import LoadedModel

SIZE, SHOWN = 256, 192
COLOURS = np.array([(68, 119, 170), (238, 102, 119), (34, 136, 51), (204, 187, 68)], dtype=np.uint8)
"""Of experts 1 to 4; told apart with colour blindness too."""


@dataclass(frozen=True)
class PictureCase:
    """A simulated head.

    Attributes:
        title: What is drawn into it, and what one would want.
        spots: Lesions as (row, column, half-axis in rows, half-axis in columns, grey value added).
        tilt: Degrees.
        is_cut: Whether a quarter of the head lies outside the image.
    """

    title: str
    spots: tuple[tuple[float, float, float, float, float], ...] = ()
    tilt: float = 0.0
    is_cut: bool = False


CASES = (
    PictureCase("one-sided lesion", ((110, 178, 20, 16, 0.28),)),
    PictureCase("nothing"),
    PictureCase("alike on both sides", ((115, 180, 14, 11, 0.28), (115, 76, 14, 11, 0.28))),
    PictureCase("on the midline", ((165, 128, 16, 14, 0.28),)),
    PictureCase(
        "spots of 3 to 6 pixels", tuple((r, c, a, a, 0.3) for r, c, a in ((80, 90, 2), (95, 165, 3), (150, 85, 1.5)))
    ),
    PictureCase("even, faint lesion", ((120, 170, 28, 24, 0.07),)),
    PictureCase("one-sided, tilted by 10°", ((110, 178, 20, 16, 0.28),), tilt=10.0),
    PictureCase("nothing, tilted by 10°", tilt=10.0),
    PictureCase("nothing, tilted by 25°", tilt=25.0),
    PictureCase("nothing, cut off", is_cut=True),
)


def head(case: PictureCase, seed: int = 3) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A head of ellipses: skull, brain, ventricles, some noise; (size, size) grey and where the lesions are."""
    rng = np.random.default_rng(seed)
    skull = ellipse_level(SIZE, (128, 128), (120, 98), 0.0) > 0
    brain = ellipse_level(SIZE, (128, 128), (106, 84), 0.0) > 0
    image = 0.55 * soften(skull, 1) + (0.38 - 0.55) * soften(brain, 1.5)
    half = smooth_noise(SIZE, 9, rng)
    texture = (half + half[:, ::-1]) / 2
    image = image + 0.03 * texture * brain
    for side in (-1, 1):
        ventricle = ellipse_level(SIZE, (120, 128 + side * 16), (30, 8), side * 0.3) > 0
        image = image - 0.25 * soften(ventricle, 1.5)
    lesions = np.zeros((SIZE, SIZE), dtype=bool)
    for row, column, first, second, step in case.spots:
        spot = ellipse_level(SIZE, (row, column), (first, second), 0.4) > 0
        image = image + step * soften(spot, 1.2)
        lesions |= spot
    image = np.asarray(image + 0.01 * rng.standard_normal((SIZE, SIZE)) * skull, dtype=np.float32)
    shift = (0.0, 60.0) if case.is_cut else (0.0, 0.0)
    placed = [
        turn_and_shift(field.astype(np.float32), np.deg2rad(case.tilt), 1.0, shift, order)
        for field, order in ((image, 1), (lesions, 0))
    ]
    return np.clip(placed[0], 0, 1), placed[1] > 0


@torch.inference_mode()
def scores(model: LoadedModel, image: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[NDArray[np.uint8]]]:
    """The score map (size, size) in [0, 1], and the routing of every level."""
    architecture = model.metadata.architecture
    side = architecture.image_size
    sized = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC) if side != SIZE else image
    batch = torch.from_numpy(np.repeat(np.asarray(sized)[None, None], 3, axis=1)).clamp(0, 1)
    mean, std = (torch.tensor(values)[:, None, None] for values in (architecture.mean, architecture.std))
    output = model.network((batch - mean) / std, model.text, want_routing=True)
    score = model.metadata.score_scale.score(output.maps[0].numpy())
    large = Image.fromarray(score.astype(np.float32)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(large), [level[0].numpy() for level in output.routing or ()]


def tile(field: NDArray[np.float32], outline: NDArray[np.bool_], note: str) -> Image.Image:
    """A grey picture with the lesions outlined and a note above it."""
    grey = np.repeat((np.clip(field, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)
    edge = ndimage.binary_dilation(outline, iterations=3) & ~ndimage.binary_dilation(outline, iterations=1)
    grey[edge] = (255, 160, 0)
    picture = Image.new("RGB", (SHOWN + 6, SHOWN + 20), "white")
    picture.paste(Image.fromarray(grey).resize((SHOWN, SHOWN), Image.Resampling.LANCZOS), (3, 18))
    ImageDraw.Draw(picture).text((4, 3), note, fill="black")
    return picture


def side_by_side(rows: list[list[Image.Image]]) -> Image.Image:
    """Pictures of one size as a table."""
    width, height = rows[0][0].size
    sheet = Image.new("RGB", (width * max(map(len, rows)), height * len(rows)), "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (column * width, row * height))
    return sheet


def main() -> None:
    """Write both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    heads, maps = [], []
    for case in CASES:
        image, lesions = head(case)
        score, _ = scores(model, image)
        heads.append(tile(image, lesions, case.title))
        maps.append(tile(score, lesions, f"highest score {score.max():.2f}"))
        print(f"{case.title}: highest score {score.max():.3f}")
    half = len(CASES) // 2
    rows = [heads[:half], maps[:half], heads[half:], maps[half:]]
    side_by_side(rows).save(arguments.folder / f"{model.metadata.name}-failures.png", optimize=True)
    image, lesions = head(CASES[0])
    _, routing = scores(model, image)
    pictures = [tile(image, lesions, CASES[0].title)]
    for number, level in enumerate(routing, start=1):
        coloured = Image.fromarray(COLOURS[level]).resize((SHOWN, SHOWN), Image.Resampling.NEAREST)
        picture = Image.new("RGB", pictures[0].size, "white")
        picture.paste(coloured, (3, 18))
        share = np.bincount(level.ravel(), minlength=len(COLOURS)) / level.size
        note = f"level {number}: " + " ".join(f"{100 * part:.0f}" for part in share) + " %"
        ImageDraw.Draw(picture).text((4, 3), note, fill="black")
        pictures.append(picture)
    side_by_side([pictures]).save(arguments.folder / f"{model.metadata.name}-routing.png", optimize=True)


if __name__ == "__main__":
    main()
