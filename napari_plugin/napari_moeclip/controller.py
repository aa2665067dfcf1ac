"""From a press on Run to layers and findings: what happens in the viewer, step by step, never waiting."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeclip_transforms.errors import InputError
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QObject, QTimer, Signal

from napari_moeclip import layers, messages
from napari_moeclip.navigation import describe_point, go_to, prepare_viewer, shown_volume_slice
from napari_moeclip.run_layers import RunLayers
from napari_moeclip.session import Choices, Session
from napari_moeclip.volumes import SharedVolume

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari import Viewer
    from napari.layers import Image
    from qtpy.QtWidgets import QWidget

    from napari_moeclip.backend import Backend, Task
    from napari_moeclip.layers import LayerOrigin

_FIND_MS = 80
_DIMENSIONS = 3


class State(Enum):
    """What is under way."""

    IDLE = auto()
    PREPARING = auto()
    SCORING = auto()


class Controller(QObject):
    """One run at a time, and its result.

    Signals:
        busy: Something began; the text says what, the flag whether it can be cancelled.
        progressed: How far scoring is.
        ended: Nothing is under way any more; the text says what came of it.
        found: A run's outcome is there.
        refound: The findings of a moved threshold are there.
        described: A model was described.
        volume_shown: The viewer went to 3-D (True) or back to slices.

    Args:
        viewer: The viewer.
        backend: The scoring process.
        parent: The widget in the viewer's window that this belongs to.
    """

    busy = Signal(str, bool)
    progressed = Signal(object)
    ended = Signal(str)
    found = Signal(object)
    refound = Signal(object)
    described = Signal(object)
    volume_shown = Signal(bool)

    def __init__(self, viewer: Viewer, backend: Backend, parent: QWidget) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._backend = backend
        self.state = State.IDLE
        self.session: Session | None = None
        self._task: Task | None = None
        self.layers = RunLayers(viewer)
        self._image: Image | None = None
        self._threshold = 0.5
        self._finding = False
        self._refresh_timer = self._timer(self.layers.refresh)
        self._find_timer = self._timer(self._find)
        self._steps: deque[Callable[[], None]] = deque()
        self._step_timer = self._timer(self._take_step)
        prepare_viewer(viewer)
        viewer.events.status.connect(self._on_status, position="last")
        viewer.dims.events.ndisplay.connect(self._on_way_to_volume, position="first")
        viewer.dims.events.ndisplay.connect(self._on_way_to_slices, position="last")

    def _timer(self, callback: Any) -> QTimer:  # noqa: ANN401 - a method
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.timeout.connect(callback)
        return timer

    def warm_up(self, choices: Choices) -> None:
        """Start the scoring process and load the model, so that Run has nothing to wait for."""
        self.describe(choices.model)
        self._backend.ask(choices.load)

    def describe(self, model: str) -> None:
        """Ask where a model's files are."""
        task = self._backend.ask(messages.DescribeRequest(model))
        task.finished.connect(self.described)
        task.failed.connect(
            lambda sentence: self.described.emit(
                messages.ModelDescription(model, is_ready=False, detail=sentence, has_text_tower=False)
            )
        )

    def run(self, image: Image | None, choices: Choices) -> None:
        """Score an image layer."""
        if self.state is not State.IDLE:
            return
        if image is None:
            show_error("There is no image to score; drop a DICOM folder, a NIfTI file or a picture on the viewer.")
            return
        self.state = State.PREPARING
        self._image = image
        origin = layers.origin_of(image)
        if origin is not None:
            self._load(origin, choices)
            return
        self.busy.emit("Taking over the image …", False)  # noqa: FBT003 - a signal has no keywords
        leading = shown_index(self._viewer, image)[: max(0, image.ndim - _DIMENSIONS)]
        worker = create_worker(layers.adopt_layer, image, leading, _start_thread=False)
        worker.returned.connect(lambda origin: self._load(origin, choices))
        worker.errored.connect(lambda error: self._fail(f'The layer "{image.name}" cannot be scored: {error}'))
        worker.start()

    def cancel(self) -> None:
        """Stop after the current batch; what was scored is kept."""
        if self.state is State.SCORING and self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """Leave nothing running: the viewer closes. Qt's part of this object is gone by then."""
        self.cancel()
        self._viewer.events.status.disconnect(self._on_status)
        self._viewer.dims.events.ndisplay.disconnect(self._on_way_to_volume)
        self._viewer.dims.events.ndisplay.disconnect(self._on_way_to_slices)

    def move_threshold(self, threshold: float) -> None:
        """Show the map from another threshold on at once, and its findings as soon as they are listed."""
        self._threshold = threshold
        self.layers.show_threshold(threshold)
        if self.session is not None and self.session.outcome is not None:
            self._find_timer.start(_FIND_MS)

    def select(self, row: int) -> None:
        """Go to a finding and outline it."""
        session, image = self.session, self.layers.image
        if session is None or image is None or not self.layers.is_image_there or row >= len(session.findings):
            return
        finding = session.findings[row]
        self.layers.colour_outlines(finding.label)
        go_to(self._viewer, image, session.origin, finding)

    def show_experts(self, level: int) -> tuple[float, ...]:
        """Show which expert took each patch at a level; -1 hides them.

        Returns:
            The share of patches of each expert; empty when hidden.
        """
        return () if self.session is None else self.layers.show_experts(self.session, level)

    def save(self, folder: str, formats: tuple[str, ...]) -> None:
        """Write results of the last run."""
        self.busy.emit("Saving …", False)  # noqa: FBT003 - a signal has no keywords
        task = self._backend.ask(messages.ExportRequest(folder, formats))
        task.finished.connect(lambda files: self._saved(folder, files))
        task.failed.connect(self._fail)

    def open_run(self, folder: str) -> None:
        """Show a finished run from its folder: on the chosen image if it has the same grid, else on its own."""
        if self.state is not State.IDLE:
            show_error("A run is under way; open another when it has ended.")
            return
        self.state = State.PREPARING
        self.busy.emit("Opening the run …", False)  # noqa: FBT003 - a signal has no keywords
        task = self._backend.ask(messages.OpenRunRequest(folder))
        task.finished.connect(lambda opened: self._opened(opened, Path(folder).name))
        task.failed.connect(self._fail)

    def _in_steps(self, *steps: Callable[[], None]) -> None:
        """Do several things that draw, and let mouse and keys be heard between them."""
        self._steps.extend(steps)
        self._step_timer.start(0)

    def _take_step(self) -> None:
        step = self._steps.popleft()
        if self._steps:
            self._step_timer.start(0)
        step()

    def _on_status(self, _: object = None) -> None:
        """Name the score and the place in the patient in the status bar, where napari names layer and value."""
        text = describe_point(self._viewer, self.layers.image, self.session)
        if text:
            status = self._viewer.status
            self._viewer.status = status | {"coordinates": text} if isinstance(status, dict) else text

    def _load(self, origin: LayerOrigin, choices: Choices) -> None:
        self.busy.emit("Loading the model …", False)  # noqa: FBT003 - a signal has no keywords
        task = self._backend.ask(choices.load)
        task.finished.connect(lambda info: self._score(origin, choices, info))
        task.failed.connect(self._fail)

    def _score(self, origin: LayerOrigin, choices: Choices, info: messages.LoadedModelInfo) -> None:
        image = self._image
        if image is None or image not in self._viewer.layers:
            self._fail("The image was closed before scoring began.")
            return
        try:
            session = Session.start(origin, info.levels if choices.keep_experts else 0)
            first = shown_volume_slice(self._viewer, image, origin, session.first_axis(choices.plane))
            request = session.request(choices, None, first)
        except InputError as error:
            self._fail(str(error))
            return
        self._in_steps(
            lambda: self._begin(image, session, info.threshold),
            lambda: self._ask(request),
            self.layers.activate_map,
        )

    def _ask(self, request: messages.ScoreRequest) -> None:
        self.state = State.SCORING
        self._task = self._backend.ask(request)
        self._task.progressed.connect(self._on_progress)
        self._task.finished.connect(self._on_outcome)
        self._task.failed.connect(self._fail)
        self.busy.emit("Scoring …", True)  # noqa: FBT003 - a signal has no keywords

    def _begin(self, image: Image, session: Session, threshold: float) -> None:
        self.session, self._threshold = session, threshold
        self.layers.begin(image, session, threshold)

    def _on_progress(self, heard: messages.Progress) -> None:
        if self.session is not None:
            self.session.progress = heard
            pause = self.layers.refresh_pause(self.session, heard)
            if pause is not None and not self._refresh_timer.isActive():
                self._refresh_timer.start(pause)
        self.progressed.emit(heard)

    def _on_outcome(self, outcome: messages.RunOutcome) -> None:
        session, self._task = self.session, None
        if session is None:
            return
        session.outcome = outcome
        self._refresh_timer.stop()
        self._in_steps(
            self.layers.refresh,
            lambda: self.layers.add_outlines(session),
            self.layers.show_outlines,
            lambda: self._end(outcome),
        )

    def _end(self, outcome: messages.RunOutcome) -> None:
        self.state = State.IDLE
        speed = outcome.slices_scored / outcome.seconds if outcome.seconds else 0.0
        stopped = "" if outcome.is_complete else "Stopped: "
        self.ended.emit(f"{stopped}{outcome.slices_scored} slices in {outcome.seconds:.1f} s ({speed:.1f} slices/s).")
        self.found.emit(outcome)

    def _on_way_to_volume(self, _: object = None) -> None:
        """React before napari does."""
        if not self.layers.shows_slices:
            self.layers.before_volume()
            self.volume_shown.emit(True)  # noqa: FBT003 - a signal has no keywords

    def _on_way_to_slices(self, _: object = None) -> None:
        """React after napari did."""
        if self.layers.shows_slices:
            self.layers.after_volume()
            self.volume_shown.emit(False)  # noqa: FBT003 - a signal has no keywords

    def _find(self) -> None:
        if self._finding or self.session is None:
            return
        self._finding = True
        asked = self._threshold
        task = self._backend.ask(messages.FindRequest(asked))
        task.finished.connect(lambda outcome: self._on_found(outcome, asked))
        task.failed.connect(self._fail)

    def _on_found(self, outcome: messages.RunOutcome, asked: float) -> None:
        self._finding = False
        session = self.session
        if session is None or session.outcome is None:
            return
        session.outcome = _with_findings(session.outcome, outcome)
        self.layers.colour_outlines(None)
        self.layers.refresh("findings")
        self.refound.emit(session.outcome)
        if asked != self._threshold:
            self._find_timer.start(_FIND_MS)

    def _opened(self, opened: messages.OpenedRun, name: str) -> None:
        from napari_moeclip.opening import image_on_same_grid

        volume = SharedVolume(opened.volume, owns=True)
        session = Session.reopen(volume, opened.labels)
        image = image_on_same_grid(self._viewer, volume.light)
        if image is None:
            data, attributes, _ = layers.image_layer_data(volume, f"{name} (scores)")
            image = self._viewer.add_image(data, **(attributes | {"contrast_limits": (0.0, 1.0)}))
        self._in_steps(
            lambda: self._begin(image, session, opened.outcome.threshold),
            self.layers.activate_map,
            lambda: self._on_outcome(opened.outcome),
        )

    def _saved(self, folder: str, files: dict[str, Path]) -> None:
        self.ended.emit(f"Saved {len(files)} results to {folder}.")
        show_info(f"{len(files)} results saved to {folder}.")

    def _fail(self, sentence: str) -> None:
        self.state, self._task, self._finding = State.IDLE, None, False
        self._refresh_timer.stop()
        self.ended.emit("")
        show_error(sentence)


def shown_index(viewer: Viewer, layer: Image) -> tuple[int, ...]:
    """Give the layer's index on screen along each of its axes."""
    index = layer.world_to_data(viewer.dims.point[-layer.ndim :])
    return tuple(round(float(value)) for value in index)


def _with_findings(before: messages.RunOutcome, found: messages.RunOutcome) -> messages.RunOutcome:
    from dataclasses import replace

    return replace(before, threshold=found.threshold, findings=found.findings, notes=found.notes)
