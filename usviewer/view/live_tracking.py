"""The live half of pointing: let go, the outline follows the picture; held again, it is that picture's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from usviewer.frame import Frame
from usviewer.infer.prediction import Prediction
from usviewer.pipeline.annotations import Annotation, AnnotationLayer, Origin
from usviewer.pipeline.live_run import MAX_PAIR_AGE_S
from usviewer.pipeline.prompt_messages import LiveOutline
from usviewer.pipeline.prompt_run import Prompting
from usviewer.view.app_state import AppState, Displayed

if TYPE_CHECKING:
    from usviewer.view.live_controller import LiveController


class LiveFollowing:
    """What is followed on the live source, and what of it was shown when the picture was held."""

    def __init__(self, desk: AppState, live: LiveController) -> None:
        self._desk, self._live = desk, live
        self._held: Frame | None = None  # the live picture that is held
        self._shown: LiveOutline | None = None

    def forget(self) -> None:
        """Another source is open."""
        self._held, self._shown = None, None

    def look(self, base: Displayed, worker: Prompting | None) -> Displayed:
        """What is shown of a running picture: the newest frame with an outline of its own, and the outline's age."""
        outline = worker.live_outline() if worker is not None else None
        newest = self._live.newest
        if outline is None or newest is None or not base.is_current:
            return base
        age_s = newest.key.capture_time_s - outline.frame.key.capture_time_s
        if age_s > MAX_PAIR_AGE_S or outline.reading is None:
            frame = newest if age_s > MAX_PAIR_AGE_S else outline.frame
            return replace(
                base,
                frame=frame,
                reading=None,
                summary=None,
                note="Following · no outline for this picture",
                pending=False,
            )
        self._shown = outline
        note = f"Following · outline {max(0.01, outline.age_s):.2f} s old{confidence_words(outline.reading.quality)}"
        return replace(base, frame=outline.frame, reading=outline.reading, summary=None, note=note, pending=False)

    def tick(self, layer: AnnotationLayer, worker: Prompting) -> None:
        """Follow once the picture runs again; keep what is shown of it once it is held."""
        frozen, frame = self._live.frozen, self._desk.on_screen.frame
        if not self._live.active or frame is None:
            return
        if frozen and self._held is None:
            self._take(frame, layer, worker)
        held, self._held = self._held, frame if frozen else None
        if held is not None and not frozen:
            worker.show(None)
            mark = layer.mark(held)
            if mark is not None and mark.instance is not None:
                worker.follow_live(held, mark.instance, layer.structure.label)
        if not frozen and self._live.newest is not None and worker.live:
            worker.live_frame(self._live.newest)

    def _take(self, frame: Frame, layer: AnnotationLayer, worker: Prompting) -> None:
        """The outline that was on the screen when the picture was held stays with it."""
        shown, self._shown = self._shown, None
        worker.end_live()
        if shown is not None and shown.instance is not None and shown.reading is not None and shown.frame is frame:
            size_px = frame.size_px
            prediction = Prediction(frame.key, size_px, (shown.instance,), "motion", "", "motion")
            mark = Annotation(
                prediction, frame.geometry, shown.reading, Origin.FOLLOWED, confidence=shown.reading.quality
            )
            layer.put(frame.key.index, mark)


def confidence_words(confidence: float | None) -> str:
    """How far following trusts the outline, to go on a note; nothing where that is not known."""
    return "" if confidence is None else f" · confidence {confidence:.2f}"
