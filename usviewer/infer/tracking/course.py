"""What an outline does over half a second, held against what a vessel can do. Pure; one for each that is followed.

A model that is asked on frame after frame with its own last answer may leak: each answer is near the one before, and
after some frames the outline has left the vessel. No single step shows that; the course over half a second does.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from usviewer.frame import FrameKey, Mask

SPAN_S = 0.5
# A healthy or dilated artery changes its area by 5 to 25 % within a beat, a vein by 20 to 60 % within a breath or a
# sniff, and most of that shows as motion, too. Of true outlines (phantoms of 15 to 60 mm with up to 3 mm of pulsation,
# 90 frames of the aortic sweep) the area grew by at most 1.17 and fell by at most 1.42 beyond what motion says
# within half a second, and by 1.47 and 1.42 at all. A vein of a real clip that leaked grew by 1.34 within 0.05 s and
# by 1.85 within 0.25 s, while the picture stood still; a faint structure by 4.6 within 0.5 s.
MOST_GROWTH, MOST_LOSS = 1.3, 1.7  # beyond what motion says
MOST_GROWTH_AT_ALL, MOST_LOSS_AT_ALL = 1.7, 2.5  # a vein that is compressed collapses faster than any vessel fills
# Of the equivalent radius, against the way that motion says. True outlines: up to 0.16; in the sweep 0.83, as there
# the probe slides over the vessel.
MOST_ASIDE = 1.0
# Area over that of the convex hull: 0.95 to 1 for any section of a vessel. An outline that leaks through the wall, or
# is cut by a shadow, loses it. True outlines: no more than 0.011 within half a second.
MOST_DENT = 0.15

GREW = "The outline grew faster than a vessel can: it has leaked"
SHRANK = "The outline shrank faster than a vessel can"
ASIDE = "The outline moved otherwise than the picture"
DENTED = "The outline changed its shape faster than a vessel can"


@dataclass(frozen=True, slots=True)
class _TrackPoint:
    """An outline at one moment; ``beyond`` and ``aside_px`` add up what motion did not say since the first."""

    at_s: float
    area_px: float
    solidity: float
    beyond: float = 0.0  # logarithm of the growth
    aside_px: tuple[float, float] = (0.0, 0.0)


class Course:
    """The last half second of one outline. Frames may run forwards or backwards."""

    def __init__(self, key: FrameKey, mask: Mask) -> None:
        self._places = deque([_TrackPoint(_at_s(key), float(np.count_nonzero(mask)), solidity(mask))])

    def objection(self, key: FrameKey, mask: Mask, carried: Mask) -> str:
        """Say why this outline cannot be right after those before it; empty where it can.

        ``mask`` and ``carried`` (the outline before, by motion alone) are of the whole frame (height, width).
        """
        now = self._next(key, mask, carried)
        recent = [place for place in self._places if abs(now.at_s - place.at_s) <= SPAN_S] or [self._places[-1]]
        beyond = now.beyond - min(place.beyond for place in recent), now.beyond - max(place.beyond for place in recent)
        growth = now.area_px / min(place.area_px for place in recent)
        loss = max(place.area_px for place in recent) / max(now.area_px, 1.0)
        aside_px = max(math.dist(now.aside_px, place.aside_px) for place in recent)
        if beyond[0] > math.log(MOST_GROWTH) or growth > MOST_GROWTH_AT_ALL:
            return GREW
        if -beyond[1] > math.log(MOST_LOSS) or loss > MOST_LOSS_AT_ALL:
            return SHRANK
        if aside_px > MOST_ASIDE * math.sqrt(recent[-1].area_px / math.pi):
            return ASIDE
        if max(place.solidity for place in recent) - now.solidity > MOST_DENT:
            return DENTED
        return ""

    def add(self, key: FrameKey, mask: Mask, carried: Mask) -> None:
        """Remember an outline that was taken."""
        self._places.append(self._next(key, mask, carried))
        while abs(self._places[-1].at_s - self._places[0].at_s) > SPAN_S and len(self._places) > 1:
            self._places.popleft()

    def _next(self, key: FrameKey, mask: Mask, carried: Mask) -> _TrackPoint:
        last = self._places[-1]
        area_px, by_motion_px = float(np.count_nonzero(mask)), float(np.count_nonzero(carried))
        beyond = math.log(max(area_px, 1.0) / max(by_motion_px, 1.0))
        (x, y), (there_x, there_y) = _centre(mask), _centre(carried)
        aside_px = last.aside_px[0] + x - there_x, last.aside_px[1] + y - there_y
        return _TrackPoint(_at_s(key), area_px, solidity(mask), last.beyond + beyond, aside_px)


def solidity(mask: Mask) -> float:
    """Divide the area of a mask (height, width) by that of its convex hull, 0 to 1; 0 for an empty mask."""
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return 0.0
    points = np.concatenate(contours)
    if len(points) < 3:
        return 0.0
    hull = cv2.convexHull(points)
    # The hull runs through the middles of the pixels at the rim: half a pixel is missing all round.
    hull_px = cv2.contourArea(hull) + 0.5 * cv2.arcLength(hull, closed=True) + 1.0
    return min(1.0, float(np.count_nonzero(mask)) / hull_px)


def _centre(mask: Mask) -> tuple[float, float]:
    moments = cv2.moments(mask.view(np.uint8), binaryImage=True)
    area = max(moments["m00"], 1.0)
    return moments["m10"] / area, moments["m01"] / area


def _at_s(key: FrameKey) -> float:
    return key.time_s
