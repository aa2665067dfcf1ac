"""From a press on Run to layers and findings: what happens in the viewer, step by step, never waiting."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.qt.threading import create_worker
from napari.utils.notifications import show_error
from qtpy.QtCore import QObject, QTimer, Signal

from napari_moeclip import answers, messages
from napari_moeclip.adoption import leading_index, take_over
from napari_moeclip.comparing import Comparing
from napari_moeclip.guard import guarded
from napari_moeclip.navigation import (
    cuts_along,
    describe_point,
    go_to,
    keep_in_sight,
    other_time,
    prepare_viewer,
    show_state,
    shown_volume_slice,
)
from napari_moeclip.reading import Reading
from napari_moeclip.refinding import Refinding
from napari_moeclip.run_files import RunFiles
from napari_moeclip.run_layers import RunLayers
from napari_moeclip.session import Choices, Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari import Viewer
    from napari.layers import Image
    from qtpy.QtWidgets import QWidget

    from napari_moeclip.backend import Backend, Task
    from napari_moeclip.layers import LayerOrigin
    from napari_moeclip.planes import LinkedPlanes
    from napari_moeclip.worklist_panel import Worklist


class State(Enum):
    """What is under way."""

    IDLE = auto()
    PREPARING = auto()
    SCORING = auto()


@dataclass(frozen=True, eq=False)
class Attempt:
    """A press on Run, until scoring begins; cancelling or failing makes it out of date.

    Attributes:
        image: The layer to score.
        choices: What the user chose.
    """

    image: Image
    choices: Choices


class Controller(QObject):
    """One run at a time, and its result.

    Signals:
        busy: Something began; the text says what, the flag whether it can be cancelled.
        progressed: How far scoring is.
        ended: Nothing is under way any more; the text says what came of it.
        found: A run's outcome is there.
        refound: The findings of a moved threshold or a changed review are there.
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
        self.backend = backend
        self.is_closed = False
        self.state = State.IDLE
        self.session: Session | None = None
        self._task: Task | None = None
        self.layers = RunLayers(viewer)
        self.reading = Reading(viewer, self)
        self.comparing = Comparing(viewer, self)
        self.refinding = Refinding(self)
        self.files = RunFiles(viewer, self)
        self.planes: LinkedPlanes | None = None
        self.worklist: Worklist | None = None
        self.load_request = Choices().load
        self._attempt: Attempt | None = None
        self._refresh_timer = self._timer(self._refresh)
        self._steps: deque[Callable[[], None]] = deque()
        self._step_timer = self._timer(self._take_step)
        prepare_viewer(viewer)
        viewer.events.status.connect(self._on_status, position="last")
        viewer.dims.events.ndisplay.connect(self._on_way_to_volume, position="first")
        viewer.dims.events.ndisplay.connect(self._on_way_to_slices, position="last")
        viewer.dims.events.current_step.connect(self._show_state)
        self._keep_in_sight = keep_in_sight(viewer)
        viewer.canvas.events.size.connect(self._keep_in_sight)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return self.state is State.IDLE and not self._steps

    def _timer(self, callback: Any) -> QTimer:  # noqa: ANN401 - a method
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.timeout.connect(callback)
        return timer

    def warm_up(self, choices: Choices) -> None:
        """Start the scoring process and load the model, so that Run has nothing to wait for."""
        self.describe(choices.model)
        self.backend.ask(choices.load)

    def describe(self, model: str) -> None:
        """Ask where a model's files are."""
        self.ask(
            messages.DescribeRequest(model),
            self._on_described,
            lambda sentence: self._on_described(
                answers.ModelDescription(model, is_ready=False, detail=sentence, has_text_tower=False)
            ),
        )

    @guarded
    def run(self, image: Image | None, choices: Choices) -> None:
        """Score an image layer, as it is on screen."""
        if self.state is not State.IDLE:
            return
        if image is None:
            show_error("There is no image to score; drop a DICOM folder, a NIfTI file or a picture on the viewer.")
            return
        leading = leading_index(image, self._viewer.dims.point)
        self.load_request = choices.load
        self.state, self._attempt = State.PREPARING, Attempt(image, choices)
        self.busy.emit("Taking over the image …", True)  # noqa: FBT003 - a signal has no keywords
        worker = create_worker(take_over, image, leading, _start_thread=False)
        worker.returned.connect(partial(self._load, self._attempt))
        worker.start()

    @guarded
    def cancel(self) -> None:
        """Stop after the current batch, keeping what was scored; or at once, where scoring has not begun.

        A model that is being loaded is loaded to the end, for the next run.
        """
        if self._task is not None:
            self._task.cancel()
        elif self._attempt is not None:
            self._attempt = None
            self.end_aside("Stopped before scoring began.")

    def close(self) -> None:
        """Leave nothing running: the viewer or the widget closes. Qt's part of this object is gone by then."""
        if self._task is not None:
            self._task.cancel()
        self._forget()
        self.is_closed = True
        self.comparing.let_go()
        for dock in (self.planes, self.worklist):
            if dock is not None:
                dock.let_go()
        viewer = self._viewer
        viewer.events.status.disconnect(self._on_status)
        viewer.dims.events.ndisplay.disconnect(self._on_way_to_volume)
        viewer.dims.events.ndisplay.disconnect(self._on_way_to_slices)
        self.reading.disconnect_viewer()
        viewer.dims.events.current_step.disconnect(self._show_state)
        viewer.canvas.events.size.disconnect(self._keep_in_sight)

    @guarded
    def move_threshold(self, threshold: float) -> None:
        """Show the map from another threshold on at once, and its findings as soon as they are listed."""
        self.layers.show_threshold(threshold)
        self.refinding.move(threshold)

    @guarded
    def select(self, row: int) -> None:
        """Go to a finding, outline it and draw its diameters."""
        session, image = self.session, self.layers.image
        if session is None or image is None or not self.layers.is_image_there or row >= len(session.findings):
            return
        finding = session.findings[row]
        self.layers.colour_outlines(finding.label or None)
        self.layers.show_diameters(session, session.measures[row])
        go_to(self._viewer, image, session.origin, session.voxel_to_show(row))

    def show_experts(self, level: int) -> tuple[float, ...]:
        """Show which expert took each patch at a level (-1 hides them); return each expert's share of patches."""
        return () if self.session is None else self.layers.show_experts(self.session, level)

    def ask_aside(self, note: str, request: object, then: Callable[..., None]) -> None:
        """Ask for something beside the run that is shown: it may take long, and Cancel ends it."""
        task = self.ask(request, then)
        if note:
            self.state, self._task = State.SCORING, task
            task.progressed.connect(self.progressed)
            self.busy.emit(note, True)  # noqa: FBT003 - a signal has no keywords

    def end_aside(self, note: str) -> None:
        """Say that what was asked for is there."""
        self.state, self._task = State.IDLE, None
        self.ended.emit(note)

    @guarded
    def fail(self, sentence: str) -> None:
        """End what is under way, and say why."""
        self.state, self._task, self._attempt = State.IDLE, None, None
        self.refinding.forget()
        self._refresh_timer.stop()
        self._steps.clear()
        self._show_state()
        self.ended.emit("")
        show_error(sentence)

    def start_preparing(self, note: str) -> None:
        """Say that something is under way that cannot be cancelled."""
        self.state = State.PREPARING
        self.busy.emit(note, False)  # noqa: FBT003 - a signal has no keywords

    def ask(self, request: object, then: Callable[..., None], failed: Callable[[str], None] | None = None) -> Task:
        """Ask the scoring process, and say what to do with its answer."""
        task = self.backend.ask(request)
        task.finished.connect(partial(self._call, then))
        task.failed.connect(partial(self._call, failed or self.fail))
        return task

    @guarded
    def _call(self, then: Callable[..., None], content: object) -> None:
        then(content)

    def in_steps(self, *steps: Callable[[], None]) -> None:
        """Do several things that draw, and let mouse and keys be heard between them."""
        self._steps.extend(steps)
        self._step_timer.start(0)

    @guarded
    def _take_step(self) -> None:
        if self._steps:
            step = self._steps.popleft()
            self._step_timer.start(0)
            step()

    @guarded
    def _on_described(self, description: answers.ModelDescription) -> None:
        self.described.emit(description)

    @guarded
    def _on_status(self, _: object = None) -> None:
        """Name the score and the place in the patient in the status bar, where napari names layer and value."""
        text = describe_point(self._viewer, self.layers.image, self.session)
        if text:
            status = self._viewer.status
            self._viewer.status = status | {"coordinates": text} if isinstance(status, dict) else text

    @guarded
    def _load(self, attempt: Attempt, taken: LayerOrigin | str) -> None:
        if attempt is not self._attempt:
            return
        if isinstance(taken, str):
            self.fail(f'The layer "{attempt.image.name}" cannot be scored: {taken}')
            return
        self.busy.emit("Loading the model; the first time it is compiled …", True)  # noqa: FBT003 - a signal has no keywords
        load = attempt.choices.load
        self.ask(load, partial(self._score, attempt, taken), partial(self._fail_to_load, attempt))

    def _fail_to_load(self, attempt: Attempt, sentence: str) -> None:
        if attempt is self._attempt:
            self.fail(sentence)

    def _score(self, attempt: Attempt, origin: LayerOrigin, info: answers.LoadedModelInfo) -> None:
        if attempt is not self._attempt:
            return
        image, choices = attempt.image, attempt.choices
        if image not in self._viewer.layers:
            self.fail("The image was closed before scoring began.")
            return
        self._attempt = None
        self.busy.emit("Scoring …", False)  # noqa: FBT003 - a signal has no keywords
        session = Session.start(origin, info.levels if choices.keep_experts else 0)
        first = shown_volume_slice(self._viewer, image, origin, session.first_axis(choices.plane))
        request = session.request(choices, first)
        self.in_steps(
            self.layers.put_extras_away,
            lambda: self.begin(image, session, info.threshold),
            lambda: self._ask_for_scores(session, request),
            self.layers.activate_map,
        )

    def _ask_for_scores(self, session: Session, request: messages.ScoreRequest) -> None:
        self.state = State.SCORING
        self._task = self.ask(request, partial(self.on_outcome, session))
        self._task.progressed.connect(partial(self._on_progress, session))
        self.busy.emit("Scoring …", True)  # noqa: FBT003 - a signal has no keywords

    def begin(self, image: Image, session: Session, threshold: float) -> None:
        """Show a run that begins, on its image."""
        self._forget()
        self.reading.stop_editing()
        self.session = session
        self.reading.tell_place()
        self.refinding.begin(threshold)
        self.layers.begin(image, session, threshold)

    def _forget(self) -> None:
        """Let the scoring process drop the run that this widget showed, and its prior."""
        self.comparing.let_go()
        if self.session is not None and self.backend.is_running:
            self.backend.ask(messages.ForgetRequest(self.session.run))
        self.session = None

    @guarded
    def _on_progress(self, session: Session, heard: answers.Progress) -> None:
        if session is not self.session:
            return
        session.hear(heard)
        self._show_state()
        pause = self.layers.refresh_pause(session, heard)
        if pause is not None and not self._refresh_timer.isActive():
            self._refresh_timer.start(pause)
        self.progressed.emit(heard)

    @guarded
    def _show_state(self, _: object = None) -> None:
        """Say on the picture where the map is of another time, or provisional until a slice's neighbours are scored."""
        session, image, text = self.session, self.layers.image, ""
        if session is not None and image is not None and self.layers.is_image_there:
            text = other_time(self._viewer, image, session.origin)
            axis, waiting = session.provisional
            is_scoring = self.state is State.SCORING and cuts_along(self._viewer, session.origin, axis)
            if is_scoring and shown_volume_slice(self._viewer, image, session.origin, axis) in waiting:
                text = text or "map provisional: neighbouring slices are still to come"
        show_state(self._viewer, text)

    @guarded
    def _refresh(self) -> None:
        self.layers.refresh()

    def on_outcome(self, session: Session, outcome: answers.RunOutcome) -> None:
        """Show what a run found."""
        self._task = None
        if session is not self.session:
            return
        session.outcome = outcome
        self.layers.show_threshold(outcome.threshold)
        self._refresh_timer.stop()
        self.in_steps(
            self.layers.refresh,
            lambda: self.layers.add_outlines(session),
            self.layers.show_outlines,
            lambda: self._end(outcome),
        )

    def _end(self, outcome: answers.RunOutcome) -> None:
        self.state = State.IDLE
        self._show_state()
        speed = outcome.slices_scored / outcome.seconds if outcome.seconds else 0.0
        stopped = "" if outcome.is_complete else "Stopped: "
        count = outcome.slices_scored
        slices = "1 slice" if count == 1 else f"{count} slices"
        self.ended.emit(f"{stopped}{slices} in {outcome.seconds:.1f} s ({speed:.1f} slices/s).")
        self.found.emit(outcome)

    @guarded
    def _on_way_to_volume(self, _: object = None) -> None:
        """React before napari does."""
        if not self.layers.shows_slices:
            self.layers.before_volume()
            self.volume_shown.emit(True)  # noqa: FBT003 - a signal has no keywords

    @guarded
    def _on_way_to_slices(self, _: object = None) -> None:
        """React after napari did."""
        if self.layers.shows_slices:
            self.layers.after_volume()
            self.volume_shown.emit(False)  # noqa: FBT003 - a signal has no keywords
