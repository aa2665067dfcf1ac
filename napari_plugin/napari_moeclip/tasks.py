"""What the scoring process does: read, load, score, find, write. All the work is that of the other packages."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import singledispatchmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from moeclip_transforms.errors import InputError

from napari_moeclip import answers, messages
from napari_moeclip.runs import Prior, Run, prior_run
from napari_moeclip.shared import SharedArray
from napari_moeclip.volumes import SharedVolume, VolumeReference, same_grid, unstore

if TYPE_CHECKING:
    from collections.abc import Callable

    from moeclip_transforms import ImageSource, Volume
    from numpy.typing import NDArray

    from moeclip_med.scoring import AnomalyVolume, Detector, SliceScores
    from moeclip_med.scoring.review import Review
    from napari_moeclip.shared import SharedArrayReference


class Tasks:
    """The state of the scoring process: what was opened, the model, the last run."""

    def __init__(self) -> None:
        self._sources: dict[str, ImageSource] = {}
        self._detector: tuple[messages.LoadRequest, Detector] | None = None
        self._runs: dict[str, Run] = {}
        self._handed_over: list[SharedArray] = []

    def close(self) -> None:
        """Remove what was unpacked."""
        while self._sources:
            self._sources.popitem()[1].close()

    def do(
        self, request: object, on_progress: Callable[[answers.Progress], None], should_stop: Callable[[], bool]
    ) -> object:
        """Do what is asked.

        Raises:
            InputError: A sentence for the user.
        """
        if isinstance(request, messages.ScoreRequest):
            return self._score(request, on_progress, should_stop)
        if isinstance(request, messages.PriorRequest):
            return self._compare(request, on_progress, should_stop)
        return self._answer(request)

    @singledispatchmethod
    def _answer(self, request: object) -> object:
        message = f"unknown request {type(request).__name__}"
        raise TypeError(message)

    @_answer.register
    def _(self, request: messages.ScanRequest) -> answers.Scan:
        source = self._open(request.path, anew=True)
        return answers.Scan(source.series, tuple(reason for _, reason in source.unreadable))

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
    def _(self, request: messages.DescribeRequest) -> answers.ModelDescription:
        from napari_moeclip.models import describe

        return describe(request.model)

    @_answer.register
    def _(self, request: messages.LoadRequest) -> answers.LoadedModelInfo:
        from napari_moeclip.models import info_of

        return info_of(self._load(request))

    @_answer.register
    def _(self, request: messages.FindRequest) -> answers.RunOutcome:
        run = self._run(request.run)
        run.find(request.threshold, request.review)
        return run.outcome()

    @_answer.register
    def _(self, request: messages.ExportRequest) -> answers.Saved:
        from moeclip_med.results import write_results
        from moeclip_med.results.comparison import write_comparison

        run, folder = self._run(request.run), Path(request.folder)
        if request.review != run.review:
            run.find(None, request.review)
        written = write_results(run.reviewed, folder, request.formats, request.options)
        write_comparison(run.changes(), None if run.prior is None else run.prior.fit, folder)
        return answers.Saved(tuple(written.files), written.failed, written.header_notes)

    @_answer.register
    def _(self, request: messages.HeaderNotesRequest) -> tuple[str, ...]:
        from moeclip_med.results.dicom.dicom_results import header_notes

        return header_notes(self._run(request.run).found.volume)

    @_answer.register
    def _(self, request: messages.OpenRunRequest) -> answers.OpenedRun:
        found, review = _opened_run(Path(request.folder))
        reference = self._share(found.volume)
        labels = SharedArray.create(reference.voxels.shape[1:], np.uint16)
        own = unstore(labels.array, reference.storage)
        own[...] = found.labels
        scores = SharedVolume(reference, owns=False).voxels[0]
        found = replace(_on_image(found, request.images), scores=scores, labels=own)
        run = self._runs[request.run] = Run(request.run, found, found.threshold)
        run.find(None, review)
        self._handed_over.append(labels)
        return answers.OpenedRun(found.record.run_id, reference, run.outcome(), labels.hand_over(), review)

    @_answer.register
    def _(self, request: messages.AlignRequest) -> answers.AlignedPrior:
        run = self._run(request.run)
        if run.prior is None:
            raise InputError("There is no prior beside this run; choose one first.")
        run.prior.align(run.found, on=request.on)
        return answers.AlignedPrior(run.prior.fit, run.outcome())

    @_answer.register
    def _(self, request: messages.DropPriorRequest) -> answers.RunOutcome:
        run = self._run(request.run)
        run.prior = None
        return run.outcome()

    @_answer.register
    def _(self, request: messages.WorklistRequest) -> tuple[object, ...]:
        from moeclip_med.batch.worklist import read_worklist

        return read_worklist(Path(request.folder))

    @_answer.register
    def _(self, request: messages.WorklistImageRequest) -> VolumeReference:
        from moeclip_med.batch.worklist import read_image

        with read_image(Path(request.folder), request.item) as volume:
            return self._share(volume)

    @_answer.register
    def _(self, request: messages.DecideRequest) -> str:
        from moeclip_med.batch.worklist import write_decisions

        return write_decisions(Path(request.folder), request.item)

    @_answer.register
    def _(self, request: messages.ForgetRequest) -> None:
        self._runs.pop(request.run, None)

    def _score(
        self,
        request: messages.ScoreRequest,
        on_progress: Callable[[answers.Progress], None],
        should_stop: Callable[[], bool],
    ) -> answers.RunOutcome:
        from moeclip_transforms import ImageType, Plane

        from moeclip_med.scoring import ResultArrays, score_volume
        from napari_moeclip.models import info_of, show_experts

        detector = self._load(request.load)
        volume = SharedVolume(request.volume, owns=False).full()
        image_type = ImageType(request.image_type)
        chosen = None if image_type is volume.series.image_type else image_type  # only what differs is a choice

        anomaly = score_volume(
            volume,
            detector,
            plane=Plane(request.plane),
            image_type=chosen,
            threshold=request.threshold,
            keep_routing=request.routing is not None,
            order=request.order,
            on_slices=progress_reporter(on_progress),
            should_stop=should_stop,
            into=ResultArrays(self._attach(request.scores, request), self._attach(request.labels, request)),
            run_id=request.run,
            every_slice=request.every_slice,
        )
        shares: tuple[tuple[float, ...], ...] = ()
        if request.routing is not None and anomaly.routing is not None:
            into = self._attach(request.routing, request, leading=1)
            shares = show_experts(anomaly, into, info_of(detector).experts)
            anomaly = replace(anomaly, routing=into)
        run = self._runs[request.run] = Run(request.run, anomaly, anomaly.threshold)
        return replace(run.outcome(), expert_shares=shares)

    def _compare(
        self,
        request: messages.PriorRequest,
        on_progress: Callable[[answers.Progress], None],
        should_stop: Callable[[], bool],
    ) -> answers.OpenedPrior:
        """Read or score a prior, lay it on the run's image and match the findings."""
        run = self._run(request.run)
        if request.series:
            source = self._open(request.path)
            series = next(series for series in source.series if series.uid == request.series)
            volume = source.read(series, time_point=request.time_point)
            report = progress_reporter(on_progress)
            found = prior_run(run.found, volume, self._load(request.load), report, should_stop)
            review = None
        else:
            found, review = _opened_run(Path(request.path))
            found = _on_image(found, request.images)
        prior = Prior(run.found, found, review, request.storage)
        run.prior = prior
        self._handed_over = list(prior.arrays)
        voxels, labels = (array.hand_over() for array in prior.arrays)
        return answers.OpenedPrior(
            voxels,
            labels,
            window=prior.window(run.found),
            can_align=prior.can_align,
            notes=prior.notes(run.found),
            fit=prior.fit,
            outcome=run.outcome(),
        )

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

    def _run(self, name: str) -> Run:
        if name not in self._runs:
            raise InputError(
                "The scoring process does not know this run (it was started again since); press Run to score anew."
            )
        return self._runs[name]

    def _share(self, volume: Volume, *decoded: SharedArray) -> VolumeReference:
        from napari_moeclip.sharing import share

        reference, arrays = share(volume, *decoded)
        self._handed_over = arrays  # the viewer has adopted earlier ones by now
        return reference


def progress_reporter(on_progress: Callable[[answers.Progress], None]) -> Callable[[SliceScores], None]:
    """Return what tells the viewer of each batch."""
    started = time.perf_counter()

    def report(batch: SliceScores) -> None:
        on_progress(
            answers.Progress(
                axis=batch.view.axes[0],
                indices=tuple(batch.view.volume_index(index) for index in batch.indices),
                n_provisional=batch.n_provisional,
                done=batch.done,
                total=batch.total,
                slices_per_second=batch.done / (time.perf_counter() - started),
            )
        )

    return report


def _opened_run(folder: Path) -> tuple[AnomalyVolume, Review]:
    """Read a finished run and its review back; its volume is its map."""
    from moeclip_med.scoring.review_file import read_review
    from napari_moeclip.sharing import open_run

    found = replace(open_run(folder), has_image=False)
    return found, read_review(folder, found.record.run_id, found.volume.shape)


def _on_image(found: AnomalyVolume, images: tuple[VolumeReference, ...]) -> AnomalyVolume:
    """Return a finished run on the first image that has its grid, so that it can be measured and cited."""
    image = next((one for one in images if same_grid(one.light, found.volume)), None)
    return found if image is None else replace(found, volume=SharedVolume(image, owns=False).full(), has_image=True)
