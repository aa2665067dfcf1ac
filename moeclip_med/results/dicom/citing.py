"""How results refer to source frames: by identifiers that are valid, whatever the files hold."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalIntraOralXRayImageStorageForPresentation,
    DigitalIntraOralXRayImageStorageForProcessing,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    VLEndoscopicImageStorage,
    VLMicroscopicImageStorage,
    VLPhotographicImageStorage,
)

from moeclip_med.results.dicom.cleaning import HeaderCleaner, valid_uid
from moeclip_med.results.dicom.refusal import UncitableError
from moeclip_med.results.dicom.uids import make_uid

if TYPE_CHECKING:
    from collections.abc import Iterator

_SINGLE_FRAME_CLASSES = frozenset(
    {
        CTImageStorage,
        MRImageStorage,
        PositronEmissionTomographyImageStorage,
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
        DigitalMammographyXRayImageStorageForPresentation,
        DigitalMammographyXRayImageStorageForProcessing,
        DigitalIntraOralXRayImageStorageForPresentation,
        DigitalIntraOralXRayImageStorageForProcessing,
        UltrasoundImageStorage,
        SecondaryCaptureImageStorage,
        VLEndoscopicImageStorage,
        VLMicroscopicImageStorage,
        VLPhotographicImageStorage,
    }
)
"""Classes whose files hold one frame by definition; some writers put several in, which no reference can tell apart."""

_CONSEQUENCES = {
    "StudyInstanceUID": "an archive files the results as another study",
    "SeriesInstanceUID": "references to the source's series find nothing",
    "SOPInstanceUID": "references to the source's images find nothing",
    "FrameOfReferenceUID": "no other series is known to share their space",
}


@dataclass(frozen=True)
class Citation:
    """A source file, or a frame of it, as results name it.

    Attributes:
        sop_class_uid: SOP Class UID of the file.
        sop_instance_uid: SOP Instance UID of the file.
        series_uid: SeriesInstanceUID of the file.
        frame_number: Number of the frame in a multi-frame file, from 1; None where references cannot name it.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    frame_number: int | None = None

    def frame(self, number: int) -> Citation:
        """Return the citation of one frame, counted from 1."""
        return replace(self, frame_number=number)

    def reference(self, *, with_frame: bool = True) -> Dataset:
        """Return an item that names the frame, or the whole file (PS3.3, 10.3)."""
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = self.sop_class_uid, self.sop_instance_uid
        if with_frame and self.frame_number is not None:
            item.ReferencedFrameNumber = self.frame_number
        return item


class Citer:
    """Finds the identifiers of source files, makes those that are missing or broken, and remembers which."""

    def __init__(self) -> None:
        self._made: dict[str, None] = {}
        self._from_meta: dict[str, None] = {}
        self._has_unnamed_frames = False

    def valid(self, header: Dataset, keyword: str, *others: str) -> str:
        """Return an identifier of the source, or one made from it and others, the same at every run."""
        text = HeaderCleaner(header).text(keyword)
        uid = valid_uid(text)
        if not uid:
            self._made[keyword] = None
        return uid or make_uid(keyword, text, *others)

    def file(self, header: Dataset, encoded: bytes, name: str) -> Citation:
        """Return the citation of one file; the file meta information helps where the header does not.

        Args:
            header: Its header.
            encoded: The same, as bytes.
            name: Its name, for messages.

        Raises:
            UncitableError: Where it names no SOP class, without which nothing can refer to it.
        """
        meta = getattr(header, "file_meta", None) or Dataset()
        sop_class = self._own_or_meta(header, "SOPClassUID", meta, "MediaStorageSOPClassUID")
        if not sop_class:
            raise UncitableError(
                f"{name}: DICOM results refer to source images by SOP Class UID (0008,0016), of which this file holds "
                "no valid value; omit seg, pm, sr, sc and rtstruct for this series."
            )
        instance = self._own_or_meta(header, "SOPInstanceUID", meta, "MediaStorageSOPInstanceUID")
        instance = instance or self.valid(header, "SOPInstanceUID", hashlib.sha256(encoded).hexdigest())
        return Citation(sop_class, instance, self.valid(header, "SeriesInstanceUID", name))

    def names_frames(self, header: Dataset, file: Citation) -> bool:
        """Return whether references to a file name the frame."""
        if "PerFrameFunctionalGroupsSequence" not in header and "NumberOfFrames" not in header:
            return False
        if file.sop_class_uid not in _SINGLE_FRAME_CLASSES:
            return True
        count = (HeaderCleaner(header).single("NumberOfFrames") or "").strip()
        self._has_unnamed_frames |= count.isdecimal() and int(count) > 1
        return False

    def notes(self, *, has_position: bool) -> Iterator[str]:
        """Say which identifiers are not the source's own, and what follows."""
        for keyword in self._made:
            if has_position or keyword != "FrameOfReferenceUID":
                yield (
                    f"The source has no valid {keyword}; the DICOM results hold one made for them, so "
                    f"{_CONSEQUENCES[keyword]}."
                )
        for keyword in self._from_meta:
            yield (
                f"The source has no valid {keyword}; the DICOM results refer to its images by the one in the file meta "
                "information."
            )
        if self._has_unnamed_frames:
            yield (
                "The source holds several frames in a file whose class is for one (SOPClassUID), so the DICOM results "
                "refer to the file and not to its frames."
            )

    def _own_or_meta(self, header: Dataset, keyword: str, meta: Dataset, meta_keyword: str) -> str:
        own, in_meta = valid_uid(HeaderCleaner(header).text(keyword)), valid_uid(HeaderCleaner(meta).text(meta_keyword))
        if in_meta and not own:
            self._from_meta[keyword] = None
        return own or in_meta


def cite(dataset: Dataset, citations: dict[str, Citation]) -> None:
    """Replace references to placeholders, at any depth, by references to what they stand for.

    Items that several frames share are met once.

    Args:
        dataset: Changed in place.
        citations: By the SOPInstanceUID of each placeholder.
    """
    seen: set[int] = set()
    pending = [dataset]
    while pending:
        item = pending.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        citation = citations.get(str(item.get("ReferencedSOPInstanceUID", "")))
        if citation is not None:
            item.update(citation.reference())
        for element in item:
            if element.VR == "SQ":
                pending.extend(element.value)
