"""The models that have names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.model.named_architectures import duo_architecture, lite_architecture, paper_architecture
from moeclip_med.weights.cache import models_folder
from moeclip_med.weights.store import METADATA

if TYPE_CHECKING:
    from collections.abc import Callable

    from moeclip_med.model.architecture import Architecture, LearnedArchitecture

ZERO_SHOT_PREFIX = "clip-zero-shot:"
PACKAGED = ("lite", "duo")
"""Models whose adapters come with the package."""


@dataclass(frozen=True)
class NamedModel:
    """A model that is known by name, whether or not its adapters are on this machine.

    Attributes:
        name: What the user types.
        summary: One line for `weights list`.
        architecture: Makes the description that `train` starts from.
    """

    name: str
    summary: str
    architecture: Callable[[], LearnedArchitecture]

    @property
    def folder(self) -> Path:
        """Where its model folder lies: the newest version in the package, else in the cache folder."""
        versions = packaged_versions(self.name)
        return versions[max(versions)] if versions else models_folder() / self.name

    @property
    def is_ready(self) -> bool:
        """Whether its adapters are on this machine."""
        return (self.folder / METADATA).is_file()


def packaged_versions(name: str) -> dict[int, Path]:
    """The model folders that come with the package, by version."""
    root = Path(str(files("moeclip_med.weights").joinpath("data", name)))
    return {int(path.parent.name): path.parent for path in root.glob(f"*/{METADATA}")}


def _vit_b_16() -> Architecture:
    return paper_architecture("ViT-B-16", width=512, depth=12, image_size=512)


def _vit_l_14() -> Architecture:
    return paper_architecture("ViT-L-14")


def _mobileclip_s1() -> Architecture:
    base = paper_architecture("MobileCLIP-S1", "datacompdr", width=512, depth=4, image_size=512)
    tower = replace(base.tower, activation="native")
    return replace(
        base, tower=tower, levels=(2, 3, 4), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), corners_aligned=False
    )


NAMED_MODELS = {
    model.name: model
    for model in (
        NamedModel("lite", "comes with the package: small convolutional tower, learned prompts", lite_architecture),
        NamedModel(
            "duo",
            "comes with the package, its second tower by the extra duo: lite and DINOv2-S in one network",
            duo_architecture,
        ),
        NamedModel("vit-l-14-336", "the paper's tower, OpenAI's ViT-L/14 at 518 pixels", paper_architecture),
        NamedModel("vit-l-14", "OpenAI's ViT-L/14 (trained at 224) at 518 pixels", _vit_l_14),
        NamedModel("vit-b-16", "OpenAI's ViT-B/16 at 512 pixels", _vit_b_16),
        NamedModel("mobileclip-s1", "MobileCLIP-S1, a small convolutional tower with text, at 512", _mobileclip_s1),
    )
}


def find_folder(name_or_path: str) -> Path:
    """The model folder of a name, of a name's version such as `lite@5`, or of a path.

    Raises:
        InputError: No such model or version, or a named one whose adapters were never trained or imported here.
    """
    name, separator, version = name_or_path.partition("@")
    if separator and (versions := packaged_versions(name)):
        found = versions.get(int(version)) if version.isdecimal() else None
        if found is None:
            there = ", ".join(f"{name}@{number}" for number in sorted(versions))
            raise InputError(f'model "{name_or_path}": no such version; the package has {there}.')
        return found
    named = NAMED_MODELS.get(name_or_path)
    if named is None:
        path = Path(name_or_path).expanduser()
        imported = models_folder() / name_or_path
        if path.is_dir():
            return path
        if Path(name_or_path).name == name_or_path and (imported / METADATA).is_file():
            return imported
        names = ", ".join(NAMED_MODELS)
        raise InputError(
            f'model "{name_or_path}" is neither a name nor a folder; names are {names}, '
            f"{ZERO_SHOT_PREFIX}<open_clip name>."
        )
    if named.is_ready:
        return named.folder
    if named.name in PACKAGED:
        raise InputError(f"the adapters of {named.name} are missing in the package; reinstall moeclip-med.")
    raise InputError(
        f'model "{named.name}" has no adapters on this machine, and an untrained model scores nothing; make them with '
        f'"moeclip-med train --recipe {named.name}" and name the folder it writes, or bring them with '
        f'"moeclip-med weights import CHECKPOINT --name {named.name}".'
    )
