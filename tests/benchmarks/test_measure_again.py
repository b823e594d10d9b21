"""The figures of measuring a clip again can be taken by anyone."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.measure_again import main
from tests.helpers.recordings import write_clip
from tests.helpers.tiny_models import add_dark_finder


def test_each_way_of_measuring_again_is_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = write_clip(tmp_path / "clip.mp4", count=6)
    assert main([str(clip), "--model", add_dark_finder(tmp_path / "m")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("6 frames; first analysis ")
    assert lines[1].startswith("a number stated: ") and lines[2].startswith("a site set: ")
    assert "MB of masks" in lines[-1]
