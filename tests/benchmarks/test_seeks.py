"""The measurement of seeking: on a real clip, with what cannot be measured said in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import seeks
from benchmarks.command import end_with
from benchmarks.seeks import main
from tests.helpers.recordings import write_clip
from usviewer.acquire import open_source
from usviewer.errors import UserError


def test_a_clip_is_sought_scrubbed_and_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = write_clip(tmp_path / "clip.mp4", count=100, key_every=20)
    assert main([str(clip), "--count", "4", "--play", "0.5", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "exact frame: p50" in said and "160 x 120, 100 frames" in said
    document = json.loads((tmp_path / "out" / "seeks.json").read_text())
    assert document["exact_ms"]["count"] == document["near_ms"]["count"] == 4
    assert 0.5 < document["rate"] < 1.5 and 0.0 < document["shown_share"] <= 1.0


def test_the_clip_that_is_made_has_a_key_frame_in_sixty_and_frames_that_nothing_needs(tmp_path: Path) -> None:
    path = seeks.make_clip(tmp_path / "made.mp4", seconds=5, size=(320, 240))
    with open_source(path) as source:
        assert len(source.times_s()) == 150
        table = source._reader.table()  # type: ignore[attr-defined]
    assert table.key_indices == (0, 60, 120)


def test_what_is_not_a_clip_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no.mp4").write_bytes(b"nothing")
    monkeypatch.setattr("sys.argv", ["seeks", str(tmp_path / "no.mp4")])
    with pytest.raises(SystemExit, match="2"):
        end_with(main)
    said = capsys.readouterr().err
    assert "no.mp4" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--count", "0"), "--count 0 cannot be right"),
        (("--count", "-3"), "--count -3 cannot be right"),
        (("--play", "-1"), "--play -1 cannot be right"),
        (("--play", "nan"), "--play: 'nan' is not a plain number"),
    ],
)
def test_numbers_that_cannot_be_right_are_refused(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", count=10, key_every=5)
    with pytest.raises(UserError, match=says):
        main([str(clip), *words, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
