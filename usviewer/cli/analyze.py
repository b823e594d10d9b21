"""``usviewer analyze``: whole inputs through all stages, no frame dropped, everything written as one folder each."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from usviewer import RESEARCH_USE
from usviewer.acquire import Source, frame_count
from usviewer.acquire.images import ImageSource
from usviewer.api import analyze_recording, recording, refuse_unused
from usviewer.calibrate.calibration import StatedScale, calibration_for, spacing_from_text, stills_in_words
from usviewer.calibrate.ruler.detect import MAX_TICK_MM, MIN_TICK_MM
from usviewer.calibrate.ruler.layouts import UNCONFIRMED
from usviewer.cli.command import DEFAULT_MODEL, EXIT_BAD_INPUT, EXIT_BUG, bug_sentence, number, unused_names
from usviewer.errors import UserError
from usviewer.files import remove_leftovers
from usviewer.frame import FALLBACK_FRAMES_PER_SECOND, Frame
from usviewer.infer import trial
from usviewer.infer.predictor import Predictor
from usviewer.infer.registry import load_spec
from usviewer.infer.session import ENGINES, engine_threads
from usviewer.measure import ExamContext, Trend, clip_report, summarize
from usviewer.measure.findings import biometry
from usviewer.measure.findings.reference_tables import TABLES, ReferenceTable, table_of
from usviewer.measure.reading import Plane, Reading, Site, Status
from usviewer.measure.trend import other_sizes_note
from usviewer.overlay.items import AnnotatedFrame
from usviewer.overlay.scene import compose
from usviewer.overlay.text import TextContext, clip_lines, reading_lines, reading_text
from usviewer.pipeline import FrameResult, read_ahead
from usviewer.pipeline.analyzer import Calibrate, loaded
from usviewer.pipeline.worker import refusals
from usviewer.save.results import FILES, MASKS, PICTURES, ExportOptions, ResultFolder
from usviewer.save.summary import AnalysisInfo, scale_withdrawals
from usviewer.terminal import Terminal, complain, console
from usviewer.typed_number import LENGTH_IN_MM
from usviewer.units import Spacing

DEFAULT_FOLDER = Path("usviewer-results")
OWN_NAMES = frozenset(path.parts for path in (*FILES, MASKS, PICTURES))

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _AnalyzeOptions:
    """What is asked for every input. ``loading`` gives the model, as soon as it is there."""

    loading: Callable[[], Predictor]
    spacing: Spacing | None
    wanted: ExportOptions
    site: Site = Site.NOT_SET
    gestational_age_weeks: float | None = None
    reference: ReferenceTable | None = None
    ruler_tick_mm: float | None = None
    plane: Plane | None = None

    @property
    def predictor(self) -> Predictor:
        """The model; waits until it is loaded."""
        return self.loading()

    @property
    def model_label(self) -> str:
        """The model's name and version, for people."""
        return f"{self.predictor.spec.name} {self.predictor.spec.version}"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``usviewer analyze``."""
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="a clip, a still, a folder of images, a DICOM file"
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="ID", help="which model (default: %(default)s)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help=f"where the results go; those of an earlier run there are replaced (default: {DEFAULT_FOLDER}/NAME)",
    )
    parser.add_argument(
        "--mm-per-pixel", metavar="X", help="size of a pixel in mm; 0.21x0.25 where pixels are not square: x, then y"
    )
    parser.add_argument(
        "--ruler-tick-mm",
        type=number(MIN_TICK_MM, MAX_TICK_MM, LENGTH_IN_MM),
        metavar="N",
        help="confirm the ruler on the pictures: N mm from tick to tick ('usviewer calibrate' shows what was found)",
    )
    parser.add_argument("--masks", action="store_true", help="also write a label image for every frame, and masks.json")
    parser.add_argument("--no-video", action="store_true", help="write no annotated pictures (twice as fast)")
    parser.add_argument("--lossless", action="store_true", help="an annotated clip without any loss (large)")
    parser.add_argument(
        "--keep-surroundings",
        action="store_true",
        help="do not blank what is around the ultrasound; burnt-in names stay visible",
    )
    parser.add_argument(
        "--site", choices=[site.value for site in Site if site.value], help="where along the aorta the plane lies"
    )
    parser.add_argument(
        "--plane",
        choices=[Plane.TRANSVERSE.value, Plane.LONGITUDINAL.value],
        help="how the vessel is cut, where you know it better than the outlines tell (default: told from each)",
    )
    parser.add_argument(
        "--gestational-age-weeks",
        metavar="W+D",
        help="age that is known otherwise, such as 28+3: the centile of a fetal head is read against it",
    )
    parser.add_argument(
        "--reference",
        choices=[table.id for table in TABLES],
        help="compare an aorta's largest diameter with this table, where conventions match (default: none)",
    )
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="what runs the model (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Analyse every input; one that fails does not stop the others.

    Exit code 2 when any failed, or a picture of one could not be read; 1 when one met an error in the program.
    """
    screen = console()
    spacing = spacing_from_text(args.mm_per_pixel) if args.mm_per_pixel is not None else None
    wanted = ExportOptions(
        video=not args.no_video, masks=args.masks, lossless=args.lossless, keep_surroundings=args.keep_surroundings
    )
    age = args.gestational_age_weeks
    given = biometry.weeks_from_text(age) if age is not None else None
    reference = table_of(args.reference) if args.reference else None
    plane = Plane(args.plane) if args.plane else None
    spec = load_spec(args.model)
    refuse_unused(spec.id, spec.finding, vars(args), "--")

    def load() -> Predictor:
        # Decoding, drawing and encoding want a core, too.
        return Predictor(spec, args.engine, engine_threads(live=True), spinning=False)

    # What else ends the program ends it like Ctrl-C, also while no frame is in hand. While the model loads the first
    # input is looked at.
    with _handling(_endings(), signal.default_int_handler), read_ahead(load) as loading:
        job = _AnalyzeOptions(
            loading, spacing, wanted, Site(args.site or ""), given, reference, args.ruler_tick_mm, plane
        )
        folders = _folders(args.sources, args.out)
        _remove_leftovers(folders)
        try:
            codes = {
                _code_of(uri, folder, job, screen, named=len(args.sources) > 1)
                for uri, folder in zip(args.sources, folders, strict=True)
            }
        except BaseException:
            trial.stop()  # leaving the block waits for the model, which may never be loaded
            raise
    return EXIT_BUG if EXIT_BUG in codes else max(codes)


def _refuse_own_results(uri: str, folder: Path) -> None:
    """The results of an earlier run are replaced by those of this one: they cannot be what it reads."""
    path, out = Path(os.path.expanduser(uri)).resolve(), folder.resolve()
    if path.is_relative_to(out) and path.relative_to(out).parts[:1] in OWN_NAMES:
        raise UserError(f"{uri} is itself a result in {folder} and would be replaced", "Name another with --out")


def _remove_leftovers(folders: Sequence[Path]) -> None:
    """Remove what killed runs left, also in the folders of other results next to these."""
    for parent in {folder.parent for folder in folders if len(folders) > 1 or folder.parent == DEFAULT_FOLDER}:
        with suppress(OSError):
            for beside in list(parent.iterdir()):
                remove_leftovers(beside)


def _code_of(uri: str, folder: Path, job: _AnalyzeOptions, screen: Terminal, *, named: bool) -> int:
    """Analyse one input; where it, or a picture in it, cannot be, its one sentence goes to stderr."""
    try:
        unread = analyze_source(uri, folder, job, screen)
    except UserError as error:
        _log.warning("an input is refused: %s", error)
        complain(f"{uri}: {error}" if named else str(error))
        return EXIT_BAD_INPUT
    except Exception as error:  # the other inputs do not pay for it
        said = bug_sentence(error, sys.argv[1:])
        complain(f"{uri}: {said}" if named else said)
        return EXIT_BUG
    for file, why in unread:
        sentence = why if file in why else f"{file}: {why}"
        complain(f"{uri}: {sentence}" if named else sentence)
    return EXIT_BAD_INPUT if unread else 0


def _folders(sources: Sequence[str], out: Path | None) -> list[Path]:
    """One folder for each input: ``--out`` itself for a single one, a folder of its name inside for each of several."""
    if len(sources) == 1 and out is not None:
        return [out]
    return [(out or DEFAULT_FOLDER) / name for name in unused_names(sources)]


def analyze_source(uri: str, folder: Path, job: _AnalyzeOptions, screen: Terminal) -> Sequence[tuple[str, str]]:
    """One input, from its first frame to its last. Ctrl-C finishes the files with the frames that are done.

    Gives the pictures of a folder that could not be read, with the reason for each.
    """
    _refuse_own_results(uri, folder)
    with recording(uri) as source:
        _log.info("input opened: %s", source.info.anonymous)
        calibrate = calibration_for(source, StatedScale(job.spacing, ruler_tick_mm=job.ruler_tick_mm))
        clip = source.info.is_sequence
        wanted = replace(job.wanted, video=job.wanted.video and clip, pictures=job.wanted.video and not clip)
        labels = tuple(label.name for label in job.predictor.spec.labels)
        with ResultFolder(folder, job.predictor.spec.finding, labels, wanted) as results:
            for problem in calibrate.problems:
                results.note(problem)
            clock = _ClipClock(source)
            stopped = _run_frames(source, calibrate, job, results, clock, screen)
            analysis = _analysis(source, job, results, stopped)
            results.finish(analysis, clock.last_duration_s, stopped=stopped)
        unread = source.failed if isinstance(source, ImageSource) else ()
    _report(screen, analysis, results)
    if stopped:
        raise KeyboardInterrupt
    return unread


def _run_frames(
    source: Source,
    calibrate: Calibrate,
    job: _AnalyzeOptions,
    results: ResultFolder,
    clock: _ClipClock,
    screen: Terminal,
) -> bool:
    """Write every frame; True when the user stopped before the end."""
    trend = Trend() if source.info.is_sequence else None
    problems: dict[str, list[int]] = {}
    stopped = False
    with (
        _asked_to_stop() as asked_to_stop,
        _progress(screen, source) as advance,
        closing(_analyzed(source, calibrate, job)) as frames,
    ):
        for done in frames:
            summary = trend.add(done.reading) if trend else None
            scene = compose(done.frame, done.reading, summary, model_label=job.model_label)
            results.add(AnnotatedFrame(done.frame, scene), done.prediction, done.reading, clock.time_s(done.frame))
            if done.problem is not None:
                problems.setdefault(done.reading.reason, []).append(done.frame.key.index)
            advance()
            if stopped := asked_to_stop():
                break
    for sentence in refusals(problems, len(results.readings)):
        results.note(sentence)
    return stopped


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Let the frame in hand be finished after Ctrl-C or the like, so that all files end alike.

    The same signal a second time does not wait. (At logout SIGTERM and SIGHUP come together, one of each.)
    """
    asked: set[int] = set()

    def note(number: int, _frame: object) -> None:
        if number in asked:
            raise KeyboardInterrupt
        asked.add(number)

    with _handling((signal.SIGINT, *_endings()), note):
        yield lambda: bool(asked)


def _endings() -> tuple[signal.Signals, ...]:
    """The signals that end the program besides Ctrl-C: at logout, of a batch system, of a closed terminal."""
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN:  # nohup wants to outlive the terminal
        return (signal.SIGTERM,)
    return (signal.SIGTERM, hangup)


@contextmanager
def _handling(numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _analyzed(source: Source, calibrate: Calibrate, job: _AnalyzeOptions) -> Generator[FrameResult, None, None]:
    context = ExamContext(job.plane, job.site, job.gestational_age_weeks)
    return analyze_recording(source, loaded(job.predictor), calibrate, context)


class _ClipClock:
    """When each frame is shown in the annotated clip: the source's own times, evenly spaced where it has none."""

    def __init__(self, source: Source) -> None:
        self._step_s = 1.0 / (source.info.frames_per_second or FALLBACK_FRAMES_PER_SECOND)
        self._last_s: float | None = None
        self.last_duration_s: float | None = self._step_s

    def time_s(self, frame: Frame) -> float:
        """Never earlier than the frame before."""
        own = frame.key.media_time_s
        even = 0.0 if self._last_s is None else self._last_s + self._step_s
        at = even if own is None or (self._last_s is not None and own <= self._last_s) else own
        self._last_s = at
        return at


@contextmanager
def _progress(screen: Terminal, source: Source) -> Iterator[Callable[[], None]]:
    """A bar with the time left; a plain line at the end is all that a log file gets."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task(source.info.name, total=frame_count(source))
        yield lambda: bar.advance(task)


def _analysis(source: Source, job: _AnalyzeOptions, results: ResultFolder, stopped: bool) -> AnalysisInfo:
    notes = list(results.notes)
    if job.predictor.notice:
        notes.append(job.predictor.notice)
    aggregate = summarize(results.readings)
    summed = source.info.is_sequence or len(results.readings) <= 1
    if not summed:
        aggregate = None
        notes.append(f"{stills_in_words(source.info)} are not summed up: they may be of different patients")
    if left_out := other_sizes_note(results.readings, aggregate):
        notes.append(left_out)
    if stopped:
        notes.append(f"Stopped by the user after {len(results.readings)} frames")
    return AnalysisInfo(
        source=source.info,
        finding=job.predictor.spec.finding,
        model_id=job.predictor.spec.id,
        model_sha256=job.predictor.spec.sha256,
        model_label=job.model_label,
        engine=job.predictor.engine,
        engine_asked=job.predictor.session.requested,
        aggregate=aggregate,
        notes=tuple(notes),
        summed=summed,
        reference=job.reference,
    )


def _report(screen: Terminal, analysis: AnalysisInfo, results: ResultFolder) -> None:
    """What came out, in a few lines."""
    measured = sum(reading.status is Status.MEASURED for reading in results.readings)
    screen.print(f"{analysis.source.name}: {measured} of {len(results.readings)} frames measured", style="bold")
    lines = tuple(_result_lines(analysis, results.readings))
    for line in lines:
        screen.print(f"  {line}")
    reasons = {reading.no_scale_reason for reading in results.readings if reading.spacing is None}
    # The lines of a single picture end with its scale, or with the reason why it has none.
    unsaid = sorted(reason for reason in reasons if reason and reason not in lines)
    for sentence in (*unsaid, *analysis.source.notes, *analysis.notes):
        screen.print(f"  {sentence}", style="yellow")
    if UNCONFIRMED in reasons:
        screen.print("  'usviewer calibrate' shows the ruler; --ruler-tick-mm N confirms it", style="yellow")
    if results.replaced:
        screen.print(f"  {results.replaced}", style="yellow")
    screen.print(f"  {analysis.model_label} on {analysis.engine}; results in {results.folder}")
    screen.print(f"  {RESEARCH_USE}")


def _result_lines(analysis: AnalysisInfo, readings: Sequence[Reading]) -> Iterator[str]:
    """What was read, in the sentences of the screen: of a clip as a whole, or of a single picture."""
    if not analysis.summed:
        return
    for key, reason in scale_withdrawals(readings):
        yield f"From frame {key.index} on: {reason[:1].lower()}{reason[1:]}"
    table_id = analysis.reference.id if analysis.reference is not None else ""
    report = clip_report(readings)
    if len(readings) == 1:
        yield from reading_lines(reading_text(readings[0], None, TextContext(report=report, reference=table_id)))
    else:
        yield from clip_lines(report, analysis.aggregate, table_id)
