"""Tracking: an outline that was pointed at is followed through the clip, or along the live picture."""

from __future__ import annotations

from dataclasses import replace

from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.infer.prediction import Prediction
from usviewer.pipeline.annotations import AnnotatedStructure, Annotation, Origin
from usviewer.pipeline.prompt_messages import TrackProgress, TrackRequest
from usviewer.pipeline.prompt_run import Prompting
from usviewer.view.app_state import AppState
from usviewer.view.live_controller import LiveController
from usviewer.view.notify import Notify
from usviewer.view.pointing import PromptSession
from usviewer.view.presenter import Presenter
from usviewer.view.review_controller import ReviewController


class TrackingController:
    """Follows the structure in hand of a session. ``tick`` is called at the display's rate while pointing is on."""

    def __init__(
        self,
        app_state: AppState,
        presenter: Presenter,
        notify: Notify,
        live: LiveController,
        review: ReviewController,
        session: PromptSession,
    ) -> None:
        self._app_state, self._presenter, self._notify = app_state, presenter, notify
        self._live, self._review, self._session = live, review, session
        self._followed: AnnotatedStructure | None = None
        self._held: Frame | None = None  # the live picture that is held

    def forget(self) -> None:
        """Forget what was followed: another source is open."""
        self._followed, self._held = None, None

    def hold_still(self) -> None:
        """What is pointed at belongs to one picture: what runs is held."""
        if self._live.active and not self._live.frozen:
            self._live.freeze()
        if self._review.playing:
            self._review.play_or_pause()

    # -- through the clip

    def follow(self, *, forwards: bool, backwards: bool) -> None:
        """Follow the outline on this picture through the clip.

        Raises ``UserError`` where nothing is outlined here, and while the clip's scale is not known.
        """
        frame, layer = self._app_state.on_screen.frame, self._session.layer
        mark = None
        if frame is not None and self._presenter.annotating:
            mark = layer.mark(frame)
        if frame is None or mark is None or mark.instance is None:
            raise UserError("Nothing is outlined on this picture", "Point at a structure first")
        if self._session.clip is None:
            raise UserError("The clip is still being looked through for its scale", "Follow it in a moment")
        self.hold_still()
        layer.remember()
        if mark.by is Origin.FOLLOWED:  # from here on it is the user's word
            layer.put(frame.key.index, replace(mark, by=Origin.DRAWN))
        self.follow_from(frame, forwards=forwards, backwards=backwards)

    def follow_from(self, frame: Frame, *, forwards: bool, backwards: bool) -> None:
        """Follow what is outlined on a frame; nothing where that cannot be. Raises ``UserError`` at the clip's end."""
        layer, clip, worker = self._session.layer, self._session.clip, self._session.worker
        mark = layer.mark(frame)
        if worker is None or clip is None or mark is None or mark.instance is None:
            return
        # A leg ends before the next frame that a person has pointed at: that one is not overwritten.
        onwards, back = layer.legs(frame.key.index, clip.count)
        legs = tuple(leg for leg, wanted in ((onwards, forwards), (back, backwards)) if wanted and len(leg) > 1)
        if not legs:
            raise UserError("There is no frame to follow it to", "The clip ends here, or the next frame is outlined")
        self._notify.withdraw("prompt")
        self._followed = layer.structure
        worker.follow(TrackRequest(clip, mark.instance, layer.structure.label, legs))

    def stop_following(self) -> None:
        """Stop; what was followed so far stays."""
        self._followed = None
        if self._session.worker is not None:
            self._session.worker.cancel()

    def take(self, step: TrackProgress) -> None:
        """One frame was followed to: its outline belongs to the structure that following began with."""
        structure = self._followed
        if structure is None:  # stopped while this frame was on its way
            return
        mark = step.mark
        if step.follow.label != structure.label:  # it was renamed while it was followed
            mark = mark.called(structure.label)
        self._session.layer.put(step.index, mark, structure)
        if step.lost:
            self._notify.warn(f"Lost on frame {step.index}. {step.lost}.", key="prompt")

    # -- along the live picture

    def tick(self) -> None:
        """Follow once the picture runs again; keep what is shown of it once it is held."""
        frozen, frame, worker = self._live.frozen, self._app_state.on_screen.frame, self._session.worker
        if not self._live.active or frame is None or worker is None:
            return
        if frozen and self._held is None:
            self._keep_shown(frame, worker)
        held, self._held = self._held, None
        if frozen:
            self._held = frame
        elif held is not None:
            self._begin_live(held, worker)
        if not frozen and self._live.newest is not None and worker.live:
            worker.live_frame(self._live.newest)

    def _begin_live(self, held: Frame, worker: Prompting) -> None:
        worker.show(None)
        layer = self._session.layer
        mark = layer.mark(held)
        if mark is not None and mark.instance is not None:
            worker.follow_live(held, mark.instance, layer.structure.label)

    def _keep_shown(self, frame: Frame, worker: Prompting) -> None:
        """The outline that was on the screen when the picture was held stays with it."""
        shown = self._session.take_shown()
        worker.end_live()
        if shown is None or shown.instance is None or shown.reading is None or shown.frame is not frame:
            return
        prediction = Prediction(frame.key, frame.size_px, (shown.instance,), "motion", "", "motion")
        quality = shown.reading.quality
        mark = Annotation(prediction, frame.geometry, shown.reading, Origin.FOLLOWED, confidence=quality)
        self._session.layer.put(frame.key.index, mark)
