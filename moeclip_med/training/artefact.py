"""From a finished run to a model folder: what the scores mean, what was learned from, under which terms."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from moeclip_med.model.architecture import FusedArchitecture
from moeclip_med.model.prompts import Prompts
from moeclip_med.training.run_state import BEST_FILE, load_trained_state
from moeclip_med.training.start import Start
from moeclip_med.training.validation import central_square, held_out_normal_samples
from moeclip_med.weights.metadata import (
    ModelMetadata,
    ScoreScale,
    Threshold,
    TrainingData,
    describe_initialization,
    uncalibrated_scale,
)
from moeclip_med.weights.store import save_model
from moeclip_med.weights.tensors import read_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from moeclip_med.industrial.datasets import IndustrialImage
    from moeclip_med.model.architecture import LearnedArchitecture
    from moeclip_med.training.lite import IndustrialTask
    from moeclip_med.training.run_state import TrainingProgress
    from moeclip_med.training.transformer import TransformerTask
    from moeclip_med.training.transformer_build import BuiltTransformer
    from moeclip_med.weights.tower_weights import OpenedTower

MAXIMA_PERCENTILE = 95.0
"""The threshold: this percentile of the map maxima of normal images, so that one in twenty would raise a finding."""

MEDIAN_SCORE = 0.02
"""The score that the median pixel of normal images gets."""

VERSIONS = {"lite": "6", "duo": "2"}
"""The version that a recipe's models get; others count from 1."""

UNKNOWN_TERMS = "not stated when the model was trained"

KNOWN_DATA: Mapping[str, tuple[str, str, str]] = {
    "magnetic_tile": (
        "Magnetic tile defects",
        "welcome to use, please cite (Huang, Qiu, Yuan: Surface defect saliency of magnetic tile, 2018/2020)",
        "https://github.com/abin24/Magnetic-tile-defect-datasets.",
    ),
    "pcb": ("DeepPCB", "MIT (Tang et al. 2019)", "https://github.com/tangsanli5201/DeepPCB"),
    "steel_strip": ("SD-saliency-900", "none stated (Song et al. 2020)", ""),
    "road_crack": (
        "CrackForest",
        "non-commercial research (Shi et al. 2016)",
        "https://github.com/cuilimeng/CrackForest-dataset",
    ),
    "ball_screw": (
        "BSData, ball screw drives",
        "CC BY-SA 4.0 (Schlagenhauf & Landwehr 2021)",
        "https://github.com/2Obe/BSData",
    ),
    "concrete": ("Concrete surface cracks", "CC BY 4.0", "https://data.mendeley.com/datasets/6x4dzzrs2h"),
    "crack_pothole": ("Cracks and potholes", "CC BY 4.0", "https://data.mendeley.com/datasets/t576ydh9v8"),
    "aluminium": ("Aluminium surface defects", "CC BY 4.0", "https://doi.org/10.6084/m9.figshare.27778473"),
    "leather": ("MVTec AD, leather", "CC BY-NC-SA 4.0", "https://www.mvtec.com/company/research/datasets/mvtec-ad"),
}
"""Name, terms and source of categories that are known by their folder's name."""


def write_learned_model(  # noqa: PLR0913 - what is known of a run
    task: IndustrialTask,
    tower: OpenedTower,
    run: Path,
    folder: Path,
    progress: TrainingProgress,
    *,
    name: str = "lite",
    licence: str,
    terms: Mapping[str, str] | None = None,
    start: Start | None = None,
) -> Path:
    """Write the model folder of a run's best checkpoint, for a network with learned prompts.

    Args:
        task: The finished task.
        tower: Its tower or towers.
        run: The run's folder.
        folder: Where the model goes.
        progress: How the run ended.
        name: What the model is called; also names its recipe.
        licence: Licence of the adapters.
        terms: Terms of use by category, where `KNOWN_DATA` does not know them.
        start: What the training began with, whose images count as trained on too.

    Returns:
        `folder`.
    """
    start = start or Start()
    state = _load_best(task, run)
    data = {one.name: one for one in (*start.training_data, *training_data(task.trained, terms or {}))}
    training = _training(name, task, progress) | ({"start": ", ".join(start.models)} if start.models else {})
    scale, threshold = measure_scale(task)
    metadata = ModelMetadata(
        name=name,
        version=VERSIONS.get(name, "1"),
        architecture=task.network.architecture,
        score_scale=scale,
        threshold=threshold,
        licence=licence,
        tower_licence=tower.terms,
        training_data=tuple(data.values()),
        training=training,
        initialization=describe_initialization(task.network.architecture),
        tower_sha256=tower.sha256,
        notes=model_notes(task.network.architecture),
    )
    save_model(folder, state, metadata)
    return folder


def model_notes(architecture: LearnedArchitecture) -> tuple[str, ...]:
    """What the user of a freshly trained model should be told, one sentence each."""
    members = architecture.members if isinstance(architecture, FusedArchitecture) else (architecture,)
    notes = ["It was measured on no medical image when it was trained."]
    if any(member.has_mirror for member in members):
        notes += [
            (
                "Where an image has a mirror axis it takes what has a mirror twin for normal: lesions on the midline "
                "or on both sides may be missed."
            ),
            "Heads tilted by more than 12° or cut off can raise false positives, for the same reason.",
        ]
    if all(member.prompts == "learned" for member in members):
        notes.append("Typed prompts are ignored: its prompts are learned vectors that know no object.")
    return tuple(notes)


def write_transformer_model(
    task: TransformerTask,
    built: BuiltTransformer,
    run: Path,
    folder: Path,
    progress: TrainingProgress,
    *,
    licence: str,
    terms: Mapping[str, str] | None = None,
) -> Path:
    """Write the model folder of a run's best checkpoint, for a tower with text.

    The score scale is measured on held-out normal images, where there are any; else it follows from the formula.
    """
    state = _load_best(task, run)
    scale, threshold = transformer_scale(task)
    metadata = ModelMetadata(
        name=built.name,
        version="1",
        architecture=task.network.architecture,
        score_scale=scale,
        threshold=threshold,
        licence=licence,
        tower_licence=built.tower_terms,
        prompts=Prompts(),
        training_data=training_data(task.trained, terms or {}),
        training=_training(built.name, task, progress),
        initialization=describe_initialization(task.network.architecture),
        tower_sha256=built.tower_sha256,
        notes=model_notes(task.network.architecture),
    )
    save_model(folder, state, metadata)
    return folder


def _load_best(task: IndustrialTask | TransformerTask, run: Path) -> dict[str, Tensor]:
    """Put the weights of a run's best checkpoint into the task's network, and return them."""
    state: dict[str, Tensor] = read_checkpoint(run / BEST_FILE)["network"]
    load_trained_state(task.network, state)
    return state


def _training(recipe: str, task: IndustrialTask | TransformerTask, progress: TrainingProgress) -> dict[str, str]:
    """Return what the metadata say of a training."""
    settings = task.settings_json()
    return {
        "recipe": recipe,
        **{name: str(value) for name, value in settings["settings"].items()},
        "images_sha256": settings["images"]["trained"],
        "held_out_images_sha256": settings["images"]["held_out"],
        "steps": str(progress.step),
        "chosen": chosen(progress),
    }


def transformer_scale(task: TransformerTask) -> tuple[ScoreScale, Threshold]:
    """Score scale and threshold from the held-out categories' normal images."""
    maps = []
    for group in task.groups:
        normal = group.images[~group.masks.any(axis=(1, 2))]
        if len(normal):
            maps.append(task.maps_of(normal, group.name))
    if not maps:
        return uncalibrated_scale(task.network.architecture), Threshold(0.5, "no normal image was held out")
    return _calibrate(np.concatenate(maps), f"{sum(map(len, maps))} held-out normal industrial images")


def chosen(progress: TrainingProgress) -> str:
    """By what the checkpoint was chosen, for the metadata."""
    return (
        f"epoch {progress.best_epoch} of {progress.epoch} by held-out industrial categories and synthetic defects, "
        f"score {progress.best_score:.4f}; no medical image was used"
    )


def measure_scale(task: IndustrialTask) -> tuple[ScoreScale, Threshold]:
    """Score scale and threshold from normal images that were never trained on.

    Half of the evidence are central squares of held-out normal industrial images, half are composites and crops made
    from them without a defect, on a black ground as medical images are.
    """
    size = task.network.architecture.image_size
    real = np.stack([central_square(image, size)[0] for image in task.held_normals])
    made = held_out_normal_samples(task.validation_mix, len(real))
    maps = task.maps_of(np.concatenate([real, made]))
    source = f"{len(real)} held-out normal industrial images and {len(made)} defect-free images made from them"
    return _calibrate(maps, source)


def _calibrate(maps: NDArray[np.float32], source: str) -> tuple[ScoreScale, Threshold]:
    scale, threshold = scale_of_normals(maps)
    return (
        ScoreScale(scale.centre, scale.spread, f"0.5 is the threshold; median pixel of {source}: {MEDIAN_SCORE}"),
        Threshold(threshold, f"{MAXIMA_PERCENTILE:g}th percentile of the map maxima of {source}"),
    )


def scale_of_normals(maps: NDArray[np.float32]) -> tuple[ScoreScale, float]:
    """The scale on which normal maps (n, m, m) have their threshold at 0.5 and their median pixel at 0.02."""
    centre = float(np.percentile(maps.max(axis=(1, 2)), MAXIMA_PERCENTILE))
    median = float(np.median(maps))
    spread = (centre - median) / float(np.log((1 - MEDIAN_SCORE) / MEDIAN_SCORE))
    return ScoreScale(centre, max(spread, 1e-3)), 0.5


def data_name(category: str) -> str:
    """What a category's images are called in the metadata."""
    return KNOWN_DATA[category][0] if category in KNOWN_DATA else category


def training_data(images: Iterable[IndustrialImage], terms: Mapping[str, str]) -> tuple[TrainingData, ...]:
    """One entry per category, with its terms."""
    counts = Counter(image.category for image in images)
    entries = []
    for category, count in sorted(counts.items()):
        name, known, source = KNOWN_DATA.get(category, (category, UNKNOWN_TERMS, ""))
        entries.append(TrainingData(name, terms.get(category, known), source, count))
    return tuple(entries)
