"""Two runs on the same cases: differences with a paired test over patients."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms.errors import InputError

from moeclip_med.benchmark.report.markdown import table
from moeclip_med.benchmark.report.words import METRIC_NAMES, PROTOCOL_NAMES, percent
from moeclip_med.benchmark.results import COMPARED, SIGNIFICANT
from moeclip_med.benchmark.rows import Rows
from moeclip_med.benchmark.run import COUNTS_FOLDER
from moeclip_med.benchmark.store import Store
from moeclip_med.benchmark.summary import combine, pixel_part, scores_part
from moeclip_med.metrics.bootstrap import paired_difference

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from moeclip_med.benchmark.protocol import Protocol
    from moeclip_med.benchmark.summary import Level
    from moeclip_med.metrics.value import Metric


@dataclass(frozen=True)
class Comparison:
    """One figure of two runs.

    Attributes:
        dataset: The set.
        protocol: The protocol.
        figure: "pixel AUROC" and so on.
        first: Of the first run, on the cases that both judged.
        second: Of the second.
        difference: Second minus first, with its interval.
        p_value: Two-sided, paired over units; None where no test was possible.
        cases: How many cases both judged.
        units: How many patients (or images, volumes) they belong to.
        units_are: What these are.
    """

    dataset: str
    protocol: Protocol
    figure: str
    first: Metric
    second: Metric
    difference: Metric
    p_value: float | None
    cases: int
    units: int
    units_are: str


def compare(first: Path, second: Path) -> list[Comparison]:
    """Compare the detectors of two runs.

    Both are computed anew on the cases that both judged, from the stored histograms of 1024 bins.

    Args:
        first: Output folder of one run.
        second: Output folder of the other.

    Raises:
        InputError: If a folder holds no run, or the runs have no case in common.
    """
    runs = [_load(folder) for folder in (first, second)]
    shared = [name for name in runs[0] if name in runs[1]]
    if not shared:
        msg = f'"{first}" and "{second}" have no data set in common; run both on the same sets'
        raise InputError(msg)
    comparisons: list[Comparison] = []
    for name in shared:
        rows = (runs[0][name], runs[1][name])
        protocols = [protocol for protocol in rows[0].protocols if protocol in rows[1].protocols]
        for protocol in protocols[:1]:
            comparisons += _compare_set(rows, protocol)
    if not comparisons:
        msg = f'"{first}" and "{second}" have no case in common; run both on the same images'
        raise InputError(msg)
    return comparisons


def to_markdown(comparisons: list[Comparison]) -> str:
    """Write the comparison as a table."""
    header = ("set", "figure", "first", "second", "second minus first", "p, paired", "verdict", "over")
    rows: list[tuple[str, ...]] = []
    for one in comparisons:
        over = f"{one.units} {one.units_are}"
        if one.difference.value is None:
            rows.append(
                (
                    one.dataset,
                    one.figure,
                    percent(one.first),
                    percent(one.second),
                    "n/a",
                    "",
                    one.difference.reason,
                    over,
                )
            )
            continue
        bounds = one.difference.interval
        between = "" if bounds is None else f" ({100 * bounds.low:+.1f} to {100 * bounds.high:+.1f})"
        p_value = "no test" if one.p_value is None else f"{one.p_value:.3f}"
        figures = (f"{100 * (metric.value or 0.0):.1f}" for metric in (one.first, one.second))
        rows.append(
            (
                one.dataset,
                one.figure,
                *figures,
                f"{100 * one.difference.value:+.1f}{between}",
                p_value,
                _verdict(one),
                over,
            )
        )
    protocols = ", ".join(dict.fromkeys(PROTOCOL_NAMES[one.protocol.value] for one in comparisons))
    note = (
        f"In percent, on the cases that both runs judged; {protocols}. Intervals (95 %) and p by resampling "
        "patients (images or volumes, where no patients are known), both runs together."
    )
    return f"{table(header, rows)}\n\n{note}\n"


def _compare_set(rows: tuple[Rows, Rows], protocol: Protocol) -> list[Comparison]:
    chosen = [np.isin(rows[0].keys, rows[1].keys), np.isin(rows[1].keys, rows[0].keys)]
    if not chosen[0].any():
        return []
    levels = [_levels(one, protocol, kept) for one, kept in zip(rows, chosen, strict=True)]
    about = rows[0].about
    units = len(np.unique(rows[0].units[chosen[0]]))
    comparisons = []
    for kind, name in COMPARED:
        first, second = levels[0][kind], levels[1][kind]
        none = np.full(1, np.nan)
        samples = (first.samples.get(name, none), second.samples.get(name, none))
        figures = (first.metrics[name], second.metrics[name])
        difference, p_value = paired_difference(*figures, samples, units, about["units_are"])
        figure = f"{kind} {METRIC_NAMES[name]}"
        comparisons.append(
            Comparison(
                about["name"],
                protocol,
                figure,
                *figures,
                difference,
                p_value,
                int(chosen[0].sum()),
                units,
                about["units_are"],
            )
        )
    return comparisons


def _levels(rows: Rows, protocol: Protocol, kept: NDArray[np.bool_]) -> dict[str, Level]:
    system = rows.systems[0]
    pixel, image = {}, {}
    what = "slices" if rows.about["is_volumes"] else "images"
    for group in dict.fromkeys(rows.groups[kept].tolist()):
        chosen = kept & (rows.groups == group)
        names, counts, _ = rows.unit_counts(system, protocol, chosen)
        pixel[group] = pixel_part({}, counts, len(names))
        image[group] = scores_part(rows.image_scores(system, protocol, chosen), what)
    units_are = rows.about["units_are"]
    return {"pixel": combine(pixel, units_are), "image": combine(image, units_are)}


def _load(folder: Path) -> dict[str, Rows]:
    counts = folder / COUNTS_FOLDER
    stores = sorted(path.parent for path in counts.glob("*/progress.json"))
    if not stores:
        msg = f'"{folder}" holds no benchmark run; name the output folder of "moeclip-med benchmark"'
        raise InputError(msg)
    loaded = {}
    for store in stores:
        settings_hash = json.loads((store / "progress.json").read_text(encoding="utf-8"))["settings_hash"]
        rows = Rows(Store(store, settings_hash))
        loaded[str(rows.about["name"])] = rows
    return loaded


def _verdict(one: Comparison) -> str:
    if one.difference.value is None or one.p_value is None:
        return "not tested"
    if one.p_value >= SIGNIFICANT:
        return "no clear difference"
    return "second is better" if one.difference.value > 0 else "first is better"
