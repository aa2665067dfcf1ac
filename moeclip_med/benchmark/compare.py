"""Two runs on the same cases: differences with a paired test over patients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms.errors import InputError

from moeclip_med.benchmark.case_level import case_values
from moeclip_med.benchmark.outcomes import ThresholdKind
from moeclip_med.benchmark.report.notation import METRIC_NAMES, PROTOCOL_NAMES, difference, figure, p_value
from moeclip_med.benchmark.report.set_tables import markdown_table
from moeclip_med.benchmark.results import COMPARED, SIGNIFICANT, Verdict, dice_verdict
from moeclip_med.benchmark.run import COUNTS_FOLDER
from moeclip_med.benchmark.run_store import Store
from moeclip_med.benchmark.set_progress import PROGRESS_NAME, damaged_run
from moeclip_med.benchmark.stored_rows import Rows
from moeclip_med.benchmark.summary import combine, pixel_part, scores_part
from moeclip_med.metrics.bootstrap import paired_difference
from moeclip_med.metrics.operating import measure_mean
from moeclip_med.metrics.paired import holm

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
        first: Of the first run, on the cases that both evaluated.
        second: Of the second.
        difference: Second minus first, with its interval.
        p_value: Two-sided, paired over units; None where no test was possible.
        corrected: The same after Holm's correction for all figures compared.
        cases: How many cases both evaluated.
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
    corrected: float | None
    cases: int
    units: int
    units_are: str


def compare(first: Path, second: Path) -> list[Comparison]:
    """Compare the detectors of two runs.

    Both are computed anew on the cases that both evaluated, from the stored histograms of 1024 bins.

    Args:
        first: Output folder of one run.
        second: Output folder of the other.

    Raises:
        InputError: If a folder holds no run, or the runs have no case in common.
    """
    runs = [_load(folder) for folder in (first, second)]
    shared = [name for name in runs[0] if name in runs[1]]
    if not shared:
        raise InputError(f'"{first}" and "{second}" have no data set in common; run both on the same sets')
    comparisons: list[Comparison] = []
    for name in shared:
        rows = (runs[0][name], runs[1][name])
        protocols = [protocol for protocol in rows[0].protocols if protocol in rows[1].protocols]
        for protocol in protocols[:1]:
            comparisons += _compare_set(rows, protocol)
    if not comparisons:
        raise InputError(f'"{first}" and "{second}" have no case in common; run both on the same images')
    corrected = holm([one.p_value for one in comparisons])
    return [replace(one, corrected=value) for one, value in zip(comparisons, corrected, strict=True)]


def to_markdown(comparisons: list[Comparison]) -> str:
    """Write the comparison as a table."""
    header = ("set", "figure", "first", "second", "second minus first", "p, paired", "p, Holm", "verdict", "over")
    rows: list[tuple[str, ...]] = []
    for one in comparisons:
        text, between = difference(one.difference)
        figures = (figure(one.first), figure(one.second), f"{text} ({between})" if between else text)
        tests = (p_value(one.p_value), p_value(one.corrected)) if one.difference.value is not None else ("", "")
        over = f"{one.units} {one.units_are}"
        rows.append((one.dataset, one.figure, *figures, *tests, _verdict(one), over))
    protocols = ", ".join(dict.fromkeys(PROTOCOL_NAMES[one.protocol.value] for one in comparisons))
    note = (
        f"In percent, on the cases that both runs evaluated; {protocols}. Intervals (95 %) and p by resampling "
        "patients (images or volumes, where no patients are known), both runs together; Dice of cases by permutation. "
        f"Holm's correction is for all {len(comparisons)} figures."
    )
    return f"{markdown_table(header, rows)}\n\n{note}\n"


def _compare_set(rows: tuple[Rows, Rows], protocol: Protocol) -> list[Comparison]:
    chosen = [np.isin(rows[0].keys, rows[1].keys), np.isin(rows[1].keys, rows[0].keys)]
    if not chosen[0].any():
        return []
    levels = [_levels(one, protocol, kept) for one, kept in zip(rows, chosen, strict=True)]
    about = rows[0].about
    units = len(np.unique(rows[0].units[chosen[0]]))
    over: tuple[int, int, str] = (int(chosen[0].sum()), units, str(about.units_are))
    comparisons = []
    for kind, name in COMPARED:
        first, second = levels[0][kind], levels[1][kind]
        none = np.full(1, np.nan)
        samples = (first.samples.get(name, none), second.samples.get(name, none))
        figures = (first.metrics[name], second.metrics[name])
        apart, p = paired_difference(*figures, samples, units, about.units_are)
        what = f"{kind} {METRIC_NAMES[name]}"
        comparisons.append(Comparison(about.name, protocol, what, figures[0], figures[1], apart, p, None, *over))
    dice = _compare_dice(rows, protocol, chosen)
    if dice is not None:
        first_dice, second_dice, verdict = dice
        comparisons.append(
            Comparison(
                about.name,
                protocol,
                "case Dice",
                first_dice,
                second_dice,
                verdict.difference,
                verdict.p_value,
                None,
                *over,
            )
        )
    return comparisons


def _compare_dice(
    rows: tuple[Rows, Rows], protocol: Protocol, chosen: list[NDArray[np.bool_]]
) -> tuple[Metric, Metric, Verdict] | None:
    """Compare the mean Dice of cases at the stored thresholds; None where a run has none, or nothing is true."""
    columns, units = [], None
    for one, kept in zip(rows, chosen, strict=True):
        system = one.systems[0]
        values = case_values(one, system, ThresholdKind.STORED, protocol)
        if not values:
            return None
        order = np.argsort(one.keys[kept], kind="stable")
        columns.append(values["dice"][kept][order])
        units = one.units[kept][order]
    if units is None or all(np.isnan(column).all() for column in columns):
        return None
    means = [measure_mean(column, units, rows[0].about.units_are) for column in columns]
    return means[0], means[1], dice_verdict(columns[0], columns[1], units)


def _levels(rows: Rows, protocol: Protocol, kept: NDArray[np.bool_]) -> dict[str, Level]:
    system = rows.systems[0]
    pixel, image = {}, {}
    what = "slices" if rows.about.is_volumes else "images"
    for group in dict.fromkeys(rows.groups[kept].tolist()):
        chosen = kept & (rows.groups == group)
        names, counts = rows.unit_counts(system, protocol, chosen)
        pixel[group] = pixel_part({}, counts, len(names))
        image[group] = scores_part(rows.image_scores(system, protocol, chosen), what)
    units_are = rows.about.units_are
    return {"pixel": combine(pixel, units_are), "image": combine(image, units_are)}


def _load(folder: Path) -> dict[str, Rows]:
    counts = folder / COUNTS_FOLDER
    stores = sorted(path.parent for path in counts.glob(f"*/{PROGRESS_NAME}"))
    if not stores:
        raise InputError(f'"{folder}" holds no benchmark run; name the output folder of "moeclip-med benchmark"')
    loaded = {}
    for store in stores:
        rows = Rows(Store.open(store))
        if len({len(column) for column in (rows.keys, rows.groups, rows.units, rows.labels)}) > 1:
            raise damaged_run(store / PROGRESS_NAME)
        loaded[rows.about.name] = rows
    return loaded


def _verdict(one: Comparison) -> str:
    if one.difference.value is None or one.p_value is None:
        return "not tested"
    if (one.corrected if one.corrected is not None else one.p_value) >= SIGNIFICANT:
        return "no clear difference"
    return "second is better" if one.difference.value > 0 else "first is better"
