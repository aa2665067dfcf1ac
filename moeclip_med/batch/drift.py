"""Whether a scanner's images, or the model's findings on them, change: the weekly share of studies with findings.

It is kept where the threshold is calibrated; without, the number of findings means nothing. Weeks are those of the
acquisition. A week of few studies says little and could point at one person, so it is not shown.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from typing import TYPE_CHECKING

from moeclip_med.batch.records import SeriesState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeclip_med.batch.catalogue import Catalogue
    from moeclip_med.batch.ledger import Ledger

CONFIDENCE = 0.99
FEWEST_STUDIES = 10
"""In a week that is shown."""
FEWEST_BEFORE = 30
"""Studies of earlier weeks that a week is compared with."""


@dataclass(frozen=True)
class WeekShare:
    """The studies of one scanner in one week.

    Attributes:
        scanner: Its pseudonym.
        week: ISO week of the acquisition, such as "2024-W09".
        studies: Studies scored with a calibrated threshold.
        with_findings: How many of them have findings.
        share: The ratio of the two.
        low: Lower end of the exact (Clopper-Pearson) 99 % confidence interval of the share.
        high: Its upper end.
        share_before: The share of the scanner's earlier weeks; None where these hold fewer than 30 studies.
    """

    scanner: str
    week: str
    studies: int
    with_findings: int
    share: float
    low: float
    high: float
    share_before: float | None

    @property
    def is_outside(self) -> bool:
        """Whether the share of the earlier weeks lies outside this week's interval."""
        return self.share_before is not None and not self.low <= self.share_before <= self.high


def weekly_shares(ledger: Ledger, catalogue: Catalogue) -> list[WeekShare]:
    """Return the weeks of each scanner in order of time; empty without a calibrated threshold."""
    has_findings: dict[str, bool] = {}
    for study, record in ledger.series():
        if record.state is SeriesState.DONE and record.is_calibrated:
            has_findings[study] = has_findings.get(study, False) or record.findings > 0
    places = catalogue.acquisitions() if has_findings else {}
    counts: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for study, found in has_findings.items():
        if study in places:
            scanner, week = places[study]
            counts[scanner][week][0] += 1
            counts[scanner][week][1] += found
    shares = []
    for scanner in sorted(counts):
        studies_before = findings_before = 0
        for week in sorted(counts[scanner]):
            studies, with_findings = counts[scanner][week]
            if studies >= FEWEST_STUDIES:
                before = findings_before / studies_before if studies_before >= FEWEST_BEFORE else None
                shares.append(_week(scanner, week, studies, with_findings, before))
            studies_before += studies
            findings_before += with_findings
    return shares


def _week(scanner: str, week: str, studies: int, found: int, before: float | None) -> WeekShare:
    from scipy.stats import binomtest

    interval = binomtest(found, studies).proportion_ci(CONFIDENCE, method="exact")
    return WeekShare(scanner, week, studies, found, found / studies, float(interval.low), float(interval.high), before)


def drift_warning(shares: Sequence[WeekShare]) -> str:
    """Say which scanner's last week left its interval; "" where none did."""
    last = {share.scanner: share for share in shares}
    outside = [share for share in last.values() if share.is_outside]
    return "; ".join(
        f"{share.scanner}, {share.week}: {share.share:.0%} of {share.studies} studies have findings "
        f"(99 % interval {share.low:.0%} to {share.high:.0%}), {share.share_before:.0%} before; see drift.html"
        for share in outside
    )


_WIDTH, _HEIGHT, _STEP = 720, 120, 24


def render_drift(shares: Sequence[WeekShare]) -> str:
    """Make the page: one chart per scanner, weeks from left to right, shares with their intervals."""
    from jinja2 import Environment, select_autoescape

    by_scanner: dict[str, list[WeekShare]] = defaultdict(list)
    for share in shares:
        by_scanner[share.scanner].append(share)
    environment = Environment(autoescape=select_autoescape(default=True), trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath("drift.html.jinja").read_text(encoding="utf-8"))
    charts = [
        {
            "scanner": scanner,
            "weeks": [{"share": share, "x": _STEP * (index + 1), "monday": _monday(share.week)}
                      for index, share in enumerate(weeks)],
            "width": max(_WIDTH, _STEP * (len(weeks) + 1)),
        }
        for scanner, weeks in sorted(by_scanner.items())
    ]  # fmt: skip
    return template.render(charts=charts, height=_HEIGHT, fewest=FEWEST_STUDIES, fewest_before=FEWEST_BEFORE)


def _monday(week: str) -> str:
    year, number = week.split("-W")
    return date.fromisocalendar(int(year), int(number), 1).isoformat()
