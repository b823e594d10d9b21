"""``usviewer models``: lists, shows, adds, removes, checks and converts models."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from usviewer.cli.bench_cases import held_frames
from usviewer.cli.sam import convert
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.infer import choice, exports, golden, registry
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.session import engine_threads
from usviewer.infer.session.int8 import CALIBRATION_FRAMES
from usviewer.plain_text import printable
from usviewer.terminal import Terminal, results

EXIT_FAILED = 2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``usviewer models``."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    actions.add_parser("list", help="every model that is here").set_defaults(run=run, act=_list)
    show = actions.add_parser("show", help="everything known about a model")
    show.add_argument("id")
    show.set_defaults(run=run, act=_show)
    add = actions.add_parser(
        "add",
        help="install an ONNX file exported by Ultralytics, a folder with a manifest, or SAM's encoder and decoder",
    )
    add.add_argument("path", type=Path, metavar="FILE.onnx|FOLDER")
    add.add_argument("--id", help="name under which the model is kept (default: from the file's name)")
    add.add_argument(
        "--pixels",
        choices=tuple(exports.PIXELS),
        default="",
        help="what the encoder of a folder of two takes: sam (SAM, MobileSAM, EdgeSAM), 0-1 (MedSAM), or bytes (0-255)",
    )
    add.set_defaults(run=run, act=_add)
    remove = actions.add_parser("remove", help="delete one of your own models")
    remove.add_argument("id")
    remove.set_defaults(run=run, act=_remove)
    verify = actions.add_parser("verify", help="check hash, graph and golden case of a model, or of all")
    verify.add_argument("id", nargs="?")
    verify.set_defaults(run=run, act=_verify)
    engines = actions.add_parser("engines", help="time every engine on a model, check it, and keep the choice")
    engines.add_argument("id")
    engines.add_argument("--frames", metavar="SOURCE", help="your own clip to compare on (default: bundled pictures)")
    engines.set_defaults(run=run, act=_engines)
    sam = actions.add_parser("convert-sam", help="make a prompt model from a checkpoint of SAM or UltraSam")
    sam.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="the .pth file, as its authors publish it")
    sam.add_argument("--kind", choices=convert.KINDS, required=True, help="whose checkpoint it is")
    sam.add_argument("--out", type=Path, metavar="DIR", help="a new folder (default: installed among your models)")
    sam.add_argument("--id", help="name of the model (default: the folder's name, or the kind)")
    sam.set_defaults(run=run, act=_convert_sam)
    int8 = actions.add_parser("quantize", help="make an int8 variant, kept only if its masks agree")
    int8.add_argument("id")
    int8.add_argument("--frames", metavar="SOURCE", help="your own clip to calibrate on (default: bundled pictures)")
    int8.set_defaults(run=run, act=_quantize)


def run(args: argparse.Namespace) -> int:
    """Do what was chosen; 0, or 2 when a model fails ``verify``. Raises ``UserError`` for bad input."""
    registry.remove_unfinished_models()
    return int(args.act(args, results()))


def _list(args: argparse.Namespace, output: Terminal) -> int:
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "finding", "task", "outlines"):
        table.add_column(heading, overflow="fold")
    table.add_column("size", justify="right", overflow="fold")
    for heading in ("origin", "name"):
        table.add_column(heading, overflow="fold")
    for spec in registry.list_models():
        table.add_row(spec.id, spec.finding, spec.task, _edges(spec), _size(spec), _origin(spec), spec.name)
    if table.row_count:
        output.print(table)
    else:
        output.print("There are no models. Add one with 'usviewer models add'.")
    # Named here, or their user would look for them in the table.
    for model_id, reason in registry.list_broken():
        output.print(f"{model_id}: {reason}", style="red")
    return 0


def _show(args: argparse.Namespace, output: Terminal) -> int:
    spec = registry.load_spec(args.id)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in _facts(spec).items():
        table.add_row(key, value)
    output.print(table)
    return 0


def _add(args: argparse.Namespace, output: Terminal) -> int:
    spec = registry.add_model(args.path, args.id, args.pixels)
    output.print(f"Added '{spec.id}': {spec.task}, {_labels(spec)}, outlined edge {_edges(spec)}.")
    if spec.golden and golden.read_expected(spec.golden.expected).source == golden.RECORDED:
        output.print("Its golden case was recorded from the file itself: it notices changes, not mistakes in the file.")
    return 0


def _remove(args: argparse.Namespace, output: Terminal) -> int:
    registry.remove_model(args.id)
    output.print(f"Removed '{args.id}'.")
    return 0


def _verify(args: argparse.Namespace, output: Terminal) -> int:
    """One model, or every one: then one that fails does not hide the others."""
    if args.id:
        output.print(f"{args.id}: good ({_golden(registry.verify_model(args.id))})")
        return 0
    failed = 0
    for model_id in sorted([spec.id for spec in registry.list_models()] + [name for name, _ in registry.list_broken()]):
        try:
            spec = registry.verify_model(model_id)
        except UserError as error:
            failed += 1
            output.print(f"{model_id}: {error}", style="red")
        else:
            output.print(f"{model_id}: good ({_golden(spec)})")
    if failed:
        return EXIT_FAILED
    return 0


def _engines(args: argparse.Namespace, output: Terminal) -> int:
    spec = registry.verify_model(args.id)
    frames = _frames(args.frames)
    # Timed twice: the window takes threads of its own, so another engine may be the fastest beside it.
    for heading, live in (("Whole clips", False), ("With the window", True)):
        threads = engine_threads(live=live)
        made = choice.choose_engine(spec, threads, frames=frames, spinning=not live, again=True)
        output.print(f"{heading}:")
        for line in made.lines():
            output.print(f"  {line}")
    return 0


def _quantize(args: argparse.Namespace, output: Terminal) -> int:
    spec = registry.verify_model(args.id)
    if spec.prompt is not None:
        raise UserError(f"'{spec.id}' outlines what it is pointed at: it has no int8 variant", "Choose another model")
    frames: Sequence[Frame] = ()
    if find_frames := _frames(args.frames):
        frames = find_frames()
    for trial in choice.quantize(spec, frames):
        output.print(trial.describe())
    output.print(f"Kept. '{spec.id}' runs on it where it is the fastest.")
    return 0


def _convert_sam(args: argparse.Namespace, output: Terminal) -> int:
    output.print(f"Converting {args.checkpoint.name}: a minute for the smallest SAM, several for the largest.")
    made = convert.convert(args.checkpoint, args.kind, args.out, args.id)
    differences = f"encoder {made.encoder_difference:.1e}, decoder {made.decoder_difference:.1e}"
    output.print(f"The graphs agree with the network: {differences} of the spread.")
    output.print(f"'{made.spec.id}' is in {made.spec.folder}. The licence of the weights applies.")
    return 0


def _frames(source: str | None) -> Callable[[], Sequence[Frame]] | None:
    """Frames from all over a clip; None where none is named."""
    if source is None:
        return None
    return lambda: held_frames(source, None, CALIBRATION_FRAMES)


def _facts(spec: ModelSpec) -> dict[str, str]:
    size = f"up to {spec.input.side_px}"
    if spec.input.width_px:
        size = f"{spec.input.width_px} x {spec.input.height_px}"
    facts = {
        "id": spec.id,
        "name": spec.name,
        "version": spec.version,
        "finding": spec.finding,
        "task": f"{spec.task} ({spec.decoder})" + _prompts(spec),
        "labels": _labels(spec),
        "outlines": _edges(spec),
        "input": f"{size} px, {spec.input.channel_order}, {spec.input.crop} picture, {spec.input.resize}",
        "licence": spec.licence,
        "file": f"{', '.join(str(file.path) for file in spec.files.values())} ({_size(spec)})",
        "sha256": spec.sha256,
        "golden case": _golden(spec).removeprefix("golden case "),
        "card": str(spec.card or "none"),
    }
    for heading, table in (("training", spec.training), ("accuracy", spec.accuracy)):
        facts |= {f"{heading}: {key}": value for key, value in _flat(table).items()}
    return facts


def _prompts(spec: ModelSpec) -> str:
    """What a prompt model may be pointed at with."""
    if spec.prompt is None:
        return ""
    taken = "points, excluded points and a box"
    if spec.prompt.prompts == "one":
        taken = "one point or one box"
    if spec.prompt.mask:
        taken += ", refined by its own mask"
    return f": {taken}"


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
            continue
        words = str(value)
        if isinstance(value, list):
            words = ", ".join(map(str, value))
        # A manifest is a stranger's text: nothing in it may steer the terminal.
        flat[printable(f"{prefix}{key}")] = printable(words)
    return flat


def _golden(spec: ModelSpec) -> str:
    """Who vouches for the golden case; why it cannot be read, so that nothing else of the model is hidden."""
    if spec.golden is None:
        return "no golden case"
    try:
        return f"golden case {golden.read_expected(spec.golden.expected).source}"
    except UserError as error:
        return error.what


def _labels(spec: ModelSpec) -> str:
    names = [label.name for label in spec.labels]
    if len(names) <= 10:  # a detector of COCO's classes has 80
        return ", ".join(names)
    return f"{', '.join(names[:10])} and {len(names) - 10} more"


def _edges(spec: ModelSpec) -> str:
    if spec.task == "detect":  # a box has no inner or outer edge
        return "boxes"
    return ", ".join(sorted({str(label.edge) for label in spec.labels}))


def _origin(spec: ModelSpec) -> str:
    if spec.bundled:
        return "bundled"
    return "yours"


def _size(spec: ModelSpec) -> str:
    sizes = [os.path.getsize(file.path) for file in spec.files.values() if os.path.isfile(file.path)]
    # The size of the rest would hide that the model cannot run.
    if len(sizes) < len(spec.files):
        return "file missing"
    return f"{sum(sizes) / 1e6:.1f} MB"
