"""Pictures in memory as a source: a clip only where somebody says so."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.fakes import FakeClip, picture
from usviewer.acquire import Source
from usviewer.acquire.arrays import ArraySource, Picture
from usviewer.errors import UserError
from usviewer.frame import make_frame


def test_it_is_a_source_that_can_be_read_again_and_sought() -> None:
    source = ArraySource((picture(number) for number in range(3)), 10)
    assert isinstance(source, Source)
    keys = [frame.key for frame in source]
    assert keys == [frame.key for frame in source] == [source.seek(number).key for number in range(3)]
    assert [key.media_time_s for key in keys] == list(source.times_s()) == [0.0, 0.1, 0.2]
    assert (source.info.width_px, source.info.height_px, source.info.frame_count) == (64, 48, 3)
    with pytest.raises(UserError, match="no frame 3"):
        source.seek(3)


def test_one_array_of_pictures_is_many_and_one_picture_is_one() -> None:
    assert ArraySource(np.zeros((2, 64, 64, 3), np.uint8)).info.frame_count == 2
    assert ArraySource(np.zeros((2, 64, 64), np.uint8)).info.frame_count == 2
    assert ArraySource(np.zeros((64, 64, 3), np.uint8)).info.frame_count == 1
    assert ArraySource(np.zeros((64, 64), np.uint8)).info.frame_count == 1


@pytest.mark.parametrize(
    ("pictures", "rate", "kind"),
    [
        ([picture(0), picture(1)], 25, "arrays"),
        ([picture(0), picture(1)], None, "images"),
        ([picture(0)], None, "image"),
        (list(FakeClip(2)), None, "arrays"),
        ([*FakeClip(2), picture(0)], None, "images"),
        ([*FakeClip(1, uri="a"), *FakeClip(1, uri="b")], None, "images"),
        ([make_frame(picture(0), "folder", 0), make_frame(picture(1), "folder", 1)], None, "images"),
    ],
)
def test_only_what_is_said_to_follow_one_another_is_a_clip(
    pictures: list[Picture], rate: float | None, kind: str
) -> None:
    info = ArraySource(pictures, rate).info
    assert (info.kind, info.is_sequence) == (kind, kind == "arrays")


def test_two_clips_are_two_sources_also_where_both_begin_in_black() -> None:
    black = np.zeros((48, 64, 3), np.uint8)
    one, other = (ArraySource([black, picture(number), black], 25).info.uri for number in (1, 2))
    assert one != other


def test_arrays_stay_writable_and_a_change_does_not_reach_a_frame() -> None:
    mine = np.array(picture(1))
    frame = ArraySource([mine]).seek(0)
    mine[:] = 0
    assert frame.pixels.any() and not frame.pixels.flags.writeable


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_cannot_be_right_is_refused(rate: float) -> None:
    with pytest.raises(UserError, match="frames a second cannot be right"):
        ArraySource([picture(0)], rate)


def test_a_rate_for_frames_is_refused() -> None:
    with pytest.raises(UserError, match="times of their own"):
        ArraySource(FakeClip(2), 25)
