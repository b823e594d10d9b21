"""A live source: a capture thread, the newest frame, an inference thread, and a snapshot that the window polls.

Nothing queues. A frame that arrives while the model is busy replaces the one that waits, and is counted. The window
never waits for anything here: ``LiveRun.snapshot`` copies a few references under a lock.

Whatever goes wrong with one frame costs that frame, which is refused with its reason; the picture goes on. A model that
fails on one frame after another is taken off, and offered again (``LiveRun.retry``).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from usviewer.acquire import Source
from usviewer.frame import Frame, SourceInfo
from usviewer.measure import NO_CONTEXT, ExamContext, RecentReport
from usviewer.measure.findings import EMPTY_REPORT, ClipReport
from usviewer.measure.reading import Summary
from usviewer.measure.trend import Trend
from usviewer.pipeline.analyzer import Calibrate, FrameAnalyzer, FrameResult, LoadedModel, try_to_calibrate
from usviewer.pipeline.signal import SignalState, SignalWatch
from usviewer.pipeline.worker import JOIN_DEADLINE_S, Mailbox, Worker, as_user_error, reason_of

# A pair of image and overlay that is older than this is not shown; the newest image is, without an overlay.
MAX_PAIR_AGE_S = 0.150
SLOW_FOR_S = 0.5
REOPEN_EVERY_S = 1.0
STATUS_EVERY_S = 0.2
# A frame in between may be damaged; a model that fails on so many live pictures in a row (0.3 to 1 s of a scanner's 10
# to 30 a second) will not read the next one either.
MOST_FAILURES = 10
# So often the log says how many frames came, were dropped, and how late they were.
LOG_EVERY_S = 60.0
_log = logging.getLogger(__name__)
# Durations of each stage over which percentiles are taken, and the time over which a rate is counted.
KEPT, RATE_SPAN_S = 512, 2.0


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """What the status line shows. Rates are frames a second, times milliseconds.

    ``model_problem`` is why the model was taken off; empty while it runs, or where there is none.
    """

    state: SignalState
    state_age_s: float
    source: SourceInfo | None
    message: str
    source_rate: float
    result_rate: float
    latency_ms: Percentiles
    stages_ms: Mapping[str, Percentiles]
    dropped: int
    captured: int
    model_label: str
    engine_requested: str
    engine_running: str
    model_problem: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A frame for the inference thread. ``problem``: it could not be calibrated, and must not be measured."""

    epoch: int
    frame: Frame
    problem: Exception | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LiveSnapshot:
    """The newest frame, the newest pair of frame and result, its summary, and the status, taken at one moment.

    ``findings`` is what the last two minutes amount to.
    """

    newest: Frame | None
    pair: FrameResult | None
    summary: Summary | None
    status: LiveStatus
    taken_s: float
    too_slow: bool = False
    findings: ClipReport = EMPTY_REPORT

    @property
    def in_time(self) -> bool:
        """Whether the newest result is of a picture that is recent enough to be shown as current."""
        if self.pair is None or self.newest is None:
            return True
        return self.newest.key.capture_time_s - self.pair.frame.key.capture_time_s <= MAX_PAIR_AGE_S

    def to_show(self) -> tuple[Frame | None, FrameResult | None, str]:
        """Which frame to show, with which result (None: no overlay), and what to say about it.

        The default is the matched pair. When the pair is too old the newest frame is shown bare, and for half a second
        after (``too_slow``), so that an overlay at the limit does not flicker. While the input is
        frozen or stalled the last pair stays: it belongs to exactly that picture.
        """
        if self.pair is None or self.newest is None:
            return self.newest, None, ""
        same_picture = self.newest.key.digest == self.pair.frame.key.digest
        if same_picture or (self.in_time and not self.too_slow):
            return self.pair.frame, self.pair, ""
        return self.newest, None, "The model is too slow for this source: picture without overlay"


class LiveRun(Worker):
    """One live source with one model. Start, poll ``snapshot``, stop. The model can be exchanged while it runs."""

    def __init__(
        self,
        open_source: Callable[[], Source],
        calibrate: Calibrate,
        model: LoadedModel | None = None,
        context: ExamContext = NO_CONTEXT,
    ) -> None:
        super().__init__("the live view", release=self._let_go)
        self._open_source = open_source
        self._calibrate = calibrate
        self._lock = threading.Lock()
        self._waiting: Mailbox[_Waiting] = Mailbox()
        self._epoch = 0  # what was captured before the last withdrawal must not be published after it
        self._watch = SignalWatch()
        self._timings = Timings()
        self._stages_ms: tuple[float, Mapping[str, Percentiles]] = (0.0, {})
        self._analyzer = FrameAnalyzer(model, context=context) if model is not None else None
        self._source: Source | None = None
        self._source_info: SourceInfo | None = None
        self._message = self._scale_message = ""
        self._failures = self._uncalibrated = 0  # in a row
        self._taken_off: tuple[FrameAnalyzer, str] | None = None
        self._reading = False  # whether a frame is in the model's hands
        self._read_epoch = 0
        self._newest: Frame | None = None
        self._pair: FrameResult | None = None
        self._summary: Summary | None = None
        self._trend = Trend()
        self._recent = RecentReport()  # filled by the inference thread, replaced where it holds no longer
        self._captured = 0
        self._slow_until_s = 0.0
        self._logged_state, self._logged_s = SignalState.CONNECTING, time.monotonic()

    def start(self) -> None:
        """Start capturing. The source is opened in the capture thread: a slow device never holds the window up."""
        self._begin("capture", self._capture)
        self._begin("infer", self._infer)

    def stop(self, deadline_s: float = JOIN_DEADLINE_S) -> bool:
        """Stop both threads in time; safe to call twice. False when one did not end in time.

        A live source is closed from outside, so that a read that blocks returns; an engine that can end a prediction is
        asked to.
        """
        ended = super().stop(deadline_s)
        with self._lock:
            self._log_counts()
        return ended

    def _wake(self) -> None:
        self._waiting.close()

    def _let_go(self) -> None:
        with self._lock:
            source, analyzer = self._source, self._analyzer if self._reading else None
        # A recording must not be closed under the reader's hands; its reads end by themselves.
        if source is not None and source.info.live:
            source.close()
        if analyzer is not None and analyzer.model.cancel is not None:
            analyzer.model.cancel()

    def set_model(self, model: LoadedModel | None, context: ExamContext = NO_CONTEXT) -> None:
        """Exchange the model or what the operator said; the picture goes on, what the old one read is withdrawn.

        A sweep goes on from site to site: what it found so far stays, unless the model is another one.
        """
        with self._lock:
            before = self._analyzer
            if model is None or before is None or model.sha256 != before.model.sha256:
                self._recent = RecentReport()
            if before is not None and model is before.model:
                self._analyzer = before.with_context(context)
            else:
                self._analyzer = FrameAnalyzer(model, context=context) if model is not None else None
            self._taken_off, self._failures = None, 0
            self._withdraw()

    def retry(self) -> None:
        """Try the model again that was taken off."""
        with self._lock:
            if self._taken_off is not None:
                self._analyzer, self._failures = self._taken_off[0], 0
                self._taken_off = None
                self._withdraw()

    def set_calibrate(self, calibrate: Calibrate) -> None:
        """Exchange the calibration (another scale); what was measured with the old one is withdrawn."""
        with self._lock:
            self._calibrate = calibrate
            self._withdraw()
            self._recent = RecentReport()

    def reset(self) -> None:
        """Forget the trend and the last result, for example when the scale has changed."""
        with self._lock:
            self._withdraw()

    def snapshot(self) -> LiveSnapshot:
        """All that the window needs, taken under one lock."""
        now = time.monotonic()
        with self._lock:
            state = self._watch.state_at(now)
            self._log_state(state, now)
            if not state.holds_numbers:
                self._trend.reset()
                self._summary = None
            status = self._status(state, now)
            snapshot = LiveSnapshot(
                self._newest, self._pair, self._summary, status, now, findings=self._recent.findings
            )
            if not snapshot.in_time:
                self._slow_until_s = now + SLOW_FOR_S
            return replace(snapshot, too_slow=now < self._slow_until_s)

    def _status(self, state: SignalState, now: float) -> LiveStatus:
        model = self._analyzer.model if self._analyzer is not None else None
        return LiveStatus(
            state=state,
            state_age_s=self._watch.age_s(now),
            source=self._source_info,
            message=self._message or self._scale_message,
            source_rate=self._timings.rate("capture", now),
            result_rate=self._timings.rate("latency", now),
            latency_ms=self._percentiles(now).get("latency", Percentiles()),
            stages_ms=self._percentiles(now),
            dropped=self._waiting.replaced,
            captured=self._captured,
            model_label=model.model_label if model else "no model",
            engine_requested=model.requested if model else "",
            engine_running=model.running if model else "",
            model_problem=self._taken_off[1] if self._taken_off is not None else "",
        )

    def _percentiles(self, now: float) -> Mapping[str, Percentiles]:
        """Percentiles of every stage, computed a few times a second and not for every poll: nobody reads faster."""
        taken_s, stages_ms = self._stages_ms
        if now - taken_s >= STATUS_EVERY_S:
            stages_ms = {name: self._timings.percentiles(name) for name in self._timings.stages()}
            self._stages_ms = (now, stages_ms)
        return stages_ms

    def _log_state(self, state: SignalState, now: float) -> None:
        """Each change of the input, and now and then the counts."""
        if state is not self._logged_state:
            _log.info("input: %s, before %s", state, self._logged_state)
            self._logged_state = state
        if now - self._logged_s >= LOG_EVERY_S:
            self._logged_s = now
            self._log_counts()

    def _log_counts(self) -> None:
        times_ms = self._timings.percentiles("latency")
        line = "live: %d frames captured, %d dropped; to overlay %.0f ms, 99 %% within %.0f ms"
        _log.info(line, self._captured, self._waiting.replaced, times_ms.p50, times_ms.p99)

    def _withdraw(self) -> None:
        self._epoch += 1
        self._pair = None
        self._summary = None
        self._trend.reset()

    # -- capture thread

    def _capture(self) -> None:
        """Open the source, again and again: neither a lost device nor a bug ends the live picture for good."""
        while not self._stopping.is_set():
            try:
                with self._open_source() as source:
                    with self._lock:
                        self._source = source
                    self._play(source)
            except Exception as error:
                self._lost(error)
            with self._lock:
                self._source = None
            self._stopping.wait(REOPEN_EVERY_S)

    def _lost(self, error: Exception) -> None:
        if self._stopping.is_set():
            return  # closed from outside: what the read raised then does not matter
        _log.warning("the live source is lost: %s", error)
        self._note_bug(error)
        with self._lock:
            self._message = str(as_user_error(error))
            self._watch.gone(time.monotonic())

    def _play(self, source: Source) -> None:
        """Frames of a live source come when they come; recorded and simulated ones are paced, a recording is looped."""
        paced = not source.info.live or source.info.kind == "phantom"
        _log.info("live source opened: %s", source.info.anonymous)
        with self._lock:
            self._source_info = source.info
            self._message = self._scale_message = ""
            self._uncalibrated = 0
            self._recent = RecentReport()
        period_s = 1.0 / source.info.frames_per_second if source.info.frames_per_second else 1.0 / 30.0
        due_s = time.monotonic()
        while not self._stopping.is_set():
            for frame in source:
                if self._stopping.is_set():
                    return
                if paced:
                    due_s = max(due_s + period_s, time.monotonic() - period_s)
                    self._stopping.wait(max(0.0, due_s - time.monotonic()))
                    frame = replace(frame, key=replace(frame.key, capture_time_s=time.monotonic()))
                self._accept(frame)
            if source.info.live:
                return

    def _accept(self, frame: Frame) -> None:
        began = time.monotonic()
        calibrate = self._calibrate
        frame, problem = try_to_calibrate(calibrate, frame)
        if problem is not None:
            self._note_bug(problem)
        with self._lock:
            if calibrate is not self._calibrate:  # exchanged meanwhile: this scale no longer holds
                return
            self._captured += 1
            changed = self._watch.see(frame)
            lost = _scale_lost(self._newest, frame)
            if changed or lost:
                self._withdraw()
            if lost:
                _log.warning("the scale is withdrawn from frame %d on", frame.key.index)
                self._recent = RecentReport()
            self._newest = frame
            self._uncalibrated = 0 if problem is None else self._uncalibrated + 1
            repeated = problem is not None and self._uncalibrated >= MOST_FAILURES
            self._scale_message = str(as_user_error(problem)) if problem is not None and repeated else ""
            self._timings.add("calibrate", began, time.monotonic())
            self._timings.tick("capture", frame.key.capture_time_s)
            epoch = self._epoch
        self._waiting.put(_Waiting(epoch, frame, problem))

    # -- inference thread

    def _infer(self) -> None:
        while not self._stopping.is_set():
            waiting = self._waiting.take(0.2)
            analyzer = self._analyzer
            if waiting is None or analyzer is None:
                continue
            try:
                self._read(analyzer, waiting)
            except Exception as error:
                self._note_bug(error)

    def _read(self, analyzer: FrameAnalyzer, waiting: _Waiting) -> None:
        if waiting.epoch != self._read_epoch:  # a cut, another format or scale: nothing of before counts
            self._read_epoch = waiting.epoch
            analyzer.restart()
        self._reading = True
        try:
            done = analyzer.analyze(waiting.frame, waiting.problem)
        finally:
            self._reading = False
        try:
            self._publish(waiting.epoch, done)
        except Exception as error:  # the aggregate could not take it
            done = analyzer.refuse(waiting.frame, error)
            self._forget_aggregate()
            self._publish(waiting.epoch, done)
        if waiting.problem is None:  # that is the scale's failure, not the model's
            self._count(analyzer, waiting, done.problem)

    def _forget_aggregate(self) -> None:
        with self._lock:
            self._trend, self._recent, self._summary = Trend(), RecentReport(), None

    def _count(self, analyzer: FrameAnalyzer, waiting: _Waiting, problem: Exception | None) -> None:
        """Take the model off once it fails on one live picture after another.

        A picture that is black for a while says nothing about the model.
        """
        if problem is not None:
            self._note_bug(problem)
        with self._lock:
            if analyzer is not self._analyzer or waiting.epoch != self._epoch:
                return
            if problem is None:
                self._failures = 0
            elif self._watch.state_at(time.monotonic()).holds_numbers:
                self._failures += 1
            if problem is not None and self._failures >= MOST_FAILURES:
                self._analyzer, self._taken_off = None, (analyzer, reason_of(problem))
                _log.warning("the model is taken off after %d failures in a row", self._failures)
                self._withdraw()

    def _publish(self, epoch: int, done: FrameResult) -> None:
        frame, reading = done.frame, done.reading
        now = time.monotonic()
        with self._lock:
            if epoch != self._epoch:  # model, scale or format exchanged meanwhile: this result is of the old one
                return
            for name, milliseconds in done.prediction.timings_ms.items():
                self._timings.add_ms(name, milliseconds)
            self._timings.add("latency", frame.key.capture_time_s, now)
            self._timings.tick("latency", now)
            self._pair = done
            recent, holds = self._recent, self._watch.state_at(now).holds_numbers
            if holds:
                self._summary = self._trend.add(reading)
        if holds:
            recent.add(reading)  # without the lock: now and then this takes longer than the window may wait


def _scale_lost(before: Frame | None, now: Frame) -> bool:
    """Whether the millimetres were withdrawn between two pictures: then none may stay on the screen."""
    return before is not None and _scaled(before) and not _scaled(now)


def _scaled(frame: Frame) -> bool:
    return frame.geometry is not None and any(region.spacing for region in frame.geometry.regions)


# --- how long the stages take -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds; all zero when nothing was measured."""

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    maximum: float = 0.0
    count: int = 0


class Timings:
    """Durations by stage, and rates by event. Not thread-safe: the owner holds its lock."""

    def __init__(self) -> None:
        self._durations_ms: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=KEPT))
        self._moments_s: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=KEPT))

    def add(self, stage: str, began_s: float, ended_s: float) -> None:
        """One more duration, from two monotonic times."""
        self._durations_ms[stage].append((ended_s - began_s) * 1000.0)

    def add_ms(self, stage: str, milliseconds: float) -> None:
        """One more duration."""
        self._durations_ms[stage].append(milliseconds)

    def tick(self, event: str, at_s: float) -> None:
        """Something happened once."""
        self._moments_s[event].append(at_s)

    def stages(self) -> tuple[str, ...]:
        """Names of all stages that were timed, in the order they first came."""
        return tuple(self._durations_ms)

    def percentiles(self, stage: str) -> Percentiles:
        """Over the last ``KEPT`` durations."""
        values = self._durations_ms.get(stage)
        if not values:
            return Percentiles()
        p50, p95, p99 = np.percentile(np.fromiter(values, float), (50, 95, 99))
        return Percentiles(float(p50), float(p95), float(p99), max(values), len(values))

    def rate(self, event: str, now_s: float) -> float:
        """Events a second over the last two seconds; 0 when they have stopped."""
        recent = [moment for moment in self._moments_s.get(event, ()) if now_s - moment <= RATE_SPAN_S]
        if len(recent) < 2 or recent[-1] <= recent[0]:
            return 0.0
        return (len(recent) - 1) / (recent[-1] - recent[0])
