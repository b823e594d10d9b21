"""One program for every bundled model: train one fold or everything, resume, score, choose the gate, export.

A ``Recipe`` says what is special about a model; ``run`` does what all have in common. A recipe's file reads from top
to bottom: pictures, examples, loss, scores, gate and card.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training.data.pictures import Gray, fold_of_exams, input_spec
from models.training.export import ExportedNetwork, export_onnx, fill_card, write_bundle
from models.training.failures import write_montage
from models.training.reliability import fitted_edge_sd, write_reliability
from models.training.train import TrainingRun, TrainingSettings, parameter_count, start_or_resume, train
from usviewer.infer.manifest import InputSpec
from usviewer.infer.onnx_file import sha256_of

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Example = tuple[NDArray[Any], NDArray[Any]]
Draw = Callable[[np.random.Generator, int], Sequence[Example]]
"""From a step's random numbers and its index to the examples of its batch: picture [H, W], target of any shape."""
Loss = Callable[[Any, Tensor], Tensor]
Row = dict[str, Any]

PRETRAINING = "pretrain"
"""Folder of a pre-training under ``--work``."""


@dataclass(frozen=True)
class RunOptions:
    """What the command line says; sizes and counts are the recipe's own where it says nothing."""

    data: Path
    work: Path
    out: Path
    width_px: int
    height_px: int
    steps: int
    batch: int
    rate: float
    seed: int
    scenes: int
    network: str
    fold: int | None = None
    limit: int | None = None
    init: Sequence[Path] = ()
    name: str | None = None
    pretrain: bool = False
    export: bool = True
    judge: Path | None = None

    @property
    def input(self) -> InputSpec:
        """What the network takes."""
        return input_spec(self.width_px, self.height_px)

    @property
    def run_name(self) -> str:
        """Folder of the run under ``work``, and name of its file of figures."""
        if self.pretrain:
            return PRETRAINING
        if self.name:
            return self.name
        return "all" if self.fold is None else f"fold-{self.fold}"

    def few(self, items: Sequence[Item]) -> list[Item]:
        """The items that a trial run keeps; otherwise all."""
        return list(items[: self.limit])


@dataclass(frozen=True)
class Split(Generic[Item]):
    """What a run learns from, and what it is scored on."""

    trained: Sequence[Item]
    tested: Sequence[Item]


@dataclass(frozen=True)
class Judgement:
    """What the scores say of a model: its gate, the manifest's figures, the card's values, pictures of failures.

    ``edge_errors_px`` are those of ``reliability``, of pictures that were not learnt from. ``card`` is None after a
    trial run, which has nothing to report.
    """

    gate: float
    accuracy: Mapping[str, object]
    card: Mapping[str, object] | None = None
    failures: Sequence[Gray] = ()
    edge_errors_px: Sequence[float] = ()


@dataclass(frozen=True)
class Recipe(Generic[Item, Answer]):
    """How one bundled model is made. ``id`` names its folder under ``models`` and that of its runs under ``build``.

    ``data`` gives the pictures of a run, ``examples`` loads those to learn from and gives the function that draws a
    batch, ``score`` is what the viewer itself would find in pictures, ``record`` is what a fold keeps of an answer.
    ``judge`` chooses the gate; ``golden`` is the picture of the golden case. ``folds`` is 0 where nothing is
    cross-validated. ``write`` is for a model of several graphs; it replaces everything that needs a judgement.
    """

    id: str
    about: str
    version: str
    size_px: tuple[int, int]
    training: TrainingSettings
    networks: Mapping[str, Callable[[], nn.Module]]
    data: Callable[[RunOptions], Split[Item]]
    examples: Callable[[Sequence[Item], RunOptions], Draw]
    loss: Callable[[TrainingRun, RunOptions], Loss]
    score: Callable[[nn.Module, Sequence[Item], RunOptions], Sequence[Answer]]
    summary: Callable[[Sequence[Answer]], dict[str, float]]
    record: Callable[[Answer], Row] = vars
    manifest: Callable[[RunOptions, float, Mapping[str, object]], Mapping[str, object]] | None = None
    judge: Callable[[nn.Module, Split[Item], RunOptions], Judgement] | None = None
    golden: Callable[[nn.Module, RunOptions], Gray] | None = None
    write: Callable[[nn.Module, Split[Item], RunOptions], None] | None = None
    folds: int = 0
    scenes: int = 0
    watched: int = 64
    output: str = "logits"
    pretraining: Recipe[Item, Answer] | None = None

    @property
    def command(self) -> str:
        """What makes this model again."""
        return f"python -m models.training {self.id}"


def run(recipe: Recipe[Item, Answer], argv: Sequence[str] | None = None) -> None:
    """Train, or finish what a checkpoint has begun; then score the fold, or export the model of all pictures."""
    options, started = parse_options(recipe, argv), time.monotonic()
    cv2.setNumThreads(1)
    if options.pretrain and recipe.pretraining is not None:
        recipe = recipe.pretraining
    split = recipe.data(options)
    if options.judge is not None and recipe.judge is not None:
        finished = recipe.judge(ExportedNetwork(options.judge, recipe.output), split, options)
        print(f"gate {finished.gate}, {dict(finished.accuracy)}", flush=True)
        return
    trained = train_model(recipe, split, options)
    model = trained.average.model
    if options.fold is not None:
        print(f"fold {options.fold}: {score_fold(recipe, model, split, options)}", flush=True)
    elif options.export and not options.pretrain:
        export_model(recipe, model, split, options)
    print(f"done in {(time.monotonic() - started) / 60:.1f} min", flush=True)


# ---------------------------------------------------------------------------------------------------- command line


def parse_options(recipe: Recipe[Item, Answer], argv: Sequence[str] | None = None) -> RunOptions:
    """The command line of a recipe; an option that means nothing to it is not offered."""
    parser = argparse.ArgumentParser(prog=recipe.command, description=recipe.about)
    add = parser.add_argument
    width, height = recipe.size_px
    add("--data", type=Path, default=Path("../shared/data"), help="folder of the raw data sets")
    add("--work", type=Path, default=Path("build") / recipe.id, help="checkpoints, figures, curves and scenes")
    add("--out", type=Path, default=Path("models") / recipe.id, help="where the model goes")
    add("--steps", type=int, default=recipe.training.steps)
    add("--batch", type=int, default=recipe.training.batch, help="pictures a step")
    add("--rate", type=float, default=recipe.training.learning_rate, help="highest learning rate")
    add("--seed", type=int, default=recipe.training.seed)
    add("--width", type=int, default=width, dest="width_px", help="input of the network, pixels")
    add("--height", type=int, default=height, dest="height_px", help="input of the network, pixels")
    add("--limit", type=int, help="use only so many real pictures of a kind: a trial run")
    add(
        "--init",
        type=Path,
        nargs="+",
        default=(),
        help="checkpoints; the mean of their averaged weights starts the run",
    )
    add("--name", help="folder of the run under --work")
    add("--judge", type=Path, metavar="FILE.onnx", help="print the gate and figures of a finished graph; train nothing")
    add("--no-export", action="store_false", dest="export", help="train only")
    parser.set_defaults(fold=None, scenes=recipe.scenes, network=next(iter(recipe.networks)), pretrain=False)
    if recipe.folds:
        add("--fold", type=int, choices=range(recipe.folds), help="train and score this fold only")
    if recipe.scenes:
        add("--scenes", type=int, help="simulated pictures")
    if len(recipe.networks) > 1:
        add("--net", choices=recipe.networks, dest="network", help="which network")
    if recipe.pretraining is not None:
        add("--pretrain", action="store_true", help=recipe.pretraining.about)
    return RunOptions(**vars(parser.parse_args(argv)))


# -------------------------------------------------------------------------------------------------------- training


def settings_of(recipe: Recipe[Item, Answer], options: RunOptions) -> TrainingSettings:
    """The recipe's settings with the sizes of this run; a short run warms up and validates in proportion."""
    usual, steps = recipe.training, options.steps
    return replace(
        usual,
        steps=steps,
        batch=options.batch,
        learning_rate=options.rate,
        seed=options.seed,
        warm_up_steps=min(usual.warm_up_steps, steps // 10 + 1),
        validate_every=max(1, min(usual.validate_every, steps // 4)),
    )


def train_model(recipe: Recipe[Item, Answer], split: Split[Item], options: RunOptions) -> TrainingRun:
    """Train on one side of the split, or finish what a checkpoint has begun; some of the other are scored at times."""
    settings, folder = settings_of(recipe, options), options.work / options.run_name
    torch.manual_seed(options.seed)
    model = recipe.networks[options.network]()
    if start := starts_of(recipe, options):
        load_weights(model, *start)
    state = start_or_resume(model, settings, folder)
    print(f"{parameter_count(model)} parameters, from step {state.step} of {settings.steps}", flush=True)
    if state.step < settings.steps:
        draw = recipe.examples(split.trained, options)
        watched = spread(split.tested, recipe.watched)
        train(
            state,
            settings,
            batches(draw, options.seed, state.step),
            lambda average: recipe.summary(recipe.score(average, watched, options)),
            folder,
            recipe.loss(state, options),
        )
    return state


def starts_of(recipe: Recipe[Item, Answer], options: RunOptions) -> Sequence[Path]:
    """The checkpoints that a run starts from: those named, or that of the pre-training where there is one."""
    if options.init or recipe.pretraining is None:
        return options.init
    pretrained = options.work / PRETRAINING / "checkpoint.pt"
    return (pretrained,) if pretrained.exists() else ()


def load_weights(model: nn.Module, *checkpoints: Path) -> None:
    """The mean of the averaged weights of other runs: all whose shape fits, so that a network with another last layer
    may start it.

    Raises ``KeyError`` for a weight that the network does not have at all: that is another architecture.
    """
    states = [torch.load(path, map_location="cpu", weights_only=True)["average"] for path in checkpoints]
    own = model.state_dict()
    fitting = {
        name: mean_of([state[name] for state in states])
        for name, value in states[0].items()
        if own[name].shape == value.shape
    }
    model.load_state_dict(fitting, strict=False)
    print(f"{len(fitting)} of {len(own)} weights from {', '.join(map(str, checkpoints))}", flush=True)


def mean_of(weights: Sequence[Tensor]) -> Tensor:
    """The mean; of counters, which are no weights, the first."""
    return torch.stack(list(weights)).mean(dim=0) if weights[0].is_floating_point() else weights[0]


def batches(draw: Draw, seed: int, first_step: int) -> Iterator[Example]:
    """Endless batches (pictures [B, 1, H, W], targets [B, ...]); step n is the same whatever ran before."""
    step = first_step
    while True:
        examples = draw(np.random.default_rng((seed, 7, step)), step)
        yield np.stack([picture for picture, _ in examples])[:, None], np.stack([target for _, target in examples])
        step += 1


def shuffled(count: int, batch: int, seed: int, step: int) -> list[int]:
    """Which of `count` pictures a step sees: every one comes once before any comes twice."""
    epoch, within = divmod(step, max(1, count // batch))
    order = np.random.default_rng((seed, epoch)).permutation(count)
    return [int(order[(within * batch + k) % count]) for k in range(batch)]


def spread(items: Sequence[Item], most: int) -> Sequence[Item]:
    """At most that many, evenly chosen."""
    return items[:: max(1, -(-len(items) // most))]


# ------------------------------------------------------------------------------------------------ cross-validation


def split_by_fold(items: Sequence[Item], groups: Sequence[str], folds: int, fold: int | None) -> Split[Item]:
    """One fold is tested and the others are learnt from; without a fold all pictures are on both sides.

    Pictures of one group (an exam, a patient, a scene) are always on the same side.
    """
    if fold is None:
        return Split(items, items)
    of_item = fold_of_exams(groups, folds)
    trained = [item for item, at in zip(items, of_item, strict=True) if at != fold]
    return Split(trained, [item for item, at in zip(items, of_item, strict=True) if at == fold])


def score_fold(
    recipe: Recipe[Item, Answer], model: nn.Module, split: Split[Item], options: RunOptions
) -> dict[str, float]:
    """Score the tested pictures of a fold, and keep what was found in each."""
    answers = recipe.score(model, split.tested, options)
    figures = recipe.summary(answers)
    document = {"summary": figures, "pictures": [recipe.record(answer) for answer in answers]}
    (options.work / f"{options.run_name}.json").write_text(json.dumps(document), encoding="utf-8")
    return figures


@dataclass(frozen=True)
class FoldResult:
    """What one fold kept: a row for every tested picture, and where its network is."""

    rows: Sequence[Row]
    checkpoint: Path

    def network(self, model: nn.Module) -> nn.Module:
        """The fold's averaged weights in a network of its kind."""
        load_weights(model, self.checkpoint)
        return model.eval()


def read_folds(options: RunOptions) -> list[FoldResult]:
    """The folds that were run, in order."""
    files = sorted(options.work.glob("fold-?.json"))
    documents = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return [
        FoldResult(document["pictures"], options.work / file.stem / "checkpoint.pt")
        for file, document in zip(files, documents, strict=True)
    ]


# ------------------------------------------------------------------------------------------------------ the model


def export_model(recipe: Recipe[Item, Answer], model: nn.Module, split: Split[Item], options: RunOptions) -> None:
    """Write the whole model folder: graph, manifest, card, golden case and pictures of failures."""
    if recipe.write is not None:
        recipe.write(model, split, options)
        return
    assert recipe.judge is not None and recipe.manifest is not None and recipe.golden is not None
    judged = recipe.judge(model, split, options)
    golden = recipe.golden(model, options)
    export_onnx(model, options.out / "model.onnx", (options.height_px, options.width_px), output=recipe.output)
    if judged.failures:
        write_montage(options.out / "failures.jpg", judged.failures)
    if fitted_edge_sd(judged.edge_errors_px):
        write_reliability(options.out / "reliability.png", judged.edge_errors_px)
    manifest = recipe.manifest(options, judged.gate, judged.accuracy)
    write_bundle(options.out, manifest, card_of(recipe, model, judged, options), golden)
    print(f"exported to {options.out}: gate {judged.gate}, {dict(judged.accuracy)}", flush=True)


def card_of(recipe: Recipe[Item, Answer], model: nn.Module, judged: Judgement, options: RunOptions) -> str:
    """The model card, in Markdown."""
    if judged.card is None:
        return f"# {recipe.id}\n\nA trial run without figures.\n"
    file = options.out / "model.onnx"
    return fill_card(
        recipe.id,
        version=recipe.version,
        command=recipe.command,
        parameters_m=parameter_count(model) / 1e6,
        size_mb=file.stat().st_size / 1e6,
        sha256=sha256_of(file),
        width=options.width_px,
        height=options.height_px,
        gate=judged.gate,
        folds=len(read_folds(options)),
        all_folds=recipe.folds,
        last_fold=recipe.folds - 1,
        origin=origin(options),
        **judged.card,
    )


def origin(options: RunOptions) -> str:
    """How the shipped weights came about, for the card."""
    if not options.init:
        return f"The shipped weights: {options.steps} steps of {options.batch} pictures."
    runs = " and ".join(f"`{path.parent.name}`" for path in options.init)
    if options.steps == 0:
        return f"The shipped weights are the mean of those of the runs {runs}."
    return (
        f"The shipped weights continue the run {runs} for {options.steps} steps of {options.batch} pictures, on all"
        " pictures."
    )
