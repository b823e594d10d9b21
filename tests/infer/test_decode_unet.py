"""U-Net decoding: against a plain reference (upsample everything, threshold, label), and on known shapes."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.pictures import SpecFactory, disc_picture
from usviewer.errors import UserError
from usviewer.frame import make_frame
from usviewer.infer.decode import decode, resampler, roundness
from usviewer.infer.manifest import InputSpec, Label, ModelFile, ModelSpec, OutputSpec
from usviewer.infer.prediction import Edge, full_mask
from usviewer.infer.predictor import Predictor
from usviewer.infer.preprocess import Placement, place


def a_spec(tmp: str = "x", labels: int = 1, **output: object) -> ModelSpec:
    from pathlib import Path

    names = tuple(Label(f"label {i}", "#56b4e9", Edge.INNER) for i in range(labels))
    return ModelSpec(
        "test", "test", "1", "segment", "other", "unet", "none", Path(tmp), {"model": ModelFile(Path(tmp), "0" * 64)},
        InputSpec("image", 64, 64, 1), OutputSpec("map", **output), names,  # type: ignore[arg-type]
    )  # fmt: skip


def reference(probability: np.ndarray, placement: Placement, threshold: float) -> list[tuple[np.ndarray, float]]:
    """Every part of the whole upsampled frame, with its mean probability."""
    x0, y0, x1, y1 = placement.crop_xyxy_px
    sampler = resampler(placement, probability.shape[::-1])
    window = (x0, y0, x1, y1)
    values = sampler.window(probability[sampler.cells(window)].astype(np.float64), window)
    count, parts = cv2.connectedComponents((values > threshold).astype(np.uint8), connectivity=8)
    return [(parts == number, float(values[parts == number].mean())) for number in range(1, count)]


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(12, 200), st.integers(12, 200)),
    smooth=st.sampled_from([1, 3, 9]),
    threshold=st.sampled_from([0.3, 0.5, 0.6]),
    seed=st.integers(0, 10_000),
)
def test_upsampling_around_blobs_equals_upsampling_everything(
    size: tuple[int, int], smooth: int, threshold: float, seed: int
) -> None:
    """Enlarged and shrunk, many blobs and few: frames from a fifth of the input's size to three times it."""
    noise = np.random.default_rng(seed).normal(size=(64, 64)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (smooth, smooth), 0)
    probability = 1 / (1 + np.exp(-3 * noise / noise.std())).astype(np.float32)
    placement = place(size, InputSpec("image", 64, 64, 1))
    spec = a_spec(mask_threshold=threshold, min_score=0.0, min_area_px=0.0, max_instances=300)
    found = decode((probability[None, None],), placement, spec)
    wanted = reference(probability, placement, threshold)
    assert len(found) == min(len(wanted), 300)
    if len(wanted) <= 300:
        masks = {full_mask(instance, size).tobytes(): instance.score for instance in found}
        assert masks.keys() == {mask.tobytes() for mask, _ in wanted}
        for mask, score in wanted:
            assert masks[mask.tobytes()] == pytest.approx(score)


CASES = [
    # input (height, width), channels, classes, activation of the graph, of the manifest, dtype, layout, frame
    ((96, 128), 1, 1, "none", "sigmoid", "float32", "NCHW", (320, 240)),
    ((96, 128), 3, 1, "sigmoid", "none", "uint8", "NCHW", (320, 240)),
    ((128, 96), 1, 2, "none", "softmax", "uint8", "NCHW", (251, 333)),
    ((96, 128), 3, 3, "softmax", "none", "float32", "NHWC", (320, 240)),
    ((128, 128), 1, 1, "none", "sigmoid", "float32", "NHWC", (640, 432)),
    ((432, 640), 1, 1, "none", "sigmoid", "uint8", "NCHW", (640, 432)),
    ((None, None), 1, 1, "none", "sigmoid", "float32", "NCHW", (301, 223)),
    ((100, 150), 1, 1, "none", "sigmoid", "float32", "NCHW", (90, 61)),  # no multiple of 32, enlarged
]


@pytest.mark.parametrize(("size", "channels", "classes", "inside", "outside", "dtype", "layout", "frame"), CASES)
def test_a_dark_disc_is_found_where_it_is(  # type: ignore[no-untyped-def]
    unet: SpecFactory, size, channels, classes, inside, outside, dtype, layout, frame
) -> None:
    background = inside == "softmax" or outside == "softmax"
    graph = {"height": size[0], "width": size[1], "channels": channels, "classes": classes, "activation": inside,
             "dtype": dtype, "layout": layout, "blob": True}  # fmt: skip
    spec = unet(
        graph, height=size[0] or 0, width=size[1] or 0, side=192, channels=channels, dtype=dtype, layout=layout,
        channel_order="gray" if channels == 1 else "rgb", value_range=[0, 255] if dtype == "uint8" else [0, 1],
        activation=outside, background=background,
        labels=[{"name": f"disc {i}", "color": "#56b4e9", "edge": "outer"} for i in range(classes - background)],
    )  # fmt: skip
    centre, radius = (frame[0] * 0.4 + 0.3, frame[1] * 0.55), min(frame) * 0.22
    prediction = Predictor(spec, "cpu", threads=1).predict(make_frame(disc_picture(*frame, centre, radius), "test", 0))
    by_label = {instance.label: instance for instance in prediction.instances}
    disc = by_label["disc 1" if inside == "softmax" else "disc 0"]
    mask = full_mask(disc, frame)
    y, x = np.mgrid[0 : frame[1], 0 : frame[0]] + 0.5
    true = np.hypot(x - centre[0], y - centre[1]) < radius
    assert 2 * (mask & true).sum() / (mask.sum() + true.sum()) > 0.94
    assert (x[mask].mean(), y[mask].mean()) == pytest.approx(centre, abs=0.35)
    assert disc.edge == Edge.OUTER
    x0, y0, x1, y1 = disc.box_xyxy_px
    assert (x0, y0, x1, y1) == (x[mask].min() - 0.5, y[mask].min() - 0.5, x[mask].max() + 0.5, y[mask].max() + 0.5)


def blobs(*discs: tuple[float, float, float, float], size: int = 64) -> np.ndarray:
    """Logits with discs of (x, y, radius, height)."""
    y, x = np.mgrid[0:size, 0:size] + 0.5
    logits = np.full((size, size), -9.0)
    for cx, cy, radius, height in discs:
        logits = np.maximum(logits, np.where(np.hypot(x - cx, y - cy) < radius, height, -9.0))
    return logits.astype(np.float32)[None, None]


SQUARE = place((256, 256), InputSpec("image", 64, 64, 1))


def test_a_small_sure_vessel_beats_a_large_unsure_one() -> None:
    spec = a_spec(activation="sigmoid", min_score=0.5, max_instances=1)
    (found,) = decode((blobs((20, 20, 15, 0.5), (52, 52, 6, 4.0)),), SQUARE, spec)
    assert found.box_xyxy_px[0] > 150


def test_a_round_one_beats_a_ragged_one_of_the_same_score() -> None:
    logits = blobs((14, 50, 8, 3.0))
    logits[0, 0, 4:30:4, 30:60] = 3.0
    logits[0, 0, 4:30, 30:33] = 3.0  # a comb
    found = decode((logits,), SQUARE, a_spec(activation="sigmoid", max_instances=5))
    assert found[0].box_xyxy_px[0] < 60 and len(found) == 2


def test_specks_and_unsure_blobs_are_no_instances() -> None:
    spec = a_spec(activation="sigmoid", min_score=0.8, max_instances=9)
    assert decode((blobs((10, 10, 1.2, 9.0), (40, 40, 9, 0.6)),), SQUARE, spec) == ()
    assert decode((blobs(),), SQUARE, spec) == ()


def test_instances_are_counted_per_label() -> None:
    maps = np.concatenate((blobs((12, 12, 8, 3.0), (45, 12, 8, 5.0)), blobs((45, 45, 8, 4.0))), axis=1)
    found = decode((maps,), SQUARE, a_spec(labels=2, activation="sigmoid", max_instances=1))
    assert sorted(instance.class_index for instance in found) == [0, 1]
    assert next(i for i in found if i.class_index == 0).box_xyxy_px[0] > 100


def test_padding_is_never_part_of_a_mask() -> None:
    placement = place((256, 128), InputSpec("image", 64, 64, 1))
    logits = np.full((1, 1, 64, 64), 5, np.float32)
    logits[:, :, 16:48] = -5
    assert decode((logits,), placement, a_spec(activation="sigmoid")) == ()


def test_a_sector_crop_puts_the_mask_back_in_the_frame() -> None:
    spec = InputSpec("image", 64, 64, 1, crop="sector")
    placement = place((800, 600), spec, (300, 100, 556, 356))
    (found,) = decode((blobs((32, 16, 8, 5.0)),), placement, a_spec(activation="sigmoid"))
    x0, y0, x1, y1 = found.box_xyxy_px
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == (300 + 128, 100 + 64)


def test_an_output_at_half_resolution_is_placed_exactly() -> None:
    (found,) = decode((blobs((16, 8, 4, 5.0), size=32),), SQUARE, a_spec(activation="sigmoid"))
    x0, y0, x1, y1 = found.box_xyxy_px
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == (128, 64)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("activation", ["none", "sigmoid"])
def test_values_that_are_not_numbers_are_refused(value: float, activation: str) -> None:
    logits = np.zeros((1, 1, 64, 64), np.float32)
    logits[0, 0, 5, 5] = value
    with pytest.raises(UserError, match="not numbers"):
        decode((logits,), SQUARE, a_spec(activation=activation))


def test_logits_declared_as_probabilities_are_refused() -> None:
    with pytest.raises(UserError, match=r"probabilities from -9 to 4.*activation"):
        decode((blobs((32, 32, 9, 4.0)),), SQUARE, a_spec(activation="none"))


@pytest.mark.parametrize("shape", [(1, 2, 64, 64), (1, 64, 64), (2, 1, 64, 64), (64, 64)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    spec = replace(a_spec(activation="sigmoid", min_score=0.9))
    if shape == (1, 64, 64):
        assert decode((np.zeros(shape, np.float32),), SQUARE, spec) == ()  # no batch axis: harmless
        return
    with pytest.raises(UserError, match="shape"):
        decode((np.zeros(shape, np.float32),), SQUARE, spec)


def test_roundness_of_known_shapes() -> None:
    y, x = np.mgrid[0:200, 0:200] + 0.5
    assert roundness(np.hypot(x - 100, y - 100) < 60) == pytest.approx(1, abs=0.005)
    assert roundness(np.hypot((x - 100) / 3, y - 100) < 25) == pytest.approx(1, abs=0.005)
    assert roundness(np.ones((50, 90), np.bool_)) == pytest.approx(3 / np.pi, abs=1e-3)
    ring = np.hypot(x - 100, y - 100)
    assert roundness((ring < 60) & (ring > 40)) < 0.5
    assert roundness(np.zeros((5, 5), np.bool_)) == 0
