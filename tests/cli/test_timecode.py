from __future__ import annotations

import cv2
import numpy as np
import pytest

from usviewer.cli.timecode import MOST, pattern, read_pattern
from usviewer.frame import Pixels

NUMBERS = (0, 1, 2, 1000, 12345, 43690, MOST)


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
        first, second = (int(number) for number in rng.integers(0, MOST, 2))
        torn = pattern(first, 12)
        row = int(rng.integers(60, 230))
        torn[row:] = pattern(second, 12)[row:]
        assert read_pattern(torn) in (None, first, second)
        blended = cv2.addWeighted(pattern(first, 12), 0.5, pattern(second, 12), 0.5, 0)
        assert read_pattern(blended) in (None, first, second)


def test_a_number_that_does_not_fit_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        pattern(MOST + 1, 4)
