"""Which attributes of a source header go into the results, and how strictly.

Nothing else is copied: what a private or a broken header holds beyond this table cannot reach a result.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Need(Enum):
    """What a result needs of an attribute (PS3.5, 7.4)."""

    EMPTY_ALLOWED = "2"
    """Present in every result, empty where the source has no valid value."""
    OPTIONAL = "3"
    """Present where the source has a valid value."""


@dataclass(frozen=True)
class Attribute:
    """One attribute that results take from the source.

    Attributes:
        keyword: The attribute's name in PS3.6.
        module: The module it belongs to (PS3.3, annex C).
        need: What a result needs of it.
        can_be_cut: Whether a text that is too long keeps its beginning. Identifiers are never cut: half an identifier
            may be somebody else's.
    """

    keyword: str
    module: str
    need: Need
    can_be_cut: bool = False


def _attributes(module: str, need: Need, *keywords: str, can_be_cut: bool = False) -> tuple[Attribute, ...]:
    return tuple(Attribute(keyword, module, need, can_be_cut) for keyword in keywords)


SUBJECT_ATTRIBUTES: tuple[Attribute, ...] = (
    *_attributes("Patient", Need.EMPTY_ALLOWED, "PatientName", can_be_cut=True),
    *_attributes("Patient", Need.EMPTY_ALLOWED, "PatientID", "PatientBirthDate", "PatientSex"),
    *_attributes("Patient", Need.OPTIONAL, "IssuerOfPatientID", "PatientIdentityRemoved"),
    *_attributes("Patient", Need.OPTIONAL, "DeidentificationMethod", can_be_cut=True),
    *_attributes(
        "Patient",
        Need.OPTIONAL,
        "DeidentificationMethodCodeSequence",
        "PatientSpeciesDescription",
        "PatientSpeciesCodeSequence",
        "PatientBreedDescription",
        "PatientBreedCodeSequence",
        "ResponsiblePerson",
        "ResponsiblePersonRole",
        "ResponsibleOrganization",
    ),
    *_attributes("General Study", Need.EMPTY_ALLOWED, "StudyDate", "StudyTime", "AccessionNumber", "StudyID"),
    *_attributes("General Study", Need.EMPTY_ALLOWED, "ReferringPhysicianName", can_be_cut=True),
    *_attributes("General Study", Need.OPTIONAL, "StudyDescription", can_be_cut=True),
    *_attributes("Patient Study", Need.OPTIONAL, "PatientAge", "PatientSize", "PatientWeight", "PatientSexNeutered"),
)
"""Of the patient and of the study, copied into every result."""

IMAGE_ATTRIBUTES: tuple[Attribute, ...] = (
    *_attributes("Frame of Reference", Need.EMPTY_ALLOWED, "PositionReferenceIndicator"),
    *_attributes("General Series", Need.OPTIONAL, "Laterality"),
    *_attributes(
        "General Image",
        Need.OPTIONAL,
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
        "BurnedInAnnotation",
    ),
)
"""Of the images, copied where a result has the module."""
