"""Names that people give to masks, label maps and maps of probabilities."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".hdr", ".mha", ".mhd", ".nrrd", ".nhdr")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_WORDS = (
    r"(?:masks?|msk|[ad]?seg|segm|segmentations?|labels?|labelmap|lesions?|tumou?rs?|infarcts?|nodules?|wmh|roi|voi|gt"
    r"|ground[-_ ]?truth|truth|annotations?|parcellations?|d?parc|aparc|atlas|manual)"
)
_NAMED = re.compile(rf"(?:^|[^a-z]|(?<=brain)|(?<=head))({_WORDS})(?![a-z])", re.IGNORECASE)
_MAP_WORDS = (
    r"(?:prob(?:s|abilit(?:y|ies)|map|seg)?|softmax|logits?|posteriors?|pve(?:_\d)?|likelihood|pred(?:s|ictions?)?"
    r"|heat[-_ ]?maps?|saliency|confidence|uncertainty)"
)
_NAMED_MAP = re.compile(rf"(?:^|[^a-z]){_MAP_WORDS}(?![a-z])", re.IGNORECASE)
_ENDING = re.compile(rf"[-_. ]*(?:{_WORDS}|{_MAP_WORDS})$", re.IGNORECASE)
_FOLDER = re.compile(rf"{_WORDS}(?:Tr|Ts|[-_ ]?(?:train|test|val)\w*)?", re.IGNORECASE)


def stem_of(path: Path) -> str:
    """Return the name of an image file without its extension."""
    endings = VOLUME_SUFFIXES + PICTURE_SUFFIXES
    return next((path.name[: -len(end)] for end in endings if path.name.lower().endswith(end)), path.name)


def is_named_as_mask(path: Path) -> bool:
    """Return whether a file is named as a mask or label map, or lies in a folder for them."""
    return bool(_NAMED.search(stem_of(path)) or _FOLDER.fullmatch(path.parent.name))


def is_named_as_map(path: Path) -> bool:
    """Return whether a file is named as a map of probabilities."""
    return bool(_NAMED_MAP.search(stem_of(path)))


def picture_of(path: Path) -> Path | None:
    """Return the picture that a mask or map is named after, beside it or in a folder beside its own; None for none."""
    plain = _ENDING.sub("", stem_of(path))
    places = [path.parent]
    if _FOLDER.fullmatch(path.parent.name):
        places += [folder for folder in path.parent.parent.iterdir() if folder.is_dir() and folder != path.parent]
    for place in places:
        for stem in {plain, stem_of(path)}:
            for suffix in PICTURE_SUFFIXES:
                image = place / f"{stem}{suffix}"
                if image != path and image.is_file():
                    return image
    return None
