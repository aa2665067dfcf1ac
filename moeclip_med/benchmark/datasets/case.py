"""One image or volume to be evaluated, the set it belongs to, and what is wrong with a set."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

Box = tuple[float, float, float, float]
"""Left, top, width and height in pixels."""

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_med.benchmark.datasets.facts import SetFacts


class Fault(StrEnum):
    """What can be wrong with a case; every one is counted and named in the report."""

    MASK_MISSING = "abnormal image without its mask: counted at image level only"
    LABEL_UNKNOWN = "image without mask in a folder that is not named normal: excluded"
    IMAGE_MISSING = "mask without its image: excluded"
    NO_IMAGE = "mask or map of probabilities, no image: excluded"
    UNREADABLE = "image that cannot be read: excluded"
    MASK_UNREADABLE = "mask that cannot be read: excluded"
    MASK_SIZE = "mask of another size than its image: excluded"
    MASK_VALUES = "mask whose values had to be interpreted"
    MASK_GRID = "mask on another grid than its image: excluded"
    NOT_FINITE = "scores that are not finite: excluded"
    MAP_MISSING = "image without a map of every program: excluded"
    MAP_UNREADABLE = "map that cannot be read or does not fit its image: excluded"
    LABEL_VALUE = "mask with a value that was not named: that value does not count"
    STRATUM_UNKNOWN = "case in the file of strata that the set does not have: ignored"
    STRATUM_MISSING = "case that the file of strata does not name: in no stratum"
    NOT_IN_SPLIT = "listed in the published split but not there: excluded"


@dataclass(frozen=True)
class Problem:
    """One case that something is wrong with.

    Attributes:
        fault: What.
        key: Which: its path inside the set.
        detail: Sizes found and expected, or the reader's own words; "" where the fault says all.
    """

    fault: Fault
    key: str
    detail: str = ""


class BadCaseError(Exception):
    """A case that has to be excluded."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.key}: {problem.fault.value} {problem.detail}")
        self.problem = problem


@dataclass(frozen=True)
class Case:
    """One image or volume.

    Attributes:
        key: Its path inside the set, with "/" on every system: the same name in every run.
        image: The file, or folder of a DICOM series.
        mask: The file with the true regions; None where there is none.
        is_abnormal: What its folder says; None where the mask decides (any value that counts makes it abnormal).
        group: The class that metrics are averaged over; "" in sets of one class.
        unit: The patient it belongs to, or its own key where no patients are known.
        boxes: What is abnormal as boxes (x, y, width, height) in pixels, where the truth is a list of boxes; its file
            is then the mask.
    """

    key: str
    image: Path
    mask: Path | None
    is_abnormal: bool | None
    group: str
    unit: str
    boxes: tuple[Box, ...] | None = None


@dataclass(frozen=True)
class Dataset:
    """The cases of one set, ready to be evaluated.

    Attributes:
        name: Its name in tables.
        root: Where it lies.
        cases: Sorted by class, then patient, then key.
        problems: What was wrong before any image was opened.
        facts: What is published about it; None for a user's own set.
        is_volumes: Whether cases are volumes rather than images.
        is_industrial: Whether the paper's rule for industrial images applies; the medical one does otherwise.
        units_are: "patients", "volumes" or "images".
        lesion_labels: Mask values that are lesions; empty where every value above 0 is.
        ignore_labels: Mask values of places that were not evaluated: they count nowhere.
        time_point: Which one of a 4-D volume is evaluated.
        prompts: Class to the name typed into the prompts of models with a text tower; "" stands for every class.
        notes: What a reader of the figures has to know.
    """

    name: str
    root: Path
    cases: tuple[Case, ...]
    problems: tuple[Problem, ...] = ()
    facts: SetFacts | None = None
    is_volumes: bool = False
    is_industrial: bool = False
    units_are: str = "images"
    lesion_labels: tuple[int, ...] = ()
    ignore_labels: tuple[int, ...] = ()
    time_point: int = 0
    prompts: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def groups(self) -> tuple[str, ...]:
        """The classes, in order."""
        return tuple(dict.fromkeys(case.group for case in self.cases))

    def prompt(self, group: str) -> str | None:
        """The class name to type into prompts; None where the model's own is to be used."""
        return self.prompts.get(group, self.prompts.get(""))
