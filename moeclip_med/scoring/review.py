"""What a reader decided about the findings of a run: accepted, rejected, commented, corrected by hand.

A review stands beside the run as `review.json` and changes nothing in it. `apply_review` puts it into effect: results
are written from the findings and labels that it gives.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms.errors import InputError

from moeclip_med.scoring.anomaly import RejectedFinding
from moeclip_med.scoring.findings import find_findings, measure_region

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeclip_med.scoring.anomaly import AnomalyVolume, Finding
    from moeclip_med.scoring.measures import FindingMeasures

_LARGEST_MASK = 2**31

Voxel = tuple[int, int, int]


def now() -> str:
    """Return the time in UTC, in ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Decision(StrEnum):
    """What a reader made of a finding."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Site:
    """Where in the body a finding lies.

    Attributes:
        meaning: In words.
        code: Its code value; "" for free text.
        scheme: The code's scheme designator, such as "SCT" (SNOMED CT); "" for free text.
    """

    meaning: str
    code: str = ""
    scheme: str = ""


SITES = tuple(
    Site(meaning, code, "SCT")
    for meaning, code in (
        ("Brain", "12738006"),
        ("Cerebellum", "113305005"),
        ("Meninges", "1231004"),
        ("Skull", "89546000"),
        ("Eye", "81745001"),
        ("Retina", "5665001"),
        ("Neck", "45048000"),
        ("Thyroid", "69748006"),
        ("Lung", "39607008"),
        ("Mediastinum", "72410000"),
        ("Heart", "80891009"),
        ("Breast", "76752008"),
        ("Esophagus", "32849002"),
        ("Stomach", "69695003"),
        ("Small intestine", "30315005"),
        ("Colon", "71854001"),
        ("Rectum", "34402009"),
        ("Liver", "10200004"),
        ("Pancreas", "15776009"),
        ("Spleen", "78961009"),
        ("Kidney", "64033007"),
        ("Adrenal gland", "23451007"),
        ("Bladder", "89837001"),
        ("Prostate", "41216001"),
        ("Uterus", "35039007"),
        ("Ovary", "15497006"),
        ("Lymph node", "59441001"),
        ("Spine", "421060004"),
        ("Bone", "272673000"),
        ("Skin", "39937001"),
    )
)
"""The sites that are offered; codes of SNOMED CT as DICOM PS3.16 lists them (CID 4 and others)."""


@dataclass(frozen=True)
class Outline:
    """The voxels of a finding that a reader outlined by hand.

    Attributes:
        start: First voxel (x, y, z) of its bounding box.
        shape: Size (x, y, z) of that box.
        bits: The box's voxels in C order, one bit each, compressed by zlib, in base64.
    """

    start: Voxel
    shape: Voxel
    bits: str

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Outline:
        """Return the outline of a mask.

        Args:
            mask: (x, y, z), True inside.

        Raises:
            InputError: When it is empty.
        """
        spans = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
        if not spans[0].size:
            raise InputError("The outline is empty; paint at least one voxel, or reject the finding instead.")
        start, stop = [int(span[0]) for span in spans], [int(span[-1]) + 1 for span in spans]
        box = mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
        bits = base64.b64encode(zlib.compress(np.packbits(box).tobytes())).decode()
        return cls(_voxel(start), _voxel(box.shape), bits)

    def box(self) -> tuple[slice, slice, slice]:
        """Return its bounding box."""
        x, y, z = (slice(a, a + n) for a, n in zip(self.start, self.shape, strict=True))
        return x, y, z

    def mask(self) -> NDArray[np.bool_]:
        """Return the voxels of its box, (x, y, z).

        Raises:
            ValueError: When the bits are damaged.
        """
        count = int(np.prod(self.shape))
        packed = zlib.decompressobj().decompress(base64.b64decode(self.bits, validate=True), count // 8 + 1)
        if len(packed) != (count + 7) // 8:
            raise ValueError(
                f"an outline of {count} voxels needs {(count + 7) // 8} bytes, and there are {len(packed)}"
            )
        flat = np.unpackbits(np.frombuffer(packed, np.uint8), count=count)
        return flat.reshape(self.shape).astype(np.bool_)

    def fits(self, shape: Voxel) -> bool:
        """Whether it lies in a volume of this shape and its bits can be read."""
        sizes = zip(self.start, self.shape, shape, strict=True)
        if not all(a >= 0 and n > 0 and a + n <= size for a, n, size in sizes) or np.prod(self.shape) > _LARGEST_MASK:
            return False
        try:
            return bool(self.mask().any())
        except (ValueError, zlib.error):
            return False


@dataclass(frozen=True)
class FindingReview:
    """What a reader said of one finding.

    Attributes:
        voxel: The voxel (x, y, z) of its peak when it was first reviewed: what it is known by at any threshold.
        decision: Accepted, rejected or not decided.
        comment: Free text.
        site: Where in the body it lies, or None.
        outline: Its voxels where the reader corrected them, or None.
        is_drawn: Whether the reader drew it: the model did not find it.
    """

    voxel: Voxel
    decision: Decision = Decision.OPEN
    comment: str = ""
    site: Site | None = None
    outline: Outline | None = None
    is_drawn: bool = False

    @property
    def is_edited(self) -> bool:
        """Whether the reader changed or drew its outline."""
        return self.outline is not None

    @property
    def is_read(self) -> bool:
        """Whether more was said of it than where it lies."""
        return replace(self, site=None) != FindingReview(self.voxel)


@dataclass(frozen=True)
class Review:
    """What a reader said of the findings of a run.

    Attributes:
        reader: The reader's name, where it was typed; else "".
        entries: One for each finding that something was said of.
        changed: When it was last changed, in ISO 8601; no part of what is said, so reviews that differ in it are equal.
    """

    reader: str = ""
    entries: tuple[FindingReview, ...] = ()
    changed: str = field(default_factory=now, compare=False)

    def of(self, voxel: Voxel) -> FindingReview:
        """Return what was said of the finding with this peak voxel; an open decision if nothing."""
        return next((entry for entry in self.entries if entry.voxel == voxel), FindingReview(voxel))

    def put(self, entry: FindingReview) -> Review:
        """Return the review with one entry new or replaced; one that says nothing is skipped."""
        if not any(known.voxel == entry.voxel for known in self.entries):
            kept = (*self.entries, entry)
        else:
            kept = tuple(entry if known.voxel == entry.voxel else known for known in self.entries)
        return replace(self, entries=tuple(one for one in kept if one != FindingReview(one.voxel)))


def apply_review(anomaly: AnomalyVolume, review: Review) -> AnomalyVolume:
    """Put a review into effect.

    Edited outlines replace the model's, drawn ones are added, rejected findings lose their voxels. Findings that are
    left are numbered from 1 as before, without gaps; those rejected follow them.

    Args:
        anomaly: The run with its findings as `find_findings` lists them; its labels are written into.
        review: What the reader said.

    Returns:
        The run with reviewed findings, and the rejected ones apart.
    """
    if not review.entries:
        return replace(anomaly, rejected=(), reader=review.reader, reviewed=review.changed)
    entries = {entry.voxel: entry for entry in review.entries}
    marked = [_Marked(finding.label, finding, entries.pop(finding.peak_voxel, None)) for finding in anomaly.findings]
    lost = [entry for entry in entries.values() if entry.is_edited]  # drawn, or below the threshold by now
    marked += [_Marked(label, None, entry) for label, entry in enumerate(lost, start=len(marked) + 1)]
    for one in marked:
        one.paint(anomaly.labels)
    has_edits = any(one.entry is not None and one.entry.is_edited for one in marked)
    measured = [(one, one.measure(anomaly) if has_edits else one.finding) for one in marked]
    rejected = [
        RejectedFinding(replace(finding, review=one.entry), one.measures(anomaly))
        for one, finding in measured
        if finding is not None and one.is_rejected
    ]
    new_label = np.zeros(len(marked) + 1, dtype=np.uint16)
    kept: list[Finding] = []
    for one, finding in measured:
        if finding is not None and not one.is_rejected:  # None: an edited neighbour took all its voxels
            new_label[one.label] = len(kept) + 1
            kept.append(replace(finding, rank=len(kept) + 1, label=len(kept) + 1, review=one.entry))
    rejected = [
        replace(one, finding=replace(one.finding, rank=rank, label=0))
        for rank, one in enumerate(rejected, start=len(kept) + 1)
    ]
    for plane in np.moveaxis(anomaly.labels, int(np.argmax(anomaly.labels.strides)), 0):
        plane[...] = new_label[plane]
    return replace(
        anomaly, findings=tuple(kept), rejected=tuple(rejected), reader=review.reader, reviewed=review.changed
    )


def put_site(anomaly: AnomalyVolume, site: Site) -> AnomalyVolume:
    """Return a run whose findings lie in a site that the user named, but for those that a reader placed."""

    def placed(finding: Finding) -> Finding:
        review = finding.review or FindingReview(finding.peak_voxel)
        return finding if review.site is not None else replace(finding, review=replace(review, site=site))

    return replace(anomaly, findings=tuple(placed(finding) for finding in anomaly.findings))


def as_found(anomaly: AnomalyVolume) -> AnomalyVolume:
    """Return a reviewed run as the model found it, with labels of its own."""
    smallest = anomaly.record.settings.smallest_finding_ml
    found = find_findings(anomaly.scores, anomaly.volume, anomaly.threshold, min_volume_ml=smallest)
    return replace(anomaly, labels=found.labels, findings=found.findings, rejected=(), reader="", reviewed="")


@dataclass(frozen=True)
class _Marked:
    """A finding of the model, or one that only the reader knows, and what was said of it."""

    label: int
    finding: Finding | None
    entry: FindingReview | None

    @property
    def is_rejected(self) -> bool:
        return self.entry is not None and self.entry.decision is Decision.REJECTED

    def paint(self, labels: NDArray[np.uint16]) -> None:
        """Move the label to the voxels of the reader's outline instead of those that it had."""
        if self.entry is None or self.entry.outline is None or self.is_rejected:
            return
        if self.finding is not None:
            part = labels[_box(self.finding)]
            part[part == self.label] = 0
        labels[self.entry.outline.box()][self.entry.outline.mask()] = self.label

    def box(self) -> tuple[slice, slice, slice]:
        """Return the box that holds all its voxels."""
        if self.entry is not None and self.entry.outline is not None:
            return self.entry.outline.box()
        return (slice(0), slice(0), slice(0)) if self.finding is None else _box(self.finding)

    def measures(self, anomaly: AnomalyVolume) -> FindingMeasures:
        """Return its diameters and intensities."""
        x, y, z = (part.start for part in self.box())
        return anomaly.measure(self.inside(anomaly.labels), (x, y, z))

    def inside(self, labels: NDArray[np.uint16]) -> NDArray[np.bool_]:
        """Return its voxels, within its box; of a rejected outline, which is not painted, those of the outline."""
        if self.is_rejected and self.entry is not None and self.entry.outline is not None:
            return self.entry.outline.mask()
        inside: NDArray[np.bool_] = labels[self.box()] == self.label
        return inside

    def measure(self, anomaly: AnomalyVolume) -> Finding | None:
        """Return the finding as its voxels now are; None where it has none left."""
        inside, box = self.inside(anomaly.labels), self.box()
        if not inside.any():
            return None
        is_as_found = self.finding is not None and (self.entry is None or self.entry.outline is None)
        if is_as_found and self.finding is not None and int(inside.sum()) == self.finding.voxel_count:
            return self.finding
        return measure_region(anomaly.scores, inside, box, anomaly.volume, self.label)


def _box(finding: Finding) -> tuple[slice, slice, slice]:
    x, y, z = (slice(a, b) for a, b in zip(finding.box_start, finding.box_stop, strict=True))
    return x, y, z


def _voxel(values: tuple[int, ...] | list[int]) -> Voxel:
    x, y, z = (int(value) for value in values)
    return (x, y, z)
