"""Where a click lands, and where a cell comes back: half a pixel is half a pixel."""

from __future__ import annotations

import numpy as np
import pytest

from usviewer.infer.decode import resampler
from usviewer.infer.manifest import InputSpec, PromptSpec
from usviewer.infer.preprocess import place, prepare
from usviewer.infer.prompt import Prompt
from usviewer.infer.prompt.decoder_io import kept_parts, low_res_of, points_and_labels


def _input(pad: str, **changes: object) -> InputSpec:
    values = {"name": "image", "width_px": 1024, "height_px": 1024, "channels": 3, "pad": pad, **changes}
    return InputSpec(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("pad", ["centre", "corner"])
@pytest.mark.parametrize("size", [(1536, 796), (640, 481), (333, 500), (1024, 1024), (97, 31)])
@pytest.mark.parametrize("dynamic", [False, True])
def test_there_and_back_is_exact(pad: str, size: tuple[int, int], dynamic: bool) -> None:
    spec = _input(pad, **({"width_px": 0, "height_px": 0, "side_px": 512, "stride_px": 16} if dynamic else {}))
    placement = place(size, spec)
    points = np.array([(0.0, 0.0), size, (0.5, 0.5), (size[0] / 3, size[1] / 7)])
    np.testing.assert_allclose(placement.to_frame(placement.to_input(points)), points, atol=1e-9)
    corners = placement.to_input(points[:2])
    longest = max(corners[1] - corners[0])
    assert longest == (512 if dynamic else 1024)  # the longest side fills the input
    if pad == "corner":
        assert placement.pad_xy_px == (0, 0) and tuple(corners[0]) == (0, 0)


def test_the_picture_lies_where_the_placement_says_and_the_rest_is_padding() -> None:
    pixels = np.full((50, 100, 3), 200, np.uint8)
    spec = _input(
        "corner", width_px=64, height_px=64, dtype="uint8", value_range=(0.0, 255.0), pad_value=(124, 116, 104)
    )
    tensor, placement = prepare(pixels, spec)
    assert (tensor[0, :, :32] == 200).all()
    assert [int(plane[40, 10]) for plane in tensor[0]] == [124, 116, 104]
    assert placement.scale_xy == (0.64, 0.64)


def test_a_click_on_the_middle_of_a_pixel_is_a_whole_number_for_the_graph() -> None:
    placement = place((1024, 512), _input("corner"))
    coords, labels = points_and_labels(
        Prompt(((100.5, 20.5), (0.0, 0.0)), (True, False), (10.0, 20.0, 30.0, 40.0)), placement, PromptSpec()
    )
    np.testing.assert_allclose(coords[0], [(100, 20), (-0.5, -0.5), (9.5, 19.5), (29.5, 39.5)])
    np.testing.assert_array_equal(labels, [[1, 0, 2, 3]])
    assert coords.dtype == labels.dtype == np.float32


def test_without_a_box_a_point_that_is_none_is_added() -> None:
    placement = place((1024, 1024), _input("corner"))
    coords, labels = points_and_labels(Prompt(((5.5, 6.5),), (True,)), placement, PromptSpec())
    np.testing.assert_array_equal(coords, [[(5, 6), (0, 0)]])
    np.testing.assert_array_equal(labels, [[1, -1]])
    _, plain = points_and_labels(Prompt(((5.5, 6.5),), (True,)), placement, PromptSpec(pad_point=False))
    np.testing.assert_array_equal(plain, [[1]])


def test_a_decoder_of_one_prompt_gets_the_box_or_the_newest_positive_click() -> None:
    placement = place((1024, 1024), _input("corner"))
    one = PromptSpec(prompts="one")
    clicks = Prompt(((5.5, 6.5), (7.5, 8.5), (1.5, 1.5)), (True, True, False))
    coords, labels = points_and_labels(clicks, placement, one)
    np.testing.assert_array_equal(coords, [[(7, 8), (0, 0)]])
    boxed = Prompt(clicks.points_xy_px, clicks.positive, (1.0, 2.0, 3.0, 4.0))
    coords, labels = points_and_labels(boxed, placement, one)
    np.testing.assert_array_equal(labels, [[2, 3]])


@pytest.mark.parametrize("pad", ["centre", "corner"])
def test_a_mask_and_its_logits_agree_in_place(pad: str) -> None:
    """A half plane whose edge lies at x = 123 comes back with its edge there: within a tenth of a cell."""
    placement = place((400, 300), _input(pad, width_px=256, height_px=256))
    mask = np.zeros((300, 400), np.bool_)
    mask[:, 123:] = True
    logits = low_res_of(mask, placement, (64, 64)).logits
    grid = resampler(placement, (64, 64))
    window = (60, 140, 220, 160)
    inside = grid.exceeds(logits[grid.cells(window)].astype(np.float64), window, 0.0)
    edges = 60 + inside.argmax(axis=1)
    cell_px = 4 / placement.scale_xy[0]
    assert abs(float(edges.mean()) - 123) <= 0.1 * cell_px + 0.5


def test_parts_that_were_clicked_stay_else_the_largest() -> None:
    mask = np.zeros((40, 60), np.bool_)
    mask[5:15, 5:15] = mask[5:35, 30:50] = mask[36:38, 2:4] = True
    both, _ = kept_parts(mask, (100, 200), Prompt(((105.5, 205.5), (140.0, 210.0)), (True, True)))
    assert both.sum() == 100 + 600
    small, origin = kept_parts(mask, (100, 200), Prompt(((105.0, 205.0),), (True,)))
    assert small.shape == (10, 10) and origin == (105, 205)
    large, origin = kept_parts(mask, (100, 200), Prompt(box_xyxy_px=(100.0, 200.0, 160.0, 240.0)))
    assert large.sum() == 600 and origin == (130, 205)
