"""What is published about a data set: its layout, size, home and terms, as rows of a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moeclip_transforms.image_sets import Layout


@dataclass(frozen=True)
class SetFacts:
    """One published data set.

    Attributes:
        name: As in the paper's tables.
        folders: Names under which the folder is looked for, case and punctuation ignored.
        layouts: Its layouts, tried in order; the first that finds an image counts.
        images: Images of the published test set; None where that depends on the release.
        abnormal: How many of them are abnormal; None as above.
        home: Where it is published.
        terms: The terms of use as stated there.
        is_industrial: Whether the paper's rule for industrial images applies.
        in_paper: Whether it is one of the 14 sets of the paper.
        groups: Number of classes that the paper averages over.
        prompts: Class to the name that the published runs typed; "" stands for every class, "*" for the class's own
            name up to the first underscore.
        note: What a reader of its figures has to know.
    """

    name: str
    folders: tuple[str, ...]
    layouts: tuple[Layout, ...]
    images: int | None
    abnormal: int | None
    home: str
    terms: str
    is_industrial: bool = False
    in_paper: bool = True
    groups: int = 1
    prompts: dict[str, str] = field(default_factory=dict)
    note: str = ""
