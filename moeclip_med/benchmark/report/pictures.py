"""Best and worst cases: mapped once more and drawn, image with the true outline beside image with scores."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from moeclip_med.benchmark.datasets.case import BadCaseError
from moeclip_med.benchmark.evaluation import native_maps
from moeclip_med.benchmark.reading import read_views
from moeclip_med.metrics.curves import measure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeclip_med.benchmark.datasets.case import Dataset
    from moeclip_med.benchmark.reading import Views
    from moeclip_med.benchmark.results import SetResult
    from moeclip_med.benchmark.systems import DetectorSystem

SHOWN = 3
_OUTLINE = np.array([0.33, 1.0, 1.0], dtype=np.float32)
_LONGEST = 320


@dataclass(frozen=True)
class Picture:
    """One case as the report shows it.

    Attributes:
        caption: What it is, without the file's name.
        plain: Data URI of the image with the true outline.
        scored: Data URI of the image with the scores.
    """

    caption: str
    plain: str
    scored: str


@dataclass(frozen=True)
class Choice:
    """A case to show: its place among the rows, and why."""

    row: int
    caption: str


def draw_cases(one: SetResult, dataset: Dataset, detector: DetectorSystem) -> dict[str, list[Picture]]:
    """Draw the best, the worst, and the normal cases with the highest scores.

    Args:
        one: The figures of the set.
        dataset: The set.
        detector: Maps them once more.

    Returns:
        Heading to pictures; headings without pictures are left out.
    """
    by_key = {case.key: case for case in dataset.cases}
    drawn: dict[str, list[Picture]] = {}
    for heading, choices in choose_cases(one).items():
        pictures = []
        for choice in choices:
            case = by_key[str(one.rows.keys[choice.row])]
            detector.prepare(dataset.prompt(case.group), is_industrial=dataset.is_industrial)
            try:
                views = read_views(case, dataset)
            except BadCaseError:
                continue
            raw = native_maps(detector, views).raw
            pictures.append(draw(views, raw, detector, choice.caption))
        if pictures:
            drawn[heading] = pictures
    return drawn


def choose_cases(one: SetResult) -> dict[str, list[Choice]]:
    """Choose by each case's own AP among abnormal cases with masks, and by the highest score among normal ones."""
    rows = one.rows
    if not len(rows.keys):
        return {}
    precision = np.full(len(rows.keys), np.nan)
    for index, counts in enumerate(rows.all_case_counts(one.detector, one.protocol)):
        value = measure(counts)["ap"].value
        if value is not None:
            precision[index] = value
    rated = np.flatnonzero(~np.isnan(precision))
    order = rated[np.argsort(precision[rated], kind="stable")]
    worst, best = order[:SHOWN], order[::-1][: min(SHOWN, max(len(order) - SHOWN, 0))]
    highest = rows.column(one.detector, one.protocol, "highest")
    normal = np.flatnonzero(~rows.labels)
    loudest = normal[np.argsort(-highest[normal], kind="stable")][:SHOWN]

    def named(chosen: NDArray[np.intp]) -> list[Choice]:
        return [Choice(int(row), f"{_where(one, int(row))}, pixel AP {100 * precision[row]:.0f} %") for row in chosen]

    abnormal = np.flatnonzero(rows.labels)
    quietest = abnormal[np.argsort(highest[abnormal], kind="stable")][:SHOWN] if not len(rated) else abnormal[:0]
    return {
        "Found best": named(best),
        "Found worst": named(worst),
        "Abnormal, with the lowest scores": [Choice(int(row), _where(one, int(row))) for row in quietest],
        "Normal, with the highest scores": [Choice(int(row), _where(one, int(row))) for row in loudest],
    }


def draw(views: Views, raw: NDArray[np.float32], detector: DetectorSystem, caption: str) -> Picture:
    """Draw the slice that shows most: of the true region, or of the scores where there is none."""
    from moeclip_med.results.overlay import blend

    metadata = detector.detector.metadata
    view = views.view
    maps = view.take(raw[None], list(range(view.n_slices)))[:, 0]
    mask = None if views.mask is None else view.take(views.mask[None], list(range(view.n_slices)))[:, 0]
    has_lesion = mask is not None and bool(mask.any())
    weight = mask.sum(axis=(1, 2)) if mask is not None and has_lesion else maps.max(axis=(1, 2))
    index = int(weight.argmax())
    shown = views.window.apply(view.take(views.volume.tensor, [index]))[0].numpy()
    image: NDArray[np.float32] = np.repeat(shown, 3, axis=0) if shown.shape[0] == 1 else shown
    image = np.ascontiguousarray(image.transpose(1, 2, 0))
    score = metadata.score_scale.score(np.ascontiguousarray(maps[index]))
    scored = blend(image, score, metadata.threshold.value)
    if mask is not None:
        edge = mask[index] & ~ndimage.binary_erosion(mask[index], iterations=max(1, max(mask[index].shape) // 250))
        image[edge] = _OUTLINE
    spacing = view.spacing[1:] if views.volume.has_spacing else (1.0, 1.0)
    return Picture(caption, _uri(image * 255, spacing), _uri(scored, spacing))


def _where(one: SetResult, row: int) -> str:
    """Name a case without its file's name: its number, class and patient's number."""
    rows = one.rows
    words = [f"No. {row + 1}"]
    if rows.groups[row]:
        words.append(str(rows.groups[row]))
    if rows.about["units_are"] == "patients":
        number = list(dict.fromkeys(rows.units.tolist())).index(str(rows.units[row])) + 1
        words.append(f"patient {number}")
    return ", ".join(words)


def _uri(pixels: NDArray[np.floating] | NDArray[np.uint8], spacing: tuple[float, float]) -> str:
    """Give a JPEG as a data URI, its pixels square."""
    from PIL import Image

    picture = Image.fromarray(np.asarray(pixels).clip(0, 255).astype(np.uint8))
    height, width = picture.height * spacing[0], picture.width * spacing[1]
    scale = _LONGEST / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    stream = io.BytesIO()
    picture.resize(size, Image.Resampling.LANCZOS).save(stream, format="JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
