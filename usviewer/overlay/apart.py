"""Words that would lie over one another are moved apart, alike in the window and in every export."""

from __future__ import annotations

from collections.abc import Sequence

from usviewer.units import Box, Point


def avoid_overlap(boxes: Sequence[Box], room: Box, taken: Sequence[Box] = ()) -> list[Point]:
    """Top-left corners at which boxes lie within ``room`` and over neither ``taken`` nor one another.

    The first keep their places; a later one goes up or down, whichever is nearer. Without any free place it stays.
    """
    held, corners = list(taken), []
    for box in boxes:
        left, top, right, bottom = _within(box, room)
        height = bottom - top
        beside = [other for other in held if other[0] < right and left < other[2]]
        tops = [top, *(other[1] - height for other in beside), *(other[3] for other in beside)]
        free = [
            each
            for each in tops
            if room[1] <= each <= room[3] - height
            and not any(each < other[3] and other[1] < each + height for other in beside)
        ]
        chosen = min(free, key=lambda each: abs(each - top), default=top)
        held.append((left, chosen, right, chosen + height))
        corners.append((left, chosen))
    return corners


def _within(box: Box, room: Box) -> Box:
    """Moved into the room; what is larger keeps its top left corner there."""
    dx = max(room[0] - box[0], min(0.0, room[2] - box[2]))
    dy = max(room[1] - box[1], min(0.0, room[3] - box[3]))
    return box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy
