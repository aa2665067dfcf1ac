"""Who made a result and which unique identifiers it has.

A series identifier follows from the source frames, the model, the settings, the schema of results and the kind of
result alone: it is known before anything is scored, so a PACS can be asked whether the result is there already, and a
new version of the program that gives the same results gives the same series. An instance identifier follows from the
content as well: the same run gives the same identifiers, and different content never shares one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from moeclip_med._version import __version__
from moeclip_med.results.dicom.uids import make_uid

if TYPE_CHECKING:
    from moeclip_transforms import Volume

    from moeclip_med.scoring.anomaly import AnomalyVolume
    from moeclip_med.scoring.record import PromptRecord, ScoringRecord

MANUFACTURER = "MoECLIP-Med"
"""The reader skips series by this manufacturer: results are never scored again."""

CODING_SCHEME = "99MOECLIP"
"""Designator of the private codes; "99" marks private schemes (PS3.16, section 8.2)."""

_SHORT_TEXT = 1024
"""Longest value of the value representation ST (PS3.5, section 6.2)."""


@dataclass(frozen=True)
class Identity:
    """The algorithm as DICOM names it, and the identifiers that follow from a run.

    Attributes:
        model: Name of the model.
        model_version: Version of the model.
        model_sha256: Hash over everything that changes a score.
        parameters: What the algorithm was run with, ASCII texts by name.
        created: Local time of the run.
        content_time: Local time of what the results hold: of the review of a reviewed run, else of the run.
        run_key: Hash over source frames, model, settings and schema.
        content_key: Hash over scores, findings and what a reader said of them.
    """

    model: str
    model_version: str
    model_sha256: str
    parameters: dict[str, str]
    created: datetime
    content_time: datetime
    run_key: str
    content_key: str

    def series_uid(self, kind: str) -> str:
        """SeriesInstanceUID for a kind of result."""
        return make_uid("series", self.run_key, kind)

    def instance_uid(self, kind: str, index: int = 0) -> str:
        """SOPInstanceUID of one instance of a kind of result."""
        return make_uid("instance", self.run_key, self.content_key, kind, str(index))

    def tracking_uid(self, what: str) -> str:
        """Unique identifier of a finding, the same in every object that speaks of it."""
        return make_uid("tracking", self.run_key, self.content_key, what)

    def other_uid(self, what: str) -> str:
        """Any other identifier inside the objects of this run."""
        return make_uid("other", self.run_key, self.content_key, what)

    def equipment_uid(self) -> str:
        """Identifier of the program with this model: the observer of a structured report."""
        return make_uid("equipment", self.model_sha256)

    def description(self) -> str:
        """Name, version and parameters in one short text."""
        text = f"{MANUFACTURER} {__version__}, model {self.model} {self.model_version}: {_joined(self.parameters)}"
        if len(text) <= _SHORT_TEXT:
            return text
        few = {name: value for name, value in self.parameters.items() if not name.startswith("prompts")}
        return f"{MANUFACTURER} {__version__}, model {self.model} {self.model_version}: {_joined(few)}"[:_SHORT_TEXT]


def make_identity(anomaly: AnomalyVolume) -> Identity:
    """Return the identity of a run, which follows from its record.

    Args:
        anomaly: The scored volume; its record names model and settings.
    """
    run = anomaly.record
    return Identity(
        model=_ascii(run.model.name),
        model_version=_ascii(run.model.version),
        model_sha256=run.model.sha256,
        parameters=_parameters(run),
        created=_local(run.created),
        content_time=_local(anomaly.reviewed if anomaly.is_reviewed and anomaly.reviewed else run.created),
        run_key=_run_key(anomaly.volume, run),
        content_key=_content_key(anomaly),
    )


def _local(when: str) -> datetime:
    return datetime.fromisoformat(when).astimezone().replace(tzinfo=None, microsecond=0)


def _parameters(run: ScoringRecord) -> dict[str, str]:
    settings = run.settings
    values = {
        "model_sha256": run.model.sha256,
        "threshold": f"{settings.threshold:.6g}",
        "threshold_source": settings.threshold_source,
        "calibrated": "yes" if settings.is_calibrated else "no",
        "planes": "+".join(settings.planes),
        "kind": settings.kind.value,
        "window": f"{settings.window.low:g}..{settings.window.high:g}",
        "engine": run.engine.description,
        **_prompts(run.model.prompts),
    }
    return {name: _ascii(value) for name, value in values.items() if value}


def _prompts(prompts: PromptRecord | None) -> dict[str, str]:
    """The words a text tower was asked with; models with learned embeddings have none."""
    if prompts is None:
        return {"prompts": "none (learned embeddings)"}
    return {"prompts_normal": " | ".join(prompts.normal), "prompts_abnormal": " | ".join(prompts.abnormal)}


def _run_key(volume: Volume, run: ScoringRecord) -> str:
    frames = [f"{frame.sop_instance_uid}#{frame.frame}" for frame in volume.frames]
    facts = {
        "study": volume.series.study_uid,
        "series": volume.series.uid,
        "frames": frames,
        "time_point": volume.source.time_point,
        "model": (run.model.name, run.model.version, run.model.sha256, run.model.prompts),
        "settings": run.settings,
        "schema": run.schema_version,
    }
    return hashlib.sha256(msgspec.json.encode(facts, enc_hook=str, order="deterministic")).hexdigest()


def _content_key(anomaly: AnomalyVolume) -> str:
    digest = hashlib.sha256()
    for array in (anomaly.scores, anomaly.labels):
        digest.update(f"{array.shape}{array.dtype}".encode())
        for index in range(array.shape[2]):  # slice by slice: no copy of the volume
            digest.update(array[:, :, index].tobytes())
    digest.update(repr((anomaly.findings, anomaly.threshold)).encode())
    if anomaly.is_reviewed:
        digest.update(repr((anomaly.rejected, anomaly.reader, anomaly.reviewed)).encode())
    return digest.hexdigest()


def _joined(parameters: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in parameters.items())


def _ascii(value: object) -> str:
    """ASCII text, whatever character set the source has; other characters are escaped, not lost."""
    return str(value).encode("ascii", "backslashreplace").decode("ascii")
