"""Metrics: known answers by hand, properties by hypothesis, the bootstrap against its theory."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from usviewer.evaluate.average_precision import BoxSample, average_precision
from usviewer.evaluate.datasets.dataset import LabelledBox
from usviewer.evaluate.statistics import (
    Estimate,
    agreement,
    bootstrap,
    hausdorff,
    mean,
    mean_absolute,
    overlap,
    proportion,
    resampled,
)

MASKS = arrays(np.bool_, (6, 7))


def disc(radius: float, center: tuple[float, float] = (50.0, 50.0), size: int = 100) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] + 0.5
    return np.hypot(columns - center[0], rows - center[1]) <= radius


def test_overlap_counts_pixels() -> None:
    truth, predicted = np.zeros((4, 5), bool), np.zeros((4, 5), bool)
    truth[0, :4] = True
    predicted[0, 2:5] = True
    found = overlap(truth, predicted)
    assert found.dice == pytest.approx(4 / 7)
    assert found.iou == pytest.approx(2 / 5)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(2 / 4)


def test_overlap_of_nothing() -> None:
    empty, full = np.zeros((3, 3), bool), np.ones((3, 3), bool)
    assert overlap(empty, empty).dice == 1 and overlap(empty, empty).precision is None
    assert (
        overlap(full, empty).dice == 0 and overlap(full, empty).precision is None and overlap(full, empty).recall == 0
    )
    assert overlap(empty, full).precision == 0 and overlap(empty, full).recall is None


def test_overlap_refuses_different_shapes() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        overlap(np.zeros((3, 3), bool), np.zeros((3, 4), bool))


@settings(max_examples=60, deadline=None)
@given(MASKS, MASKS)
def test_overlap_is_bounded_and_consistent(truth: np.ndarray, predicted: np.ndarray) -> None:
    found = overlap(truth, predicted)
    assert 0 <= found.iou <= found.dice <= 1
    assert found.dice == pytest.approx(2 * found.iou / (1 + found.iou))
    if found.precision and found.recall:
        assert found.dice == pytest.approx(2 * found.precision * found.recall / (found.precision + found.recall))
    assert overlap(predicted, truth).dice == found.dice


def test_hausdorff_of_shifted_squares_is_the_shift() -> None:
    truth, predicted = np.zeros((60, 60), bool), np.zeros((60, 60), bool)
    truth[10:30, 10:30] = True
    predicted[10:30, 17:37] = True
    assert hausdorff(truth, predicted, 100) == 7
    assert hausdorff(truth, predicted, 100, (0.5, 9.0)) == 3.5


def test_hausdorff_of_concentric_discs_is_the_difference_of_radii() -> None:
    assert hausdorff(disc(30), disc(40)) == pytest.approx(10, abs=0.8)


def test_hd95_forgives_a_spike_and_the_maximum_does_not() -> None:
    spiked = disc(30)
    spiked[50, 80:95] = True
    assert hausdorff(disc(30), spiked, 100) == pytest.approx(15, abs=1)
    hd95 = hausdorff(disc(30), spiked)
    assert hd95 is not None and hd95 < 15


def test_hausdorff_agrees_with_the_distance_transform() -> None:
    first, second = disc(23, (40, 48)), disc(31, (55, 50))
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
    edges = [(m.astype(np.uint8) - cv2.erode(m.astype(np.uint8), cross)) > 0 for m in (first, second)]
    fields = [cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for edge in edges]
    expected = max(np.percentile(fields[1][edges[0]], 95), np.percentile(fields[0][edges[1]], 95))
    assert hausdorff(first, second) == pytest.approx(expected, abs=1e-4)


def test_hausdorff_counts_the_picture_border_as_outline_and_needs_two_masks() -> None:
    assert hausdorff(np.ones((5, 5), bool), np.ones((5, 5), bool), 100) == 0
    assert hausdorff(np.ones((5, 5), bool), np.zeros((5, 5), bool)) is None


def test_agreement_by_hand() -> None:
    found = agreement([1.0, -1.0, 3.0])
    assert found is not None
    assert (found.count, found.bias, found.mean_absolute_error, found.sd) == (3, 1.0, pytest.approx(5 / 3), 2.0)
    assert found.lower_limit == pytest.approx(1 - 1.96 * 2, abs=1e-3)
    assert found.upper_limit == pytest.approx(1 + 1.96 * 2, abs=1e-3)


def test_agreement_of_one_and_of_none() -> None:
    one = agreement([2.5])
    assert one is not None and one.bias == 2.5 and one.sd is None and one.lower_limit is None
    assert agreement([]) is None


def test_limits_hold_95_percent_of_normal_differences() -> None:
    values = np.random.default_rng(1).normal(0.7, 2.0, 20_000)
    found = agreement(values)
    assert found is not None and found.lower_limit is not None and found.upper_limit is not None
    assert np.mean((values > found.lower_limit) & (values < found.upper_limit)) == pytest.approx(0.95, abs=0.005)


def test_bootstrap_of_independent_values_matches_the_standard_error() -> None:
    values = np.random.default_rng(2).normal(5, 2, 200)
    found = bootstrap(values, range(200))
    assert found is not None and found.low is not None and found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std(ddof=1) / math.sqrt(200), rel=0.1)
    assert found.low < found.value < found.high


def test_bootstrap_by_patient_is_wider_than_by_picture() -> None:
    patients = np.repeat(np.arange(10), 50)
    values = np.random.default_rng(3).normal(0, 1, 10)[patients]
    by_patient, by_picture = bootstrap(values, list(patients)), bootstrap(values, range(500))
    assert by_patient is not None and by_picture is not None
    width = [e.high - e.low for e in (by_patient, by_picture) if e.high is not None and e.low is not None]
    assert width[0] > 5 * width[1]


def test_bootstrap_is_the_same_for_the_same_seed() -> None:
    values, groups = [1.0, 2.0, 4.0, 8.0], ["a", "b", "b", "c"]
    assert bootstrap(values, groups, mean_absolute) == bootstrap(values, groups, mean_absolute)
    assert not np.array_equal(resampled(20, 3, seed=0), resampled(20, 3, seed=1))


def test_bootstrap_of_one_group_promises_no_interval() -> None:
    assert bootstrap([1.0, 3.0], ["only", "only"]) == Estimate(2.0)
    assert bootstrap([], []) is None
    with pytest.raises(ValueError, match="2 values but 1 groups"):
        bootstrap([1.0, 2.0], ["a"], mean)


def test_a_proportion_without_exceptions_is_not_certain() -> None:
    none = proportion([False] * 30, ["a"] * 10 + ["b"] * 10 + ["c"] * 10)
    assert none is not None and (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(0.5615, abs=1e-4)  # Wilson, 0 of 3
    every = proportion([True] * 20, range(20))
    assert every is not None and every.high == 1.0 and every.low == pytest.approx(0.8389, abs=1e-4)  # 20 of 20
    mixed = proportion([True, False] * 10, range(20))
    assert mixed == bootstrap([1.0, 0.0] * 10, range(20))
    assert proportion([False], ["only"]) == Estimate(0.0) and proportion([], []) is None


def box(x: float, y: float, side: float = 20.0, score: float = 1.0, kind: int = 0) -> LabelledBox:
    return LabelledBox(kind, (x, y, x + side, y + side), score)


def picture(truth: tuple[LabelledBox, ...], predicted: tuple[LabelledBox, ...], group: str = "a") -> BoxSample:
    return BoxSample((200, 100), truth, predicted, group)


def test_perfect_boxes_have_map_one() -> None:
    samples = [picture((box(10, 10), box(60, 40, kind=1)), (box(10, 10), box(60, 40, kind=1)), g) for g in "abc"]
    found = average_precision(samples, 2, resamples=20)
    assert found is not None
    assert found.map50 == Estimate(1.0, 1.0, 1.0) and found.map50_95.value == pytest.approx(1.0)
    assert set(found.per_class) == {0, 1}


def test_map_of_a_shifted_box_counts_the_thresholds_it_passes() -> None:
    # Shifted by 4 of 20 pixels: IoU = 16/24 = 0.667, so 0.50, 0.55, 0.60 and 0.65 of the ten thresholds.
    found = average_precision([picture((box(10, 10),), (box(14, 10),))], 1)
    assert found is not None
    assert found.map50.value == pytest.approx(1.0)
    assert found.map50_95.value == pytest.approx(0.4)
    assert found.map50.low is None  # one picture, one patient: no interval


def test_a_better_scored_false_box_halves_the_precision() -> None:
    found = average_precision([picture((box(10, 10),), (box(10, 10, score=0.5), box(90, 10, score=0.9)))], 1)
    assert found is not None and found.map50.value == pytest.approx(0.5)


def test_map_interval_spans_good_and_bad_patients() -> None:
    good, bad = picture((box(10, 10),), (box(10, 10),), "good"), picture((box(10, 10),), (), "bad")
    found = average_precision([good, bad] * 3, 1, resamples=200)
    assert found is not None and found.map50.low == 0.0 and found.map50.high == pytest.approx(1.0)


def test_map_without_truth_or_prediction() -> None:
    assert average_precision([picture((), (box(1, 1),))], 1) is None
    found = average_precision([picture((box(10, 10),), ())], 1)
    assert found is not None and found.map50.value == 0.0
