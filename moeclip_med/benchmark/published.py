"""The published zero-shot figures, AUROC and AP in fractions of 1, to stand beside a run on the same set.

Source: Park, Seo, Kang, Park, "MoECLIP: Patch-Specialized Experts for Zero-shot Anomaly Detection", CVPR 2026, arXiv
2603.03101. Pixel figures of the other six systems are as that paper gives them, for the medical sets.
"""

from __future__ import annotations

from typing import NamedTuple

SOURCE = "Park et al., MoECLIP, CVPR 2026, arXiv 2603.03101"
ANOMALY_VFM = "AnomalyVFM DINOv2"
ACD_CLIP = "ACD-CLIP"
SOURCES = {
    ANOMALY_VFM: "AnomalyVFM, CVPR 2026, results of DINOv2 in the authors' repository (MaticFuc/AnomalyVFM)",
    ACD_CLIP: "ACD-CLIP, results of N = 4 groups in the authors' repository (cockmake/ACD-CLIP)",
}
"""Where the figures of a system come from, if not from `SOURCE`."""

SYSTEMS = ("WinCLIP", "April-GAN", "AnomalyCLIP", "AdaCLIP", "AA-CLIP", "Bayes-PFL", "MoECLIP")


class Published(NamedTuple):
    """AUROC and AP of one system on one set, fractions of 1."""

    auroc: float
    ap: float


_Percent = tuple[float, float]

_PIXEL_PERCENT = {
    "Brain MRI": ((95.4, 23.5), (94.4, 37.1), (96.0, 57.5), (94.5, 35.6), (96.7, 55.1), (95.7, 42.9), (97.3, 61.3)),
    "Liver CT": ((97.1, 8.0), (95.5, 5.3), (93.0, 2.9), (97.0, 9.4), (97.2, 9.3), (96.5, 6.2), (97.2, 10.8)),
    "Retina OCT": ((88.8, 22.0), (88.6, 35.4), (91.8, 47.1), (94.4, 55.5), (95.4, 62.3), (95.5, 55.0), (96.2, 66.3)),
    "ColonDB": ((64.8, 14.3), (78.3, 23.3), (81.6, 34.0), (81.0, 26.5), (82.8, 31.5), (82.9, 30.7), (85.4, 34.8)),
    "ClinicDB": ((70.7, 19.4), (85.0, 38.5), (84.3, 41.1), (85.7, 45.8), (89.2, 49.8), (88.2, 49.1), (89.7, 49.9)),
    "CVC-300": ((44.0, 5.0), (92.9, 26.8), (95.8, 56.4), (91.1, 25.9), (96.5, 53.9), (96.6, 51.6), (97.0, 53.0)),
    "Endo": ((68.2, 23.8), (84.0, 48.8), (85.4, 49.7), (86.2, 54.1), (88.6, 57.7), (89.4, 58.9), (91.0, 62.5)),
    "Kvasir": ((69.8, 27.5), (79.7, 43.0), (81.4, 43.1), (82.9, 51.3), (86.0, 52.9), (85.6, 53.4), (88.1, 57.6)),
}
_PIXEL_PERCENT_MOECLIP = {
    "MVTec": (92.5, 45.7),
    "VisA": (95.6, 26.1),
    "BTAD": (96.8, 50.4),
    "RSDD": (99.7, 35.9),
    "DTD-Synthetic": (98.8, 62.7),
}
_PIXEL_PERCENT_ANOMALY_VFM = {
    "ColonDB": (83.9, 42.0),
    "ClinicDB": (92.5, 65.2),
    "Endo": (91.9, 69.1),
    "Kvasir": (89.8, 66.8),
}
_PIXEL_PERCENT_ACD_CLIP = {
    "MVTec": (90.9, 44.0),
    "VisA": (94.6, 27.5),
    "BTAD": (96.5, 51.5),
    "RSDD": (98.9, 40.4),
    "ColonDB": (83.3, 35.4),
    "ClinicDB": (89.8, 56.1),
    "Kvasir": (88.8, 61.3),
    "Brain MRI": (97.0, 61.0),
    "Liver CT": (96.0, 6.8),
    "Retina OCT": (91.3, 48.2),
}
_IMAGE_PERCENT_MOECLIP = {
    "MVTec": (93.9, 96.8),
    "VisA": (83.6, 86.2),
    "BTAD": (93.1, 98.0),
    "RSDD": (95.3, 95.1),
    "DTD-Synthetic": (95.5, 98.6),
    "Brain MRI": (88.5, 97.1),
    "Head CT": (96.6, 94.5),
    "Liver CT": (74.0, 64.6),
    "Retina OCT": (85.5, 84.9),
}


_IMAGE_PERCENT_ACD_CLIP = {
    "MVTec": (92.4, 96.8),
    "VisA": (83.0, 86.0),
    "BTAD": (93.3, 94.0),
    "RSDD": (93.4, 92.2),
    "Brain MRI": (88.1, 97.3),
    "Liver CT": (64.4, 57.3),
    "Retina OCT": (80.3, 79.1),
}
_IMAGE_PERCENT_ANOMALY_VFM = {"Head CT": (88.2, 88.1)}


def published_pixel(name: str) -> dict[str, Published]:
    """Pixel figures by system for a set of the paper; empty for other sets."""
    found = dict(zip(SYSTEMS, _PIXEL_PERCENT.get(name, ()), strict=False))
    if name in _PIXEL_PERCENT_MOECLIP:
        found["MoECLIP"] = _PIXEL_PERCENT_MOECLIP[name]
    return _with_others(name, found, _PIXEL_PERCENT_ACD_CLIP, _PIXEL_PERCENT_ANOMALY_VFM)


def published_image(name: str) -> dict[str, Published]:
    """Image figures by system for a set of the paper; empty for other sets."""
    found = {"MoECLIP": _IMAGE_PERCENT_MOECLIP[name]} if name in _IMAGE_PERCENT_MOECLIP else {}
    return _with_others(name, found, _IMAGE_PERCENT_ACD_CLIP, _IMAGE_PERCENT_ANOMALY_VFM)


def _with_others(
    name: str, found: dict[str, _Percent], acd_clip: dict[str, _Percent], anomaly_vfm: dict[str, _Percent]
) -> dict[str, Published]:
    """Add the systems that the paper does not list."""
    for system, table in ((ACD_CLIP, acd_clip), (ANOMALY_VFM, anomaly_vfm)):
        if name in table:
            found[system] = table[name]
    return {system: _fraction(*row) for system, row in found.items()}


def _fraction(auroc: float, ap: float) -> Published:
    return Published(round(auroc / 100, 4), round(ap / 100, 4))
