"""Best and worst cases: mapped once more and drawn, image with the true outline beside image with scores."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from moeclip_med.benchmark.case_views import read_views
from moeclip_med.benchmark.datasets.case import BadCaseError
from moeclip_med.benchmark.evaluation import native_maps
from moeclip_med.benchmark.outcomes import CaseTruth, find
from moeclip_med.benchmark.report.notation import number
from moeclip_med.metrics.detection import match_marks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeclip_med.benchmark.case_views import Views
    from moeclip_med.benchmark.datasets.case import Dataset
    from moeclip_med.benchmark.results import SetResult
    from moeclip_med.benchmark.systems import DetectorSystem

SHOWN = 3
_OUTLINE = np.array([0.33, 1.0, 1.0], dtype=np.float32)
_LONGEST = 320


@dataclass(frozen=True)
class Picture:
    """One case as the report shows it.

    Attributes:
        anchor: Where links in the page lead.
        caption: What it is, without the file's name.
        plain: Data URI of the image with the true outline.
        scored: Data URI of the image with the scores.
    """

    anchor: str
    caption: str
    plain: str
    scored: str


class Focus(StrEnum):
    """What the slice to show is chosen by."""

    TRUTH = "truth"
    MISSED = "missed"
    FALSE = "false"


@dataclass(frozen=True)
class CaseChoice:
    """A case to show: its place among the rows, why, and by what its slice is chosen."""

    row: int
    caption: str
    focus: Focus = Focus.TRUTH


def draw_cases(one: SetResult, dataset: Dataset, detector: DetectorSystem) -> dict[str, list[Picture]]:
    """Draw the best and the worst cases, missed lesions, false positives, and normal cases with the highest scores.

    Args:
        one: The figures of the set.
        dataset: The set.
        detector: Maps them once more.

    Returns:
        Heading to pictures; headings without pictures are dropped.
    """
    by_key = {case.key: case for case in dataset.cases}
    drawn: dict[str, list[Picture]] = {}
    made: dict[str, tuple[Views, NDArray[np.float32]]] = {}
    for heading, choices in choose_cases(one).items():
        pictures = []
        for choice in choices:
            case = by_key[str(one.rows.keys[choice.row])]
            if case.key not in made:
                detector.prepare(dataset.prompt(case.group), is_industrial=dataset.is_industrial)
                try:
                    views = read_views(case, dataset)
                except BadCaseError:
                    continue
                kept = {case.key: (views, native_maps(detector, views).raw)}
                made = kept if dataset.is_volumes else made | kept  # one volume at a time
            anchor = f"{_plain(one.name)}-{_plain(heading)}-{choice.row + 1}"
            pictures.append(draw(*made[case.key], detector, choice, anchor))
        if pictures:
            drawn[heading] = pictures
    return drawn


def choose_cases(one: SetResult) -> dict[str, list[CaseChoice]]:
    """Choose cases by their own AP, their missed lesions, false positives, and highest scores."""
    rows = one.rows
    if not len(rows.keys):
        return {}
    _, precision = rows.case_curves(one.detector, one.protocol)
    rated = np.flatnonzero(~np.isnan(precision))
    order = rated[np.argsort(precision[rated], kind="stable")]
    worst, best = order[:SHOWN], order[::-1][: min(SHOWN, max(len(order) - SHOWN, 0))]
    highest = rows.column(one.detector, one.protocol, "highest")
    normal = np.flatnonzero(~rows.labels)
    loudest = normal[np.argsort(-highest[normal], kind="stable")][:SHOWN]

    def named(chosen: NDArray[np.intp]) -> list[CaseChoice]:
        return [
            CaseChoice(int(row), f"{_where(one, int(row))}, pixel AP {100 * precision[row]:.0f} %") for row in chosen
        ]

    abnormal = np.flatnonzero(rows.labels)
    quietest = abnormal[np.argsort(highest[abnormal], kind="stable")][:SHOWN] if not len(rated) else abnormal[:0]
    return {
        "Found best": named(best),
        "Found worst": named(worst),
        "Largest lesions missed": _missed(one),
        "Most false positives": _false(one),
        "Abnormal, with the lowest scores": [CaseChoice(int(row), _where(one, int(row))) for row in quietest],
        "Normal, with the highest scores": [CaseChoice(int(row), _where(one, int(row))) for row in loudest],
    }


def _missed(one: SetResult) -> list[CaseChoice]:
    chosen: dict[int, CaseChoice] = {}
    unit = "ml" if one.rows.has_mm else "pixels"
    for kind in list(one.rows.thresholds(one.detector))[:1]:
        lesions = one.rows.lesion_rows(one.detector, kind)
        missed = lesions[lesions[:, 2] == 0]
        for row, size, _ in missed[np.argsort(-missed[:, 1], kind="stable")].tolist():
            place = int(row)
            chosen.setdefault(
                place, CaseChoice(place, f"{_where(one, place)}, missed: {number(size, unit)} {unit}", Focus.MISSED)
            )
    return list(chosen.values())[:SHOWN]


def _false(one: SetResult) -> list[CaseChoice]:
    for kind in list(one.rows.thresholds(one.detector))[:1]:
        values = one.rows.outcomes(one.detector, kind)
        if values:
            count = np.nan_to_num(values["false_positives"])
            order = np.lexsort((-values["found_size"], -count))[:SHOWN]
            return [
                CaseChoice(int(row), f"{_where(one, int(row))}, false positives: {int(count[row])}", Focus.FALSE)
                for row in order
                if count[row] > 0
            ]
    return []


def draw(views: Views, raw: NDArray[np.float32], detector: DetectorSystem, choice: CaseChoice, anchor: str) -> Picture:
    """Draw the slice that shows most of what the case was chosen for; of the scores where there is nothing else."""
    from moeclip_med.results.overlay import blend

    metadata = detector.detector.metadata
    view = views.view
    slices = list(range(view.n_slices))
    maps = view.take(raw[None], slices)[:, 0]
    mask = None if views.mask is None else view.take(views.mask[None], slices)[:, 0]
    focus = _focus(views, raw, detector, choice.focus)
    shown_by = None if focus is None else view.take(focus[None], slices)[:, 0]
    if shown_by is None or not shown_by.any():
        shown_by = mask if mask is not None and mask.any() else None
    index = int((maps.max(axis=(1, 2)) if shown_by is None else shown_by.sum(axis=(1, 2))).argmax())
    shown = views.window.apply(view.take(views.volume.tensor, [index]))[0].numpy()
    image: NDArray[np.float32] = np.repeat(shown, 3, axis=0) if shown.shape[0] == 1 else shown
    image = np.ascontiguousarray(image.transpose(1, 2, 0))
    score = metadata.score_scale.score(np.ascontiguousarray(maps[index]))
    scored = blend(image, score, metadata.threshold_for(view.n_slices).value)
    if mask is not None:
        edge = mask[index] & ~ndimage.binary_erosion(mask[index], iterations=max(1, max(mask[index].shape) // 250))
        image[edge] = _OUTLINE
    spacing = view.spacing[1:] if views.volume.has_spacing else (1.0, 1.0)
    return Picture(anchor, choice.caption, _uri(image * 255, spacing), _uri(scored, spacing))


def _focus(views: Views, raw: NDArray[np.float32], detector: DetectorSystem, focus: Focus) -> NDArray[np.bool_] | None:
    """Return the lesions that were missed, or the findings that are false: (x, y, z)."""
    if focus is Focus.TRUTH:
        return None
    mask = views.mask if views.mask is not None else np.zeros(views.volume.shape, dtype=bool)
    truth = CaseTruth.of(views.volume, mask)
    assert truth.places is not None  # noqa: S101 - for the type checker; there is a mask
    scores, metadata = detector.scores(raw), detector.detector.metadata
    marks = find(detector, scores, views.volume, metadata.threshold_for(views.view.n_slices).value)
    if focus is Focus.MISSED:
        hit, _ = match_marks(truth.places, marks.places)
        return np.isin(truth.places.labels, np.flatnonzero(~hit) + 1)
    false = [
        finding.label
        for finding, place in zip(marks.result.findings, marks.places, strict=True)
        if match_marks(truth.places, [place])[1]
    ]
    return np.isin(marks.result.labels, false)


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _where(one: SetResult, row: int) -> str:
    """Name a case without its file's name: its number, class and patient's number."""
    rows = one.rows
    words = [f"No. {row + 1}"]
    if rows.groups[row]:
        words.append(str(rows.groups[row]))
    if rows.about.units_are == "patients":
        number = list(dict.fromkeys(rows.units.tolist())).index(str(rows.units[row])) + 1
        words.append(f"patient {number}")
    return ", ".join(words)


def _uri(pixels: NDArray[np.floating] | NDArray[np.uint8], spacing: tuple[float, float]) -> str:
    """Return a JPEG as a data URI, its pixels square."""
    from PIL import Image

    picture = Image.fromarray(np.asarray(pixels).clip(0, 255).astype(np.uint8))
    height, width = picture.height * spacing[0], picture.width * spacing[1]
    scale = _LONGEST / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    stream = io.BytesIO()
    picture.resize(size, Image.Resampling.LANCZOS).save(stream, format="JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
