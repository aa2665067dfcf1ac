"""Sentences without what they could give away: file names, UIDs, dates and anything a header says about a patient."""

from __future__ import annotations

import re
import unicodedata
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from moeclip_transforms.modality import known_modality
from moeclip_transforms.naming import OWN_NAME
from moeclip_transforms.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from pydicom import DataElement, Dataset

_SHORTEST = 3
"""Shorter values ("M", "01") are in every sentence by chance and identify nobody by themselves."""
_SHORTEST_NAME = 2
"""Parts of a person's name ("Wu") are looked for as words of their own."""
_MOST_FILES = 2000
"""So many headers are read for their values: more than the slices of nearly every study."""

_DEEPEST, _MOST_ITEMS = 4, 10
"""How far sequences are searched."""
_LONGEST_CODE = 16
"""Characters of a code string (PS3.5, 6.2)."""

_UID = re.compile(r"\b\d+(?:\.\d+){4,}\b")
_DATE = re.compile(
    r"\b(?:1[89]|2[0-9])\d{2}[-./]?(?:0[1-9]|1[0-2])[-./]?(?:0[1-9]|[12]\d|3[01])(?:[T ]?\d{2}[\d:.]*)?\b"
    r"|\b(?:0?[1-9]|[12]\d|3[01])[./-](?:0?[1-9]|1[0-2])[./-](?:1[89]|2[0-9])\d{2}\b"
)
_PATH = re.compile(r"(?:[A-Za-z]:)?(?:[\\/][^\\/\s\"':;,]+){2,}|\\\\[^\s\"':;,]+|\bfile:\S+")
_QUOTES = re.compile("[\"“”„‟«»‹›‘’‚‛`´]|(?<!\\w)'|'(?!\\w)")
_OPENS, _CLOSES = frozenset("\"“„«‹‘‚`'"), frozenset("\"”‟“»›’‛´`'")
_IDENTIFYING_VRS = frozenset({"PN", "LO", "SH", "LT", "ST", "UT", "UC", "DA", "DT", "TM", "AS", "UI"})
_HARMLESS_KEYWORDS = frozenset({"SOPClassUID", "TransferSyntaxUID", "SpecificCharacterSet"})
_ONE_WORD = re.compile("[A-Za-z]+")
"""Other scripts do not all part words by spaces."""
_PLACEHOLDER = "[…]"
_SAID = """
about acquired affine all and angles annotation another any archive are array as atlas available axial axis background
bits black body both brain brightness bytes cannot capture case channel chest cine code colour colours compressed
contrast copies copy coronal cut damaged data date dates dicom dicomdir different digits dimensions direction document
dose echo empty encoded error expected export file files finding findings folder for format frame frames from gantry
gap gaps gives grid head header headers held high hold holds identifier image images index input instance instead
intensity is its kind label labels largest length less level line lines list lists localizer low lowest lung magnitude
make many map maps mask masks measured medical memory missing modality model more mosaic name names neck nifti no none
nor not number numbers object one only order orientation original other out overlay page pages part parts patient
patients phase photograph picture pictures pixel pixels place plane point points position positions preset private
probability range raw read regular report reports rescale result results row rows sagittal same scan scanner score
scout screen second see segmentation sequence series set several shape shares show signal single size slice slices
some source space spacing spine stack stored studies study table taken text the their them there they thick this
thorax tilt time times tissue too total type under unit units used value values view volume volumes voxel voxels wall
was were which white whole window with without word words years zero
"""
_OWN_WORDS = frozenset(_SAID.split())
"""What sentences of this project say of any image: such a word tells nothing of a patient whose name it happens to be.
Where the name itself is meant, it stands in quotation marks and goes."""


class Value(NamedTuple):
    """A text that identifies.

    Attributes:
        text: The text.
        is_word: Whether it goes only where it is a word of its own: a part of a person's name.
    """

    text: str
    is_word: bool = False


class Redactor:
    """Takes identifying text out of sentences.

    Values known to identify go wherever they stand, in any case and however they are spaced; so do paths, UIDs and
    dates. What stands in quotation marks comes from the input, by this project's convention for messages, and goes
    unless it is a DICOM keyword; everything from the first such mark to the last, where what is between them could
    hold a mark of its own. A single word goes where it is a word of its own, and stays where any such sentence has it
    ("series", "head").
    """

    def __init__(self, values: Iterable[str], later: Callable[[], Iterable[Value]] | None = None) -> None:
        """Take values that identify.

        Args:
            values: Known now.
            later: Gives further ones, asked when the first sentence comes: most studies need no redaction.
        """
        self._given = tuple(Value(value) for value in values)
        self._later = later

    @classmethod
    def for_files(cls, files: Iterable[Path], others: Iterable[str] = ()) -> Redactor:
        """Know the names of these files and of their folders, and what the headers of DICOM files among them say."""
        paths = list(files)

        def values() -> Iterator[Value]:
            for path in paths:
                yield from map(Value, (str(path), path.name, path.name.split(".")[0], path.stem))
            for folder in {path.parent for path in paths}:
                yield Value(str(folder))
                yield from (Value(part) for part in folder.parts if not part.isalpha() or len(part) > _SHORTEST)
            for path in paths[:_MOST_FILES]:
                yield from header_values(path)

        return cls(others, values)

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        """What is searched for: the longest first, so that no part of a value survives beside another."""
        found = [*self._given, *(() if self._later is None else self._later())]
        told = {(_plain(value.text), value.is_word) for value in found}
        kept = {(text, is_word) for text, is_word in told if text.lower() not in _OWN_WORDS}
        single = {text for text, is_word in kept if _ONE_WORD.fullmatch(text) and (is_word or len(text) >= _SHORTEST)}
        values = {text for text, is_word in kept if not is_word} - single
        names = {text for text, is_word in kept if is_word} - single
        parts = [_loose(text) for text in _longest_first(values, _SHORTEST)]
        parts += [rf"(?<![^\W\d_]){text}(?![^\W\d_])" for text in _longest_first(single, _SHORTEST_NAME)]
        parts += [rf"(?<!\w){_loose(text)}(?!\w)" for text in _longest_first(names, _SHORTEST_NAME)]
        return re.compile("|".join(parts), re.IGNORECASE) if parts else None

    def __call__(self, sentence: str) -> str:
        """Return the sentence without what identifies, on one line."""
        if not sentence:
            return ""
        sentence = _plain(sentence)
        if self._pattern is not None:
            sentence = self._pattern.sub(_PLACEHOLDER, sentence)
        sentence = _unquote(sentence)
        sentence = _PATH.sub(_PLACEHOLDER, sentence)
        return _DATE.sub(_PLACEHOLDER, _UID.sub(_PLACEHOLDER, sentence))


def header_values(path: Path) -> list[Value]:
    """List the texts, dates and UIDs in the header of a DICOM file, in sequences too; nothing for other files."""
    from moeclip_transforms.dicom_header import read_header

    values: list[Value] = []
    try:
        _collect(read_header(path, keywords=None), values, depth=0)
    except Exception:  # noqa: BLE001 - whatever a damaged header makes pydicom raise, it then has no values to tell
        return values
    return values


def _collect(header: Dataset, values: list[Value], depth: int) -> None:
    for tag in list(header.keys()):
        try:
            element = header[tag]
            if element.VR == "SQ":
                for item in element.value[:_MOST_ITEMS] if depth < _DEEPEST else ():
                    _collect(item, values, depth + 1)
            elif element.value and not _is_harmless(element):
                values += _element_values(element)
        except Exception:  # noqa: BLE001, S112 - a damaged element has no value; the others have
            continue


def _is_harmless(element: DataElement) -> bool:
    if str(element.value) == OWN_NAME:  # the maker of our own results
        return True
    if element.keyword == "Modality":
        return bool(known_modality(str(element.value)))
    if element.VR == "CS":  # a word that DICOM defines, unless it is longer than one can be
        return all(len(text) <= _LONGEST_CODE for text in _texts(element))
    return element.VR not in _IDENTIFYING_VRS or element.keyword in _HARMLESS_KEYWORDS


def _element_values(element: DataElement) -> Iterator[Value]:
    for text in _texts(element):
        yield Value(text)
        if element.VR == "PN":
            yield from (Value(part, is_word=True) for part in re.split(r"[\^\\=\s\"',;-]+", text) if part)


def _texts(element: DataElement) -> list[str]:
    return [str(text) for text in element.value] if element.VM > 1 else [str(element.value)]


def _longest_first(texts: Iterable[str], shortest: int) -> list[str]:
    return sorted((text for text in texts if len(text) >= shortest), key=lambda text: (-len(text), text))


def _plain(text: str) -> str:
    """On one line, escapes shown, composed: as the sentence and the values in it are compared."""
    joined = " ".join(unicodedata.normalize("NFC", text).split())
    return printable(joined)


def _loose(value: str) -> str:
    """A pattern for a value with any white space in it."""
    return r"\s+".join(re.escape(part) for part in value.split())


def _unquote(sentence: str) -> str:
    """Take out what stands in quotation marks, but DICOM keywords.

    Where marks do not come in plain pairs, a value may hold one: then all from the first to the last goes.
    """
    marks = list(_QUOTES.finditer(sentence))
    if not marks:
        return sentence
    pairs = list(zip(marks[::2], marks[1::2], strict=False))
    is_plain = len(marks) % 2 == 0 and all(
        first.group() in _OPENS
        and second.group() in _CLOSES
        and _stands_outside(sentence, first.start() - 1)
        and _stands_outside(sentence, second.end())
        for first, second in pairs
    )
    if not is_plain:
        return f"{sentence[: marks[0].start()]}{_PLACEHOLDER}{sentence[marks[-1].end() :] if len(marks) > 1 else ''}"
    shown, last = "", 0
    for first, second in pairs:
        inside = sentence[first.end() : second.start()]
        shown += sentence[last : first.start()]
        shown += sentence[first.start() : second.end()] if _is_keyword(inside) else _PLACEHOLDER
        last = second.end()
    return shown + sentence[last:]


def _stands_outside(sentence: str, index: int) -> bool:
    """Whether the character beside a mark shows that the mark is one of ours: a space, an end, a punctuation mark."""
    return not 0 <= index < len(sentence) or sentence[index] in " .,;:!?()[]×=…"


def _is_keyword(text: str) -> bool:
    from pydicom.datadict import tag_for_keyword

    return tag_for_keyword(text) is not None
