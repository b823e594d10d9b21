import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.drawing import reading
from usviewer.infer.prediction import Edge
from usviewer.measure.reading import Dimension, Errors, Plane, Site, Status
from usviewer.measure.trend import Trend, median_interval, other_sizes_note, summarize, sweep


def feed(trend, values, start=0.0, step=0.05, **how):
    last = None
    for index, value in enumerate(values):
        last = trend.add(reading(value, start + index * step, **how))
    return last


def beat(count=60, step=0.05, base=40.0, swing=1.0):
    return base + swing * np.sin(2 * np.pi * 1.2 * np.arange(count) * step)


def test_median_and_maximum_over_two_seconds():
    summary = feed(Trend(), beat())
    assert summary.unit == "mm"
    assert summary.name == "ap_diameter"
    assert summary.median == pytest.approx(40.0, abs=0.4)
    assert summary.maximum == pytest.approx(41.0, abs=0.1)
    assert summary.span_s == pytest.approx(2.0)
    assert summary.count == 41
    assert summary.interval[0] <= summary.median <= summary.interval[1]
    assert (summary.plane, summary.edge) == (Plane.TRANSVERSE, Edge.INNER)


def test_an_area_has_square_units_and_is_no_length():
    lengths = [reading(40.0, index * 0.05) for index in range(60)]
    areas = [replace(each, measurements=(replace(each.measurements[0], dimension=Dimension.AREA),)) for each in lengths]
    length, area = summarize(lengths), summarize(areas)
    assert (length.unit_words, length.unit_field) == ("mm", "mm")
    assert (area.unit_words, area.unit_field) == ("mm²", "mm2")
    trend = Trend()
    for each in (*lengths[:30], *areas[30:]):
        last = trend.add(each)
    assert last.dimension is Dimension.AREA and last.count == 30  # nothing of the lengths is left


def test_no_interval_reaches_below_nothing():
    wide = reading(3.0, 0.0)
    answer = replace(wide.measurements[0], sd_mm=2.0, errors=Errors(edge=2.0))
    whole = summarize([replace(wide, measurements=(answer,))])
    assert whole.interval == (0.0, pytest.approx(3.0 + 1.96 * 2.0, abs=0.01))


def test_no_summary_before_a_beat_has_passed():
    trend = Trend()
    assert feed(trend, [40.0] * 20) is None
    assert trend.add(reading(40.0, 1.0)) is not None


def test_the_window_slides():
    trend = Trend()
    feed(trend, [60.0] * 40)
    summary = feed(trend, [40.0] * 60, start=2.0)
    assert summary.maximum == 40.0


def test_one_frames_slip_is_not_the_maximum():
    values = [40.0] * 41
    values[20] = 70.0
    summary = feed(Trend(), values)
    assert summary.maximum == 40.0
    assert summary.median == 40.0


def test_the_maximum_names_its_frame():
    values = list(np.concatenate([np.linspace(40, 45, 21), np.linspace(45, 40, 20)]))
    summary = feed(Trend(), values)
    assert summary.maximum_key.index in (19, 20, 21)


@pytest.mark.parametrize(
    "change",
    [
        {"plane": Plane.LONGITUDINAL},
        {"edge": Edge.OUTER},
        {"mm": 0.3},
        {"mm": None},
        {"model": "other"},
        {"source": "another"},
    ],
)
def test_any_change_of_kind_starts_anew(change):
    trend = Trend()
    assert feed(trend, [40.0] * 30) is not None
    assert trend.add(reading(20.0, 1.5, **change)) is None
    summary = feed(trend, [20.0] * 30, start=1.55, **change)
    assert summary.median == (20.0 if change.get("mm", 1) else 80.0)
    assert summary.unit == ("mm" if change.get("mm", 1) else "px")
    assert summary.count <= 31


def test_a_gap_starts_anew():
    trend = Trend()
    feed(trend, [40.0] * 30)
    for index in range(12):
        trend.add(reading(0.0, 1.5 + index * 0.05, status=Status.NOT_VISUALISED))
    assert feed(trend, [50.0] * 5, start=2.1) is None
    assert feed(trend, [50.0] * 30, start=2.35).median == 50.0


def test_a_gap_without_any_reading_starts_anew():
    trend = Trend()
    feed(trend, [40.0] * 30)
    assert trend.add(reading(50.0, 2.0)) is None


def test_a_short_miss_does_not():
    trend = Trend()
    feed(trend, [40.0] * 30)
    assert trend.add(reading(0.0, 1.5, status=Status.REFUSED)).count == 30
    assert trend.add(reading(40.0, 1.55)).count == 31


def test_time_that_runs_backwards_starts_anew():
    trend = Trend()
    feed(trend, [40.0] * 30)
    assert trend.add(reading(40.0, 0.3)) is None


def test_another_model_without_a_result_ends_the_summary():
    trend = Trend()
    feed(trend, [40.0] * 30)
    assert trend.add(reading(0.0, 1.5, status=Status.NOT_VISUALISED, model="other")) is None


@pytest.mark.parametrize("status", [Status.NOT_VISUALISED, Status.REFUSED])
def test_a_scale_that_is_withdrawn_takes_the_millimetres_with_it(status):
    trend = Trend()
    assert feed(trend, [40.0] * 41).unit == "mm"
    lost = reading(40.0, 2.05, status=status)
    assert trend.add(replace(lost, no_scale_reason="")) is not None
    assert trend.add(replace(lost, key=reading(40.0, 2.1).key, spacing=None, no_scale_reason="Changed")) is None


def test_reset_forgets():
    trend = Trend()
    feed(trend, [40.0] * 30)
    trend.reset()
    assert trend.add(reading(40.0, 1.5)) is None


def test_the_interval_is_widened_by_the_error_of_the_scale():
    sure, unsure = feed(Trend(), beat()), feed(Trend(), beat(), relative_sd=0.02)
    half = unsure.median - unsure.interval[0]
    assert half > 1.96 * 0.02 * 40
    assert half > sure.median - sure.interval[0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=25, max_size=60))
def test_pixels_and_millimetres_are_never_mixed(in_mm):
    """Pixel values here lie near 160, millimetres near 40: a mixture would show."""
    trend = Trend(min_span_s=0.0)
    for index, scaled in enumerate(in_mm):
        summary = trend.add(reading(40.0, index * 0.05, mm=0.25 if scaled else None))
        expected = 40.0 if scaled else 160.0
        assert (summary.unit, summary.median, summary.maximum) == ("mm" if scaled else "px", expected, expected)


def test_independent_values_are_covered():
    """The interval holds the true median about 95 times in 100."""
    rng = np.random.default_rng(3)
    held = [low <= 0.0 <= high for low, high in (median_interval(rng.normal(size=45)) for _ in range(600))]
    assert 0.92 <= np.mean(held) <= 0.995


def test_repeated_neighbours_widen_the_interval():
    rng = np.random.default_rng(4)
    base = rng.normal(size=15)
    narrow, wide = median_interval(rng.permutation(np.repeat(base, 3))), median_interval(np.repeat(base, 3))
    assert wide[1] - wide[0] > narrow[1] - narrow[0]


def test_few_values_give_their_range():
    assert median_interval(np.array([3.0, 1.0, 2.0])) == (1.0, 3.0)


def test_a_clip_is_summarised_by_its_transverse_values():
    across = [reading(40.0 + 0.1 * i, i * 0.05) for i in range(10)]
    along = [reading(60.0, 1 + i * 0.05, plane=Plane.LONGITUDINAL) for i in range(50)]
    summary = summarize([*across, *along, reading(0.0, 9.0, status=Status.NOT_VISUALISED)])
    assert summary.plane is Plane.TRANSVERSE
    assert summary.count == 10
    assert summary.maximum <= 40.9


def test_a_clip_never_mixes_scales():
    summary = summarize(
        [*(reading(40.0, i * 0.05) for i in range(10)), *(reading(40.0, i * 0.05, mm=None) for i in range(30))]
    )
    assert (summary.unit, summary.count, summary.median) == ("mm", 10, 40.0)


def test_a_clip_without_a_measurement_has_no_summary():
    assert summarize([]) is None
    assert summarize([reading(0.0, 0.0, status=Status.REFUSED)]) is None


def test_a_single_still_is_summarised_as_one():
    summary = summarize([reading(40.0, 0.0)])
    assert (summary.count, summary.span_s, summary.median, summary.maximum) == (1, 0.0, 40.0, 40.0)


def test_sites_are_never_mixed():
    trend = Trend()
    for index in range(40):
        summary = trend.add(reading(20.0, index * 0.05, site=Site.PROXIMAL))
    assert (summary.site, summary.count) == (Site.PROXIMAL, 40)
    assert trend.add(reading(30.0, 2.0, site=Site.DISTAL)) is None


def test_a_sweep_gives_every_site_its_maximum_the_largest_first():
    proximal = [reading(20.0 + 0.1 * (i % 3), i * 0.05, site=Site.PROXIMAL) for i in range(20)]
    distal = [reading(32.0 + 0.1 * (i % 3), 2 + i * 0.05, site=Site.DISTAL) for i in range(20)]
    along = [reading(60.0, 4 + i * 0.05, plane=Plane.LONGITUDINAL, site=Site.DISTAL) for i in range(60)]
    first, second = sweep([*proximal, *distal, *along])
    assert (first.site, second.site) == (Site.DISTAL, Site.PROXIMAL)
    assert first.maximum == pytest.approx(32.1, abs=0.11)
    assert first.maximum_key in {r.key for r in distal}
    low, high = first.maximum_interval
    assert low < first.maximum < high


def test_a_sweep_along_the_vessel_has_no_maximum():
    assert sweep([reading(60.0, i * 0.05, plane=Plane.LONGITUDINAL) for i in range(60)]) == ()
    assert sweep([]) == ()


def test_the_intervals_hold_what_the_frames_state_and_what_they_scatter():
    errors = Errors(scale=0.3, edge=0.4, plane=0.0)
    still = summarize([reading(20.0, i * 0.05, errors=errors) for i in range(60)])
    assert still.interval == pytest.approx((20 - 1.96 * 0.5, 20 + 1.96 * 0.5), abs=1e-6)
    assert still.maximum_interval == pytest.approx(still.interval)
    assert (still.errors.scale, still.errors.edge, still.errors.frames) == pytest.approx((0.3, 0.4, 0.0))
    rng = np.random.default_rng(2)
    noisy = summarize([reading(20.0 + rng.normal(0, 1.0), i * 0.05, errors=errors) for i in range(60)])
    assert noisy.errors.frames > 0.05
    assert noisy.interval[1] - noisy.interval[0] > still.interval[1] - still.interval[0]
    assert noisy.maximum_interval[1] - noisy.maximum == pytest.approx(1.96 * math.hypot(0.5, 0.67), rel=0.3)


def of_size(size_px, values_px, start=0, **changes):
    return [
        replace(reading(value, (start + i) * 0.05, mm=None, **changes), frame_size_px=size_px)
        for i, value in enumerate(values_px)
    ]


def test_pixels_of_two_sizes_of_picture_are_never_put_together():
    """As after a change of size in the middle of a clip: twice the size, twice the pixels, the same vessel."""
    large, small = of_size((640, 480), [40.0] * 30), of_size((320, 240), [20.0] * 40, start=30)
    trend = Trend()
    last = [trend.add(each) for each in (*large, *small)]
    assert last[29].median == 160.0 and last[30] is None  # 4 px to a given one
    assert last[-1].median == last[-1].maximum == 80.0
    whole = summarize([*large, *small])
    assert (whole.median, whole.maximum, whole.count) == (80.0, 80.0, 40)
    assert whole.frame_size_px == (320, 240)
    assert "30 frames of another size than 320 x 240" in other_sizes_note([*large, *small], whole)
    assert other_sizes_note(small, whole) == ""


def test_the_sites_of_a_sweep_are_compared_in_one_size_of_picture():
    first = of_size((640, 480), [40.0] * 10, site=Site.PROXIMAL)
    second = of_size((320, 240), [25.0] * 30, start=10, site=Site.DISTAL)
    assert [(found.site, found.maximum) for found in sweep([*first, *second])] == [(Site.DISTAL, 100.0)]


def test_millimetres_of_two_sizes_stay_together_where_the_scale_is_the_same():
    both = [replace(reading(20.0, i * 0.05), frame_size_px=(640, 480 + i)) for i in range(30)]
    whole = summarize(both)
    assert whole.count == 30 and whole.frame_size_px is None


def test_another_size_that_was_not_measured_ends_the_summary():
    trend = Trend()
    for each in of_size((640, 480), [40.0] * 30):
        shown = trend.add(each)
    assert shown is not None
    assert trend.add(of_size((320, 240), [40.0], start=30, status=Status.NOT_VISUALISED)[0]) is None
