"""A result format: the findings as a Markdown table, `findings.md`; `--results json,markdown`."""

from moeclip_med.results.writers import ResultWriter


def write(anomaly, path, notes):
    """Write one line per finding, then the notes that belong beside every result."""
    lines = ["| finding | highest score | volume, ml | slices |", "|---|---|---|---|"]
    for finding in anomaly.findings:
        volume = "" if finding.volume_ml is None else f"{finding.volume_ml:.2f}"  # photographs have no size in mm
        first, last = finding.slice_range
        lines.append(f"| {finding.rank} | {finding.peak_score:.2f} | {volume} | {first + 1}-{last + 1} |")
    path.write_text("\n".join([*lines, "", *notes, ""]), encoding="utf-8")


WRITER = ResultWriter("findings.md", write)
