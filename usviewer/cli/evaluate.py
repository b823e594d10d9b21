"""``usviewer evaluate``: compares a model with labelled pictures, in figures, tables, plots and a results page."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from usviewer.calibrate.calibration import spacing_from_text
from usviewer.cli.command import number, require_least, whole
from usviewer.errors import UserError
from usviewer.evaluate import prompts, reports, tracking
from usviewer.evaluate.datasets import Dataset, DatasetKind, DatasetOptions, Sample, open_dataset
from usviewer.evaluate.datasets.dataset import PHANTOMS
from usviewer.evaluate.datasets.phantoms import is_population
from usviewer.evaluate.reports import Evaluation, report, write
from usviewer.evaluate.verdict import (
    Verdict,
    box_sample,
    check_task,
    judge_boxes,
    judge_masks,
    judge_negative,
    match_labels,
    union,
)
from usviewer.files import make_folder
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.prediction import Prediction
from usviewer.infer.predictor import Predictor
from usviewer.infer.prompt.prompt_model import PromptModel
from usviewer.infer.registry import load_spec
from usviewer.infer.session import ENGINES
from usviewer.pipeline import FrameAnalyzer, FrameResult, prefetch
from usviewer.pipeline.analyzer import loaded
from usviewer.terminal import Terminal, console

# mAP is taken over the whole curve of precision and recall, so boxes far below the model's threshold count too.
MAP_MIN_SCORE = 0.001
# Five standard deviations lie between 1 and 0: the random factor of a scale stays positive.
MAX_SCALE_SD = 0.2


# --- command line -----------------------------------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``usviewer evaluate``."""
    parser.add_argument("model", metavar="MODEL", help="which model, as 'usviewer models list' names it")
    parser.add_argument(
        "dataset", metavar="DATASET", help="a folder with labels, a clip or folder with --negatives, or phantom"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where the results go (default: evaluation-MODEL-DATASET)"
    )
    parser.add_argument(
        "--mm-per-pixel",
        metavar="X",
        help="size of a pixel in mm where the data set does not know it; 0.21x0.25: x, then y",
    )
    parser.add_argument(
        "--negatives", action="store_true", help="nothing is to be found: whatever is found counts as a false alarm"
    )
    parser.add_argument("--held-out", action="store_true", help="only the fifth that no aorta training may see")
    parser.add_argument("--every", type=whole(), default=1, metavar="N", help="look at one frame in N")
    parser.add_argument("--limit", type=whole(), metavar="N", help="look at no more than N frames")
    parser.add_argument("--count", type=whole(), metavar="N", help=f"how many phantoms (default: {PHANTOMS})")
    parser.add_argument(
        "--scale-sd",
        type=number(most=1.0),
        default=0.0,
        metavar="S",
        help="phantoms: let each scale be off by this standard deviation (0.01 is 1 %%), and state it",
    )
    parser.add_argument(
        "--frames", metavar="CLIP", help="the clip that DATASET/masks/000000.png ... (numbered from 0) belong to"
    )
    parser.add_argument(
        "--follow", action="store_true", help="prompt models: from one click on a clip's first frame through all of it"
    )
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="what runs the model (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the figures, write the files."""
    screen = console()
    options = _options(args)
    spec = load_spec(args.model)
    dataset = open_dataset(args.dataset, options)
    if args.follow and spec.task != "prompt":
        raise UserError(f"--follow is for a model that takes clicks, '{spec.id}' does not", "Name a prompt model")
    if spec.task == "prompt":
        return _run_prompt(args, spec, dataset, screen)
    check_task(dataset, spec)
    labels: Mapping[str, str] = {}
    if dataset.labels:
        labels = match_labels(dataset, spec)
    predictor = Predictor(spec, args.engine)
    if predictor.notice:
        screen.print(predictor.notice, style="yellow")
    with _folder(args.out or Path(f"evaluation-{_plain(args.model)}-{_plain(dataset.name)}")) as folder:
        found = evaluate(predictor, dataset, labels, screen)
        sections = found.sections()
        report(sections, found, Terminal())
        write(folder, found, sections)
    screen.print(f"Results page: {folder / 'index.html'}", soft_wrap=True)
    return 0


def _run_prompt(args: argparse.Namespace, spec: ModelSpec, dataset: Dataset, screen: Terminal) -> int:
    """Evaluate a prompt model, which has to be shown what it should outline."""
    if not args.follow:
        prompts.check_dataset(dataset)
    model = PromptModel(spec, args.engine)
    if model.notice:
        screen.print(model.notice, style="yellow")
    with _folder(args.out or Path(f"evaluation-{_plain(args.model)}-{_plain(dataset.name)}")) as folder:
        if args.follow:
            followed = list(tracking.follow(model, dataset))
            tracking.report(followed, Terminal())
            tracking.write(folder, followed, model, dataset)
            return 0
        found = _evaluate_prompts(model, dataset, screen)
        prompts.report(found, Terminal())
        prompts.write(folder, found)
    screen.print(f"Results page: {folder / 'index.html'}", soft_wrap=True)
    return 0


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """A folder for the results. It is made before the long work, and removed again if that fails."""
    existed = os.path.lexists(path)  # Path.exists raises for a name that is too long
    folder = make_folder(path)
    try:
        yield folder
    except BaseException:
        if not existed:
            with suppress(OSError):  # something is in it
                folder.rmdir()
        raise


def _options(args: argparse.Namespace) -> DatasetOptions:
    for name, least in (("every", 1), ("limit", 1), ("count", 1)):
        value = getattr(args, name)
        if value is not None:
            require_least(f"--{name}", value, least)
    if not 0.0 <= args.scale_sd <= MAX_SCALE_SD:
        raise UserError(f"--scale-sd {args.scale_sd:g} cannot be right", f"Give a share from 0 to {MAX_SCALE_SD:g}")
    for name, given in (("count", args.count is not None), ("scale-sd", args.scale_sd > 0)):
        if given and not is_population(args.dataset):
            raise UserError(f"--{name} is for phantoms drawn at random", "Leave it out, or evaluate on phantom")
    spacing, count = None, PHANTOMS
    if args.mm_per_pixel is not None:
        spacing = spacing_from_text(args.mm_per_pixel)
    if args.count is not None:
        count = args.count
    return DatasetOptions(
        spacing=spacing,
        every=args.every,
        limit=args.limit,
        held_out=args.held_out,
        negatives=args.negatives,
        count=count,
        frames=args.frames,
        scale_sd=args.scale_sd,
    )


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "dataset"


# --- the work ---------------------------------------------------------------------------------------------------------


def evaluate(predictor: Predictor, dataset: Dataset, labels: Mapping[str, str], screen: Terminal) -> Evaluation:
    """Every sample through the model; reading the next ones goes on meanwhile."""
    spec = predictor.spec
    found, worst = Evaluation(spec, predictor.engine, dataset, labels), reports.WorstCases()
    model = loaded(predictor)
    clip, stills = FrameAnalyzer(model), FrameAnalyzer(model, sequence=False)
    if dataset.kind is DatasetKind.BOXES:
        predictor.set_min_score(min(MAP_MIN_SCORE, spec.output.min_score))
    try:
        with _progress(screen) as progress, closing(prefetch(dataset.samples())) as samples:
            task = progress.add_task(dataset.name, total=dataset.count)
            for sample in samples:
                done = (clip if _is_of_a_clip(sample) else stills)(sample.frame)
                if done.problem is not None:
                    raise done.problem
                verdicts = _judge(found, sample, done)
                found.verdicts += verdicts
                _offer(worst, found, sample, done.prediction, verdicts)
                progress.advance(task)
    finally:
        predictor.set_min_score(spec.output.min_score)
    if not found.verdicts:
        raise UserError(f"{dataset.name} has no frame to look at", "Give another data set")
    found.pictures = worst.pictures()
    return found


def _evaluate_prompts(model: PromptModel, dataset: Dataset, screen: Terminal) -> prompts.PromptEvaluation:
    """Every structure of every sample, pointed at as ``evaluation.prompt`` says."""
    found, worst = prompts.PromptEvaluation(model.spec, model.engine, dataset), reports.WorstCases()
    with _progress(screen) as progress, closing(prefetch(dataset.samples())) as samples:
        task = progress.add_task(dataset.name, total=dataset.count)
        for sample in samples:
            for case, picture in prompts.judge_sample(model, sample):
                found.cases.append(case)
                worst.offer(picture)
            progress.advance(task)
    if not found.cases:
        raise UserError(f"{dataset.name} has no structure to point at", "Give another data set")
    found.pictures = worst.pictures()
    return found


def _is_of_a_clip(sample: Sample) -> bool:
    """Frames of a clip are seen and measured as the product does it: what was there a moment ago may stay."""
    return sample.frame.key.media_time_s is not None


def _judge(found: Evaluation, sample: Sample, done: FrameResult) -> list[Verdict]:
    spec, dataset, prediction, reading = found.spec, found.dataset, done.prediction, done.reading
    if dataset.kind is DatasetKind.BOXES:
        boxes = box_sample(sample, prediction, dataset, found.labels)
        found.boxes.append(boxes)
        return judge_boxes(sample, boxes, found.box_names, spec.output.min_score)
    if dataset.kind is DatasetKind.NEGATIVES:
        return [judge_negative(sample, prediction, reading)]
    return judge_masks(sample, prediction, reading, found.labels, spec)


def _offer(
    worst: reports.WorstCases, found: Evaluation, sample: Sample, prediction: Prediction, verdicts: Sequence[Verdict]
) -> None:
    """Draw the frame and keep it, if its worst verdict is among the worst so far."""
    verdict = max(verdicts, key=reports.badness, default=None)
    if verdict is None:
        return
    bad = reports.badness(verdict)
    if bad > 0 and worst.takes(bad):
        drawn = _draw(sample, prediction, found.spec.output.min_score, found.labels)
        worst.offer(reports.CasePicture(bad, _caption(verdict), drawn))


def _draw(sample: Sample, prediction: Prediction, min_score: float, labels: Mapping[str, str]) -> bytes:
    truth = [mask for label, mask in sample.truth.masks.items() if label in labels]
    shown = [instance for instance in prediction.instances if instance.score >= min_score]
    masks = [union([instance], prediction.frame_size_px) for instance in shown if instance.mask is not None]
    boxes = [instance.box_xyxy_px for instance in shown if instance.mask is None]
    return reports.draw_case(sample.frame, truth, masks, [box.box_xyxy_px for box in sample.truth.boxes], boxes)


def _caption(verdict: Verdict) -> str:
    parts = [verdict.name, f"{verdict.label}: {verdict.outcome}".strip(": ")]
    if verdict.wanted and verdict.overlap is not None:
        parts.append(f"Dice {verdict.overlap.dice:.2f}")
    if verdict.worst_iou is not None:
        parts.append(f"lowest IoU {verdict.worst_iou:.2f}")
    if verdict.score is not None:
        parts.append(f"score {verdict.score:.2f}")
    return ", ".join(parts)


def _progress(screen: Terminal) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
