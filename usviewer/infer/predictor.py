"""A model, loaded and checked, that says what it sees on a frame."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from usviewer.errors import UserError
from usviewer.frame import Frame, Pixels
from usviewer.infer import choice as choices
from usviewer.infer import golden, onnx_file, trial
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.prediction import Prediction
from usviewer.infer.runner import Runner, edge_sd_px, observe, runner_for
from usviewer.infer.runner import check_golden as reproduce_golden
from usviewer.infer.session import ENGINES, KINDS, Session, engine_threads, name_of, open_session
from usviewer.infer.temporal_gate import TemporalGate
from usviewer.logs import OwnText

_log = logging.getLogger(__name__)


class Predictor:
    """A model on an engine, with its buffers. **Not** for two threads at once: give each thread its own."""

    def __init__(
        self,
        spec: ModelSpec,
        engine: str = "auto",
        threads: int | None = None,
        *,
        spinning: bool = True,
        check_golden: bool = True,
        frames: Callable[[], Sequence[Frame]] | None = None,
    ) -> None:
        """Load the model: hash, graph, trial (``infer.trial``), engine, golden case, in this order; the golden case
        also warms the engine up.

        ``auto`` takes the fastest engine that agrees with the CPU in single precision (``infer.choice``); the first
        time on a computer that takes some seconds. ``frames`` gives pictures to compare on where the bundled ones show
        nothing. An engine of lower precision that does not agree is not used, and ``notice`` says so. Raises
        ``UserError`` at the first that is not right. ``check_golden`` is False only where the case is made.
        """
        began_s = time.monotonic()
        onnx_file.check_hashes(spec)
        onnx_file.check_graphs(spec)
        trial.require(spec)
        self.spec = spec
        self.choice: choices.EngineChoice | None = None
        count = threads or engine_threads(live=False)
        try:
            self._load(engine, count, spinning, frames, check_golden)
        except UserError as error:
            if self.choice is None or self.choice.engine == "cpu":
                raise
            self._fall_back(engine, count, spinning, error, check_golden)
        _log.info(
            "model loaded: %s; engine asked %s, runs %s, %d threads; %.1f s",
            in_words(spec),
            OwnText(self.session.requested if self.session.requested in (*ENGINES, "auto") else "unknown"),
            OwnText(self.session.actual),
            count,
            time.monotonic() - began_s,
        )

    @property
    def session(self) -> Session:
        """The engine."""
        return self._runner.session

    @property
    def engine(self) -> str:
        """The engine that runs, in words."""
        return self.session.describe()

    @property
    def notice(self) -> str:
        """One sentence when another engine runs than was asked for, else empty."""
        return self.session.notice

    def cancel(self) -> None:
        """From another thread: end the run in progress, which then raises ``session.RunStopped`` where it waits.

        The predictor stays usable. A run that begins just after this is not ended: set your own sign that no more is
        wanted first, and call this until the thread that predicts has ended.
        """
        self._runner.cancel()

    def set_min_score(self, min_score: float) -> None:
        """Another presence gate, for evaluation over the whole range of scores."""
        self._runner.set_min_score(min_score)
        self.spec = self._runner.spec

    @property
    def runner(self) -> Runner:
        """The loaded model itself, with its buffers."""
        return self._runner

    def predict(self, frame: Frame, state: TemporalGate | None = None) -> Prediction:
        """What the model sees on the frame, in the frame's pixels.

        ``state`` carries over what was seen on the frames before (a clip or a live run); without it the frame speaks
        for itself. Raises ``UserError`` for a model that has to be pointed at something (``infer.prompt``).
        """
        if self.spec.prompt is not None:
            raise UserError(
                f"Model '{self.spec.id}' only outlines what it is pointed at", "Choose a model that finds things itself"
            )
        instances, timings = self._runner.instances(frame, faint=state is not None)
        if state is not None:
            instances = state.admit(instances, frame, self.spec.output)
        return Prediction(
            key=frame.key,
            frame_size_px=frame.size_px,
            instances=instances,
            model_id=self.spec.id,
            model_sha256=self.spec.sha256,
            engine=self.session.actual,
            timings_ms=timings,
            edge_sd_px=edge_sd_px(self.spec, frame),
            measured=self.spec.measured.name if self.spec.measured else "",
            carried=state.carried if state is not None else (),
            carried_s=state.carried_s if state is not None else 0.0,
        )

    def observe(self, pixels: Pixels, source: str = golden.RECORDED) -> golden.GoldenOutput:
        """What the model says about a whole picture, as a golden case keeps it."""
        return observe(self._runner, pixels, source)

    def _load(
        self,
        engine: str,
        threads: int,
        spinning: bool,
        frames: Callable[[], Sequence[Frame]] | None,
        check_golden: bool,
    ) -> None:
        session = self._open(engine, threads, spinning, frames)
        rectangular = self.choice is None or self.choice.rectangular
        self._runner = runner_for(self.spec, session, rectangular=rectangular)
        if check_golden:
            reproduce_golden(self._runner)

    def _fall_back(self, requested: str, threads: int, spinning: bool, why: UserError, check_golden: bool) -> None:
        """The CPU in place of an engine that was chosen once, and does not start or reproduce the golden case now."""
        assert self.choice is not None
        _log.warning("%s was chosen, but fails now: %s", OwnText(self.choice.engine), why)
        notice = f"{name_of(self.choice.engine)} was chosen, but is not used ({why.what}): running on the CPU."
        self.choice = replace(self.choice, engine="cpu", notice=notice)
        self._load("cpu", threads, spinning, None, check_golden)
        self.session.requested, self.session.notice = requested, notice

    def _open(
        self, requested: str, threads: int, spinning: bool, frames: Callable[[], Sequence[Frame]] | None
    ) -> Session:
        engine = (choices.forced_engine() or "auto") if requested == "auto" else requested
        if engine not in ENGINES:
            raise UserError(f"There is no engine '{engine}'", f"Choose one of {', '.join(ENGINES)}")
        notice = ""
        if engine == "auto":
            self.choice = choices.choose_engine(self.spec, threads, frames=frames, spinning=spinning)
            engine, notice = self.choice.engine, self.choice.notice
        elif not KINDS[engine].exact:
            engine, notice = self._checked(engine, threads, spinning, frames)
        session = open_session(self.spec, engine, threads, spinning=spinning)
        session.requested, session.notice = requested, session.notice or notice
        return session

    def _checked(
        self, engine: str, threads: int, spinning: bool, frames: Callable[[], Sequence[Frame]] | None
    ) -> tuple[str, str]:
        """An engine of lower precision that was asked for, or the CPU and the reason why."""
        made = choices.choose_engine(self.spec, threads, frames=frames, engines=(engine,), spinning=spinning)
        trial = made.trial(engine)
        if trial is None:
            return engine, made.notice  # cannot be tried at all: opening it says why
        if trial.problem or not trial.deviation.passed:
            why = trial.problem or trial.deviation.describe()
            return "cpu", f"{name_of(engine)} was asked for, but it is not exact enough ({why}): running on the CPU."
        self.choice = made
        return engine, ""


def in_words(spec: ModelSpec) -> OwnText:
    """What the log says of a model: a user's own may be called by a name that nobody else should read."""
    called = f"{spec.id} {spec.version}" if spec.bundled else f"one of the user's own, {spec.task}"
    return OwnText(f"{called}, sha256 {spec.sha256[:12]}")
