"""What the scoring process does: read, load, score, find, write. All the work is that of the other packages."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import singledispatchmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_moeclip import messages
from napari_moeclip.shared import SharedArray
from napari_moeclip.volumes import SharedVolume, VolumeReference, unstore

if TYPE_CHECKING:
    from collections.abc import Callable

    from moeclip_transforms import ImageSource, Volume
    from numpy.typing import NDArray

    from moeclip_med.scoring import AnomalyVolume, Detector, SliceScores
    from napari_moeclip.shared import SharedArrayReference


class Tasks:
    """The state of the scoring process: what was opened, the model, the last run."""

    def __init__(self) -> None:
        self._sources: dict[str, ImageSource] = {}
        self._detector: tuple[messages.LoadRequest, Detector] | None = None
        self._anomaly: AnomalyVolume | None = None
        self._handed_over: list[SharedArray] = []

    def close(self) -> None:
        """Remove what was unpacked."""
        while self._sources:
            self._sources.popitem()[1].close()

    def do(
        self, request: object, on_progress: Callable[[messages.Progress], None], should_stop: Callable[[], bool]
    ) -> object:
        """Do what is asked.

        Raises:
            InputError: A sentence for the user.
        """
        if isinstance(request, messages.ScoreRequest):
            return self._score(request, on_progress, should_stop)
        return self._answer(request)

    @singledispatchmethod
    def _answer(self, request: object) -> object:
        message = f"unknown request {type(request).__name__}"
        raise TypeError(message)

    @_answer.register
    def _(self, request: messages.ScanRequest) -> messages.Scan:
        source = self._open(request.path, anew=True)
        return messages.Scan(source.series, tuple(reason for _, reason in source.unreadable))

    @_answer.register
    def _(self, request: messages.ReadRequest) -> VolumeReference:
        source = self._open(request.path)
        series = next(series for series in source.series if series.uid == request.series)
        decoded: list[SharedArray] = []

        def allocate(shape: tuple[int, ...]) -> NDArray[np.float32]:
            decoded.append(SharedArray.create(shape, np.float32))
            return decoded[-1].array

        return self._share(source.read(series, time_point=request.time_point, allocate=allocate), *decoded)

    @_answer.register
    def _(self, request: messages.SampleRequest) -> VolumeReference:
        from napari_moeclip.samples import make_sample

        return self._share(make_sample(request.name))

    @_answer.register
    def _(self, request: messages.PrepareRequest) -> VolumeReference:
        from napari_moeclip.sharing import windows_of

        shared = SharedVolume(request.volume, owns=False)
        return replace(request.volume, windows=windows_of(shared.light.with_voxels(shared.voxels, shared.padding)))

    @_answer.register
    def _(self, request: messages.DescribeRequest) -> messages.ModelDescription:
        from napari_moeclip.models import describe

        return describe(request.model)

    @_answer.register
    def _(self, request: messages.LoadRequest) -> messages.LoadedModelInfo:
        from napari_moeclip.models import info_of

        return info_of(self._load(request))

    @_answer.register
    def _(self, request: messages.FindRequest) -> messages.RunOutcome:
        from moeclip_med.scoring import find_findings
        from moeclip_med.scoring.record import USER_THRESHOLD

        anomaly = self._last_run()
        run = anomaly.record
        smallest = run.settings.smallest_finding_ml
        result = find_findings(
            anomaly.scores, anomaly.volume, request.threshold, into=anomaly.labels, min_volume_ml=smallest
        )
        settings = replace(run.settings, threshold=request.threshold, threshold_source=USER_THRESHOLD)
        outcome = replace(run.outcome, regions_too_small=result.too_small)
        self._anomaly = replace(
            anomaly, findings=result.findings, record=replace(run, settings=settings, outcome=outcome)
        )
        return _outcome(self._anomaly, request.threshold)

    @_answer.register
    def _(self, request: messages.ExportRequest) -> dict[str, Path]:
        from moeclip_med.results import write_results

        return write_results(self._last_run(), Path(request.folder), request.formats).files

    @_answer.register
    def _(self, request: messages.OpenRunRequest) -> messages.OpenedRun:
        from napari_moeclip.sharing import open_run

        anomaly = open_run(Path(request.folder))
        reference = self._share(anomaly.volume)
        labels = SharedArray.create(reference.voxels.shape[1:], np.uint16)
        volume = SharedVolume(reference, owns=False)
        unstore(labels.array, reference.storage)[...] = anomaly.labels
        self._anomaly = replace(anomaly, scores=volume.voxels[0], labels=unstore(labels.array, reference.storage))
        self._handed_over.append(labels)
        return messages.OpenedRun(reference, _outcome(anomaly, anomaly.threshold), labels.hand_over())

    def _score(
        self,
        request: messages.ScoreRequest,
        on_progress: Callable[[messages.Progress], None],
        should_stop: Callable[[], bool],
    ) -> messages.RunOutcome:
        from moeclip_transforms import ImageKind, Plane

        from moeclip_med.scoring import ResultArrays, score_volume
        from napari_moeclip.models import info_of, show_experts

        self._anomaly = None  # the viewer has let go of an earlier run's arrays by now
        detector = self._load(request.load)
        shared = SharedVolume(request.volume, owns=False)
        started = time.perf_counter()

        def show(batch: SliceScores) -> None:
            seconds = time.perf_counter() - started
            indices = tuple(batch.view.volume_index(index) for index in batch.indices)
            axis = batch.view.axes[0]
            on_progress(
                messages.Progress(batch.view.plane, axis, indices, batch.done, batch.total, batch.done / seconds)
            )

        anomaly = score_volume(
            shared.light.with_voxels(shared.voxels, shared.padding),
            detector,
            plane=Plane(request.plane),
            kind=ImageKind(request.kind),
            threshold=request.threshold,
            keep_routing=request.routing is not None,
            order=request.order,
            on_slices=show,
            should_stop=should_stop,
            into=ResultArrays(self._attach(request.scores, request), self._attach(request.labels, request)),
        )
        shares: tuple[tuple[float, ...], ...] = ()
        if request.routing is not None and anomaly.routing is not None:
            into = self._attach(request.routing, request, leading=1)
            shares = show_experts(anomaly, into, info_of(detector).experts)
            anomaly = replace(anomaly, routing=into)
        self._anomaly = anomaly
        return replace(_outcome(anomaly, detector.metadata.threshold.value), expert_shares=shares)

    def _attach(
        self, reference: SharedArrayReference, request: messages.ScoreRequest, leading: int = 0
    ) -> NDArray[Any]:
        return unstore(SharedArray.attach(reference).array, request.volume.storage, leading)

    def _open(self, path: str, *, anew: bool = False) -> ImageSource:
        """Find a path that was opened, or open it; anew where files may have come or gone since."""
        from moeclip_transforms import open_source

        if anew and path in self._sources:
            self._sources.pop(path).close()
        if path not in self._sources:
            self._sources[path] = open_source(path)
        return self._sources[path]

    def _load(self, request: messages.LoadRequest) -> Detector:
        from napari_moeclip.models import load

        if self._detector is None or self._detector[0] != request:
            self._detector = None  # the old one goes before the new one comes
            self._detector = (request, load(request))
        return self._detector[1]

    def _last_run(self) -> AnomalyVolume:
        from moeclip_transforms import InputError

        if self._anomaly is None:
            msg = "There is no finished run to take results from; press Run first."
            raise InputError(msg)
        return self._anomaly

    def _share(self, volume: Volume, *decoded: SharedArray) -> VolumeReference:
        from napari_moeclip.sharing import share

        reference, arrays = share(volume, *decoded)
        self._handed_over = arrays  # the viewer has adopted earlier ones by now
        return reference


def _outcome(anomaly: AnomalyVolume, model_threshold: float) -> messages.RunOutcome:
    from moeclip_med.results import result_notes

    outcome = anomaly.record.outcome
    return messages.RunOutcome(
        threshold=anomaly.threshold,
        model_threshold=model_threshold,
        findings=anomaly.findings,
        notes=result_notes(anomaly),
        is_complete=anomaly.scored is None,
        slices_scored=outcome.slices_scored,
        slices_total=outcome.slices_total,
        seconds=outcome.seconds,
    )
