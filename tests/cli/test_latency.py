"""The delay is counted from what was shown first, and a pattern is read as what it is, or not at all."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from usviewer.cli.latency import ENOUGH, MOST_NUMBER, SETTLING, Loopback, check_source, pattern, read_pattern
from usviewer.errors import UserError
from usviewer.frame import Frame, Pixels, make_frame

NOTHING = np.full((192, 256), 128, np.uint8)
NUMBERS = (0, 1, 2, 1000, 12345, 43690, MOST_NUMBER)


def film(number: int | None, at_s: float) -> Frame:
    picture = NOTHING if number is None else pattern(number, 8)
    return make_frame(picture, "screen:", 0, capture_time_s=at_s)


def run(delay_s: float, count: int, unreadable: tuple[int, ...] = ()) -> Loopback:
    """A window that changes every 50 ms, filmed every 25 ms with a delay."""
    now = [0.0]
    loopback = Loopback(lambda: now[0])
    for number in range(count):
        now[0] = number * 0.05
        loopback.shown(number)
        for part in (0.0, 0.025):
            seen = None if number in unreadable else number
            loopback.filmed(film(seen, now[0] + part + delay_s))
    return loopback


def test_the_delay_is_from_painting_to_the_first_picture() -> None:
    result = run(0.012, 40).result("screen:")
    assert (result.filmed, result.unreadable, result.counted) == (80, 0, 39 - SETTLING)
    assert result.p50_ms == pytest.approx(12.0) and result.maximum_ms == pytest.approx(12.0)
    assert result.interval_ms == pytest.approx(25.0, rel=0.05)
    assert "p50 12.0" in result.lines()[0] and "80 pictures filmed" in result.lines()[1]


def test_pictures_that_cannot_be_read_are_counted_and_time_nothing() -> None:
    result = run(0.012, 40, unreadable=(20, 21)).result("screen:")
    assert result.unreadable == 4
    # Nobody knows whether the first picture after them was the first of its number.
    assert result.counted == 39 - SETTLING - 3


def test_a_number_that_was_never_shown_is_not_believed() -> None:
    loopback = run(0.012, 40)
    loopback.filmed(film(9000, 3.0))
    assert loopback.result("screen:").unreadable == 1


def test_nothing_filmed_nothing_read_or_too_little_is_one_sentence() -> None:
    with pytest.raises(UserError, match="No picture came from device:card"):
        Loopback().result("device:card")
    blind = Loopback()
    blind.filmed(film(None, 0.0))
    with pytest.raises(UserError, match="could not be read on any of 1 pictures"):
        blind.result("screen:")
    with pytest.raises(UserError, match="changes of the pattern were seen"):
        run(0.01, ENOUGH // 2).result("screen:")


def test_only_what_films_is_asked() -> None:
    check_source("screen:2")
    check_source("device:card")
    for uri in ("phantom:", "clip.mp4"):
        with pytest.raises(UserError, match="cannot film"):
            check_source(uri)


def on_screen(picture: Pixels, size: tuple[int, int] = (1280, 720), at: tuple[int, int] = (200, 60)) -> Pixels:
    """The pattern somewhere on a larger picture that is full of other things."""
    rng = np.random.default_rng(0)
    screen = cv2.resize(rng.integers(0, 255, (18, 32), np.uint8), size, interpolation=cv2.INTER_NEAREST)
    screen[at[1] : at[1] + picture.shape[0], at[0] : at[0] + picture.shape[1]] = picture
    return screen


def through_jpeg(picture: Pixels, quality: int) -> Pixels:
    coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)


def noisy(picture: Pixels, sd: float) -> Pixels:
    noise = np.random.default_rng(1).normal(0, sd, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def turned(picture: Pixels) -> Pixels:
    height, width = picture.shape
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    seen = np.array([(40, 70), (width - 90, 20), (width - 30, height - 60), (80, height - 30)], np.float32)
    return cv2.warpPerspective(picture, cv2.getPerspectiveTransform(corners, seen), (width, height), borderValue=90)


DISTORTIONS = {
    "as it is": lambda p: p,
    "half as large": lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "larger": lambda p: cv2.resize(p, None, fx=2.3, fy=2.3),
    "of other proportions": lambda p: cv2.resize(p, None, fx=1.0, fy=0.75),
    "blurred": lambda p: cv2.GaussianBlur(p, (0, 0), 4),
    "JPEG 15": lambda p: through_jpeg(p, 15),
    "noisy": lambda p: noisy(p, 30),
    "pale": lambda p: (90 + 0.4 * p).astype(np.uint8),
    "dark and steep": lambda p: np.clip(1.6 * p.astype(float) - 60, 0, 255).astype(np.uint8),
    "at an angle": turned,
    "all at once": lambda p: noisy(through_jpeg(cv2.GaussianBlur(turned(p), (0, 0), 2), 30), 12),
}


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("distortion", DISTORTIONS)
def test_the_number_comes_back(distortion: str, number: int) -> None:
    assert read_pattern(DISTORTIONS[distortion](on_screen(pattern(number, 20)))) == number


def test_the_number_comes_back_from_a_colour_picture() -> None:
    assert read_pattern(cv2.cvtColor(on_screen(pattern(77, 20)), cv2.COLOR_GRAY2RGB)) == 77


def test_a_picture_without_the_pattern_gives_none() -> None:
    assert read_pattern(np.zeros((480, 640), np.uint8)) is None
    assert read_pattern(noisy(np.full((480, 640, 3), 128, np.uint8), 50)) is None
    assert read_pattern(on_screen(np.full((480, 640), 255, np.uint8))) is None


def test_half_of_one_and_half_of_another_pattern_is_never_a_third_number() -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        first, second = (int(number) for number in rng.integers(0, MOST_NUMBER, 2))
        torn = pattern(first, 12)
        row = int(rng.integers(60, 230))
        torn[row:] = pattern(second, 12)[row:]
        assert read_pattern(torn) in (None, first, second)
        blended = cv2.addWeighted(pattern(first, 12), 0.5, pattern(second, 12), 0.5, 0)
        assert read_pattern(blended) in (None, first, second)


def test_a_number_that_does_not_fit_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        pattern(MOST_NUMBER + 1, 4)
