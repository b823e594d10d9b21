"""YOLOv8 decoding against an independent reference: loops, float64, the whole frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.pictures import SpecFactory, cloudy
from usviewer.errors import UserError
from usviewer.infer.decode import decode, suppress
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.prediction import full_mask
from usviewer.infer.preprocess import prepare
from usviewer.infer.session import Outputs, open_session

Found = tuple[int, float, np.ndarray, np.ndarray | None]


def reference(
    outputs: Outputs, frame_size: tuple[int, int], input_size: tuple[int, int], spec: ModelSpec
) -> list[Found]:
    """Class, score, box and whole-frame mask of everything kept, written from the published rules."""
    table = outputs[0][0].astype(np.float64)
    classes = len(spec.labels)
    ratio = min(input_size[0] / frame_size[0], input_size[1] / frame_size[1])
    inner = [max(1, round(side * ratio)) for side in frame_size]
    pad = [round((whole - part) / 2 - 0.1) for whole, part in zip(input_size, inner, strict=True)]
    rows = []
    for column in range(table.shape[1]):
        scores = table[4 : 4 + classes, column]
        if scores.max() > spec.output.min_score:
            x, y, w, h = table[:4, column]
            rows.append(
                (float(scores.max()), int(scores.argmax()), (x - w / 2, y - h / 2, x + w / 2, y + h / 2), column)
            )
    rows.sort(key=lambda row: -row[0])
    kept: list[tuple[float, int, tuple[float, ...], int]] = []
    for row in rows:
        if all(other[1] != row[1] or iou(other[2], row[2]) <= spec.output.iou_threshold for other in kept):
            kept.append(row)
    result: list[Found] = []
    for score, label, box, column in kept[: spec.output.max_instances]:
        placed = np.array([(b - pad[i % 2]) * frame_size[i % 2] / inner[i % 2] for i, b in enumerate(box)])
        placed = np.clip(placed, 0, [*frame_size, *frame_size])
        mask = None
        if len(outputs) > 1:
            logits = np.tensordot(table[4 + classes :, column], outputs[1][0].astype(np.float64), axes=1)
            mask = upsampled(logits, frame_size, input_size, inner, pad) > 0
            columns, lines = np.meshgrid(np.arange(frame_size[0]), np.arange(frame_size[1]))
            mask &= (columns >= placed[0]) & (columns < placed[2]) & (lines >= placed[1]) & (lines < placed[3])
            if not mask.any():
                continue
        result.append((label, score, placed, mask))
    return result


def upsampled(logits, frame_size, input_size, inner, pad) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Bilinear, half-pixel centres, every pixel of the frame by its four neighbours among the cells of the picture."""
    positions, limits = [], []
    for axis in (0, 1):
        cells = logits.shape[1 - axis]
        size = input_size[axis] / cells
        first = next(c for c in range(cells) if (c + 0.5) * size >= pad[axis] - 1e-6)
        last = max(c for c in range(cells) if (c + 0.5) * size <= pad[axis] + inner[axis] + 1e-6)
        centres = (np.arange(frame_size[axis]) + 0.5) * inner[axis] / frame_size[axis] + pad[axis]
        positions.append(np.clip(centres / size - 0.5, first, last))
        limits.append(last)
    x, y = np.meshgrid(*positions)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    x1, y1 = np.minimum(x0 + 1, limits[0]), np.minimum(y0 + 1, limits[1])
    u, v = x - x0, y - y0
    return (
        logits[y0, x0] * (1 - u) * (1 - v) + logits[y0, x1] * u * (1 - v)
        + logits[y1, x0] * (1 - u) * v + logits[y1, x1] * u * v
    )  # fmt: skip


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def with_some_objects(spec: ModelSpec, outputs: Outputs, count: int = 60) -> ModelSpec:
    """The gate set so that this many boxes of a random network pass."""
    best = np.sort(outputs[0][0, 4 : 4 + len(spec.labels)].max(axis=0))
    gate = float(best[-count - 1] + best[-count]) / 2
    return replace(spec, output=replace(spec.output, min_score=gate, iou_threshold=0.5, max_instances=6))


CASES = [
    # segment, input (height, width), dynamic, classes, frame (width, height)
    (True, (640, 640), False, 1, (960, 540)),
    (True, (640, 640), False, 3, (479, 641)),  # portrait, odd
    (True, (640, 640), False, 1, (233, 219)),  # enlarged, padding that is no multiple of a cell
    (True, (384, 640), False, 1, (1280, 720)),
    (True, (384, 640), False, 3, (640, 432)),
    (True, (640, 640), True, 1, (640, 432)),  # dynamic: runs at 448 x 640
    (False, (640, 640), False, 1, (800, 600)),
    (False, (384, 640), False, 3, (1023, 767)),
    (False, (640, 640), True, 3, (320, 640)),
]


@pytest.mark.parametrize(("segment", "size", "dynamic", "classes", "frame"), CASES)
def test_instances_equal_the_reference_pixel_for_pixel(
    yolo: SpecFactory, segment: bool, size: tuple[int, int], dynamic: bool, classes: int, frame: tuple[int, int]
) -> None:
    spec = yolo(segment=segment, height=size[0], width=size[1], dynamic=dynamic, classes=classes)
    tensor, placement = prepare(cloudy(*frame), spec.input)
    outputs = open_session(spec, "cpu", threads=1).run(tensor)
    spec = with_some_objects(spec, outputs)
    found = decode(outputs, placement, spec)
    wanted = reference(outputs, frame, placement.input_size_px, spec)
    assert len(found) == len(wanted) >= 2
    for instance, (label, score, box, mask) in zip(found, wanted, strict=True):
        assert (instance.class_index, instance.label) == (label, spec.labels[label].name)
        assert instance.score == pytest.approx(score)
        np.testing.assert_allclose(instance.box_xyxy_px, box, atol=1e-9)
        if mask is None:
            assert instance.mask is None
        else:
            np.testing.assert_array_equal(full_mask(instance, frame), mask)
    if segment:
        sizes = [instance.area_px for instance in found]
        assert max(sizes) > 500 and any(i.mask is not None and not i.mask.all() for i in found)


@pytest.mark.parametrize("frame", [(1280, 720), (640, 480), (480, 640)])
def test_masks_equal_torch_where_padding_is_whole_cells(yolo: SpecFactory, frame: tuple[int, int]) -> None:
    """The published native mask: logits without their padding, interpolated to the frame, above 0, in the box."""
    torch = pytest.importorskip("torch")
    spec = yolo(classes=1)
    tensor, placement = prepare(cloudy(*frame), spec.input)
    outputs = open_session(spec, "cpu", threads=1).run(tensor)
    spec = with_some_objects(spec, outputs)
    left, top = (pad // 4 for pad in placement.pad_xy_px)
    for instance in decode(outputs, placement, spec):
        column = int(np.argmin(np.abs(outputs[0][0, 4] - instance.score)))
        logits = np.tensordot(outputs[0][0, 5:, column].astype(np.float64), outputs[1][0].astype(np.float64), axes=1)
        inside = logits[top : 160 - top, left : 160 - left]
        whole = torch.nn.functional.interpolate(
            torch.from_numpy(inside.copy())[None, None], frame[::-1], mode="bilinear", align_corners=False
        )[0, 0].numpy()
        x0, y0, x1, y1 = instance.box_xyxy_px
        columns, rows = np.arange(frame[0]), np.arange(frame[1])[:, None]
        wanted = (whole > 0) & (columns >= x0) & (columns < x1) & (rows >= y0) & (rows < y1)
        different = np.count_nonzero(full_mask(instance, frame) != wanted)
        assert different == 0


def crafted(spec: ModelSpec, boxes: list[tuple[float, ...]], side: int = 640) -> Outputs:
    """Outputs with exactly these boxes (centre x, y, width, height, score, class); prototype 0 is 1 everywhere."""
    table = np.zeros((1, 4 + len(spec.labels) + 32, len(boxes) + 5), np.float32)
    prototypes = np.zeros((1, 32, side // 4, side // 4), np.float32)
    prototypes[:, 0] = 1
    for column, (x, y, w, h, score, label) in enumerate(boxes):
        table[0, :4, column] = x, y, w, h
        table[0, 4 + int(label), column] = score
        table[0, 4 + len(spec.labels), column] = 1
    return table, prototypes


def run(spec: ModelSpec, outputs: Outputs, frame: tuple[int, int] = (640, 640)):  # type: ignore[no-untyped-def]
    _, placement = prepare(np.zeros((frame[1], frame[0], 3), np.uint8), spec.input)
    return decode(outputs, placement, spec)


def test_the_box_cuts_the_mask_by_the_published_rule(yolo: SpecFactory) -> None:
    (found,) = run(yolo(), crafted(yolo(), [(20.25, 20, 20.5, 19, 0.9, 0)]))
    assert found.box_xyxy_px == (10.0, 10.5, 30.5, 29.5)
    # Column x stays when 10 <= x < 30.5, row y when 10.5 <= y < 29.5.
    assert found.mask_origin_px == (10, 11) and found.mask.shape == (19, 21) and found.mask.all()


def test_boxes_at_the_border_are_cut_there(yolo: SpecFactory) -> None:
    (found,) = run(yolo(), crafted(yolo(), [(0, 320, 100, 2000, 0.9, 0)]), (1280, 720))
    assert found.box_xyxy_px == (0, 0, 100, 720)
    assert found.mask.shape == (720, 100)
    assert not found.mask.flags.writeable


@pytest.mark.parametrize("box", [(320, 10, 50, 50, 0.9, 0), (320, 320, 0, 0, 0.9, 0), (900, 900, 10, 10, 0.9, 0)])
def test_a_box_without_a_pixel_of_the_picture_is_nothing(yolo: SpecFactory, box: tuple[float, ...]) -> None:
    assert run(yolo(), crafted(yolo(), [box]), (1280, 320)) == ()


def test_suppression_is_per_class_unless_agnostic(yolo: SpecFactory) -> None:
    spec = yolo(classes=3)
    boxes = [
        (100, 100, 50, 50, 0.6, 0),
        (101, 100, 50, 50, 0.8, 1),
        (100, 101, 50, 50, 0.7, 0),
        (400, 400, 9, 9, 0.3, 2),
    ]
    found = run(spec, crafted(spec, boxes))
    assert [(i.class_index, round(i.score, 2)) for i in found] == [(1, 0.8), (0, 0.7), (2, 0.3)]
    agnostic = replace(spec, output=replace(spec.output, agnostic=True))
    assert [i.class_index for i in run(agnostic, crafted(spec, boxes))] == [1, 2]
    one = replace(spec, output=replace(spec.output, max_instances=1))
    assert len(run(one, crafted(spec, boxes))) == 1


def test_suppression_equals_the_pairwise_rule() -> None:
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 100, (300, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(0, 40, (300, 2))), axis=1)
    classes = rng.integers(0, 3, 300)
    kept: list[int] = []
    for i in range(300):
        if all(classes[i] != classes[k] or iou(tuple(boxes[i]), tuple(boxes[k])) <= 0.4 for k in kept):
            kept.append(i)
    assert suppress(boxes, classes, 0.4, 300) == kept
    assert suppress(boxes, classes, 0.4, 7) == kept[:7]
    assert suppress(np.empty((0, 4)), np.empty(0, np.intp), 0.5, 9) == []


def test_the_gate_is_strict(yolo: SpecFactory) -> None:
    assert run(yolo(), crafted(yolo(), [(100, 100, 50, 50, 0.25, 0)])) == ()
    assert len(run(yolo(), crafted(yolo(), [(100, 100, 50, 50, 0.2500001, 0)]))) == 1


def _nan_score(table: np.ndarray, prototypes: np.ndarray) -> None:
    table[0, 4, 3] = np.nan


def _infinite_box(table: np.ndarray, prototypes: np.ndarray) -> None:
    table[0, 2, 0] = np.inf


def _nan_prototype(table: np.ndarray, prototypes: np.ndarray) -> None:
    prototypes[:] = np.nan


def _nan_box_that_nobody_asks_for(table: np.ndarray, prototypes: np.ndarray) -> None:
    table[0, 4, :] = 0.0  # nothing is found: that must not look like "not visualised"
    table[0, 1, 3] = np.nan


def _infinite_prototype_where_nothing_is_found(table: np.ndarray, prototypes: np.ndarray) -> None:
    table[0, 4, :] = 0.0
    prototypes[0, -1, 0, 0] = -np.inf


def _logits(table: np.ndarray, prototypes: np.ndarray) -> None:
    table[0, 4, 0] = 3.5


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (_nan_score, "not numbers"),
        (_infinite_box, "not numbers"),
        (_nan_prototype, "not numbers"),
        (_nan_box_that_nobody_asks_for, "not numbers"),
        (_infinite_prototype_where_nothing_is_found, "not numbers"),
        (_logits, "probab"),
    ],
)
def test_bad_values_are_refused(yolo: SpecFactory, harm: Callable[..., None], says: str) -> None:
    outputs = crafted(yolo(), [(320, 320, 50, 50, 0.9, 0)])
    harm(*outputs)
    with pytest.raises(UserError, match=says):
        run(yolo(), outputs)


def test_one_vessel_among_all_candidates_is_found_whole(yolo: SpecFactory) -> None:
    spec = yolo()
    outputs = list(crafted(spec, [(0, 0, 1, 1, 0.0, 0)] * 8395))
    outputs[0][0, :5, 4000] = (320, 300, 45, 27, 0.9)
    outputs[0][0, 5, 4000] = 1
    _, placement = prepare(np.zeros((1080, 1920, 3), np.uint8), spec.input)
    (instance,) = decode(tuple(outputs), placement, spec)
    assert instance.area_px == 135 * 81


def test_another_shape_is_refused(yolo: SpecFactory) -> None:
    outputs = crafted(yolo(classes=3), [(320, 320, 50, 50, 0.9, 0)])
    with pytest.raises(UserError, match=r"shape \[1, 39, 6\]"):
        run(yolo(), outputs)
