"""The methods paragraph of a report: every convention that its figures follow, ready to paste."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeclip_med.benchmark.report.html import template
from moeclip_med.metrics.bootstrap import MINIMUM_UNITS, REPEATS
from moeclip_med.metrics.lesions import BRATS_GLIOMA
from moeclip_med.metrics.overlap import EMPTY_RULES, TOLERANCE_MM, TOLERANCE_PIXELS
from moeclip_med.metrics.paired import RESAMPLES
from moeclip_med.scoring.anomaly import LOW_THRESHOLD_SHARE
from moeclip_med.scoring.findings import SMALLEST_AREA_PIXELS, SMALLEST_SHARE, SMALLEST_VOLUME_ML

if TYPE_CHECKING:
    from moeclip_med.benchmark.run import BenchmarkResult


def methods(result: BenchmarkResult) -> str:
    """Return the paragraph for a report."""
    text = template("methods.txt.j2").render(
        model=result.provenance["model"],
        software=result.provenance["software"],
        source=result.provenance["settings"]["threshold_from"],
        low_threshold_share=f"{LOW_THRESHOLD_SHARE:g}",
        smallest_ml=f"{SMALLEST_VOLUME_ML:g}",
        smallest_pixels=SMALLEST_AREA_PIXELS,
        smallest_share=f"{1 / SMALLEST_SHARE:.0f}",
        tolerance_mm=f"{TOLERANCE_MM:g}",
        tolerance_pixels=f"{TOLERANCE_PIXELS:g}",
        empty_rules=EMPTY_RULES,
        rule={name: f"{value:g}" for name, value in BRATS_GLIOMA._asdict().items()},
        repeats=REPEATS,
        fewest=MINIMUM_UNITS,
        permutations=RESAMPLES,
    )
    return " ".join(text.split())


CONVENTIONS = (
    ("WinCLIP", "the text score of the whole image", "no", "240"),
    ("April-GAN", "the text score; with few shots half of it plus half the maximum", "few shots: yes", "518"),
    ("AnomalyCLIP", "the text score alone", "no", "518, Gaussian of σ 4"),
    ("AdaCLIP", "a score of its own from clustered patches", "no", "518, Gaussian of σ 4"),
    (
        "AA-CLIP, MoECLIP",
        "the maximum; industrial: half of it, half the image score",
        "map and image score: AA-CLIP unless the maximum is 1, MoECLIP outside 0 to 1",
        "518, Gaussian of σ 1.5 patches; industrial 1",
    ),
    (
        "Bayes-PFL",
        "half the text score, half the mean of the 2000 highest pixels (20 for seven classes)",
        "both halves, always",
        "518, Gaussian of σ 8",
    ),
    ("ACD-CLIP", "half the image score, half the maximum; industrial: 0.9 and 0.1", "no", "518"),
    ("AnomalyVFM", "a head of its own", "no", "96 (twice the token grid), mean of 5 × 5"),
    (
        "this program",
        "the maximum; on the paper's industrial sets as MoECLIP",
        "only there",
        "own pixels; 518 on its sets",
    ),
)
"""System, score of an image, whether scores are rescaled over all test images of a category, where maps are compared.

From the released test code of each: ByChelsea/VAND-APRIL-GAN, zqhang/AnomalyCLIP, xiaozhen228/Bayes-PFL,
caoyunkang/AdaCLIP, AA-CLIP's forward_utils.py, cockmake/ACD-CLIP, MaticFuc/AnomalyVFM. WinCLIP's authors released none:
zqhang/Accurate-WinCLIP-pytorch, the reproduction behind its medical figures.
"""
