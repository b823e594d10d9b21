from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.screens import STYLES, jpeg, noisy, screen
from usviewer.acquire import open_source
from usviewer.calibrate import find_sector
from usviewer.calibrate.ruler.detect import find_ruler, spacing
from usviewer.calibrate.ruler.watch import (
    GONE,
    NOT_YET,
    OTHER_SIZE,
    TICKS,
    WRITING,
    Confirmed,
    RulerScale,
    Watch,
    take_reference,
)
from usviewer.frame import ImageGeometry, Region, make_frame

PITCH = 36.3


def watch_for(style="ge", size=(1024, 768), **options):
    frames = [screen(style, PITCH, size, seed=seed, **options) for seed in range(3)]
    ruler = find_ruler(frames, read=False).vertical
    return Watch(take_reference(ruler, frames, find_sector(frames)))


@pytest.mark.parametrize("style", STYLES)
def test_tissue_noise_brightness_and_compression_change_nothing(style):
    watch = watch_for(style)
    for seed in range(10, 12):
        picture = screen(style, PITCH, seed=seed)
        assert watch.check(picture) == ""
        assert watch.check(noisy(picture, seed, sd=8.0)) == ""
        assert watch.check(noisy(picture, seed, sd=3.0, gain=0.7)) == ""
        assert watch.check(jpeg(picture, 60)) == ""


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("pitch", [PITCH * 1.02, PITCH / 2.0, PITCH * 1.4])
def test_another_pitch_is_seen_on_every_scanner(style, pitch):
    assert watch_for(style).check(jpeg(screen(style, pitch, seed=20), 75)) != ""


@pytest.mark.parametrize("style", STYLES)
def test_a_ruler_that_moved_by_two_pixels_is_seen(style):
    top = 0.08 * 768
    assert watch_for(style, top_px=top).check(screen(style, PITCH, seed=21, top_px=top + 2.0)) in (TICKS, WRITING)


def test_the_same_ticks_with_other_numbers_are_another_depth():
    watch = watch_for("butterfly")
    assert watch.check(noisy(screen("butterfly", PITCH, seed=30, first_number=1), 1)) == WRITING
    depth = watch_for("sonosite", depth="8.0 cm")
    assert depth.check(noisy(screen("sonosite", PITCH, seed=30, depth="8.0 cm"), 1)) == ""
    for other in ("6.0 cm", "9.0 cm", "8.5 cm", "3.0 cm"):
        assert depth.check(noisy(screen("sonosite", PITCH, seed=30, depth=other), 1)) == WRITING


def test_a_ruler_that_is_gone_or_another_size():
    watch = watch_for()
    assert watch.check(screen("ge", PITCH, ruler=False)) == GONE
    assert watch.check(np.zeros((768, 1024, 3), dtype=np.uint8)) == GONE
    assert watch.check(screen("ge", PITCH, (800, 600))) == OTHER_SIZE


def frames_of(pictures):
    return [make_frame(pixels, "clip", k, k / 25.0) for k, pixels in enumerate(pictures)]


def confirmed(pictures, from_index=0):
    ruler = find_ruler(pictures, read=False).vertical
    return Confirmed(spacing(ruler, 5.0), take_reference(ruler, pictures, find_sector(pictures)), from_index)


def a_depth_change(style, change=7):
    """15 frames with another depth from one of them on, and three more with the old depth again."""
    pictures = [jpeg(screen(style, PITCH if k < change else PITCH * 1.25, seed=k), 85) for k in range(15)]
    return pictures + [jpeg(screen(style, PITCH, seed=k), 85) for k in range(15, 18)]


@pytest.mark.parametrize("style", ["ge", "clarius", "sonosite"])
def test_no_millimetre_from_the_frame_of_a_depth_change_on(style):
    change = 7
    pictures = a_depth_change(style, change)
    frames = frames_of(pictures)
    first = confirmed(pictures[:4])
    scale = RulerScale(first)
    have = [bool(scale(frame).spacings) for frame in frames]
    assert have == [True] * change + [False] * 11
    assert scale.withdrawn[0] == change
    assert scale(frames[3]).spacings == (first.spacing,)
    second = confirmed(pictures[change:12], change)
    assert second.spacing.y_mm_per_px == pytest.approx(4.0 / PITCH, rel=0.002)
    both = RulerScale(second, first)
    given = [both(frame).spacings for frame in frames]
    assert given == [(first.spacing,)] * change + [(second.spacing,)] * 8 + [()] * 3


def test_frames_before_the_confirmed_one_have_no_scale():
    pictures = [screen("ge", PITCH, seed=k) for k in range(6)]
    scale = RulerScale(confirmed(pictures[3:], 3))
    assert [scale(frame).no_scale_reason for frame in frames_of(pictures)] == [NOT_YET] * 3 + [""] * 3


def test_a_live_scale_that_was_withdrawn_stays_so_when_the_source_begins_anew():
    pictures = a_depth_change("ge")
    live = RulerScale(confirmed(pictures[:4]), live=True)
    recorded = RulerScale(confirmed(pictures[:4]))
    for frame in frames_of(pictures):
        assert live(frame).spacings == recorded(frame).spacings
    again = frames_of(pictures[:3])
    assert all(recorded(frame).spacings for frame in again)
    assert not any(live(frame).spacings for frame in again)


def test_what_the_file_says_has_no_scale_keeps_none():
    pictures = [screen("ge", PITCH, seed=k) for k in range(2)]
    mode = Region((100.0, 100.0, 300.0, 200.0), None, "M-mode")
    scale = RulerScale(confirmed(pictures), beside=(mode,))(frames_of(pictures)[0])
    known = ImageGeometry(scale.regions)
    assert known.spacing_for(np.array([[400.0, 300.0], [500.0, 300.0]]))[0] is not None
    assert known.spacing_for(np.array([[150.0, 150.0], [200.0, 150.0]]))[0] is None


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "aorta_sweep/sweep.mp4",
        "clips_neck_sparq/20210816_131218_0003.MP4",
        "devices_itkpocus/butterfly-ocular-phantom.mp4",
        "devices_itkpocus/clarius-ocular-short.mp4",
        "devices_itkpocus/sonosite-anon-eye1-video.mp4",
    ],
)
def test_real_clips_keep_their_scale(data, name):
    with open_source(data / name) as source:
        frames = [frame.pixels for frame, _ in zip(source, range(24), strict=False)]
    spread = frames[::6]
    ruler = find_ruler(spread, read=False).vertical
    reference = take_reference(ruler, spread, find_sector(spread))
    assert reference.has_writing
    watch = Watch(reference)
    assert {watch.check(pixels) for pixels in frames} == {""}
    moved = np.roll(frames[0], 2, axis=0)
    assert watch.check(moved) != ""
