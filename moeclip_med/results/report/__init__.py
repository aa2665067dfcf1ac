"""`report.html`: one self-contained page for a reader, without scripts, external resources or names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeclip_med.results.formats import RESULT_NAMES, ResultFormat
from moeclip_med.results.report.page import report_page
from moeclip_med.results.writers import ResultWriter

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_med.scoring.anomaly import AnomalyVolume

__all__ = ["write_report"]


def write_report(anomaly: AnomalyVolume, path: Path, notes: tuple[str, ...]) -> None:
    """Write `report.html`.

    Args:
        anomaly: The scored volume.
        path: The file.
        notes: What has to be said beside the numbers.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__name__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    path.write_text(template.render(page=report_page(anomaly, notes)), encoding="utf-8")


REPORT = ResultWriter(RESULT_NAMES[ResultFormat.REPORT], write_report)
