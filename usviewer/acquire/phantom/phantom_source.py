"""The phantom as a source of frames, with the truth about each of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.acquire.phantom.anatomy import PhantomEllipse, lumen_at_rest, outer_wall_at_rest
from usviewer.acquire.phantom.physics import Scanner, scan_maps
from usviewer.acquire.phantom.probe_motion import Moment, ProbeMotion, lumen_at, move_scatterers
from usviewer.acquire.phantom.spec import PhantomPlane, PhantomSpec, parse_phantom_uri
from usviewer.errors import UserError
from usviewer.frame import Frame, ImageGeometry, Mask, Points, Region, Sector, SourceInfo, make_frame
from usviewer.units import ScaleSource, isotropic

_OUTLINE_POINTS = 720
_INK = (200, 205, 120)


@dataclass(frozen=True, slots=True, eq=False)
class PhantomTruth:
    """What is really there in one frame.

    ``ap_mm`` is the lumen's extent along the picture's y axis at this instant (in the longitudinal plane: its width
    across the vessel's axis), ``transverse_mm`` its extent along x (None in the longitudinal plane). Outlines are
    closed polygons (N, 2) in pixels, corner convention, of the lumen and of the wall's outer edge; in the longitudinal
    plane they end at the fan's outermost columns. ``clipped``: part of the lumen lies outside the fan; longitudinal:
    its width below the middle of the probe does. Without a vessel ``present`` is False and the rest None.
    """

    index: int
    time_s: float
    plane: PhantomPlane
    present: bool
    mm_per_px: float
    ap_mm: float | None = None
    transverse_mm: float | None = None
    inner_outline_xy_px: Points | None = None
    outer_outline_xy_px: Points | None = None
    clipped: bool = False


@dataclass(frozen=True, slots=True)
class ScreenLayout:
    """Where the fan lies in the picture: pixel = origin + mm / mm_per_px; the origin is the middle of the face."""

    mm_per_px: float
    origin_x_px: float
    origin_y_px: float

    def to_px(self, points_mm: NDArray[np.float64]) -> Points:
        """Positions (N, 2), mm to pixels."""
        return np.asarray(points_mm / self.mm_per_px + (self.origin_x_px, self.origin_y_px), np.float64)


def _fit_screen(spec: PhantomSpec) -> ScreenLayout:
    """The largest fan that leaves room for the ruler and the margins, centred."""
    half, radius, depth = math.radians(spec.fan_deg / 2), spec.face_radius_mm, spec.picture_depth_mm
    rise_mm = radius * (1 - math.cos(half))  # the face's ends lie higher than its middle
    wide_mm, high_mm = 2 * (radius + depth) * math.sin(half), depth + rise_mm
    room_x, room_y = spec.width * 0.88, spec.height * 0.94
    mm_per_px = max(wide_mm / room_x, high_mm / room_y)
    top_px = (spec.height - high_mm / mm_per_px) * 0.4
    return ScreenLayout(mm_per_px, spec.width / 2, top_px + rise_mm / mm_per_px)


def _geometry_of(spec: PhantomSpec, layout: ScreenLayout) -> ImageGeometry:
    """The fan as a certain sector, and one region over it with the exact scale."""
    half, radius = math.radians(spec.fan_deg / 2), spec.face_radius_mm
    angles = np.linspace(-half, half, 120)
    face = np.column_stack([radius * np.sin(angles), radius * np.cos(angles) - radius])
    far = radius + spec.picture_depth_mm
    bottom = np.column_stack([far * np.sin(angles[::-1]), far * np.cos(angles[::-1]) - radius])
    outline = layout.to_px(np.vstack([face, bottom]))
    outline.setflags(write=False)
    low, high = np.floor(outline.min(axis=0)).astype(int), np.ceil(outline.max(axis=0)).astype(int)
    box = (max(0, int(low[0])), max(0, int(low[1])), min(spec.width, int(high[0])), min(spec.height, int(high[1])))
    apex = layout.to_px(np.array([[0.0, -radius]]))[0]
    sector = Sector(outline, box, (float(apex[0]), float(apex[1])), radius / layout.mm_per_px, certain=True)
    spacing = isotropic(layout.mm_per_px, ScaleSource.PHANTOM)
    whole = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
    return ImageGeometry((Region(whole, spacing),), sector, "", f"phantom {layout.mm_per_px:.6g}")


class PhantomSource:
    """A simulated scan of the abdominal aorta; equal specs give equal frames, in whatever order they are asked for.

    A recorded phantom ends after ``spec.frames``; a live one (``spec.live``) goes on until it is closed, its consumer
    sets the pace, and ``seek`` is refused. Indices outside raise ``UserError``. One thread at a time.
    """

    def __init__(self, spec: PhantomSpec, uri: str = "phantom:") -> None:
        self.spec = spec
        self.layout = _fit_screen(spec)
        self.geometry = _geometry_of(spec, self.layout)
        count = None if spec.live else spec.frames
        notes = ("Simulated picture of known diameter",)
        self.info = SourceInfo(uri, "Phantom", "phantom", spec.width, spec.height, spec.fps, count, spec.live, notes)
        self._lumen, self._wall = lumen_at_rest(spec), outer_wall_at_rest(spec)
        self._motion = ProbeMotion(spec)
        self._x_mm, self._z_mm = self._pixel_centres_mm()
        positions, weights, self._fan = scan_maps(spec, self._x_mm, self._z_mm)
        self._maps = (positions, weights)
        self._screen = _draw_screen(spec, self.layout)
        self._closed = False

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while (self.spec.live and not self._closed) or (not self.spec.live and index < self.spec.frames):
            yield self._frame(index)
            index += 1

    def seek(self, index: int) -> Frame:
        """Give the frame of that index. Raises ``UserError`` beyond the ends, and for a live phantom."""
        if self.spec.live:
            raise UserError("You cannot seek in a live phantom", "Open it without live=1")
        return self._frame(index)

    seek_near = seek

    def times_s(self) -> Sequence[float]:
        """Media time of every frame; empty for a live phantom."""
        if self.spec.live:
            return ()
        return tuple(index / self.spec.fps for index in range(self.spec.frames))

    def close(self) -> None:
        """End a live phantom; nothing is held open."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def truth(self, index: int) -> PhantomTruth:
        """What is really there in that frame."""
        moment, spec, time_s = self._moment(index), self.spec, index / self.spec.fps
        if spec.plane is PhantomPlane.ABSENT:
            return PhantomTruth(index, time_s, spec.plane, False, self.layout.mm_per_px)
        lumen = lumen_at(self._lumen, moment)
        inner_mm = self._outline_mm(lumen)
        outer_mm = move_scatterers(self._outline_mm(self._wall), self._lumen, moment)
        across_mm: float | None
        across_mm, depth_mm = lumen.extents_mm()
        if spec.plane is PhantomPlane.LONGITUDINAL:  # an endless band has no extent along, and a width across its axis
            across_mm, depth_mm = None, 2 * lumen.semi_z_mm
        return PhantomTruth(
            index,
            time_s,
            spec.plane,
            True,
            self.layout.mm_per_px,
            depth_mm,
            across_mm,
            self._read_only(inner_mm),
            self._read_only(outer_mm),
            self._is_clipped(lumen, inner_mm),
        )

    def truth_mask(self, index: int) -> Mask | None:
        """Pixels of the frame (height, width) whose centre lies in the lumen and in the fan; None without a vessel."""
        if self.spec.plane is PhantomPlane.ABSENT:
            return None
        lumen = lumen_at(self._lumen, self._moment(index))
        a, b, c = lumen.matrix()
        dx, dz = self._x_mm - lumen.x_mm, self._z_mm - lumen.z_mm
        x0, y0, x1, y1 = self._box
        mask = np.zeros((self.spec.height, self.spec.width), np.bool_)
        mask[y0:y1, x0:x1] = (a * dx**2 + 2 * b * dx * dz + c * dz**2 <= 1) & self._fan
        mask.setflags(write=False)
        return mask

    def _frame(self, index: int) -> Frame:
        moment = self._moment(index)
        levels = self._scanner.render(moment, index)
        grey = cv2.remap(levels, *self._maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        x0, y0, x1, y1 = self._box
        pixels = self._screen.copy()
        part = pixels[y0:y1, x0:x1]
        cv2.max(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), part, dst=part)
        return make_frame(pixels, self.info.uri, index, index / self.spec.fps, geometry=self.geometry)

    @cached_property
    def _scanner(self) -> Scanner:
        """Built for the first picture (half a second): the truth does not need it."""
        return Scanner(self.spec)

    @property
    def _box(self) -> tuple[int, int, int, int]:
        sector = self.geometry.sector
        assert sector is not None  # geometry_of always makes one
        return sector.box_xyxy_px

    def _moment(self, index: int) -> Moment:
        if index < 0 or (not self.spec.live and index >= self.spec.frames):
            raise UserError(f"The phantom has no frame {index}", f"Ask for 0 to {self.spec.frames - 1}")
        return self._motion.at(index / self.spec.fps)

    def _pixel_centres_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """X and z of the pixel centres in the sector's box, each (rows, columns)."""
        x0, y0, x1, y1 = self._box
        x = (np.arange(x0, x1) + 0.5 - self.layout.origin_x_px) * self.layout.mm_per_px
        z = (np.arange(y0, y1) + 0.5 - self.layout.origin_y_px) * self.layout.mm_per_px
        grid_x, grid_z = np.meshgrid(x, z)
        return grid_x, grid_z

    def _outline_mm(self, shape: PhantomEllipse) -> NDArray[np.float64]:
        """Polygon (N, 2) along an ellipse, or around a band as far as the fan reaches sideways."""
        cos, sin = math.cos(shape.tilt_rad), math.sin(shape.tilt_rad)
        if math.isinf(shape.semi_x_mm):
            reach = (self.spec.face_radius_mm + self.spec.picture_depth_mm) * math.sin(
                math.radians(self.spec.fan_deg / 2)
            )
            x = np.linspace(-reach, reach, _OUTLINE_POINTS // 2)
            middle, half = shape.z_mm + (x - shape.x_mm) * sin / cos, shape.semi_z_mm / cos
            return np.vstack([np.column_stack([x, middle - half]), np.column_stack([x, middle + half])[::-1]])
        turn = np.linspace(0, 2 * math.pi, _OUTLINE_POINTS, endpoint=False)
        along, across = shape.semi_x_mm * np.cos(turn), shape.semi_z_mm * np.sin(turn)
        return np.column_stack([shape.x_mm + along * cos - across * sin, shape.z_mm + along * sin + across * cos])

    def _read_only(self, points_mm: NDArray[np.float64]) -> Points:
        points = self.layout.to_px(points_mm)
        points.setflags(write=False)
        return points

    def _is_clipped(self, lumen: PhantomEllipse, outline_mm: NDArray[np.float64]) -> bool:
        if self.spec.plane is PhantomPlane.LONGITUDINAL:
            middle = lumen.z_mm - lumen.x_mm * math.tan(lumen.tilt_rad)
            half = lumen.semi_z_mm / math.cos(lumen.tilt_rad)
            return middle - half < 0 or middle + half > self.spec.picture_depth_mm
        below_apex = outline_mm[:, 1] + self.spec.face_radius_mm
        ranges = np.hypot(outline_mm[:, 0], below_apex) - self.spec.face_radius_mm
        angles = np.abs(np.arctan2(outline_mm[:, 0], below_apex))
        within = (angles <= math.radians(self.spec.fan_deg / 2)) & (ranges >= 0)
        return not bool((within & (ranges <= self.spec.picture_depth_mm)).all())


def open_phantom(uri: str) -> PhantomSource:
    """Open the phantom of an address such as ``phantom:?ap_mm=24&seed=3``. Raises ``UserError`` for any other."""
    return PhantomSource(parse_phantom_uri(uri), uri)


def _draw_screen(spec: PhantomSpec, layout: ScreenLayout) -> NDArray[np.uint8]:
    """Draw what a scanner's screen shows beside the fan: a depth ruler in centimetres, a grey bar, a label."""
    screen = np.zeros((spec.height, spec.width, 3), np.uint8)
    if not spec.screen:
        return screen
    size = spec.height / 720
    _draw_ruler(screen, spec, layout, size)
    bar_top, bar_high, bar_wide = round(24 * size), round(190 * size), round(12 * size)
    ramp = np.linspace(255, 0, bar_high).astype(np.uint8)
    screen[bar_top : bar_top + bar_high, round(10 * size) : round(10 * size) + bar_wide] = ramp[:, None, None]
    _write(screen, "PHANTOM", (36 * size, 34 * size), 0.5 * size)
    _write(screen, f"{spec.picture_depth_mm / 10:.0f} cm", (36 * size, 56 * size), 0.42 * size)
    _write(screen, f"DR {spec.dynamic_range_db:.0f}  G {50 + spec.gain_db:.0f}", (36 * size, 75 * size), 0.42 * size)
    mark = np.array([[-6, -16], [6, -16], [0, -7]]) * size + (layout.origin_x_px, layout.origin_y_px)
    cv2.fillPoly(screen, [np.round(mark).astype(np.int32)], _INK, cv2.LINE_AA)
    return screen


def _draw_ruler(screen: NDArray[np.uint8], spec: PhantomSpec, layout: ScreenLayout, size: float) -> None:
    """A tick each centimetre, a long one with its number each five, at the right edge; 0 is the probe face."""
    x = spec.width - round(14 * size)
    per_cm = 10 / layout.mm_per_px
    for centimetre in range(int(spec.picture_depth_mm / 10 + 1e-6) + 1):
        y = round(layout.origin_y_px + centimetre * per_cm - 0.5)
        long = centimetre % 5 == 0
        tick = 12 if long else 6
        cv2.line(screen, (x - round(tick * size), y), (x, y), _INK, max(1, round(size)))
        if long:
            left = x - (21 + 9 * len(str(centimetre))) * size
            _write(screen, str(centimetre), (left, y + 5 * size), 0.45 * size)
    ends = [round(layout.origin_y_px - 0.5), round(layout.origin_y_px + spec.picture_depth_mm / 10 * per_cm - 0.5)]
    cv2.line(screen, (x, ends[0]), (x, ends[1]), _INK, max(1, round(size)))


def _write(screen: NDArray[np.uint8], text: str, at_px: tuple[float, float], scale: float) -> None:
    place = (round(at_px[0]), round(at_px[1]))
    cv2.putText(screen, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, max(1, round(scale)), cv2.LINE_AA)
