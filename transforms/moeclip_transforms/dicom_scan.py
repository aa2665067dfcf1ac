"""DICOM series found from headers: each file looked at once, then grouped step by step.

What is an image is told by SOP class and pixel data; images go by patient, study and series; then by size, direction
and contrast into stacks; and each stack by its dimensions, echoes, times and so on into volumes.
"""

from __future__ import annotations

import hashlib
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from moeclip_transforms import dicom_image_type
from moeclip_transforms.dicom_frame import FRAME_KEYWORDS, NO_IMAGE, Frame, frames_of
from moeclip_transforms.dicom_geometry import along_normal, uneven
from moeclip_transforms.dicom_header import number, parse_header, text
from moeclip_transforms.dicom_place import PLACE_KEYWORDS, SPACING_KEYWORDS
from moeclip_transforms.dicom_stack import split_stacks, without_copies
from moeclip_transforms.dicom_values import photometric
from moeclip_transforms.dicom_volumes import split_volumes
from moeclip_transforms.dicomdir import MEDIA_STORAGE_DIRECTORY
from moeclip_transforms.errors import InputError
from moeclip_transforms.naming import stable_uid
from moeclip_transforms.volume import FileFormat, Series

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence
    from pathlib import Path

    from pydicom import Dataset

    from moeclip_transforms.dicom_file import DicomFile

_FEWEST_ALIKE = 3
_UNNAMED = "series-"
_UNNAMED_NOTE = (
    "The files have no Series Instance UID: slices of one study, series number and modality are taken for one series.",
)
_KEYWORDS: tuple[str | int, ...] = tuple(
    dict.fromkeys(
        [
            *FRAME_KEYWORDS, *PLACE_KEYWORDS, *SPACING_KEYWORDS, *dicom_image_type.IMAGE_TYPE_KEYWORDS,
            "PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber",
            "InConcatenationTotalNumber",
        ]
    )
)  # fmt: skip
"""All that a scan reads of a file."""


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """What a scan keeps of one file: little, since an archive has hundreds of thousands.

    Attributes:
        frames: One record per frame; a single one with 0 rows for what is not an image.
        origin: SeriesInstanceUID (or a name made from the file's), StudyInstanceUID, and a hash of the patient's ID:
            only files that agree in all three belong together.
        template: What a series made of this file alone would look like, but for its shape.
        concatenation: Number of this part of a concatenation and how many there are (PS3.3 C.7.6.16.2.2.4), or None.
    """

    frames: tuple[Frame, ...]
    origin: tuple[str, str, bytes]
    template: Series
    concatenation: tuple[int, int] | None = None


class NoSeriesError(InputError):
    """A DICOM file that belongs to no series: neither an image nor a document."""


class DirectoryError(InputError):
    """A DICOMDIR, whatever its name: the list of files on a medium."""


def scan_dicom(file: DicomFile, *, force: bool = False) -> ScannedFile:
    """Look at one file's header.

    Args:
        file: The open file, at its beginning.
        force: Read a file without the "DICM" prefix.

    Raises:
        NoSeriesError: When it holds nothing that belongs to a series.
        DirectoryError: When it is a DICOMDIR.
        InputError: When the header is damaged or contradicts itself.
    """
    path = file.path
    parsed = parse_header(path, file.stream, keywords=_KEYWORDS, force=force)
    header = parsed.dataset
    if header.file_meta.get("MediaStorageSOPClassUID") == MEDIA_STORAGE_DIRECTORY:
        raise DirectoryError(f'"{path.name}" is a DICOMDIR, the list of files on a medium.')
    if not text(header, "SOPClassUID") and not text(header, "Rows"):
        msg = f'"{path.name}" is DICOM but neither an image nor a document (no SOP Class UID).'
        raise NoSeriesError(msg) if header.file_meta.get("MediaStorageSOPClassUID") else InputError(msg)
    reason = dicom_image_type.no_image_reason(header, has_pixels=parsed.pixels_at is not None)
    if reason:
        frames: tuple[Frame, ...] = (replace(NO_IMAGE, path=path, sop_class_uid=text(header, "SOPClassUID")),)
    else:
        frames = tuple(frames_of(path, header))
    uid = sys.intern(text(header, "SeriesInstanceUID") or _made_uid(path, header))
    template = _template(uid, path, header, frames[0], reason)
    return ScannedFile(frames, (uid, template.study_uid, _patient(header)), template, _concatenation(header))


def group_series(files: Iterable[ScannedFile]) -> list[Series]:
    """Put scanned files together to what can be scored as one.

    The files of one Series Instance UID are one series, in as many volumes as its dimensions say, unless they are of
    several patients or studies, or differ in size, direction or contrast: then each part is a series of its own, with
    "#1", "#2", ... behind its identifier, in an order that no other series changes.
    """
    by_origin: dict[tuple[str, str, bytes], list[ScannedFile]] = defaultdict(list)
    for file in files:
        by_origin[file.origin].append(file)
    by_uid: dict[str, list[list[ScannedFile]]] = defaultdict(list)
    for origin in sorted(by_origin):
        by_uid[origin[0]].append(by_origin[origin])
    series = [found for uid, groups in by_uid.items() for found in _series_of(uid, groups)]
    return _with_look_alikes(series)


def _series_of(uid: str, groups: Sequence[Sequence[ScannedFile]]) -> list[Series]:
    found = [part for group in groups for part in _parts(group)]
    if len(groups) > 1:
        note = (
            f"The files of this Series Instance UID belong to {len(groups)} patients or studies; "
            f"each has a series of its own."
        )
        found = [replace(series, notes=(note, *series.notes)) for series in found]
    if len(found) == 1:
        return found
    return [replace(series, uid=f"{uid}#{index}") for index, series in enumerate(found, 1)]


def _parts(files: Sequence[ScannedFile]) -> list[Series]:
    """The series that files of one patient, study and Series Instance UID make: images first, then documents."""
    template_of = {file.frames[0].path: file.template for file in files}
    images = [frame for file in files for frame in file.frames if frame.rows]
    kept, copies, notes = without_copies(images)
    notes += _missing_parts(files)
    found = [_describe(stack, template_of[stack[0].path], copies, notes) for stack in split_stacks(kept)]
    documents: dict[str, list[ScannedFile]] = defaultdict(list)
    for file in files:
        if not file.frames[0].rows:
            documents[file.template.skip_reason].append(file)
    for alike in documents.values():
        paths = tuple(sorted(file.frames[0].path for file in alike))
        found.append(replace(template_of[paths[0]], files=paths, shape=(0, 0, len(paths), 1)))
    return found


def _made_uid(path: Path, header: Dataset) -> str:
    """An identifier for a file that names no series: slices of one study, number and modality share one."""
    if not text(header, "ImagePositionPatient"):
        return stable_uid(path)
    shared = [text(header, "StudyInstanceUID") or path.parent.name]
    shared += [text(header, keyword) for keyword in ("SeriesNumber", "Modality")]
    return f"{_UNNAMED}{hashlib.sha256(chr(0).join(shared).encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


def _concatenation(header: Dataset) -> tuple[int, int] | None:
    part, total = number(header, "InConcatenationNumber"), number(header, "InConcatenationTotalNumber")
    return None if not part or not total else (int(part), int(total))


def _missing_parts(files: Sequence[ScannedFile]) -> tuple[str, ...]:
    """Say it where parts of a concatenation are not there."""
    parts: dict[str, set[int]] = defaultdict(set)
    totals: dict[str, int] = {}
    for file in files:
        if file.concatenation is not None:
            group = file.frames[0].group
            parts[group].add(file.concatenation[0])
            totals[group] = max(file.concatenation[1], totals.get(group, 0))
    missing = [total - len(parts[group]) for group, total in totals.items() if total > len(parts[group])]
    if not missing:
        return ()
    are = "part is" if sum(missing) == 1 else "parts are"
    return (f"{sum(missing)} {are} missing of a multi-frame image in several files: bring all files.",)


def _describe(
    stack: Sequence[Frame], template: Series, copies: dict[Path, list[Path]], notes: tuple[str, ...]
) -> Series:
    skip_reason = template.skip_reason or dicom_image_type.contrast_reason(template.modality, stack[0].contrast)
    try:
        volumes, more_notes = split_volumes(stack)
    except InputError as error:
        volumes, more_notes = [], ()
        skip_reason = skip_reason or str(error).rstrip(".")
    in_order = [*(frame for volume in volumes for frame in volume), *stack]  # what is in no volume comes last
    depth = len(volumes[0]) if volumes else len(stack)
    return replace(
        template,
        files=tuple(
            path for own in dict.fromkeys(frame.path for frame in in_order) for path in (own, *copies.get(own, ()))
        ),
        shape=(*template.shape[:2], depth, max(1, len(volumes))),
        is_cine=template.is_cine and depth > 1,
        skip_reason=skip_reason,
        notes=tuple(dict.fromkeys([*template.notes, *notes, *more_notes])),
        volumes=tuple(tuple(volume) for volume in volumes),
    )


def _template(uid: str, path: Path, header: Dataset, first: Frame, reason: str) -> Series:
    is_palette = photometric(header) == "PALETTE COLOR"
    modality, image_type = sys.intern(text(header, "Modality")), dicom_image_type.image_type_of(header)
    return Series(
        uid=uid,
        format=FileFormat.DICOM,
        files=(path,),
        modality=modality,
        image_type=image_type,
        study_uid=sys.intern(text(header, "StudyInstanceUID")),
        shape=(first.columns, first.rows, 1, 1),
        channels=first.samples if not is_palette else 3,
        is_cine=dicom_image_type.is_cine(header, first),
        skip_reason=sys.intern(reason or dicom_image_type.skip_reason(header)),
        description=sys.intern(text(header, "SeriesDescription")),
        notes=(*dicom_image_type.image_type_notes(header), *_UNNAMED_NOTE[: uid.startswith(_UNNAMED)]),
    )


def _patient(header: Dataset) -> bytes:
    """What tells patients apart without naming them: a hash of the ID, or of the name where there is none."""
    who = text(header, "PatientID") or text(header, "PatientName")
    return hashlib.sha256(who.encode("utf-8", "surrogateescape")).digest()[:8]


def _with_look_alikes(series: list[Series]) -> list[Series]:
    """Say which series of one slice each look like one, as some exports write them; offer them as one, too."""
    offered: set[int] = set()
    for names_share_stem in (True, False):
        groups: dict[tuple[Hashable, ...], list[int]] = defaultdict(list)
        for index, one in enumerate(series):
            key = _look(one, names_share_stem=names_share_stem)
            if key is not None and index not in offered:
                groups[key].append(index)
        for places in groups.values():
            if _offer_as_one(series, places, names_share_stem=names_share_stem):
                offered.update(places)
    return series


def _look(one: Series, *, names_share_stem: bool) -> tuple[Hashable, ...] | None:
    """What series in parts have in common; None for what is no part of one."""
    if one.skip_reason or one.shape[2] != 1 or not one.volumes:
        return None
    first = one.volumes[0][0]
    stem, dot, last = one.uid.rpartition(".")
    is_named = bool(dot) and last.isdigit() if names_share_stem else bool(one.study_uid)
    if first.position is None or first.group or not is_named:
        return None
    name = stem if names_share_stem else ""
    return (name, one.study_uid, one.modality, one.shape, one.description, first.sop_class_uid, first.contrast)


def _offer_as_one(series: list[Series], places: Sequence[int], *, names_share_stem: bool) -> bool:
    """Add the whole that series of one slice each make, and a note to each; return whether they make one."""
    frames = [frame for index in places for volume in series[index].volumes for frame in volume]
    if len(places) < _FEWEST_ALIKE or len({frame.position for frame in frames}) < len(places):
        return False
    stacks = split_stacks(frames)
    if len(stacks) > 1:
        return False
    if not names_share_stem:  # then only their place tells that they belong together
        along = np.unique(np.round(along_normal(stacks[0]), 3))
        if len(along) < len(places) or len(uneven(np.diff(along))):
            return False
    first = min(series[index].uid for index in places)
    name = first.rpartition(".")[0] if names_share_stem else f"{first}#all"
    note = f'{len(places)} series of one slice each look like one series in parts; name "{name}" to read them as one.'
    whole = _describe(stacks[0], replace(series[places[0]], skip_reason="", notes=()), {}, ())
    reason = f"{len(places)} series of one slice each read as one, if it is named"
    series.append(replace(whole, uid=name, skip_reason=whole.skip_reason or reason))
    for index in places:
        series[index] = replace(series[index], notes=(*series[index].notes, note))
    return True
