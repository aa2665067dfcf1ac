"""What the viewer asks of the scoring process (`answers` is what it says): one line per message, never a pixel."""

from __future__ import annotations

import base64
import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moeclip_med.results.formats import DicomOptions

if TYPE_CHECKING:
    from moeclip_med.batch.worklist import WorklistItem
    from moeclip_med.scoring.review import Review
    from napari_moeclip.shared import SharedArrayReference
    from napari_moeclip.volumes import VolumeReference


@dataclass(frozen=True)
class ScanRequest:
    """List what a path holds, or make a sample; answered by a tuple of `Series`."""

    path: str


@dataclass(frozen=True)
class ReadRequest:
    """Read one series of a scanned path; answered by a `VolumeReference` that the viewer adopts."""

    path: str
    series: str
    time_point: int = 0


@dataclass(frozen=True)
class SampleRequest:
    """Simulate an image ("brain" or "endoscopy"); answered by a `VolumeReference` that the viewer adopts."""

    name: str


@dataclass(frozen=True)
class DescribeRequest:
    """Say what a model is and where its weights are, without loading it; answered by a `ModelDescription`."""

    model: str


@dataclass(frozen=True)
class LoadRequest:
    """Load a model and make it ready; answered by a `LoadedModelInfo`."""

    model: str
    device: str = "auto"
    prompt: str = ""


@dataclass(frozen=True)
class ScoreRequest:
    """Score a volume with a model; `Progress` after each batch, then answered by a `RunOutcome`.

    Attributes:
        run: The run's id.
        volume: What to score.
        load: The model.
        plane: The plane, by its name.
        image_type: The image type, by its name.
        every_slice: Whether the network sees each slice, also where some are enough.
        threshold: The score that a finding reaches; None takes the model's.
        order: Slices to score first.
        scores: (*storage) float32 to fill.
        labels: (*storage) uint16 to fill.
        routing: (level, *storage) uint8 to fill with expert + 1 (0 where no patch was), or None.
    """

    run: str
    volume: VolumeReference
    load: LoadRequest
    plane: str
    image_type: str
    every_slice: bool
    threshold: float | None
    order: tuple[int, ...]
    scores: SharedArrayReference
    labels: SharedArrayReference
    routing: SharedArrayReference | None = None


@dataclass(frozen=True)
class FindRequest:
    """List the findings of a run at a threshold under a review; fills its labels; answered by a `RunOutcome`.

    Attributes:
        run: The run's id.
        threshold: The score that a finding reaches; None keeps the run's own.
        review: What the reader said.
    """

    run: str
    threshold: float | None
    review: Review


@dataclass(frozen=True)
class ExportRequest:
    """Write results of a run under a review; answered by `Saved`."""

    run: str
    folder: str
    formats: tuple[str, ...]
    review: Review
    options: DicomOptions = DicomOptions()  # noqa: RUF009 - a frozen value


@dataclass(frozen=True)
class HeaderNotesRequest:
    """Say what DICOM results of a run will hold otherwise than its source's header; answered by sentences."""

    run: str


@dataclass(frozen=True)
class OpenRunRequest:
    """Read a finished run's folder; answered by an `OpenedRun` whose volume is the anomaly map.

    Attributes:
        run: The id by which later requests name it.
        folder: Its folder.
        images: What is open in the viewer: it is measured on the first that has its grid.
    """

    run: str
    folder: str
    images: tuple[VolumeReference, ...] = ()


@dataclass(frozen=True)
class PriorRequest:
    """Lay an earlier study or finished run beside a run; `Progress` while a study is scored, then an `OpenedPrior`.

    Attributes:
        run: The current run's id.
        path: What was scanned, or the folder of a finished run.
        series: Which series of it; "" for a finished run.
        time_point: Which time point of it.
        load: The model to score a study with.
        storage: The order of memory in which the current volume lies.
        images: What is open in the viewer: a finished run may be of one of them.
    """

    run: str
    path: str
    series: str
    time_point: int
    load: LoadRequest
    storage: tuple[int, int, int]
    images: tuple[VolumeReference, ...] = ()


@dataclass(frozen=True)
class AlignRequest:
    """Register the prior of a run with its image, or let it lie as stored; answered by an `AlignedPrior`."""

    run: str
    on: bool


@dataclass(frozen=True)
class DropPriorRequest:
    """Put the prior of a run away; answered by a `RunOutcome`."""

    run: str


@dataclass(frozen=True)
class WorklistRequest:
    """List what a batch scored; answered by a tuple of `WorklistItem`."""

    folder: str


@dataclass(frozen=True)
class WorklistImageRequest:
    """Read the image behind a series of a worklist; answered by a `VolumeReference` that the viewer adopts."""

    folder: str
    item: WorklistItem


@dataclass(frozen=True)
class DecideRequest:
    """Write what was decided of a series into the lists of its batch; answered by the decision as a whole."""

    folder: str
    item: WorklistItem


@dataclass(frozen=True)
class ForgetRequest:
    """Let go of a run that nobody shows any more; answered by None."""

    run: str


@dataclass(frozen=True)
class CancelRequest:
    """End the run in progress after its current batch; not answered."""


@dataclass(frozen=True)
class Envelope:
    """One message about one request.

    Attributes:
        number: The request's number, given by the viewer.
        kind: "request", "progress", "answer" or "failure" (the content is a sentence).
        content: The message.
    """

    number: int
    kind: str
    content: Any = field(default=None)


def encode(envelope: Envelope) -> bytes:
    """Write a message as one line of ASCII."""
    return base64.b64encode(pickle.dumps(envelope)) + b"\n"


def decode(line: bytes) -> Envelope:
    """Read a line back. Both ends are this package, joined by a pipe that nobody else holds."""
    envelope: Envelope = pickle.loads(base64.b64decode(line))  # noqa: S301 - see above
    return envelope
