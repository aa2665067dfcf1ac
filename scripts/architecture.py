"""Draw which package imports which, from the import graph itself: docs/images/architecture.svg.

Rows are the layers of the contract in pyproject.toml; a package imports from rows below its own only. What it reaches
through another package has no arrow of its own.
"""

from __future__ import annotations

import tomllib
from itertools import chain
from pathlib import Path

import grimp
import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "docs" / "images" / "architecture.svg"
_BOX = (1.7, 0.42)
_STEP = (1.95, 0.95)


def layers() -> list[list[str]]:
    """Return the layers of the contract, highest first: full names of packages."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    contract = next(contract for contract in settings["contracts"] if contract["type"] == "layers")
    return [[name.strip() for name in row.split("|")] for row in contract["layers"]]


def imports(packages: list[str]) -> set[tuple[str, str]]:
    """Return the pairs (importer, imported) among the packages, type-checking imports excluded."""
    roots = sorted({package.split(".")[0] for package in packages})
    graph = grimp.build_graph(*roots, exclude_type_checking_imports=True, cache_dir=None)
    found = set()
    for importer in packages:
        inside = graph.find_descendants(importer) | {importer}
        for module in inside & graph.modules:
            for imported in graph.find_modules_directly_imported_by(module):
                owner = next((name for name in packages if imported == name or imported.startswith(f"{name}.")), None)
                if owner is not None and owner != importer:
                    found.add((importer, owner))
    return found


def without_shortcuts(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the pairs that no chain of others implies (the transitive reduction)."""

    def reaches(start: str, end: str, skipped: tuple[str, str]) -> bool:
        return any(
            imported == end or reaches(imported, end, skipped)
            for importer, imported in pairs
            if importer == start and (importer, imported) != skipped
        )

    return {pair for pair in pairs if not reaches(*pair, skipped=pair)}


def places(rows: list[list[str]]) -> dict[str, tuple[float, float]]:
    """Return the centre of each package's box: one row for each layer, centred."""
    found = {}
    for row, names in enumerate(rows):
        for column, name in enumerate(names):
            found[name] = ((column - (len(names) - 1) / 2) * _STEP[0], -row * _STEP[1])
    return found


def draw(rows: list[list[str]], arrows: set[tuple[str, str]]) -> None:
    """Write the picture."""
    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["svg.hashsalt"] = "architecture"
    centres = places(rows)
    figure, axes = plt.subplots(figsize=(8, 0.75 * len(rows)))
    width, height = _BOX
    for importer, imported in sorted(arrows):
        (x0, y0), (x1, y1) = centres[importer], centres[imported]
        bend = 0.0 if abs(y0 - y1) <= _STEP[1] else 0.18
        axes.annotate(
            "", zorder=1, xy=(x1, y1 + height / 2), xytext=(x0, y0 - height / 2),
            arrowprops={"arrowstyle": "-|>", "color": "#9aa5c4", "lw": 0.8, "connectionstyle": f"arc3,rad={bend}"},
        )  # fmt: skip
    for name, (x, y) in centres.items():
        axes.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - height / 2), width, height,
                zorder=2, boxstyle="round,pad=0.02,rounding_size=0.08", facecolor="#e8ebf7", edgecolor="#3f51b5",
            )
        )  # fmt: skip
        axes.text(
            x, y, name.removeprefix("moeclip_med."), ha="center", va="center", fontsize=9, zorder=3, color="#1a237e"
        )
    axes.set_axis_off()
    axes.autoscale_view()
    figure.savefig(OUTPUT, bbox_inches="tight", facecolor="white", metadata={"Date": None})


if __name__ == "__main__":
    the_rows = layers()
    draw(the_rows, without_shortcuts(imports(list(chain.from_iterable(the_rows)))))
