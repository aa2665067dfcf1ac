"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

from moeclip_med.benchmark.report.notation import RESEARCH_USE

if TYPE_CHECKING:
    from jinja2 import Template

    from moeclip_med.benchmark.report.benchmark_page import BenchmarkPage


def to_html(page: BenchmarkPage) -> str:
    """Write the page."""
    return template("report.html.j2").render(page=page, research_use=RESEARCH_USE)


@cache
def template(name: str) -> Template:
    """Return one of the report's templates."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(f"moeclip_med.{part}.report") for part in ("benchmark", "results")]),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of `benchmark.json`."""
    text = files("moeclip_med.benchmark.report").joinpath("benchmark.schema.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content
