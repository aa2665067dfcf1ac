"""Draw how `lite` gets better with training: what validation and medical sets say of each run, over its steps.

    python scripts/learning_curve.py

Reads docs/research/lite-runs.csv (figures of the experiments by run) and writes docs/images/lite-curve.png.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import matplotlib as mpl
import pandas as pd

mpl.use("Agg")
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOCS = Path(__file__).parents[1] / "docs"
COLOURS = {"C": "#e69f00", "D": "#0072b2", "E": "#009e73"}


class CurvePanel(NamedTuple):
    """One quantity: its column and title, what was aimed at, and what brightness alone reaches; in %."""

    column: str
    title: str
    aim: float | None = None
    brightness: float | None = None


PANELS = (
    CurvePanel("validation", "industrial validation"),
    CurvePanel("lgg_ap", "brain LGG, pixel AP", 60, 14.1),
    CurvePanel("lgg_image", "brain LGG, image AUROC", 92, 55.2),
    CurvePanel("brats_ap", "BraTS, pixel AP", 85, 86.9),
    CurvePanel("ms_auroc", "MS, pixel AUROC", 94, 94.7),
    CurvePanel("polyps_ap", "polyps, pixel AP", 50, 25.0),
    CurvePanel("head_ct_image", "head CT, image AUROC", 97, 66.8),
)


def main() -> None:
    """Draw the picture."""
    runs = pd.read_csv(DOCS / "research" / "lite-runs.csv")
    figure, places = plt.subplots(2, 4, figsize=(12, 5), layout="constrained", sharex=True)
    for place, panel in zip(places.flat, PANELS, strict=False):
        draw(place, panel, runs)
    legend = places.flat[-1]
    legend.axis("off")
    legend.legend(*places.flat[1].get_legend_handles_labels(), loc="center", frameon=False)
    for place in (*places[-1, :-1], places[0, -1]):
        place.set_xlabel("steps of 16 crops")
        place.tick_params(labelbottom=True)
    figure.savefig(DOCS / "images" / "lite-curve.png", dpi=110)


def draw(place: Axes, panel: CurvePanel, runs: pd.DataFrame) -> None:
    """Draw each run as a point, and the mean of each recipe as a line."""
    for recipe, own in runs.dropna(subset=[panel.column]).groupby("recipe"):
        mean = own.groupby("steps")[panel.column].mean()
        place.plot(mean.index, mean, color=COLOURS[recipe], label=f"recipe {recipe}, mean of its seeds")
        place.plot(own["steps"], own[panel.column], "o", color=COLOURS[recipe], ms=4, label=f"recipe {recipe}, one run")
    for value, style, name in ((panel.aim, "--", "aim"), (panel.brightness, ":", "brightness alone")):
        if value is not None:
            place.axhline(value, color="#444444", ls=style, lw=1, label=name)
    place.set_title(panel.title, fontsize=10)
    place.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
