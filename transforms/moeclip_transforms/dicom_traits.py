"""What tells DICOM frames of the same place apart, and where headers of every kind and maker hold it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moeclip_transforms.dicom_header import all_numbers, first_item, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom import Dataset

    TraitValue = float | str | tuple[float, ...] | None


@dataclass(frozen=True)
class Trait:
    """Something that tells frames of the same place apart.

    Attributes:
        name: What it is called in notes.
        places: Where it stands, the first that is there counts: a functional group macro ("/" before a sequence
            inside) and a keyword; at the top level "" and a keyword, a date's and a time's, or the creator of a
            private block and a tag.
        is_decisive: Whether frames that differ in it are of different volumes wherever they lie. The others also
            differ from slice to slice of one volume, and count only where they explain what is there.
        is_ordered: Whether volumes follow each other in the order of its values.
        is_text: Whether its values are text (times among them) instead of numbers.
    """

    name: str
    places: tuple[tuple[str, str | int], ...]
    is_decisive: bool = True
    is_ordered: bool = True
    is_text: bool = False


def _is_macro(place: str) -> bool:
    return place.endswith("Sequence")


CONTENT, _DIFFUSION, _CARDIAC = "FrameContentSequence", "MRDiffusionSequence", "CardiacSynchronizationSequence"
_SIEMENS, _PHILIPS, _UIH = "SIEMENS MR HEADER", "Philips Imaging DD 001", "Image Private Header"
_PHILIPS_MR, _GE, _GE_GRADIENT = "Philips MR Imaging DD 001", "GEMS_PARM_01", "GEMS_ACQU_01"
_GRADIENT_PLACES: dict[str, tuple[tuple[str, int], ...]] = {
    "x": ((_PHILIPS_MR, 0x200510B0), (_GE_GRADIENT, 0x001910BB)),
    "y": ((_PHILIPS_MR, 0x200510B1), (_GE_GRADIENT, 0x001910BC)),
    "z": ((_PHILIPS_MR, 0x200510B2), (_GE_GRADIENT, 0x001910BD)),
}
_TIMING = "MRTimingAndRelatedParametersSequence"

TRAITS = (
    Trait("stack", ((CONTENT, "StackID"),), is_text=True),
    Trait("temporal position", (
        (CONTENT, "TemporalPositionIndex"), ("", "TemporalPositionIdentifier"), ("", "TemporalPositionIndex"),
    )),
    Trait("inversion time", (("MRModifierSequence", "InversionTimes"), ("", "InversionTime"))),
    Trait("echo time", (("MREchoSequence", "EffectiveEchoTime"), ("", "EchoTime"))),
    Trait("echo", (("", "EchoNumbers"),)),
    Trait("b-value", (
        (_DIFFUSION, "DiffusionBValue"), ("", "DiffusionBValue"), (_SIEMENS, 0x0019100C), (_PHILIPS, 0x20011003),
        (_UIH, 0x00651009), (_GE, 0x00431039),
    )),
    Trait("gradient direction", (
        (f"{_DIFFUSION}/DiffusionGradientDirectionSequence", "DiffusionGradientOrientation"),
        ("", "DiffusionGradientOrientation"), (_SIEMENS, 0x0019100E),
    ), is_ordered=False),
    Trait("cardiac phase", (
        (_CARDIAC, "NominalPercentageOfCardiacPhase"), ("", "NominalPercentageOfCardiacPhase"),
    )),
    Trait("respiratory phase", (("RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase"),)),
    Trait("trigger time", (
        (_CARDIAC, "NominalCardiacTriggerDelayTime"), ("", "TriggerTime"),
    ), is_decisive=False),
    *(
        Trait(f"gradient along {axis}", places, is_decisive=False, is_ordered=False)
        for axis, places in _GRADIENT_PLACES.items()
    ),
    Trait("velocity direction", (
        ("MRVelocityEncodingSequence", "VelocityEncodingDirection"),
    ), is_decisive=False, is_ordered=False),
    Trait("label or control", (
        ("MRArterialSpinLabelingSequence", "ASLContext"),
    ), is_decisive=False, is_ordered=False, is_text=True),
    Trait("flip angle", ((_TIMING, "FlipAngle"), ("", "FlipAngle")), is_decisive=False),
    Trait("repetition time", ((_TIMING, "RepetitionTime"), ("", "RepetitionTime")), is_decisive=False),
    Trait("tube voltage", (("CTXRayDetailsSequence", "KVP"), ("", "KVP")), is_decisive=False),
    Trait("convolution kernel", (
        ("CTReconstructionSequence", "ConvolutionKernel"), ("", "ConvolutionKernel"),
    ), is_decisive=False, is_text=True),
    Trait("frame reference time", (("", "FrameReferenceTime"),), is_decisive=False),
    Trait("acquisition number", (("", "AcquisitionNumber"),), is_decisive=False),
    Trait("acquisition number of the frame", ((CONTENT, "FrameAcquisitionNumber"),), is_decisive=False),
    Trait("acquisition time", (
        (CONTENT, "FrameAcquisitionDateTime"), ("", "AcquisitionDateTime"), ("AcquisitionDate", "AcquisitionTime"),
    ), is_decisive=False, is_text=True),
    Trait("content time", (("ContentDate", "ContentTime"),), is_decisive=False, is_text=True),
)  # fmt: skip
"""What volumes are told apart by, the most telling first."""

ACQUISITION_TIME = next(index for index, trait in enumerate(TRAITS) if trait.name == "acquisition time")

TRAIT_KEYWORDS = tuple(keyword for trait in TRAITS for macro, keyword in trait.places if not _is_macro(macro))
"""What the top level of a header has to be read for."""


def top_trait(dataset: Dataset, trait: Trait) -> TraitValue:
    """Return a trait from the top level of a header; None where it is not there."""
    present = dataset.keys()
    for macro, keyword in trait.places:
        if _is_macro(macro):
            continue
        if isinstance(keyword, int) and (keyword not in present or text(dataset, _creator(keyword)) != macro):
            continue
        if (value := _trait_value(dataset, trait, keyword)) is not None:
            return f"{text(dataset, macro)}{value}" if trait.is_text and macro else value  # a time behind its date
    return None


def group_trait(groups: Sequence[Dataset], trait: Trait, top: TraitValue) -> TraitValue:
    """Return a trait from the functional groups of a frame, its own first; `top` where they do not hold it."""
    for macro, keyword in trait.places:
        if not _is_macro(macro):
            continue
        outer, _, inner = macro.partition("/")
        for group in groups:
            item = first_item(group, outer)
            if item is not None and inner:
                item = first_item(item, inner)
            if item is not None and (value := _trait_value(item, trait, keyword)) is not None:
                return value
    return top


def _creator(tag: int) -> int:
    """The tag that says whose a private tag is (PS3.5 7.8.1)."""
    return (tag & 0xFFFF0000) | ((tag & 0xFF00) >> 8)


def _trait_value(dataset: Dataset, trait: Trait, keyword: str | int) -> TraitValue:
    if trait.is_text:
        return sys.intern(text(dataset, keyword)) or None
    found = tuple(round(value, 3) for value in all_numbers(dataset, keyword))
    return found[0] if len(found) == 1 else found or None
