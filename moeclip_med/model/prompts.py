"""What the network is asked for: phrases for normal and for abnormal, and a small library of class names."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

LIBRARY_VARIABLE = "MOECLIP_MED_PROMPTS"
"""Environment variable that names the user's own library of class names."""

_NORMAL_STATES = ("{}", "a {}", "the {}")
_ABNORMAL_STATES = ("a damaged {}", "a broken {}", "a {} with flaw", "a {} with defect", "a {} with damage")
_SENTENCES = ("{}.", "a photo of {}.")

# The compositional states of WinCLIP (Jeong et al., CVPR 2023), for plain CLIP, which learned no adapter for text.
_PLAIN_NORMAL_STATES = (
    "{}",
    "flawless {}",
    "perfect {}",
    "unblemished {}",
    "{} without flaw",
    "{} without defect",
    "{} without damage",
)
_PLAIN_ABNORMAL_STATES = ("damaged {}", "{} with flaw", "{} with defect", "{} with damage")
_PLAIN_SENTENCES = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a cropped photo of the {}.",
    "a close-up photo of a {}.",
    "a bright photo of the {}.",
    "a dark photo of the {}.",
    "a blurry photo of the {}.",
    "a photo of the {} for visual inspection.",
)


@dataclass(frozen=True)
class Prompts:
    """A class name put into the paper's templates, or whole phrases in their place.

    Attributes:
        name: What the image shows, such as "scan" or "polyp". Ignored for a side that has phrases.
        normal: Whole phrases for normal, used as they are.
        abnormal: Whole phrases for abnormal, used as they are.
    """

    name: str = "scan"
    normal: tuple[str, ...] = ()
    abnormal: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse blank text.

        Raises:
            InputError: The name or a phrase is blank.
        """
        if any(not text.strip() for text in (self.name, *self.normal, *self.abnormal)):
            raise InputError('a prompt is blank; give a class name such as "scan", or whole phrases.')

    @classmethod
    def from_options(
        cls, class_name: str | None = None, normal: Sequence[str] = (), abnormal: Sequence[str] = ()
    ) -> Prompts:
        """From what a user typed: a class name or a name of the library, and whole phrases in place of templates."""
        base = cls() if class_name is None else find_prompts(class_name)
        return cls(base.name, tuple(normal) or base.normal, tuple(abnormal) or base.abnormal)

    def normal_phrases(self) -> tuple[str, ...]:
        """Every phrase that stands for normal."""
        return self.normal or _compose(_NORMAL_STATES, self.name)

    def abnormal_phrases(self) -> tuple[str, ...]:
        """Every phrase that stands for abnormal."""
        return self.abnormal or _compose(_ABNORMAL_STATES, self.name)

    def plain_phrases(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Normal and abnormal phrases for plain CLIP: more states and sentences than the adapters were trained with."""
        return (
            self.normal or _compose(_PLAIN_NORMAL_STATES, self.name, _PLAIN_SENTENCES),
            self.abnormal or _compose(_PLAIN_ABNORMAL_STATES, self.name, _PLAIN_SENTENCES),
        )


def _compose(states: Sequence[str], name: str, sentences: Sequence[str] = _SENTENCES) -> tuple[str, ...]:
    return tuple(sentence.format(state.format(name)) for state in states for sentence in sentences)


def prompt_library(path: Path | None = None) -> dict[str, Prompts]:
    """Named prompts: those that come with the package, then the user's, which win.

    The user's file is JSON like the package's: names with a class name, or with "normal" and "abnormal" phrases. It
    is looked for at `path`, else where the environment variable MOECLIP_MED_PROMPTS says, else as `prompts.json` in
    the user's configuration folder.

    Raises:
        InputError: A file is no such JSON, or a file that was named does not exist.
    """
    packaged = files("moeclip_med.model").joinpath("prompts.json").read_text(encoding="utf-8")
    library = _parse(packaged, "prompts.json of the package")
    named = path or _from_environment()
    own = named or _default_path()
    if own.is_file():
        library |= _parse(own.read_text(encoding="utf-8"), str(own))
    elif named is not None:
        raise InputError(f"{own}: no such file; name a JSON file of prompts, or unset {LIBRARY_VARIABLE}.")
    return library


def find_prompts(name: str, path: Path | None = None) -> Prompts:
    """The library's prompts of that name, or the name itself as a class name."""
    return prompt_library(path).get(name, Prompts(name=name))


def _from_environment() -> Path | None:
    value = os.environ.get(LIBRARY_VARIABLE)
    return Path(value) if value else None


def _default_path() -> Path:
    from platformdirs import user_config_path

    return user_config_path("moeclip-med") / "prompts.json"


def _parse(text: str, where: str) -> dict[str, Prompts]:
    from moeclip_med.model.json_records import from_json

    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON (line {error.lineno}: {error.msg}); correct the file.") from None
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected an object of named prompts, found {type(data).__name__}.")
    return {name: from_json(Prompts, entry, f"{where}, {name!r}") for name, entry in data.items()}
