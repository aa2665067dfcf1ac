"""What the results cite and copy of a source: made from its headers once, valid whatever the headers hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING

import pydicom
from pydicom.dataset import Dataset

from moeclip_med.results.dicom.attributes import IMAGE_ATTRIBUTES, SUBJECT_ATTRIBUTES
from moeclip_med.results.dicom.citing import Citer
from moeclip_med.results.dicom.cleaning import Change, HeaderCleaner, describe_changes
from moeclip_med.results.dicom.placeholders import make_placeholders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeclip_transforms import Volume

    from moeclip_med.results.dicom.citing import Citation


@dataclass(frozen=True)
class Sources:
    """A source as the results need it.

    Attributes:
        placeholders: One single-frame header per slice in the order of the volume, for highdicom.
        citations: What each slice really is.
        subject: Attributes of patient and study, all valid.
        image: Attributes of the images that some results repeat: `IMAGE_ATTRIBUTES` and FrameOfReferenceUID.
        burned_in: BurnedInAnnotation per slice: "YES", "NO" or "" where the source does not say.
        study_uid: StudyInstanceUID of the results.
        modality: The source's modality.
        has_position: Whether frames have a place in space; False for photographs and cines.
        notes: What was corrected in or excluded from the source's header, one sentence each, without a value.
    """

    placeholders: tuple[Dataset, ...] = field(repr=False)
    citations: tuple[Citation, ...]
    subject: Dataset = field(repr=False)
    image: Dataset = field(repr=False)
    burned_in: tuple[str, ...]
    study_uid: str
    modality: str
    has_position: bool
    notes: tuple[str, ...]

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID of the first slice."""
        return self.citations[0].series_uid

    @cached_property
    def slice_of_stand_in(self) -> dict[str, int]:
        """The index of the slice by the SOPInstanceUID of its placeholder."""
        return {str(header.SOPInstanceUID): index for index, header in enumerate(self.placeholders)}

    @cached_property
    def citation_of_stand_in(self) -> dict[str, Citation]:
        """The citation by the SOPInstanceUID of a placeholder."""
        return {uid: self.citations[index] for uid, index in self.slice_of_stand_in.items()}

    def references(self) -> list[Dataset]:
        """Return an item for every file."""
        files = {citation.sop_instance_uid: citation for citation in self.citations}
        return [citation.reference(with_frame=False) for citation in files.values()]

    def referenced_series(self) -> list[Dataset]:
        """Return every file by series: the items of the Common Instance Reference module (PS3.3, C.12.2)."""
        items: dict[str, dict[str, Dataset]] = {}
        for citation in self.citations:
            files = items.setdefault(citation.series_uid, {})
            files.setdefault(citation.sop_instance_uid, citation.reference(with_frame=False))
        series = []
        for uid, files in items.items():
            item = Dataset()
            item.SeriesInstanceUID, item.ReferencedInstanceSequence = uid, list(files.values())
            series.append(item)
        return series


def load_sources(volume: Volume) -> Sources:
    """Make the sources of a volume's results.

    Args:
        volume: A volume read from DICOM.

    Raises:
        UncitableError: Where a file names no SOP class, without which nothing can refer to it.
    """
    source, citer = volume.source, Citer()
    headers = [pydicom.dcmread(BytesIO(header), stop_before_pixels=True, force=True) for header in source.headers]
    file_of_path = {path: file for file, path in enumerate(dict.fromkeys(frame.path for frame in source.frames))}
    files = [citer.file(headers[file], source.headers[file], path.name) for path, file in file_of_path.items()]
    names_frames = [citer.names_frames(header, file) for header, file in zip(headers, files, strict=True)]
    burned_in = [_burned_in(HeaderCleaner(header)) for header in headers]
    file_of_slice = [file_of_path[frame.path] for frame in source.frames]

    cleaner = HeaderCleaner(headers[0])
    subject, image = _subject(cleaner), _image(cleaner, headers)
    image.FrameOfReferenceUID = citer.valid(headers[0], "FrameOfReferenceUID", files[0].series_uid)
    study_uid = citer.valid(headers[0], "StudyInstanceUID", files[0].series_uid)
    has_position = volume.has_orientation and bool(volume.frame_geometry)
    thickness = _thickness(headers[0], source.frames[0].frame, cleaner) or volume.affine.spacing[2]
    return Sources(
        placeholders=make_placeholders(
            volume, study_uid, files[0].series_uid, str(image.FrameOfReferenceUID), thickness
        ),
        citations=tuple(
            files[file].frame(frame.frame + 1) if names_frames[file] else files[file]
            for file, frame in zip(file_of_slice, source.frames, strict=True)
        ),
        subject=subject,
        image=image,
        burned_in=tuple(burned_in[file] for file in file_of_slice),
        study_uid=study_uid,
        modality=volume.series.modality,
        has_position=has_position,
        notes=(*describe_changes(cleaner.changes), *citer.notes(has_position=has_position)),
    )


_OF_ANIMALS = (
    "PatientBreedDescription", "PatientBreedCodeSequence", "BreedRegistrationSequence", "PatientSexNeutered",
    "ResponsiblePerson", "ResponsibleOrganization",
)  # fmt: skip
"""What stands beside a species, empty where it is unknown (type 2C, PS3.3, C.7.1.1)."""


def _burned_in(cleaner: HeaderCleaner) -> str:
    """What a source says of text in its pixels: "YES" where any of several values does."""
    values = cleaner.text("BurnedInAnnotation").upper().split("\\")
    return "YES" if "YES" in map(str.strip, values) else cleaner.single("BurnedInAnnotation") or ""


def _subject(cleaner: HeaderCleaner) -> Dataset:
    """Return the attributes of patient and study."""
    subject = Dataset()
    cleaner.copy(SUBJECT_ATTRIBUTES, subject)
    if subject.get("PatientIdentityRemoved") == "YES" and not (
        "DeidentificationMethod" in subject or "DeidentificationMethodCodeSequence" in subject
    ):
        subject.DeidentificationMethod = "Not stated in the source"  # required beside YES (PS3.3, C.7.1.1)
    if "PatientSpeciesDescription" in subject or "PatientSpeciesCodeSequence" in subject:
        for keyword in _OF_ANIMALS:
            if keyword not in subject:
                setattr(subject, keyword, [] if keyword.endswith("Sequence") else "")
    return subject


def _image(first: HeaderCleaner, headers: Sequence[Dataset]) -> Dataset:
    """Return the attributes of the images; lossy compression of any file counts (PS3.3, C.7.6.1.1.5)."""
    image = Dataset()
    first.copy(IMAGE_ATTRIBUTES, image)
    if image.get("LossyImageCompression") == "01":
        return image
    for header in headers[1:]:
        cleaner = HeaderCleaner(header)
        if cleaner.single("LossyImageCompression") == "01":
            cleaner.copy([each for each in IMAGE_ATTRIBUTES if each.keyword.startswith("Lossy")], image)
            first.changes.extend(cleaner.changes)
            break
    return image


def _thickness(header: Dataset, frame: int, cleaner: HeaderCleaner) -> float | None:
    """Return the slice thickness, mm; None where the header has none, so that the distance between slices stands in.

    Results must state a thickness (PS3.3, C.7.6.16.2.1).
    """
    holders = [header]
    for groups, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = header.get(groups) or []
        holders += list(items[index].get("PixelMeasuresSequence") or []) if index < len(items) else []
    for holder in holders:
        text = HeaderCleaner(holder).single("SliceThickness")
        if text is not None and float(text) > 0:
            return float(text)
        if text is not None:
            what = "not above 0, the distance between slices instead"
            cleaner.changes.append(Change("SliceThickness", what, is_dropped=False))
    return None
