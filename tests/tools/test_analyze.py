"""What ``analyze`` prints of a clip."""

from __future__ import annotations

from tests.helpers.scenes import aorta_reading, flat_frame, summary_of
from usviewer.tools.analyze import _summary_line

READING = aorta_reading(flat_frame(64, 48).key)


def test_an_interval_that_nothing_is_known_of_is_not_printed_as_certain() -> None:
    assert "(95 % 23.4 to 24.5)" in _summary_line(summary_of(READING))
    line = _summary_line(summary_of(READING, interval=(23.9, 23.9)))
    assert "95 %" not in line and "its error is not known" in line
