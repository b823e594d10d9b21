"""A recorded clip under review: a playback thread, and an analysis thread with a source of its own.

The playback alone decodes what is shown. The analysis goes through the clip from its first frame to its last, drops
nothing, and stands back while the playback has work to do. ``ReviewRun.snapshot`` is what the window polls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from usviewer.acquire import Source
from usviewer.calibrate.calibration import NOTHING_STATED, StatedScale
from usviewer.frame import Frame, SourceInfo
from usviewer.measure import NO_CONTEXT, ExamContext
from usviewer.measure.findings import EMPTY_REPORT, ClipReport
from usviewer.measure.manual import Edit
from usviewer.measure.reading import Reading, Summary
from usviewer.pipeline.analyzer import LoadedModel
from usviewer.pipeline.clip_analysis import ClipAnalysis, ReadingStore
from usviewer.pipeline.curve import Curve
from usviewer.pipeline.playback import Gather, Playback
from usviewer.pipeline.worker import join_all
from usviewer.save.kept_predictions import KeptPredictions


@dataclass(frozen=True, slots=True, eq=False)
class ReviewSnapshot:
    """The frame that is shown, its own reading (None: not analysed yet), and how far everything is.

    ``reading`` carries the key of ``frame``. ``curve`` is over the whole clip (None: nothing analysed yet), the same
    object until it changes. ``wanted_index`` is the frame that was asked for, which may still be on its way.
    ``findings`` is what the whole clip amounts to, once all of it is read. ``awaited``: the frame's reading is to come.
    """

    frame: Frame | None
    reading: Reading | None
    curve: Curve | None
    times_s: Sequence[float]
    source: SourceInfo | None
    wanted_index: int
    playing: bool
    rate: float
    loop: tuple[int, int] | None
    analysed: int
    complete: bool
    message: str
    findings: ClipReport = EMPTY_REPORT
    awaited: bool = False

    @property
    def count(self) -> int:
        """Frames of the clip; 0 until they are counted."""
        return len(self.times_s)

    @property
    def summary(self) -> Summary | None:
        """The aggregate of the clip, as far as it is analysed."""
        return self.curve.summary if self.curve is not None else None

    @property
    def maximum_index(self) -> int | None:
        """The frame of the largest value; None where that value may not be said (``Curve.is_quotable``)."""
        if self.summary is None or self.curve is None or not self.curve.is_quotable:
            return None
        return self.summary.maximum_key.index


class ReviewRun:
    """One clip with one scale, and with the model that is set. Every method returns at once.

    ``gather`` looks at an open source for its scale (``calibrate.calibration.gather``); ``said`` is what the operator
    says of it.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        gather: Gather,
        start_index: int = 0,
        said: StatedScale = NOTHING_STATED,
    ) -> None:
        self._open_source = open_source
        self._playback = Playback(open_source, gather, start_index, said)
        self._predictions: tuple[tuple[str, str], KeptPredictions] | None = None  # of which model and engine
        self._analysis: ClipAnalysis | None = None
        self._retired: list[ClipAnalysis] = []

    def start(self) -> None:
        """Open the clip, in the playback thread."""
        self._playback.start()

    def set_model(
        self,
        model: LoadedModel | None,
        kept: ReadingStore | None = None,
        given: ExamContext = NO_CONTEXT,
        edits: Mapping[int, Edit] | None = None,
    ) -> None:
        """Analyse with this model, and with what the operator said, from now on; what was read before is withdrawn.

        ``edits`` are the user's corrections where they are known already; else they are read from ``kept``.
        """
        self._retire()
        if model is not None:
            predictions = self._predictions_of(model)
            self._analysis = ClipAnalysis(self._open_source, self._playback, model, kept, given, edits, predictions)
            self._analysis.start()

    def _predictions_of(self, model: LoadedModel) -> KeptPredictions:
        """What an earlier analysis has learnt from this model; of another model nothing."""
        made_by = (model.sha256, model.running)
        known = self._predictions[1].copy() if self._predictions and self._predictions[0] == made_by else None
        self._predictions = (made_by, known or KeptPredictions())
        return self._predictions[1]

    def set_scale(self, said: StatedScale) -> None:
        """Another word of the operator's on the scale; ``set_model`` then measures again what the model said before."""
        self._retire()  # first: it must not go on, and keep its readings, with the new scale
        self._playback.set_scale(said)

    def _retire(self) -> None:
        if self._analysis is not None:
            self._analysis.request_stop()
            self._retired.append(self._analysis)
        self._retired = [analysis for analysis in self._retired if analysis.alive]
        self._analysis = None

    def request_stop(self) -> None:
        """End both threads soon, without waiting for them."""
        for worker in self._workers():
            worker.request_stop()

    def stop(self) -> bool:
        """End all threads within ``JOIN_DEADLINE_S``; safe to call twice. False when one did not end in time."""
        self.request_stop()
        return join_all(self._workers())

    @property
    def alive(self) -> bool:
        """Whether a thread still runs."""
        return any(worker.alive for worker in self._workers())

    def raise_failure(self) -> None:
        """Raise a bug that one of the threads met, once: the window does so where the user hears of it."""
        for worker in self._workers():
            worker.raise_failure()

    def _workers(self) -> list[Playback | ClipAnalysis]:
        current = [self._analysis] if self._analysis is not None else []
        return [self._playback, *current, *self._retired]

    # -- what the user asks for

    def seek(self, index: int, *, exact: bool = True) -> None:
        """Show a frame: the exact one, or (while dragging) the nearest that is cheap, then the exact one."""
        self._playback.seek(index, exact=exact)

    def step(self, frames: int) -> None:
        """Go some frames on or back, and stop there."""
        self._playback.step(frames)

    def play(self, rate: float | None = None) -> None:
        """Play from the shown frame, at the clip's own rate times ``rate``; from the start when at the end."""
        self._playback.play(rate)

    def pause(self) -> None:
        """Stay on the shown frame."""
        self._playback.pause()

    def set_rate(self, rate: float) -> None:
        """Play faster or slower, now or when next played."""
        self._playback.set_rate(rate)

    def set_loop(self, loop: tuple[int, int] | None) -> None:
        """Play a range of frames (both ends included) again and again; None ends it."""
        self._playback.set_loop(loop)

    def replace_reading(self, index: int, reading: Reading | None) -> None:
        """Put a corrected reading in the place of the automatic one; None takes the correction back."""
        if self._analysis is not None:
            self._analysis.correct(index, reading)

    def await_edit(self, index: int, edit: Edit | None) -> None:
        """A correction of a frame that is not analysed yet; it is measured when it is."""
        if self._analysis is not None:
            self._analysis.await_edit(index, edit)

    def automatic(self, index: int) -> Reading | None:
        """What the model said of a frame, whatever was corrected since; None while it is not analysed."""
        return self._analysis.automatic(index) if self._analysis is not None else None

    def calibrate(self, frame: Frame) -> Frame:
        """A frame of this clip with its geometry; for every thread."""
        return self._playback.calibrate(frame)

    # -- what there is

    @property
    def kept_bytes(self) -> int:
        """Memory of the masks that are kept to be measured again."""
        kept = self._predictions[1].frames if self._predictions is not None else {}
        return sum(one.nbytes for one in kept.values())

    def snapshot(self) -> ReviewSnapshot:
        """All that the window needs."""
        picture = self._playback.picture()
        analysis, frame = self._analysis, picture.frame
        reading = analysis.reading(frame.key.index) if analysis is not None and frame is not None else None
        analysed, complete, problem = analysis.progress() if analysis is not None else (0, False, "")
        return ReviewSnapshot(
            frame=frame,
            reading=self._own_reading(frame, reading),
            curve=analysis.curve() if analysis is not None else None,
            times_s=picture.times_s,
            source=picture.source,
            wanted_index=picture.wanted.index,
            playing=picture.wanted.playing,
            rate=picture.wanted.rate,
            loop=picture.wanted.loop,
            analysed=analysed,
            complete=complete,
            message=picture.message or problem,
            findings=analysis.findings() if analysis is not None else EMPTY_REPORT,
            awaited=analysis is not None and frame is not None and analysis.awaited(frame.key.index),
        )

    def _own_reading(self, frame: Frame | None, reading: Reading | None) -> Reading | None:
        """The reading of the shown frame; a reading of other pixels is never drawn on it."""
        return None if frame is None or reading is None or reading.key != frame.key else reading
