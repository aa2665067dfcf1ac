"""What is published about a data set: its layout, size, home and terms, as rows of a table."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rule:
    """Where a layout keeps some of its images, and their masks.

    Attributes:
        images: Regular expression that a path matches, relative to the set, without its extension, case ignored. The
            groups `group` (class) and `patient` mean what they say; the others only serve `masks`.
        is_abnormal: What the place says about the image; None where its mask decides.
        masks: Places of its mask, tried in order: the groups of `images` in braces, no extension.
        unless: Paths that match this are not meant, although they match `images`.
    """

    images: str
    is_abnormal: bool | None
    masks: tuple[str, ...] = ()
    unless: str = ""


@dataclass(frozen=True)
class Layout:
    """The rules that together find the images of a set; the first rule that matches a path counts.

    Attributes:
        rules: The rules.
        masks: Regular expression of paths that are masks, to notice those without image; "" where none can be told.
        split: A file with comma-separated values that names the test images (columns `split` and `image`), relative
            to the set; "" where every image is one.
        mask_values: Mask values that are lesions; empty where every value other than 0 is.
        is_volumes: Whether the images are volumes (NIfTI, MHA, NRRD).
        time_point: Which time point of 4-D volumes is evaluated.
    """

    rules: tuple[Rule, ...]
    masks: str = ""
    split: str = ""
    mask_values: tuple[int, ...] = ()
    is_volumes: bool = False
    time_point: int = 0


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
