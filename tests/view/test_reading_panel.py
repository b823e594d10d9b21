"""The reading panel's own words: quality in words and bars."""

from __future__ import annotations

from usviewer.view.reading_panel import BARS, quality_bars, quality_words


def test_quality_in_words_and_bars() -> None:
    assert [quality_words(q) for q in (0.9, 0.5, 0.1)] == ["good", "fair", "poor"]
    assert [quality_bars(q) for q in (0.0, 0.5, 1.0)] == [1, 2, BARS]
