from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.drawing import reading
from usviewer.acquire.phantom import PhantomSource, random_spec
from usviewer.acquire.phantom.probe_motion import pulse_wave
from usviewer.measure import pulse, summarize
from usviewer.measure.reading import Plane, Status


def curve(rate_per_min, swing_mm, noise_mm=0.0, span_s=4.0, fps=25.0, breath_mm=0.0, seed=1, mean_mm=20.0):
    """Diameters of an aorta that beats, breathes and is read with an error."""
    times = np.arange(0.0, span_s, 1.0 / fps)
    wave = pulse_wave()
    beat = np.interp(times * rate_per_min / 60 % 1.0, np.arange(len(wave)) / len(wave), wave)
    values = mean_mm + swing_mm * beat + breath_mm * np.sin(2 * np.pi * times / 4.3)
    return times, values + np.random.default_rng(seed).normal(0.0, noise_mm, len(times)) if noise_mm else values


def pulse_in(times, values, **changes):
    readings = [reading(float(v), float(t), **changes) for t, v in zip(times, values, strict=True)]
    return pulse.pulse_of(readings, summarize(readings))


@pytest.mark.parametrize("rate", [45, 60, 72, 100, 140])
def test_a_clean_beat(rate):
    found = pulse_in(*curve(rate, 2.0))
    assert found.heart_rate_per_min == pytest.approx(rate, rel=0.03)
    assert found.systolic - found.diastolic == pytest.approx(2.0, abs=0.35)
    assert found.pulsatility_percent == pytest.approx(100 * (found.systolic - found.diastolic) / found.diastolic)
    assert found.reason == ""


@pytest.mark.parametrize("seed", range(6))
def test_a_noisy_beat_on_a_breath(seed):
    found = pulse_in(*curve(66, 2.0, noise_mm=0.4, breath_mm=1.0, seed=seed, span_s=6.0))
    assert found.heart_rate_per_min == pytest.approx(66, rel=0.05)
    assert found.systolic - found.diastolic == pytest.approx(2.0, abs=0.7)


def test_single_slips_do_not_become_systole():
    times, values = curve(72, 2.0, noise_mm=0.1, span_s=6.0)
    slipped = values.copy()
    slipped[[20, 71, 110]] += 8.0
    assert pulse_in(times, slipped).systolic == pytest.approx(pulse_in(times, values).systolic, abs=0.3)


@pytest.mark.parametrize("seed", range(20))
def test_noise_has_no_heart_rate(seed):
    times, values = curve(60, 0.0, noise_mm=0.5, seed=seed)
    found = pulse_in(times, values)
    assert (found.heart_rate_per_min, found.systolic, found.reason) == (None, None, pulse.NO_BEAT)


def test_breath_alone_has_no_heart_rate():
    assert pulse_in(*curve(60, 0.0, noise_mm=0.1, breath_mm=2.0, span_s=9.0)).heart_rate_per_min is None


def test_a_constant_diameter_has_no_beat():
    assert pulse_in(*curve(60, 0.0)).reason == pulse.NO_BEAT


@pytest.mark.parametrize(("span_s", "fps"), [(1.0, 25.0), (10.0, 4.0), (0.0, 25.0)])
def test_too_short_or_too_sparse(span_s, fps):
    times, values = curve(70, 2.0, span_s=span_s or 0.05, fps=fps)
    assert pulse_in(times, values).reason == pulse.TOO_SHORT


def test_a_gap_splits_the_curve_and_the_longer_part_is_used():
    times, values = curve(75, 2.0, span_s=8.0)
    kept = (times < 1.5) | (times > 3.0)
    found = pulse_in(times[kept], values[kept])
    assert found.beats == pytest.approx(5.0 * 75 / 60, abs=0.1)


def test_frames_that_were_refused_are_no_values():
    times, values = curve(75, 2.0)
    readings = [reading(float(v), float(t)) for t, v in zip(times, values, strict=True)]
    readings += [reading(90.0, float(t) + 0.01, status=Status.REFUSED) for t in times[::5]]
    found = pulse.pulse_of(readings, summarize(readings))
    assert found.systolic < 23.0


def test_pixels_and_longitudinal_values():
    in_px = pulse_in(*curve(75, 2.0), mm=None)
    assert (in_px.unit, in_px.heart_rate_per_min) == ("px", pytest.approx(75, rel=0.03))
    assert pulse_in(*curve(75, 2.0), plane=Plane.LONGITUDINAL).systolic is None


@pytest.mark.parametrize("seed", [1, 4, 9, 12])
def test_the_phantoms_beat(seed):
    """The true diameters of a phantom with breath and hand: rate within 3 %, systole and diastole within 0.3 mm."""
    source = PhantomSource(random_spec(seed))
    truths = [source.truth(index) for index in range(0, 180)]
    found = pulse_in([t.time_s for t in truths], [t.ap_mm for t in truths])
    assert found.heart_rate_per_min == pytest.approx(source.spec.heart_rate_bpm, rel=0.03)
    assert found.systolic == pytest.approx(max(t.ap_mm for t in truths), abs=0.3)
    assert found.diastolic == pytest.approx(min(t.ap_mm for t in truths), abs=0.3)


def walking(times, values, along_px):
    """The readings of a caliper that wanders over the picture while the diameter beats."""
    readings = []
    for time_s, value, aside in zip(times, values, along_px, strict=True):
        one = reading(float(value), float(time_s))
        ends = ((100.0 + float(aside), 100.0), (100.0 + float(aside), 100.0 + float(value) * 4.0))
        found = tuple(replace(m, ends_xy_px=ends, value_px=float(value) * 4.0) for m in one.measurements)
        readings.append(replace(one, measurements=found))
    return pulse.pulse_of(readings, summarize(readings))


def test_a_beat_is_not_read_off_a_vessel_that_wanders():
    times, values = curve(72, 2.0, span_s=6.0)
    assert walking(times, values, 3.0 * np.sin(times)).heart_rate_per_min == pytest.approx(72, rel=0.03)
    assert walking(times, values, np.linspace(0.0, 60.0, len(times))).reason == pulse.MOVING


def test_a_diameter_that_changes_along_a_sweep_has_no_pulse():
    times, values = curve(72, 2.0, span_s=8.0)
    assert pulse_in(times, values + np.linspace(0.0, 8.0, len(times))).reason == pulse.MOVING
