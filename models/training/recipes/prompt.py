"""A network that outlines what is pointed at, whatever its name: real vessels, nerves and heads, simulated structures.

At every step each picture is encoded once and asked for several of its structures, by a box or by clicks; some of the
answers are corrected by further clicks, as a user would.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tomli_w
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training.data.pictures import Gray, input_spec, input_table
from models.training.data.prompt_pictures import fitted, one_example, real_pictures, render, targets
from models.training.data.prompt_scenes import StructurePicture, render_scene
from models.training.export import fill_card, write_graph
from models.training.failures import FOUND, TRUTH, tile, write_montage
from models.training.losses import segmentation_loss
from models.training.networks.prompt import EMBEDDING, GRID, LOGIT_PX, SIDE_PX, DecoderGraph, PromptNetwork
from models.training.prompting import PX, Prompts, ask, correct, first_prompt
from models.training.recipe import Draw, Example, Recipe, RunOptions, Split
from models.training.train import TrainingRun, TrainingSettings, parameter_count
from usviewer.evaluate.prompts import box_of, depth_map, next_click
from usviewer.evaluate.statistics import overlap
from usviewer.frame import Mask
from usviewer.infer.manifest import MANIFEST
from usviewer.infer.onnx_file import sha256_of
from usviewer.infer.registry import record_golden

VERSION = "0.1.0"
PROMPTS = 4
"""Prompts a picture in every step."""
HELD_OUT_SCENES, MOST_HELD_OUT = 40, 24
"""Simulated pictures, and real ones of a kind, that a run is watched on."""
SCENE_SEED, HELD_OUT_SEED, GOLDEN_SEED = 11, 5, 21
BENT = "bent"
ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
INPUTS = ("image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input")
OUTPUTS = ("iou_predictions", "low_res_masks")


# -------------------------------------------------------------------------------------------------------- pictures


@dataclass(frozen=True)
class HeldOutPicture:
    """A picture that training does not see, and the set it is of."""

    origin: str
    picture: StructurePicture

    def asked(self) -> tuple[Gray, list[Mask]]:
        """The picture as the network sees it, and the structures in it on the logits' grid."""
        sample = fitted(self.picture)
        return sample.image, [mask > 127 for mask in targets(sample.planes)]


def split(options: RunOptions) -> Split[HeldOutPicture]:
    """What validation looks at: other exams, and a family of outlines that training never draws."""
    count = min(HELD_OUT_SCENES, options.scenes)
    scenes = render(options.data, options.work / "scenes", count, HELD_OUT_SEED, held_out=True)[:count]
    real = real_pictures(options.data, held_out=True, most=min(MOST_HELD_OUT, options.limit or MOST_HELD_OUT))
    sets = {BENT: scenes} | real
    return Split((), [HeldOutPicture(name, picture) for name, pictures in sets.items() for picture in pictures])


# -------------------------------------------------------------------------------------------------------- learning


def examples(trained: Sequence[HeldOutPicture], options: RunOptions) -> Draw:
    """Rendered scenes and real pictures, each with some of its structures."""
    pools = {"simulated": render(options.data, options.work / "scenes", options.scenes, SCENE_SEED)}
    pools |= real_pictures(options.data, held_out=False, most=options.limit)

    def draw(rng: Generator, step: int) -> list[Example]:
        return [one_example(rng, pools, PROMPTS) for _ in range(options.batch)]

    return draw


class PromptLoss:
    """Asks the network for the structures of a batch and says how wrong the answers are."""

    def __init__(self, run: TrainingRun, seed: int) -> None:
        self.run = run
        self.seed = seed

    def __call__(self, embedding: Tensor, target: Tensor) -> Tensor:
        """`target` [B, K, 128, 128] uint8 by coverage; the first slots of K are answered and corrected beforehand."""
        rng = np.random.default_rng((self.seed, 13, self.run.step))
        decoder = self.run.model.get_submodule("decoder")
        batch = target.shape[0]
        truth = (target > 127).cpu().numpy().reshape(-1, LOGIT_PX, LOGIT_PX)
        prompts = Prompts.none(len(truth))
        for index, mask in enumerate(truth):
            first_prompt(rng, prompts, index, mask)
        with torch.autocast(embedding.device.type, dtype_of(embedding)):
            self._correct(rng, decoder, embedding.detach(), prompts, truth, batch)
            logits, quality = ask(decoder, embedding, prompts)
        wanted = target.reshape(-1, 1, LOGIT_PX, LOGIT_PX).float() / 255
        shared = iou((logits.detach() > 0)[:, 0], wanted[:, 0] > 0.5)
        return segmentation_loss(logits, wanted) + nn.functional.mse_loss(quality[:, 0].float(), shared)

    def _correct(
        self,
        rng: Generator,
        decoder: nn.Module,
        embedding: Tensor,
        prompts: Prompts,
        truth: NDArray[np.bool_],
        batch: int,
    ) -> None:
        """Half of a picture's prompts have been corrected once, half of these twice."""
        index = np.arange(len(truth)).reshape(batch, -1)
        decoder.eval()
        with torch.no_grad():
            for share in (2, 4):
                rows = index[:, : index.shape[1] // share].ravel()
                if not len(rows):
                    break
                logits = ask(decoder, embedding, prompts.of(rows))[0].float().cpu()
                for row, answer in zip(rows, logits, strict=True):
                    correct(rng, prompts, row, truth[row], (answer[0] > 0).numpy())
                    if rng.random() < 0.85:
                        prompts.mask[row], prompts.has_mask[row] = answer, 1.0
        decoder.train()


def dtype_of(tensor: Tensor) -> torch.dtype:
    """The short floats that the device trains in."""
    return torch.float16 if tensor.device.type == "cuda" else torch.bfloat16


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Overlap of boolean masks [N, H, W]."""
    both = (first & second).sum(dim=(1, 2)).float()
    return both / ((first | second).sum(dim=(1, 2)).float() + 1e-6)


# --------------------------------------------------------------------------------------------------------- scoring


@dataclass(frozen=True)
class StructureDice:
    """Dice of one structure by a box, by one click and after three, by the rule of the evaluation."""

    origin: str
    box: float
    click1: float
    click3: float


@torch.no_grad()
def score(model: nn.Module, pictures: Sequence[HeldOutPicture], options: RunOptions) -> list[StructureDice]:
    """Every structure of the pictures, on the logits' grid."""
    model.eval()
    return [one for picture in pictures for one in score_picture(model, picture)]


def score_picture(model: nn.Module, held_out: HeldOutPicture) -> Iterator[StructureDice]:
    """All structures of a picture, encoded once."""
    image, truth = held_out.asked()
    if not truth:
        return
    device, decoder = next(model.parameters()).device, model.get_submodule("decoder")
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cpu"):
        embedding = model(torch.from_numpy(image[None, None]).to(device))
        boxes = dice_of(truth, masks_of(decoder, embedding, boxes_of(truth)))
        clicks = Prompts.none(len(truth))
        answers: list[Mask] = [np.zeros_like(mask) for mask in truth]
        after: list[list[float]] = []
        for _ in range(3):
            for index, mask in enumerate(truth):
                correct(None, clicks, index, mask, answers[index])
            answers = masks_of(decoder, embedding, clicks)
            after.append(dice_of(truth, answers))
    for box, click1, click3 in zip(boxes, after[0], after[2], strict=True):
        yield StructureDice(held_out.origin, box, click1, click3)


def summary(scores: Sequence[StructureDice]) -> dict[str, float]:
    """Mean Dice of every set and way of asking."""
    figures = {}
    for origin in dict.fromkeys(one.origin for one in scores):
        mine = [one for one in scores if one.origin == origin]
        for way in ("box", "click1", "click3"):
            figures[f"{origin} {way}"] = float(np.mean([getattr(one, way) for one in mine]))
    return figures


def boxes_of(truth: Sequence[Mask]) -> Prompts:
    """The tight box of every structure."""
    prompts = Prompts.none(len(truth))
    for index, mask in enumerate(truth):
        prompts.box(index, box_of(mask))
    return prompts


def dice_of(truth: Sequence[Mask], answers: Sequence[Mask]) -> list[float]:
    """Dice of every answer."""
    return [overlap(wanted, answer).dice for wanted, answer in zip(truth, answers, strict=True)]


def masks_of(decoder: nn.Module, embedding: Tensor, prompts: Prompts) -> list[Mask]:
    """The answers as masks; their logits become the prompts' former answers."""
    logits = ask(decoder, embedding, prompts)[0].float().cpu()
    prompts.mask, prompts.has_mask = logits, torch.ones(len(logits), 1)
    return [(answer[0] > 0).numpy() for answer in logits]


@torch.no_grad()
def edge_sd_input_px(model: nn.Module, pictures: Sequence[HeldOutPicture]) -> float | None:
    """How far outlines by a box lie from the true ones, root mean square in input pixels; None without any outline."""
    model.eval()
    off: list[NDArray[np.float32]] = []
    for held_out in pictures:
        image, truth = held_out.asked()
        if not truth:
            continue
        embedding = model(torch.from_numpy(image[None, None]))
        answers = masks_of(model.get_submodule("decoder"), embedding, boxes_of(truth))
        off += [edge_distances(mask, found) for mask, found in zip(truth, answers, strict=True)]
    distances = np.concatenate(off) if off else np.zeros(0)
    return PX * float(np.sqrt(np.mean(distances**2))) if len(distances) else None


def edge_distances(truth: Mask, found: Mask) -> NDArray[np.float32]:
    """How far each pixel of the found outline lies from the true one, in pixels of the logits; inside is positive."""
    inner = found & (depth_map(found) < 1.5)  # the pixels along the outline, on its inner side
    return np.asarray(np.where(truth, depth_map(truth) - 1, -depth_map(~truth))[inner], np.float32)


# ----------------------------------------------------------------------------------------------- graphs and card


def write(model: nn.Module, split: Split[HeldOutPicture], options: RunOptions) -> None:
    """Write the whole model folder: two graphs in the layout of SAM's export, manifest, card and golden case.

    Figures are those of evaluations kept under ``figures`` in the run's folder.
    """
    out, model = options.out, model.cpu()
    real = [held_out for held_out in split.tested if held_out.origin != BENT]
    edge_sd_px = edge_sd_input_px(model, real)
    write_graphs(model, out)
    if failures := worst_tiles(model, real):
        write_montage(out / "failures.jpg", failures)
    judged = read_evaluations(options.work / options.run_name / "figures")
    table = manifest(out, golden_case(out), accuracy_of(judged, edge_sd_px))
    (out / MANIFEST).write_text(tomli_w.dumps(table), encoding="utf-8")
    (out / "CARD.md").write_text(card(model, options, judged, edge_sd_px), encoding="utf-8")
    record_golden(out, "recorded when the model was exported")


def write_graphs(model: nn.Module, out: Path) -> None:
    """Encoder and decoder of a trained network."""
    rng = np.random.default_rng(0)
    picture = {"image": rng.integers(0, 256, (1, 1, SIDE_PX, SIDE_PX), dtype=np.uint8)}
    write_graph(model.get_submodule("encoder"), out / ENCODER, [picture], [INPUTS[0]], {}, halved=True)
    decoder = DecoderGraph(model.get_submodule("decoder"))
    points = {INPUTS[1]: {1: "points"}, INPUTS[2]: {1: "points"}}
    feeds = [decoder_feeds(3), decoder_feeds(1, 1), decoder_feeds(9, 2)]
    write_graph(decoder, out / DECODER, feeds, OUTPUTS, points, halved=True)


def decoder_feeds(points: int, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Inputs of the decoder with that many points."""
    rng = np.random.default_rng(seed)
    feeds = (
        rng.normal(0, 1, (1, EMBEDDING, GRID, GRID)),
        rng.uniform(0, SIDE_PX, (1, points, 2)),
        rng.integers(0, 2, (1, points)),
        rng.normal(0, 4, (1, 1, LOGIT_PX, LOGIT_PX)),
        np.ones(1),
    )
    return {name: np.asarray(value, np.float32) for name, value in zip(INPUTS, feeds, strict=True)}


def golden_case(out: Path) -> dict[str, object]:
    """A simulated picture with a click on its largest structure: nothing of a patient is shipped."""
    scene = render_scene(np.random.default_rng(GOLDEN_SEED), None)
    planes = [((scene.planes >> bit) & 1).astype(np.bool_) for bit in range(8)]
    click = next_click(max(planes, key=lambda plane: int(plane.sum())))
    assert click is not None
    if not cv2.imwrite(str(out / "golden.png"), scene.image):
        raise OSError(f"cannot write {out / 'golden.png'}")
    return {"frame": "golden.png", "expected": "golden.json", "points_xy_px": [list(click.xy_px)], "positive": [True]}


def manifest(out: Path, golden: Mapping[str, object], accuracy: Mapping[str, object]) -> dict[str, object]:
    """The contract with the viewer."""
    files = {"encoder": ENCODER, "decoder": DECODER}
    return {
        "schema": 1,
        "id": RECIPE.id,
        "name": "Point at it: any structure",
        "version": VERSION,
        "task": "prompt",
        "finding": "other",
        "decoder": "sam",
        "licence": "Apache-2.0",
        "input": input_table(input_spec(SIDE_PX, SIDE_PX)) | {"pad": "corner"},
        "output": {"name": OUTPUTS[1], "min_score": 0.5, "mask_threshold": 0.5},
        "labels": [{"name": "structure", "color": "#56b4e9", "edge": "not stated"}],
        "training": {
            "data": "CCAUI carotids, USGRA nerves and vessels, HC18 heads, all CC BY 4.0; simulated structures",
            "recipe": RECIPE.command,
        },
        "accuracy": dict(accuracy),
        "golden": dict(golden),
        "files": {role: {"path": name, "sha256": sha256_of(out / name)} for role, name in files.items()},
    }


@dataclass(frozen=True)
class SetFigures:
    """What ``usviewer evaluate`` found on one data set."""

    name: str
    scores: Mapping[str, Mapping[str, Any]]

    def cell(self, key: str) -> str:
        """A figure with its interval."""
        score = self.scores[key]
        low, high = score["interval_95"] or (float("nan"), float("nan"))
        return f"{score['value']:.3f} ({low:.3f} to {high:.3f})"

    def row(self) -> str:
        """A row of the card's table."""
        cells = [self.cell(f"dice_{way}") for way in ("box", "clicks_1", "clicks_3")]
        sure = f"{self.scores['score_error_box']['value']:.2f} / {self.scores['score_error_clicks_1']['value']:.2f}"
        return "| " + " | ".join([self.name, str(self.scores["dice_box"]["count"]), *cells, sure]) + " |"


def read_evaluations(folder: Path) -> list[SetFigures]:
    """The evaluations kept in a folder, by name."""
    files = sorted(folder.glob("*/summary.json"))
    documents = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return [SetFigures(file.parent.name, found["scores"]) for file, found in zip(files, documents, strict=True)]


def accuracy_of(judged: Sequence[SetFigures], edge_sd_px: float | None) -> dict[str, object]:
    """The manifest's figures."""
    table: dict[str, object] = {"edge_sd_input_px": round(edge_sd_px, 2)} if edge_sd_px else {}
    for one in judged:
        for way in ("box", "clicks_1", "clicks_3"):
            table[f"{one.name.replace('-', '_')}_dice_{way}"] = round(one.scores[f"dice_{way}"]["value"], 3)
    return table


@torch.no_grad()
def worst_tiles(model: nn.Module, pictures: Sequence[HeldOutPicture], count: int = 6) -> list[Gray]:
    """The structures that one click outlines worst, one a picture: truth and answer."""
    tiles: list[tuple[float, Gray]] = []
    for held_out in pictures:
        image, truth = held_out.asked()
        if not truth:
            continue
        prompts = Prompts.none(len(truth))
        for index, mask in enumerate(truth):
            correct(None, prompts, index, mask, np.zeros_like(mask))
        embedding = model(torch.from_numpy(image[None, None]))
        answers = masks_of(model.get_submodule("decoder"), embedding, prompts)
        dices = dice_of(truth, answers)
        at = int(np.argmin(dices))
        outlines = [(enlarged(mask), colour) for mask, colour in ((truth[at], TRUTH), (answers[at], FOUND))]
        tiles.append((dices[at], tile(image, f"one click: Dice {dices[at]:.2f}", outlines)))
    return [picture for _, picture in sorted(tiles, key=lambda one: one[0])[:count]]


def enlarged(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask of the logits' size at the picture's."""
    return np.asarray(cv2.resize(mask.astype(np.uint8), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_NEAREST) > 0)


def card(model: nn.Module, options: RunOptions, judged: Sequence[SetFigures], edge_sd_px: float | None) -> str:
    """The model card, in Markdown."""
    if not judged:
        return "# Point at it\n\nA trial run without figures.\n"
    return fill_card(
        "prompt",
        version=VERSION,
        command=RECIPE.command,
        encoder_m=parameter_count(model.get_submodule("encoder")) / 1e6,
        decoder_m=parameter_count(model.get_submodule("decoder")) / 1e6,
        size_mb=sum((options.out / name).stat().st_size for name in (ENCODER, DECODER)) / 1e6,
        encoder_sha256=sha256_of(options.out / ENCODER),
        decoder_sha256=sha256_of(options.out / DECODER),
        figures="\n".join(one.row() for one in judged),
        edge_sd_px=f"{edge_sd_px:.1f}" if edge_sd_px else "not measured",
        scenes=options.scenes,
        steps=options.steps,
        batch=options.batch,
        prompts=PROMPTS,
        golden_seed=GOLDEN_SEED,
    )


RECIPE = Recipe(
    id="prompt",
    about="Outlines of whatever is pointed at, from real and simulated structures to models/prompt",
    version=VERSION,
    size_px=(SIDE_PX, SIDE_PX),
    training=TrainingSettings(
        steps=1900,
        batch=8,
        learning_rate=2e-3,
        weight_decay=2e-2,
        warm_up_steps=150,
        ema_decay=0.995,
        validate_every=400,
    ),
    networks={"prompt": PromptNetwork},
    data=split,
    examples=examples,
    loss=lambda state, options: PromptLoss(state, options.seed),
    score=score,
    summary=summary,
    write=write,
    scenes=5000,
)
