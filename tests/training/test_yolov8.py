"""The architecture as published, and the loss that trains ours."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models.training.losses import DetectionLoss, assign, ciou  # noqa: E402
from models.training.networks.yolov8 import BINS, YoloV8, anchor_points, boxes_xywh  # noqa: E402

pytestmark = pytest.mark.train


@pytest.mark.parametrize(("masks", "published"), [(0, 3_157_200), (32, 3_409_968)])
def test_nano_models_have_the_published_number_of_parameters(masks: int, published: int) -> None:
    assert sum(p.numel() for p in YoloV8(80, masks).parameters()) == published


def test_output_layout_of_the_segmenter() -> None:
    with torch.no_grad():
        table, prototypes = YoloV8(80, 32).eval()(torch.rand(2, 3, 64, 96))
    anchors = sum((64 // s) * (96 // s) for s in (8, 16, 32))
    assert table.shape == (2, 4 + 80 + 32, anchors)
    assert prototypes.shape == (2, 32, 16, 24)
    assert 0 <= float(table[:, 4:84].min()) <= float(table[:, 4:84].max()) <= 1


def test_bytes_and_scaled_floats_give_the_same() -> None:
    torch.manual_seed(0)
    model = YoloV8(3, inputs=1, channels=(8, 8, 16, 16, 16), repeats=(1, 1, 1, 1)).eval()
    image = torch.randint(0, 256, (1, 1, 64, 64), dtype=torch.uint8)
    torch.testing.assert_close(model(image), model(image.float() / 255))


def test_distances_become_boxes_in_input_pixels() -> None:
    points, strides = anchor_points((64, 96))
    sides = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1).expand(1, 4, points.shape[1])
    first = boxes_xywh(sides, points, strides)[0, :, 0]
    # Anchor (4, 4) of stride 8: x from 4 - 8 to 4 + 24, y from 4 - 16 to 4 + 32.
    assert first.tolist() == [12.0, 12.0, 32.0, 48.0]


def test_ciou_of_equal_and_of_distant_boxes() -> None:
    box = torch.tensor([[10.0, 10.0, 30.0, 20.0]])
    assert float(ciou(box, box)) == pytest.approx(1.0, abs=1e-4)
    assert float(ciou(box, box + 40)) < 0
    wider = torch.tensor([[5.0, 10.0, 35.0, 20.0]])  # same centre: IoU 2/3, less what the other shape costs
    angle = (np.arctan(3.0) - np.arctan(2.0)) ** 2 * 4 / np.pi**2
    expected = 2 / 3 - angle**2 / (1 / 3 + angle)
    assert float(ciou(box, wider)) == pytest.approx(expected, abs=1e-4)


def test_only_anchors_inside_an_object_answer_for_it() -> None:
    points, _ = anchor_points((64, 64))
    truth = torch.tensor([[[1.0, 8.0, 8.0, 40.0, 40.0], [-1.0, -1.0, -1.0, -1.0, -1.0]]])
    boxes = torch.tensor([8.0, 8.0, 40.0, 40.0]).expand(1, points.shape[1], 4)
    given = assign(torch.full((1, points.shape[1], 3), 0.1), boxes, points.T, truth)
    inside = ((points > 8) & (points < 40)).all(dim=0)
    assert given.positive.sum() == 10
    assert not (given.positive[0] & ~inside).any()
    assert float(given.scores[0, given.positive[0], 1].max()) == pytest.approx(1.0, abs=1e-4)
    assert float(given.scores[..., [0, 2]].sum()) == 0


def test_loss_is_low_for_the_right_answer_and_high_for_a_shifted_one() -> None:
    size, truth = (64, 64), torch.tensor([[[0.0, 16.0, 16.0, 48.0, 40.0]]])
    points, strides = anchor_points(size)
    box = truth[0, 0, 1:]
    sides = torch.cat([points - box[:2, None], box[2:, None] - points]) / strides
    inside = (sides > 0).all(dim=0)

    def loss(offset: float) -> float:
        raw = torch.full((1, 4 * BINS + 1, points.shape[1]), -12.0)
        for side in range(4):
            at = (sides[side] + offset).clamp(0, BINS - 1.01)
            for anchor in range(points.shape[1]):
                low, share = int(at[anchor]), float(at[anchor] % 1)
                raw[0, side * BINS + low, anchor] = np.log(max(1 - share, 1e-4))
                raw[0, side * BINS + low + 1, anchor] = np.log(max(share, 1e-4))
        raw[0, -1, inside] = 8.0
        return float(DetectionLoss(size)(raw, truth))

    assert loss(0.0) < 0.5 * loss(0.6)
    assert np.isfinite(float(DetectionLoss(size)(torch.zeros(1, 65, points.shape[1]), torch.full((1, 2, 5), -1.0))))
