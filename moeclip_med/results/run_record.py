"""`run.json`: what it takes to repeat a run, and nothing that names a patient."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from moeclip_transforms.errors import InputError

from moeclip_med._version import __version__
from moeclip_med.results.formats import RESULT_NAMES, ResultFormat
from moeclip_med.results.notes import RESEARCH_USE
from moeclip_med.results.writers import ResultWriter
from moeclip_med.scoring.record import ScoringRecord

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_med.scoring.anomaly import AnomalyVolume


def run_document(anomaly: AnomalyVolume, notes: tuple[str, ...]) -> dict[str, Any]:
    """The content of `run.json`: the scorer's record, and how the result came out.

    Args:
        anomaly: The scored volume.
        notes: What has to be said beside the numbers.

    Returns:
        A dictionary that `json` can write.
    """
    return {
        "format": "moeclip-med run",
        "intended_use": RESEARCH_USE,
        "written_by": f"moeclip-med {__version__}",
        **anomaly.record.to_json(),
        "result": {
            "peak_score": round(anomaly.peak_score, 6),
            "is_complete": anomaly.scored is None,
            "findings": len(anomaly.findings),
            "notes": list(notes),
        },
    }


def write_run_record(anomaly: AnomalyVolume, path: Path, notes: tuple[str, ...]) -> None:
    """Write `run.json`."""
    text = json.dumps(run_document(anomaly, notes), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_record(path: Path) -> ScoringRecord:
    """Read the record back from `run.json`.

    Raises:
        InputError: When the file is no record of a run, or was written under another schema.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f'"{path.name}" is no record of a run ({type(error).__name__}); expected JSON that this program wrote.'
        ) from error
    return ScoringRecord.from_json(content, path.name)


RUN = ResultWriter(RESULT_NAMES[ResultFormat.RUN], write_run_record)
