"""The layouts that medical sets, and those of users, come in."""

from __future__ import annotations

from moeclip_transforms.image_sets import Layout, Rule

_TOP = r"(?P<top>(?:.*/)?)"
_STEM = r"(?P<stem>[^/]+)"

BMAD = Layout(
    rules=(
        Rule(rf"{_TOP}test/good/img/{_STEM}", is_abnormal=False),
        Rule(rf"{_TOP}test/ungood/img/{_STEM}", is_abnormal=True, masks=("{top}test/ungood/label/{stem}",)),
    ),
    masks=rf"{_TOP}test/ungood/label/{_STEM}",
)

IMAGES_AND_MASKS = Layout(
    rules=(
        Rule(
            rf"{_TOP}(?:images|original)/{_STEM}",
            is_abnormal=True,
            masks=("{top}masks/{stem}", "{top}masks/{stem}_mask", "{top}ground truth/{stem}"),
        ),
    ),
    masks=rf"{_TOP}(?:masks|ground truth)/{_STEM}",
)

GOOD_AND_DEFECT = Layout(
    rules=(
        Rule(rf"{_TOP}test/good/{_STEM}", is_abnormal=False),
        Rule(rf"{_TOP}test/(?:defect|bad|ungood)/{_STEM}", is_abnormal=True),
    )
)

YES_AND_NO = Layout(
    rules=(
        Rule(rf"{_TOP}no/{_STEM}", is_abnormal=False),
        Rule(rf"{_TOP}yes/{_STEM}", is_abnormal=True),
    )
)

KAGGLE_3M = Layout(
    rules=(
        Rule(
            rf"(?P<patient>(?:.*/)?TCGA[^/]+)/{_STEM}",
            is_abnormal=None,
            masks=("{patient}/{stem}_mask",),
            unless=r".*_mask",
        ),
    ),
    masks=r".*_mask",
)

PH2 = Layout(
    rules=(
        Rule(
            rf"{_TOP}(?P<patient>IMD\d+)/\w+_Dermoscopic_Image/{_STEM}",
            is_abnormal=None,
            masks=("{top}{patient}/{patient}_lesion/{patient}_lesion",),
        ),
    ),
    masks=r".*_lesion/[^/]+_lesion",
)

BRATS = Layout(
    rules=(
        Rule(
            rf"{_TOP}(?P<patient>[^/]+)/(?P=patient)_flair", is_abnormal=None, masks=("{top}{patient}/{patient}_seg",)
        ),
        Rule(rf"{_TOP}(?P<patient>[^/]+)/(?P=patient)-t2f", is_abnormal=None, masks=("{top}{patient}/{patient}-seg",)),
    ),
    masks=r".*[-_]seg",
    is_volumes=True,
)

LITS = Layout(
    rules=(
        Rule(
            rf"{_TOP}volume-(?P<patient>\d+)",
            is_abnormal=None,
            masks=(
                "{top}segmentation-{patient}",
                "{top}segmentations/segmentation-{patient}",
                "{top}labels/segmentation-{patient}",
            ),
        ),
    ),
    masks=r".*segmentation-\d+",
    mask_values=(2,),
    is_volumes=True,
)


def decathlon(*mask_values: int) -> Layout:
    """The layout of one task of the Medical Segmentation Decathlon; of several channels the first is evaluated."""
    return Layout(
        rules=(Rule(rf"{_TOP}imagesTr/(?P<patient>[^/.][^/]*)", is_abnormal=None, masks=("{top}labelsTr/{patient}",)),),
        masks=r".*labelsTr/[^/.][^/]*",
        mask_values=mask_values,
        is_volumes=True,
    )


_WORDS = ("mask", "msk", "seg", "segmentation", "label", "labels", "lesion", "lesions", "gt")
_JOINTS = ("_", "-", ".")


def _beside(stem: str) -> tuple[str, ...]:
    """The names that a mask beside its image has."""
    return tuple(f"{stem}{joint}{word}" for word in _WORDS for joint in _JOINTS)


_NAMED_MASK = rf".*[-_.](?:{'|'.join(_WORDS)})"
BESIDE = Layout(
    rules=(
        Rule(
            r"(?P<patient>.*)/(?P<stem>[^/]+)", is_abnormal=None, masks=_beside("{patient}/{stem}"), unless=_NAMED_MASK
        ),
        Rule(r"(?P<stem>[^/]+)", is_abnormal=None, masks=_beside("{stem}"), unless=_NAMED_MASK),
    ),
    masks=_NAMED_MASK,
)

_MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "ground_truth", "ground truth", "gt", "seg")
_ANY_MASK_FOLDER = "|".join(_MASK_FOLDERS)


def _in_mask_folders(stem: str) -> tuple[str, ...]:
    """The places that a mask has in a folder of masks beside that of the images."""
    names = (stem, *_beside(stem))
    return tuple(f"{{top}}{folder}/{name}" for folder in _MASK_FOLDERS for name in names)


_TESTED = "{top}ground_truth/{defect}/{stem}"
ANOMALIB = Layout(
    rules=(
        Rule(rf"{_TOP}test/(?:good|ok|normal)/{_STEM}", is_abnormal=False),
        Rule(rf"{_TOP}test/(?P<defect>[^/]+)/{_STEM}", is_abnormal=True, masks=(f"{_TESTED}_mask", _TESTED)),
    ),
    masks=rf"{_TOP}ground_truth/[^/]+/{_STEM}",
)
ANOMALIB_FOLDER = Layout(
    rules=(
        Rule(rf"{_TOP}(?:good|ok|normal)/{_STEM}", is_abnormal=False),
        Rule(
            rf"{_TOP}(?P<defect>[^/]+)/{_STEM}",
            is_abnormal=True,
            masks=tuple(
                f"{{top}}{folder}/{{defect}}/{{stem}}{end}" for folder in _MASK_FOLDERS for end in ("", "_mask")
            ),
            unless=rf"(?:.*/)?(?:{_ANY_MASK_FOLDER})/.*",
        ),
    ),
    masks=rf"{_TOP}(?:{_ANY_MASK_FOLDER})/[^/]+/{_STEM}",
)
IMAGES_BESIDE_MASKS = Layout(
    rules=(
        Rule(
            rf"{_TOP}(?:images?|imgs?|original)/{_STEM}",
            is_abnormal=None,
            masks=_in_mask_folders("{stem}"),
        ),
    ),
    masks=rf"{_TOP}(?:{_ANY_MASK_FOLDER})/{_STEM}",
)
FOLDER_LAYOUTS = (BMAD, ANOMALIB, ANOMALIB_FOLDER, IMAGES_BESIDE_MASKS)
"""Layouts tried for a folder of a user's own images, in order; where none finds a mask, masks lie beside images."""


def nnunet(channel: int = 0) -> Layout:
    """The raw layout of nnU-Net: imagesTr/CASE_0000 and labelsTr/CASE; of several channels one is evaluated."""
    return Layout(
        rules=(
            Rule(
                rf"{_TOP}images(?P<part>Tr|Ts|)/(?P<patient>[^/.][^/]*?)_{channel:04d}",
                is_abnormal=None,
                masks=("{top}labels{part}/{patient}", "{top}masks{part}/{patient}"),
            ),
        ),
        masks=r".*(?:labels|masks)(?:Tr|Ts|)/[^/.][^/]*",
        is_volumes=True,
    )


_MASK_WORDS = r"(?:mask|msk|seg|segmentation|label|labels|lesion|lesions|gt|truth|consensus)"
_NUMBERED = r"(?:image|img|volume|scan)(?P<patient>[-_]?\d[^/]*)"
_NUMBERED_FOLDERS = ("labels", "masks", "labelsTr", "labelsTs")
VOLUME_PAIRS = (
    decathlon(),
    BRATS,
    Layout(
        rules=(
            Rule(
                rf"{_TOP}(?:images?|imgs?)/(?P<patient>[^/]+)",
                is_abnormal=None,
                masks=_in_mask_folders("{patient}"),
            ),
        ),
        masks=rf"(?:.*/)?(?:{_ANY_MASK_FOLDER})/[^/]+",
        is_volumes=True,
    ),
    Layout(
        rules=(
            Rule(
                rf"{_TOP}images?(?:Tr|Ts)?/{_NUMBERED}",
                is_abnormal=None,
                masks=tuple(f"{{top}}{folder}/{word}{{patient}}" for folder in _NUMBERED_FOLDERS for word in _WORDS),
            ),
            Rule(rf"{_TOP}{_NUMBERED}", is_abnormal=None, masks=tuple(f"{{top}}{word}{{patient}}" for word in _WORDS)),
        ),
        masks=rf"(?:.*/)?(?:{'|'.join(_WORDS)})[-_]?\d[^/]*",
        is_volumes=True,
    ),
    Layout(
        rules=(
            Rule(
                rf"{_TOP}(?P<patient>[^/]+)",
                is_abnormal=None,
                masks=_beside("{top}{patient}"),
                unless=rf".*[-_.]{_MASK_WORDS}",
            ),
        ),
        masks=rf".*[-_.]{_MASK_WORDS}",
        is_volumes=True,
    ),
)
"""Layouts tried for a user's own volumes, in order."""
