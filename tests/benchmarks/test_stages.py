"""What a live frame costs: the figures are printed, and a limit that is passed is said."""

from __future__ import annotations

import itertools

import pytest

from benchmarks.stages import main, time_work
from usviewer.errors import UserError


def test_every_work_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--size", "1024x768", "--count", "5"])
    ruler, still = capsys.readouterr().out.splitlines()
    assert ruler.startswith("ruler watch: ") and still.startswith("stillness check: ")
    assert ("PASSED" in ruler or "PASSED" in still) == (code == 1)


def test_the_fastest_run_is_held_at_the_limit() -> None:
    work = itertools.cycle([lambda: sum(range(200_000)), lambda: None])
    cost = time_work("sums and nothing", 0.0, work, 10)
    assert cost.spread_ms.count == 10 and cost.fastest_ms <= cost.spread_ms.p50 <= cost.spread_ms.maximum
    assert not time_work("sums", 0.0, itertools.repeat(lambda: sum(range(200_000))), 3).within


def test_a_picture_without_a_ruler_is_one_sentence() -> None:
    with pytest.raises(UserError, match="No ruler is found"):
        main(["--size", "160x120"])
