"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from moeclip_med.benchmark.report.page import make_page
from moeclip_med.benchmark.report.words import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from moeclip_med.benchmark.report.pictures import Picture
    from moeclip_med.benchmark.run import BenchmarkResult


def to_html(result: BenchmarkResult, pictures: Mapping[str, Mapping[str, Sequence[Picture]]]) -> str:
    """Write the page.

    Args:
        result: All figures.
        pictures: Set to heading to pictures.
    """
    environment = Environment(
        loader=PackageLoader("moeclip_med.benchmark.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    return template.render(page=make_page(result, pictures), research_use=RESEARCH_USE)
