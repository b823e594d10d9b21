"""What many readings say together: by site, over beats, and only of the time that counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from usviewer import measure
from usviewer.frame import FrameKey
from usviewer.infer.prediction import Edge
from usviewer.measure import RecentReport, clip_report
from usviewer.measure.findings import EMPTY_REPORT, ClipReport
from usviewer.measure.reading import Dimension, Measurement, Plane, Reading, Site, Status
from usviewer.units import ScaleSource, isotropic

RATE_HZ, BEAT_S = 25.0, 0.8
SPACING = isotropic(0.2, ScaleSource.RULER)


def reading(index: int, site: Site = Site.NOT_SET, middle_mm: float = 20.0, plane: Plane = Plane.TRANSVERSE) -> Reading:
    time_s = index / RATE_HZ
    value_mm = middle_mm + math.sin(2 * math.pi * time_s / BEAT_S)
    diameter = Measurement("ap_diameter", Dimension.LENGTH, value_mm / 0.2, value_mm)
    return Reading(
        FrameKey("s", index, time_s, time_s, f"{index}"),
        "aorta",
        Status.MEASURED,
        measurements=(diameter,),
        plane=plane,
        edge=Edge.INNER,
        spacing=SPACING,
        site=site,
    )


def beats(count: int) -> list[Reading]:
    return [reading(index) for index in range(count)]


def test_a_pulsating_vessel_has_its_rate_and_its_two_diameters() -> None:
    pulse = clip_report(beats(200)).document["pulse"]
    assert pulse["heart_rate_per_min"] == pytest.approx(75, abs=1)
    assert pulse["systolic"] == pytest.approx(21, abs=0.15) and pulse["diastolic"] == pytest.approx(19, abs=0.15)


def test_a_sweep_has_a_maximum_for_each_site_and_none_of_a_lengthwise_cut() -> None:
    readings = [
        *(reading(i, Site.PROXIMAL, 20.0) for i in range(30)),
        *(reading(i, Site.DISTAL, 31.0) for i in range(30, 60)),
        *(reading(i, Site.MID, 50.0, Plane.LONGITUDINAL) for i in range(60, 90)),
    ]
    sweep = clip_report(readings).sweep
    assert [summary.site for summary in sweep] == [Site.DISTAL, Site.PROXIMAL]
    assert sweep[0].maximum == pytest.approx(32, abs=0.1)
    assert 30 <= sweep[0].maximum_key.index < 60


def test_nothing_was_read_is_nothing_found() -> None:
    assert clip_report([]) is EMPTY_REPORT


def test_live_only_the_last_minutes_are_kept_and_looked_at_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    real = clip_report

    def counted(readings: Sequence[Reading], recent_s: float | None = None) -> ClipReport:
        looked.append(len(readings))
        return real(readings, recent_s)

    monkeypatch.setattr(measure, "clip_report", counted)
    recent = RecentReport()
    for each in beats(int(130 * RATE_HZ)):
        recent.add(each)
    assert 62 <= len(looked) <= 66
    assert max(looked) <= measure.KEPT_S * RATE_HZ + 1
    assert recent.findings.span_s <= measure.KEPT_S
    assert recent.findings.document["pulse"]["beats"] < 1.2 * measure.PULSE_S / BEAT_S


def test_when_time_runs_backwards_they_begin_anew() -> None:
    recent = RecentReport()
    for index in (500, 501, 0):
        recent.add(reading(index))
    assert recent.findings.frames == 1
