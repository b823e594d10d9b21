"""Keeping things: the picture on the screen with its numbers, a recording, the corrections of a clip."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal

from usviewer.acquire import open_source
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.infer.prediction import Prediction
from usviewer.measure.findings import EMPTY_REPORT, ClipReport
from usviewer.measure.manual import Edit, edited_prediction
from usviewer.measure.reading import Reading, Status, Summary
from usviewer.overlay import words
from usviewer.overlay.items import AnnotatedFrame, Item, Scene
from usviewer.overlay.palette import unit_px
from usviewer.overlay.scene import Style, compose
from usviewer.overlay.text import TextContext
from usviewer.own_folders import pictures_folder
from usviewer.pipeline.worker import Jobs
from usviewer.save.capture import RecordedFrame, Recorder, Snapshot, save_snapshot
from usviewer.save.masks import export_corrections
from usviewer.view.app_state import AppState, Displayed
from usviewer.view.notify import Notify
from usviewer.view.presenter import Presenter
from usviewer.view.review_controller import ReviewController

# Pictures that may wait for the encoder; beyond this some are left out, and it is said how many.
MOST_WAITING = 24
POLL_MS = 50
# For what still waits for the encoder when the window is closed.
FINISH_DEADLINE_S = 60.0


class _Recording:
    """A recording that runs, and which pictures it takes.

    A picture whose outline is still to come is held back until that is there, or until the picture is shown no more.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.taken = self.left_out = 0
        self._last = ""
        self._held: Displayed | None = None
        self._waiting = 0
        self._failed = False

    def offer(self, now: Displayed) -> list[Displayed]:
        """Give what is to be written now that this is on the screen, in order."""
        if now.frame is None:
            return []
        found = []
        if self._held is not None and self._held.frame is not None:
            if self._held.frame.key != now.frame.key:
                found = self.let_go()
            elif not now.pending:
                self._held = None
        if f"{now.frame.key}" == self._last:
            return found
        if now.pending:
            self._held = now
            return found
        return [*found, *self._accepted(now)]

    def let_go(self) -> list[Displayed]:
        """The picture that was held back, as it was shown."""
        held, self._held = self._held, None
        if held is None:
            return []
        return self._accepted(held)

    def _accepted(self, picture: Displayed) -> list[Displayed]:
        """The picture alone; nothing once writing has failed, or while the encoder has too much to do."""
        if picture.frame is None or self._failed:
            return []
        self._last = f"{picture.frame.key}"
        if self._waiting >= MOST_WAITING:
            self.left_out += 1
            return []
        self._waiting += 1  # until the encoder says it is written: a slow one must not fill the memory
        self.taken += 1
        return [picture]

    def written(self) -> None:
        """The encoder is done with one of the pictures."""
        self._waiting -= 1

    def fail(self) -> bool:
        """Note that a picture could not be written; True for the first one."""
        self._waiting -= 1
        first, self._failed = not self._failed, True
        return first


class CaptureController(QObject):
    """Writes what was seen; every slow step in a worker, every outcome said once."""

    changed = Signal()

    def __init__(
        self, app_state: AppState, presenter: Presenter, notify: Notify, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._app_state, self._presenter, self._notify = app_state, presenter, notify
        self._recording: _Recording | None = None
        # Its own worker: a long export must not hold pictures up.
        self._encoder = Jobs("recording")
        self._timer = QTimer(self, interval=POLL_MS)
        self._timer.timeout.connect(self._encoder.poll)
        app_state.shown_changed.connect(self._take)

    def folder(self) -> Path:
        """Where pictures and recordings go."""
        chosen = self._app_state.settings.save_folder
        if not chosen:
            return pictures_folder()
        return Path(chosen)

    # -- one picture

    def save_picture(
        self,
        items: tuple[Item, ...] = (),
        manual: tuple[Reading, ...] = (),
        findings: ClipReport = EMPTY_REPORT,
        prompts: tuple[Mapping[str, object], ...] = (),
        shown: Displayed | None = None,
    ) -> None:
        """Write the picture on the screen with its overlay and numbers, and its JSON.

        ``shown`` is what was on the screen when the key was pressed, where that is some time ago. Raises ``UserError``
        where there is no picture, or where its outline is still to come.

        ``items`` and ``manual`` are what was drawn by hand on exactly this picture, to draw and to write down;
        ``findings`` is what the frames so far say together, ``prompts`` what was pointed at on this picture.
        """
        now, engine = shown or self._presenter.to_keep(), self._app_state.engine()
        if now.frame is None:
            return
        label = self._presenter.model_label()
        ran = ""
        if engine is not None and label:  # without a label, what is shown is not the loaded model's
            ran = engine.running
        summary = _summary_to_keep(now)
        scene = scene_of(
            now.frame,
            now.reading,
            summary,
            self._app_state.style,
            label,
            self._presenter.text_context(now, is_saved=True),
        )
        pair = AnnotatedFrame(now.frame, replace(scene, items=(*scene.items, *items)))
        kept = Snapshot(pair, now.reading, summary, manual, source_name(now.frame), label, ran, self._app_state.given)
        if now.is_current:
            kept = replace(kept, report=findings)
        kept = replace(kept, prompts=prompts)
        write = partial(
            save_snapshot, kept, self.folder(), keep_surroundings=self._app_state.settings.keep_surroundings
        )
        self._app_state.jobs.submit(write, self._saved, partial(self._notify.report, key="save"))

    def _saved(self, result: tuple[Path, str]) -> None:
        picture, said = result
        self._notify.tell(_sentence(f"Saved {picture.name} in {picture.parent}", said), key="save")

    # -- a recording

    @property
    def recording(self) -> bool:
        """Whether a recording runs."""
        return self._recording is not None

    def toggle_recording(self) -> None:
        """Start a recording, or finish the one that runs."""
        if self._recording is not None:
            self.finish_recording()
            return
        frame = self._app_state.on_screen.frame
        if frame is None:
            raise UserError("There is no picture to record", "Open a source first")
        name = f"{source_name(frame)}-{time.strftime('%Y%m%d-%H%M%S')}"
        keep_surroundings = self._app_state.settings.keep_surroundings
        recorder = Recorder(self.folder(), name, keep_surroundings=keep_surroundings)
        self._recording = _Recording(recorder)
        self._timer.start()
        self._take()
        self._notify.tell("Recording: what is shown, annotated and raw.", key="record")
        self.changed.emit()

    def finish_recording(self) -> None:
        """End the recording; its files are finished in the worker."""
        recording, self._recording = self._recording, None
        if recording is not None:
            for picture in recording.let_go():
                self._add(recording, picture)
            done, failed = partial(self._finished, recording), self._failed_to_finish
            self._encoder.submit(recording.recorder.close, done, failed)
            self.changed.emit()

    def close(self) -> bool:
        """Finish what is being recorded, for good; False when that took too long."""
        self.finish_recording()
        self._timer.stop()
        ended = self._encoder.stop(FINISH_DEADLINE_S)
        self._encoder.poll()
        return ended

    def _take(self) -> None:
        """One more picture for the recording, if it is another one."""
        if (recording := self._recording) is not None:
            for picture in recording.offer(self._app_state.on_screen):
                self._add(recording, picture)

    def _add(self, recording: _Recording, picture: Displayed) -> None:
        if picture.frame is None:
            return
        label, style = self._presenter.model_label(), self._app_state.style
        summary = _summary_to_keep(picture)
        context = self._presenter.text_context(picture, is_saved=True)
        add = partial(_add, recording.recorder, picture.frame, picture.reading, summary, style, label, context)
        self._encoder.submit(add, lambda _: recording.written(), partial(self._failed, recording))

    def _failed(self, recording: _Recording, error: UserError) -> None:
        if recording.fail():
            self._notify.report(error, key="record")
        if recording is self._recording:  # a later one may run already
            self.finish_recording()

    def _failed_to_finish(self, error: UserError) -> None:
        self._notify.report(error, key="record")
        self._timer.stop()

    def _finished(self, recording: _Recording, folders: tuple[Path, ...]) -> None:
        if not self.recording:
            self._timer.stop()
        if not folders:
            return
        names = " and ".join(folder.name for folder in folders)
        notes = [recording.recorder.notice]
        if recording.left_out:
            notes = [f"{recording.left_out} pictures were left out, this computer was too slow for them", *notes]
        said = ". ".join(note for note in notes if note)
        words = _sentence(f"Recorded {recording.taken} pictures: {names} in {folders[0].parent}", said)
        if recording.left_out:
            self._notify.warn(words, key="record")
        else:
            self._notify.tell(words, key="record")

    # -- the corrections of a clip

    def export_corrections(self, review: ReviewController) -> None:
        """Write the corrected pictures of the clip under review as a training set."""
        path, edits = review.path, review.edits
        if path is None or not edits:
            raise UserError("Nothing was corrected in this clip", "Correct a mask first")
        automatic = {index: reading for index in edits if (reading := review.automatic_of(index)) is not None}
        engine = self._app_state.engine()
        labels: tuple[str, ...] = ()
        if engine is not None:
            labels = engine.labels
        pairs = _corrected(path, edits, automatic, review)
        write = partial(
            export_corrections,
            self.folder(),
            f"{path.stem}-corrections",
            pairs,
            labels,
            keep_surroundings=self._app_state.settings.keep_surroundings,
        )
        self._app_state.jobs.submit(write, self._exported, partial(self._notify.report, key="export"))

    def _exported(self, result: tuple[Path, int, str]) -> None:
        folder, count, said = result
        pictures = "1 corrected picture" if count == 1 else f"{count} corrected pictures"
        self._notify.tell(_sentence(f"Exported {pictures}: {folder.name} in {folder.parent}", said), key="export")


def scene_of(
    frame: Frame, reading: Reading | None, summary: Summary | None, style: Style, label: str, context: TextContext
) -> Scene:
    """What is kept of a picture: what was drawn on it, with its numbers as a saved picture shows them."""
    if reading is None:
        return Scene(frame.key, frame.size_px, (), unit_px(frame.size_px))
    # On the screen these two have their own place in the window; a file that leaves it must carry them.
    kept = replace(style, numbers=True, research_line=True, hidden=False)
    return compose(frame, reading, summary, kept, model_label=label, context=context)


def source_name(frame: Frame) -> str:
    """What a picture's source is called in the names of files."""
    if frame.name:
        return Path(frame.name).stem
    kind, colon, rest = frame.key.source.partition(":")
    if colon and len(kind) > 1 and not rest.startswith(("\\", "/")):
        return kind
    return Path(frame.key.source).stem or "picture"


def _add(
    recorder: Recorder,
    frame: Frame,
    reading: Reading | None,
    summary: Summary | None,
    style: Style,
    label: str,
    context: TextContext,
) -> None:
    scene = None
    if reading is not None:
        scene = scene_of(frame, reading, summary, style, label, context)
    recorder.add(RecordedFrame(frame, scene, reading))


def _corrected(
    path: Path, edits: Mapping[int, Edit], automatic: Mapping[int, Reading], review: ReviewController
) -> Iterator[tuple[Frame, Prediction]]:
    """The corrected frames, decoded from a source of their own."""
    with open_source(path) as source:
        for index in sorted(edits):
            frame = review.calibrate(source.seek(index))
            # A file that was replaced meanwhile has other pictures under the same numbers.
            if index in automatic and frame.key.digest == edits[index].digest:
                yield frame, edited_prediction(automatic[index], edits[index], frame.size_px)


def _summary_to_keep(picture: Displayed) -> Summary | None:
    """The summary that stands beside the number in the picture; None where none does."""
    reading = picture.reading
    if not picture.is_current or reading is None or reading.status is not Status.MEASURED:
        return None
    # The same rule as in the picture: a file must not hold a median that nobody saw.
    return words.matches_summary(picture.summary, reading)


def _sentence(first: str, second: str) -> str:
    if not second:
        return f"{first}."
    return f"{first}. {second}."
