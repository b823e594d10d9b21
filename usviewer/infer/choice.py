"""Which engine runs a model on this computer: the fastest of those that agree with the CPU in single precision.

Every engine that may run is loaded, compared with the reference on pictures where masks appear (``infer.parity``) and
timed on the same pictures in turns. What came out is kept for as long as machine, model and libraries stay the same.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from usviewer.errors import UserError, foreign_parser
from usviewer.files import read_bytes
from usviewer.frame import Frame
from usviewer.infer import golden, parity, session
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.parity import Deviation
from usviewer.infer.places import cache_folder, keep_json, kept_json
from usviewer.infer.prediction import Instance
from usviewer.infer.preprocess import make_square, place
from usviewer.infer.runner import Runner, check_golden, runner_for
from usviewer.infer.session import KINDS, engine_threads, int8, name_of, open_session
from usviewer.infer.trial import require as require_trial
from usviewer.logs import OwnText

_log = logging.getLogger(__name__)

# 2: the golden case is part of every engine's trial. 3: no engine is built in the background.
SCHEMA = 3
ENGINE_VARIABLE = "USVIEWER_ENGINE"

# The first start with a model waits this long: once for each computer, model and set of libraries.
BUDGET_S = 6.0
# On a busy computer loading alone takes longer: every engine is still looked at, within this many budgets.
PATIENCE = 4.0
NO_TIME = "not tried, this computer is too busy"
FRAMES = 6
# Every engine is timed on every picture at least once, whatever the budget.
MIN_SAMPLES, MAX_SAMPLES = 6, 40
# A model that takes seconds a picture (SAM's own encoder) is tried on one picture, once, on every engine.
SLOW_S = 1.5
# Lower precision must be worth it: as much faster, or single precision stays.
WORTH = 0.95

Found = tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class EngineTrial:
    """One engine: how far it is from the reference, and how long a frame takes it (preprocess, infer, decode).

    ``problem`` says why it could not be tried; then the other figures mean nothing.
    """

    engine: str
    deviation: Deviation = field(default_factory=Deviation)
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    samples: int = 0
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether it ran, agreed and was timed."""
        return not self.problem and self.samples > 0 and self.deviation.passed

    def describe(self) -> str:
        """Give the figures in one line."""
        if self.problem:
            return f"{name_of(self.engine)}: {self.problem}"
        timed = "not timed"
        if self.samples:
            timed = f"{self.p50_ms:.1f} ms (95 % within {self.p95_ms:.1f} ms)"
        verdict = "" if self.deviation.passed else ", left out"
        return f"{name_of(self.engine)}: {timed}; {self.deviation.describe()}{verdict}"


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """What runs a model, and why.

    ``rectangular``: a model of dynamic size runs at the picture's aspect ratio; ``rectangle`` is how far that is from
    the full square. ``notice`` is one sentence when nothing could be compared, empty otherwise.
    """

    engine: str
    rectangular: bool
    threads: int
    trials: tuple[EngineTrial, ...] = ()
    rectangle: Deviation | None = None
    notice: str = ""

    def trial(self, engine: str) -> EngineTrial | None:
        """Give the trial of one engine, if it was tried."""
        return next((trial for trial in self.trials if trial.engine == engine), None)

    def lines(self) -> tuple[str, ...]:
        """Give everything that was found out, a line each."""
        lines = [f"{name_of(self.engine)} was chosen, {self.threads} thread{'s' if self.threads != 1 else ''}"]
        lines += [trial.describe() for trial in self.trials]
        if self.rectangle is not None:
            kept = "used" if self.rectangular else "left out"
            lines.append(f"Input at the picture's aspect ratio: {self.rectangle.describe()}, {kept}")
        if self.notice:
            lines.append(self.notice)
        return tuple(lines)


def forced_engine() -> str:
    """Read which engine the environment asks for in place of ``auto``; empty where it asks for none."""
    engine = os.environ.get(ENGINE_VARIABLE, "")
    if engine == "auto":
        return ""
    return engine


def choose_engine(
    spec: ModelSpec,
    threads: int,
    *,
    frames: Callable[[], Sequence[Frame]] | None = None,
    engines: Sequence[str] | None = None,
    spinning: bool = False,
    budget_s: float = BUDGET_S,
    again: bool = False,
) -> EngineChoice:
    """Give the choice that was kept, or make a new one, which takes about ``budget_s``.

    ``frames`` gives the user's own pictures; without it, or where no mask appears on them, bundled ones serve.
    ``engines`` restricts what is tried (the CPU is always there to compare with). ``again`` makes a new choice even
    where one was kept. Raises ``UserError`` where the model does not run on the CPU or does not reproduce its golden
    case there.
    """
    tried = _candidates(spec, engines)
    path = _path(spec, threads, spinning, tried)
    if not again and (kept := _load(path)) is not None:
        _log.info("engine %s was chosen before", OwnText(kept.engine))
        return kept
    made = _Bench(spec, threads, spinning, budget_s).choose(tried, frames)
    _log_trials(made)
    # A choice is kept for months: one that saw nothing, or not everything, is not worth that.
    if not made.notice and not any(trial.problem == NO_TIME for trial in made.trials):
        _store(path, made)
    return made


def quantize(spec: ModelSpec, frames: Sequence[Frame] = ()) -> tuple[EngineTrial, ...]:
    """Make the int8 variant, try it, and keep it when it passes. Give its trials on the engines that run it.

    ``frames`` are the user's own; without them bundled ones calibrate. Raises ``UserError``, and keeps nothing, when no
    engine passes or the graph cannot be quantised.
    """
    pictures = tuple(frames) or parity.bundled_frames(spec)
    if not pictures:
        raise UserError(f"There are no pictures to calibrate '{spec.id}' on", "Give a clip with --frames")
    int8.make_int8(spec, parity.choose_evenly(pictures, int8.CALIBRATION_FRAMES))
    try:
        return _try_int8(spec, (lambda: pictures) if frames else None)
    except BaseException:  # Ctrl-C too: a variant that was not tried must not be found later
        int8.drop_int8(spec)
        raise


def _try_int8(spec: ModelSpec, frames: Callable[[], Sequence[Frame]] | None) -> tuple[EngineTrial, ...]:
    """The trials of a variant that was just made. Raises ``UserError`` where no engine passes with it."""
    engines = tuple(name for name, kind in KINDS.items() if kind.precision == "int8")
    made = choose_engine(spec, engine_threads(live=False), frames=frames, engines=engines, again=True)
    tried = tuple(trial for trial in made.trials if trial.engine in engines)
    if not any(trial.passed for trial in tried):
        why = made.notice or "; ".join(trial.describe() for trial in tried)
        raise UserError(
            f"The int8 variant of '{spec.id}' is not exact enough and was not kept ({why})", "Use it as it is"
        )
    return tuple(trial for trial in made.trials if trial.engine in engines or trial.samples)


def _log_trials(made: EngineChoice) -> None:
    """How far each engine is from the reference, and its time; labels of a user's model are not told."""
    for trial in made.trials:
        if trial.samples:
            verdict = OwnText("agrees" if trial.deviation.passed else "left out")
            times_ms = trial.p50_ms, trial.p95_ms
            deviation = trial.deviation.iou, trial.deviation.diameter_px
            line = "engine %s: %.1f ms, 95 %% within %.1f ms; overlap %.4f, diameter %.2f px off, %s"
            _log.info(line, OwnText(trial.engine), *times_ms, *deviation, verdict)
    _log.info("engine %s was chosen, %d threads", OwnText(made.engine), made.threads)


def _candidates(spec: ModelSpec, engines: Sequence[str] | None) -> tuple[str, ...]:
    usable = session.usable_engines(spec)
    if engines is None:
        return usable
    return tuple(engine for engine in usable if engine == "cpu" or engine in engines)


class _Bench:
    """One making of a choice: the reference on the CPU, then every engine against it."""

    def __init__(self, spec: ModelSpec, threads: int, spinning: bool, budget_s: float) -> None:
        self._spec, self._threads, self._spinning = spec, threads, spinning
        self._due_s = time.monotonic() + budget_s
        self._patience_s = time.monotonic() + PATIENCE * budget_s
        self._frames, self._samples = FRAMES, MIN_SAMPLES

    def choose(self, engines: Sequence[str], frames: Callable[[], Sequence[Frame]] | None) -> EngineChoice:
        """Compare and time the engines, on the user's frames or bundled ones.

        Raises ``UserError`` where the CPU does not run the model, or not as its golden case says.
        """
        reference = runner_for(self._spec, self._open("cpu"), rectangular=False)
        start_s = time.monotonic()
        check_golden(reference)
        if time.monotonic() - start_s > SLOW_S:
            self._frames, self._samples, self._patience_s = 1, 1, math.inf
        pictures, expected = self._pictures(reference, frames)
        if not any(expected):
            notice = f"The engines could not be compared: {parity.NOTHING_FOUND}. The CPU runs in single precision."
            return EngineChoice("cpu", True, self._threads, notice=notice)
        rectangle = self._rectangle(pictures, expected)
        rectangular = rectangle is None or rectangle.passed
        trials = self._trials(engines, pictures, expected, rectangular)
        return EngineChoice(_best(trials), rectangular, self._threads, trials, rectangle)

    def _pictures(
        self, reference: Runner, frames: Callable[[], Sequence[Frame]] | None
    ) -> tuple[tuple[Frame, ...], list[Found]]:
        """Pictures of one source on which the reference finds something, and what it finds."""
        sources: list[Callable[[], Sequence[Frame]]] = [functools.partial(parity.bundled_frames, self._spec)]
        if frames is not None:
            sources.insert(0, frames)
        pictures: tuple[Frame, ...] = ()
        found: list[Found] = []
        for give in sources:
            pictures = parity.choose_evenly(give(), self._frames)
            found = [reference.instances(picture)[0] for picture in pictures]
            if any(found):
                break
        return pictures, found

    def _rectangle(self, pictures: Sequence[Frame], expected: Sequence[Found]) -> Deviation | None:
        """How far the picture's own aspect ratio is from the square; None where there is no difference."""
        if not any(_differs(self._spec, picture) for picture in pictures):
            return None
        return self._deviation(runner_for(self._spec, self._open("cpu")), pictures, expected)

    def _deviation(self, runner: Runner, pictures: Sequence[Frame], expected: Sequence[Found]) -> Deviation:
        gate = self._spec.output.min_score
        return parity.join_masks(
            parity.compare_engines(wanted, runner.instances(picture)[0], picture, gate)
            for picture, wanted in zip(pictures, expected, strict=True)
        )

    def _trials(
        self, engines: Sequence[str], pictures: Sequence[Frame], expected: Sequence[Found], rectangular: bool
    ) -> tuple[EngineTrial, ...]:
        runners: dict[str, Runner] = {}
        trials: dict[str, EngineTrial] = {}
        for engine in engines:
            if engine != "cpu" and time.monotonic() > self._patience_s:
                trials[engine] = EngineTrial(engine, problem=NO_TIME)
                continue
            try:
                require_trial(self._spec, engine)
                runner = runner_for(self._spec, self._open(engine), rectangular=rectangular)
                check_golden(runner)  # asked again when the model is loaded: an engine that fails it cannot be chosen
                trials[engine] = EngineTrial(engine, self._deviation(runner, pictures, expected))
                runners[engine] = runner
            except UserError as error:
                _log.warning("engine %s was not tried: %s", OwnText(engine), error)
                trials[engine] = EngineTrial(engine, problem=error.what)
        times, stopped = self._time(runners, pictures)
        trials |= {engine: EngineTrial(engine, problem=why) for engine, why in stopped.items()}
        for engine, times_ms in times.items():
            p50, p95 = np.percentile(times_ms, (50, 95))
            trials[engine] = replace(trials[engine], p50_ms=float(p50), p95_ms=float(p95), samples=len(times_ms))
        return tuple(trials.values())

    def _time(
        self, runners: dict[str, Runner], pictures: Sequence[Frame]
    ) -> tuple[dict[str, list[float]], dict[str, str]]:
        """Milliseconds a frame, in turns: what else the computer does then falls on all of them alike.

        An engine that stops meanwhile is left out, with its reason.
        """
        times: dict[str, list[float]] = {engine: [] for engine in runners}
        stopped: dict[str, str] = {}
        for turn in range(MAX_SAMPLES):
            if turn >= self._samples and time.monotonic() > self._due_s:
                break
            for engine in tuple(times):
                try:
                    _, stages = runners[engine].instances(pictures[turn % len(pictures)])
                    times[engine].append(sum(stages.values()))
                except UserError as error:
                    _log.warning("engine %s stopped in its trial: %s", OwnText(engine), error)
                    stopped[engine] = error.what
                    del times[engine]
        return times, stopped

    def _open(self, engine: str) -> session.Session:
        opened = open_session(self._spec, engine, self._threads, spinning=self._spinning)
        if opened.actual != engine:
            raise UserError("it does not start on this computer", "Use the engine 'cpu'")
        return opened


def _best(trials: Sequence[EngineTrial]) -> str:
    """The fastest that passed; single precision unless the other is clearly faster."""
    passed = [trial for trial in trials if trial.passed]
    return min(passed, key=_weighed_ms).engine if passed else "cpu"


def _weighed_ms(trial: EngineTrial) -> float:
    """The median time, a little less for single precision: see ``WORTH``."""
    if KINDS[trial.engine].exact:
        return WORTH * trial.p50_ms
    return trial.p50_ms


def _differs(spec: ModelSpec, frame: Frame) -> bool:
    box = frame.sector_box_px
    size = frame.size_px
    aspect = frame.pixel_aspect
    return place(size, spec.input, box, aspect) != place(size, make_square(spec.input), box, aspect)


# --- what is kept -----------------------------------------------------------------------------------------------------


def machine() -> dict[str, object]:
    """Name what of this computer decides about speed."""
    return {"processor": processor(), "system": platform.system(), "cores": session.usable_cores()}


def processor() -> str:
    """Read the processor's name, as far as the system tells it."""
    # Linux: platform.processor() gives only the architecture there.
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _path(spec: ModelSpec, threads: int, spinning: bool, engines: Sequence[str]) -> Path:
    # Whatever of these changes, the choice is made again: an update of a library may be faster, or wrong.
    facts = {
        "schema": SCHEMA,
        "machine": machine(),
        "bf16": "openvino-bf16" in engines,
        "model": spec.sha256,
        "int8": int8.int8_sha256(spec),
        "manifest": repr((spec.input, spec.output)),
        "golden": _golden_hash(spec),
        "versions": session.versions(),
        "threads": threads,
        "spinning": spinning,
        "engines": list(engines),
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    return cache_folder() / "engines" / f"{spec.id}-{digest}.json"


def _golden_hash(spec: ModelSpec) -> str:
    """Hash of the expected result: with another one every engine is tried again."""
    with suppress(OSError):
        if spec.golden is not None:
            return hashlib.sha256(read_bytes(spec.golden.expected, golden.MAX_EXPECTED_BYTES)).hexdigest()
    return ""


def _store(path: Path, choice: EngineChoice) -> None:
    """A cache: where it cannot be written the next start measures again."""
    with suppress(UserError):
        keep_json(path, asdict(choice))


def _load(path: Path) -> EngineChoice | None:
    """What was kept; None where there is nothing, or nothing that makes sense."""
    with suppress(UserError), foreign_parser("What was kept is damaged"):
        return _parse(kept_json(path))
    return None


def _parse(values: dict[str, Any]) -> EngineChoice:
    trials = tuple(EngineTrial(**{**row, "deviation": Deviation(**row["deviation"])}) for row in values["trials"])
    rectangle: Deviation | None = None
    if values["rectangle"] is not None:
        rectangle = Deviation(**values["rectangle"])
    choice = EngineChoice(
        str(values["engine"]),
        bool(values["rectangular"]),
        int(values["threads"]),
        trials,
        rectangle,
        str(values["notice"]),
    )
    named = (choice.engine, *(trial.engine for trial in trials))
    if any(engine not in KINDS for engine in named):
        raise ValueError("an engine that does not exist")
    return choice
