"""What a phantom is asked to be: its parameters, their limits, the ``phantom:`` address, and random populations."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from urllib.parse import parse_qsl

import numpy as np

from usviewer.errors import UserError
from usviewer.typed_number import LENGTH_IN_MM, NO_UNIT, parse_number, parse_whole


class PhantomPlane(StrEnum):
    """How the simulated aorta is cut; ``ABSENT`` is the same abdomen without one."""

    TRANSVERSE = "transverse"
    LONGITUDINAL = "longitudinal"
    ABSENT = "absent"


# Wider than bodies and scanners: an address may ask for what a test needs, never for what cannot be drawn.
_LIMITS = {
    "ap_mm": (5.0, 120.0),
    "axis_ratio": (0.5, 2.0),
    "tilt_deg": (-90.0, 90.0),
    "obliquity_deg": (0.0, 60.0),
    "vessel_depth_mm": (5.0, 300.0),
    "lateral_mm": (-200.0, 200.0),
    "wall_mm": (0.5, 6.0),
    "thrombus_mm": (0.0, 40.0),
    "heart_rate_bpm": (20.0, 240.0),
    "pulsation_mm": (0.0, 6.0),
    "respiration_mm": (0.0, 30.0),
    "probe_motion_mm": (0.0, 20.0),
    "gain_db": (-30.0, 30.0),
    "dynamic_range_db": (30.0, 90.0),
    "speckle_smoothing": (0.0, 1.0),
    "depth_mm": (40.0, 300.0),
    "fan_deg": (20.0, 90.0),
    "face_radius_mm": (10.0, 100.0),
    "width": (160, 4096),
    "height": (120, 4096),
    "fps": (1.0, 240.0),
    "frames": (1, 1_000_000),
    "seed": (0, 2**32 - 1),
}


@dataclass(frozen=True, slots=True)
class PhantomSpec:
    """One simulated abdomen. Equal specs give equal pixels.

    ``ap_mm`` is the inner (lumen) diameter of the vessel along depth, as the **mean over a heart beat**;
    ``pulsation_mm`` is its change from diastole to systole, peak to peak. ``axis_ratio`` is the section's transverse
    over its AP axis, before ``tilt_deg`` turns it (clockwise in the picture; ``ap_mm`` stays the extent along the
    picture's y axis). ``obliquity_deg`` leans the plane so that the section's depth axis grows to D / cos(phi). In the
    longitudinal plane ``tilt_deg`` is the slope of the vessel, and ``ap_mm`` its width across its own axis.

    ``vessel_depth_mm`` (centre below the probe face) and ``depth_mm`` (of the picture) are chosen to suit the diameter
    where they are None. ``lateral_mm`` is positive to the picture's right. ``thrombus_mm`` is the thickness of the
    mural thrombus outside the lumen. ``speckle_smoothing`` 0 is bare, fully developed speckle, 1 a much
    compounded picture. Raises ``UserError`` for a value outside its limits.
    """

    ap_mm: float = 20.0
    axis_ratio: float = 1.05
    tilt_deg: float = 0.0
    obliquity_deg: float = 0.0
    plane: PhantomPlane = PhantomPlane.TRANSVERSE
    vessel_depth_mm: float | None = None
    lateral_mm: float = 4.0
    wall_mm: float = 1.6
    thrombus_mm: float = 0.0
    calcification: bool = False
    ivc: bool = True
    sma: bool = True
    vertebra: bool = True
    gas: bool = False
    liver: bool = True
    heart_rate_bpm: float = 70.0
    pulsation_mm: float = 1.6
    respiration_mm: float = 4.0
    probe_motion_mm: float = 1.5
    gain_db: float = 0.0
    dynamic_range_db: float = 60.0
    speckle_smoothing: float = 0.8
    depth_mm: float | None = None
    fan_deg: float = 64.0
    face_radius_mm: float = 55.0
    width: int = 960
    height: int = 720
    fps: float = 30.0
    frames: int = 300
    seed: int = 1
    screen: bool = True
    live: bool = False

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise UserError(
                    f"A phantom cannot have {name} = {value}", f"Give {name} a value from {low:g} to {high:g}"
                )
        if self.plane is PhantomPlane.LONGITUDINAL and (self.obliquity_deg or self.thrombus_mm):
            raise UserError(
                "A longitudinal phantom has no obliquity and no thrombus", "Leave obliquity_deg and thrombus_mm out"
            )
        if self.plane is PhantomPlane.LONGITUDINAL and abs(self.tilt_deg) > 45:
            raise UserError("A longitudinal phantom cannot be that steep", "Give tilt_deg a value from -45 to 45")
        if self.pulsation_mm > 0.5 * self.ap_mm:
            raise UserError("The phantom pulsates by more than half its diameter", "Give a smaller pulsation_mm")

    @property
    def centre_depth_mm(self) -> float:
        """Depth of the vessel's centre below the face: as given, else the anterior wall lies 32-58 mm deep."""
        if self.vessel_depth_mm is not None:
            return self.vessel_depth_mm
        anterior_mm = min(58.0, max(32.0, 58.0 - 0.37 * (self.ap_mm - 20.0)))
        return anterior_mm + self.thrombus_mm + self.section_ap_mm / 2

    @property
    def picture_depth_mm(self) -> float:
        """Depth of the picture below the face: as given, else 50 mm beyond the vessel, in whole centimetres."""
        if self.depth_mm is not None:
            return self.depth_mm
        posterior_mm = self.centre_depth_mm + self.section_ap_mm / 2 + self.thrombus_mm
        return max(120.0, 10.0 * math.ceil((posterior_mm + 50.0) / 10.0))

    @property
    def section_ap_mm(self) -> float:
        """Mean AP extent of the lumen in this plane: ``ap_mm``, grown by 1 / cos where the plane is oblique."""
        return self.ap_mm / math.cos(math.radians(self.obliquity_deg))


def parse_phantom_uri(uri: str) -> PhantomSpec:
    """Read ``phantom:?ap_mm=24&seed=3``; names are those of ``PhantomSpec``. Raises ``UserError`` for any other."""
    if not uri.lower().startswith("phantom:"):
        raise UserError(f"'{uri}' is not a phantom", "Write phantom: or phantom:?ap_mm=24&seed=3")
    query = uri[len("phantom:") :].lstrip("/")
    if query and not query.startswith("?"):
        raise UserError(f"'{uri}' cannot be read", "Write phantom:?name=value&name=value")
    try:
        pairs = parse_qsl(query[1:], keep_blank_values=True, strict_parsing=bool(query[1:]))
    except ValueError:
        raise UserError(f"'{uri}' cannot be read", "Write phantom:?name=value&name=value") from None
    types = {item.name: str(item.type) for item in fields(PhantomSpec)}
    values: dict[str, object] = {}
    for name, text in pairs:
        if name not in types:
            raise UserError(f"A phantom has no parameter '{name}'", "Choose one of " + ", ".join(types))
        if name in values:
            raise UserError(f"The phantom's {name} is given twice", "Give it once")
        values[name] = _value(name, types[name], text)
    return PhantomSpec(**values)  # type: ignore[arg-type]


_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _value(name: str, kind: str, text: str) -> object:
    try:
        if kind == "bool":
            return _WORDS[text.lower()]
        if kind == "PhantomPlane":
            return PhantomPlane(text.lower())
    except (KeyError, ValueError):
        wanted = "1 or 0" if kind == "bool" else ", ".join(PhantomPlane)
        raise UserError(f"The phantom's {name} cannot be '{text}'", f"Give it {wanted}") from None
    low, high = _LIMITS[name]
    try:
        if kind == "int":
            return parse_whole(text, least=int(low), most=int(high))
        units = LENGTH_IN_MM if name.endswith("_mm") else NO_UNIT
        return parse_number(text, least=low, most=high, units=units)
    except UserError as error:
        raise UserError(f"The phantom's {name} cannot be '{text}': {error.what}", error.do) from None


def random_spec(
    seed: int,
    ap_mm_range: tuple[float, float] = (15.0, 70.0),
    plane: PhantomPlane = PhantomPlane.TRANSVERSE,
) -> PhantomSpec:
    """Draw one member of a varied population: diameter uniform over the range, the rest as patients and scanners vary.

    The vessel stays inside the fan through all motion. The same seed gives the same spec.
    """
    rng = np.random.default_rng([seed, 71])
    ap_mm = float(rng.uniform(*ap_mm_range))
    across = plane is PhantomPlane.LONGITUDINAL
    steepest = 12 if across else 30
    spec = PhantomSpec(
        ap_mm=ap_mm,
        axis_ratio=float(rng.uniform(0.9, 1.25)),
        tilt_deg=float(rng.uniform(-steepest, steepest)),
        plane=plane,
        wall_mm=float(rng.uniform(1.2, 2.5)),
        thrombus_mm=float(rng.uniform(2, 8)) if ap_mm > 30 and not across and rng.random() < 0.3 else 0.0,
        calcification=bool(rng.random() < 0.25),
        ivc=bool(rng.random() < 0.8),
        sma=bool(rng.random() < 0.6),
        gas=bool(rng.random() < 0.3),
        liver=bool(rng.random() < 0.6),
        heart_rate_bpm=float(rng.uniform(50, 105)),
        pulsation_mm=float(rng.uniform(0.8, 2.4)),
        respiration_mm=float(rng.uniform(0, 8)),
        probe_motion_mm=float(rng.uniform(0, 3)),
        gain_db=float(rng.uniform(-5, 5)),
        dynamic_range_db=float(rng.uniform(52, 72)),
        speckle_smoothing=float(rng.uniform(0, 1)),
        fan_deg=float(rng.uniform(60, 74)),
        face_radius_mm=float(rng.uniform(45, 62)),
        seed=seed,
    )
    # Last, since how far it may lie to the side depends on what was drawn before.
    return replace(spec, lateral_mm=float(rng.uniform(-1, 1)) * _free_lateral_mm(spec))


def _free_lateral_mm(spec: PhantomSpec) -> float:
    """How far the vessel may lie from the middle and stay in the fan with 8 mm to spare (at most 15 mm)."""
    half_width_mm = 0.5 * spec.section_ap_mm * max(1.0, spec.axis_ratio) * 1.1 + spec.thrombus_mm + spec.wall_mm
    radius_mm = spec.face_radius_mm + spec.centre_depth_mm
    # Distance from the vessel's centre to the fan's straight side, across it.
    to_side_mm = radius_mm * math.sin(math.radians(spec.fan_deg / 2))
    return min(15.0, max(0.0, to_side_mm - half_width_mm - 8.0))
