"""Sentences without what they could give away: file names, UIDs, dates and anything a header says about a patient."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SHORTEST = 3
"""Shorter values ("M", "01") are in every sentence by chance and identify nobody by themselves."""

_QUOTED = re.compile(r"[\"“]([^\"“”]*)[\"”]|'([^'\s][^']*)'")
_UID = re.compile(r"\b\d+(?:\.\d+){4,}\b")
_DATE = re.compile(r"\b(?:19|20)\d{2}[-./]?(?:0[1-9]|1[0-2])[-./]?(?:0[1-9]|[12]\d|3[01])(?:\d{6}(?:\.\d+)?)?\b")
_PATH = re.compile(r"(?:[A-Za-z]:)?(?:[\\/][^\\/\s\"':;,]+){2,}")
_IDENTIFYING_VRS = frozenset({"PN", "LO", "SH", "LT", "ST", "UT", "UC", "DA", "DT", "TM", "AS", "UI"})
_HARMLESS_KEYWORDS = frozenset(
    {"Modality", "SOPClassUID", "TransferSyntaxUID", "SpecificCharacterSet", "Manufacturer", "ManufacturerModelName"}
)
_PLACEHOLDER = "[…]"


class Redactor:
    """Takes identifying text out of sentences.

    What stands in quotation marks comes from the input, by this project's convention for messages, and goes unless
    it is a DICOM keyword. Paths, UIDs and dates go wherever they stand, and so does every value named at the start.
    """

    def __init__(self, values: Iterable[str]) -> None:
        wanted = {value.strip() for value in values if len(value.strip()) >= _SHORTEST}
        ordered = sorted(wanted, key=len, reverse=True)
        self._values = re.compile("|".join(re.escape(value) for value in ordered)) if ordered else None

    @classmethod
    def for_files(cls, files: Iterable[Path], others: Iterable[str] = ()) -> Redactor:
        """Know the names of these files and of their folders, and what the header of the first DICOM file says."""
        paths = list(files)
        values = set(others)
        for path in paths:
            values |= {str(path), path.name, path.name.split(".")[0]}
        for folder in {path.parent for path in paths}:
            values |= {str(folder), *(part for part in folder.parts if not part.isalpha() or len(part) > _SHORTEST)}
        for path in paths[:1]:
            values |= set(header_values(path))
        return cls(values)

    def __call__(self, sentence: str) -> str:
        """Give the sentence without what identifies."""
        sentence = _QUOTED.sub(_keep_keyword, sentence)
        sentence = _PATH.sub(_PLACEHOLDER, sentence)
        if self._values is not None:
            sentence = self._values.sub(_PLACEHOLDER, sentence)
        sentence = _DATE.sub(_PLACEHOLDER, _UID.sub(_PLACEHOLDER, sentence))
        return sentence.encode("utf-8", "replace").decode()


def header_values(path: Path) -> list[str]:
    """List the texts, dates and UIDs in the header of a DICOM file; nothing for other files."""
    import pydicom

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        tags = list(header.keys())
    except Exception:  # noqa: BLE001 - whatever a damaged header makes pydicom raise, it then has no values to tell
        return []
    values: list[str] = []
    for tag in tags:
        try:
            element = header[tag]
            if element.VR in _IDENTIFYING_VRS and element.keyword not in _HARMLESS_KEYWORDS and element.value:
                text = str(element.value)
                values += [text, *re.split(r"[\^\\=]", text)] if element.VR == "PN" else [text]
        except Exception:  # noqa: BLE001, S112 - a damaged element has no value; the others have
            continue
    return values


def _keep_keyword(match: re.Match[str]) -> str:
    from pydicom.datadict import tag_for_keyword

    inside = match.group(1) if match.group(1) is not None else match.group(2)
    return match.group(0) if tag_for_keyword(inside) is not None else _PLACEHOLDER
