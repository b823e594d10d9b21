"""How the vessel is cut: decided from one mask, then held steady over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from usviewer.frame import FrameKey, Points
from usviewer.measure.geometry import Shape
from usviewer.measure.reading import Plane, Site
from usviewer.units import Point

# docs/clinical.md, "The diameter from a mask": below the first the section runs across the vessel, above the second
# along it; between them it is undetermined.
TRANSVERSE_BELOW = 1.6
LONGITUDINAL_ABOVE = 2.5
# How long a new plane must last before it counts (same place): single frames flicker.
HOLD_S = 0.5


@dataclass(frozen=True, slots=True)
class Contact:
    """Where a mask meets the border: at the two ends of its long axis, or along its walls."""

    first_end: bool = False
    second_end: bool = False
    wall: bool = False

    @property
    def any(self) -> bool:
        """True when the mask meets the border anywhere."""
        return self.first_end or self.second_end or self.wall


def contact_of(shape: Shape, touching_xy_px: Points, scale_xy: Point = (1.0, 1.0)) -> Contact:
    """Sort the touching pixels (N, 2, frame px): an end is the last diameter along the long axis, the rest is wall.

    ``scale_xy`` is what the sides of a pixel measure: which axis is the long one depends on it.
    """
    if not len(touching_xy_px):
        return Contact()
    ellipse = shape.moments.scaled(*scale_xy).ellipse()
    axis = np.asarray(ellipse.major_direction)
    centre = np.asarray(ellipse.center_xy)
    reach = (shape.outline_xy_px * scale_xy - centre) @ axis
    along = (touching_xy_px * scale_xy - centre) @ axis
    diameter = min(2.0 * ellipse.semi_minor, 0.35 * float(reach.max() - reach.min()))
    first, second = along <= reach.min() + diameter, along >= reach.max() - diameter
    return Contact(bool(first.any()), bool(second.any()), bool((~first & ~second).any()))


def plane_of(elongation: float, contact: Contact) -> Plane:
    """The plane that one mask shows (``docs/clinical.md``, "The diameter from a mask").

    A round mask that meets the border is undetermined: it may be the part of a larger one.
    """
    if elongation < TRANSVERSE_BELOW and contact.any:
        return Plane.UNDETERMINED
    if elongation < TRANSVERSE_BELOW:
        return Plane.TRANSVERSE
    if elongation > LONGITUDINAL_ABOVE or (contact.first_end and contact.second_end):
        return Plane.LONGITUDINAL
    return Plane.UNDETERMINED


class PlaneTracker:
    """Holds the plane over the frames of one source: a new one counts after half a second.

    ``pinned`` is the operator's own word and wins over what the masks show; ``site``, too, is the operator's and goes
    into every reading. Both may be set at any time.
    """

    def __init__(self, pinned: Plane | None = None, site: Site = Site.NOT_SET) -> None:
        self.pinned = pinned
        self.site = site
        self.reset()

    def reset(self) -> None:
        """Forget what was seen (a seek, another source or model); pin and site stay."""
        self._held = Plane.UNDETERMINED
        self._challenger: tuple[Plane, float] | None = None
        self._last: tuple[str, float] | None = None

    def update(self, seen: Plane, key: FrameKey) -> Plane:
        """The plane to believe at this frame, by media time."""
        now = key.time_s
        if self._last is None or self._last[0] != key.source or not 0.0 <= now - self._last[1] <= HOLD_S:
            self.reset()
        self._last = (key.source, now)
        if self.pinned is not None:
            return self.pinned
        if seen is self._held or self._held is Plane.UNDETERMINED:
            self._held, self._challenger = seen, None
        elif self._challenger is None or self._challenger[0] is not seen:
            self._challenger = (seen, now)
        elif now - self._challenger[1] >= HOLD_S:
            self._held, self._challenger = seen, None
        return self._held
