from __future__ import annotations

import math
import runpy
import tomllib
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from usviewer.acquire.phantom import (
    PhantomPlane,
    PhantomSource,
    PhantomSpec,
    open_phantom,
    parse_phantom_uri,
    random_spec,
)
from usviewer.acquire.phantom.anatomy import lumen_at_rest, outer_wall_at_rest
from usviewer.acquire.phantom.physics import Scanner, beam_grid
from usviewer.acquire.phantom.probe_motion import BREATH_S, ProbeMotion, Warp, lumen_at, move_scatterers, pulse_wave
from usviewer.acquire.source import Source
from usviewer.errors import UserError
from usviewer.frame import Mask, digest_of
from usviewer.units import ScaleSource

ROOT = Path(__file__).resolve().parents[2]

STILL = PhantomSpec(pulsation_mm=0, respiration_mm=0, probe_motion_mm=0, frames=4)


def small(**changes: object) -> PhantomSource:
    return PhantomSource(PhantomSpec(width=480, height=360, **changes))  # type: ignore[arg-type]


def moments_ap_px(mask: Mask) -> float:
    """``docs/clinical.md``, "The diameter from a mask", independently of usviewer.measure."""
    rows = np.nonzero(mask)[0]
    return 4 * math.sqrt(rows.var() + 1 / 12)


@pytest.fixture(scope="module")
def still() -> PhantomSource:
    return PhantomSource(STILL)


def test_equal_specs_give_equal_pixels_in_any_order() -> None:
    first, second = small(seed=3, frames=20), small(seed=3, frames=20)
    digests = [frame.key.digest for frame in first]
    assert [second.seek(index).key.digest for index in reversed(range(20))] == digests[::-1]
    assert len(set(digests)) == 20
    assert small(seed=4, frames=20).seek(0).key.digest != digests[0]


def test_frames_carry_their_size_time_and_exact_scale(still: PhantomSource) -> None:
    frame = still.seek(3)
    assert frame.pixels.shape == (720, 960, 3) and frame.pixels.dtype == np.uint8
    assert not frame.pixels.flags.writeable
    assert frame.key.index == 3 and frame.key.media_time_s == pytest.approx(0.1)
    assert frame.key.digest == digest_of(frame.pixels)
    assert list(still.times_s()) == pytest.approx([0, 1 / 30, 2 / 30, 3 / 30])
    assert still.info.frame_count == 4 and not still.info.live
    assert frame.geometry is not None
    spacing, _ = frame.geometry.spacing_for(np.array([[480.0, 300.0], [480.0, 400.0]]))
    assert spacing is not None and spacing.source is ScaleSource.PHANTOM
    assert spacing.x_mm_per_px == spacing.y_mm_per_px == still.truth(3).mm_per_px


def test_sector_is_certain_and_outside_it_only_the_screen_is_drawn() -> None:
    source = small(screen=False)
    frame, sector = source.seek(0), source.geometry.sector
    assert sector is not None and sector.certain and sector.apex_xy_px is not None
    fan = np.zeros((360, 480), np.uint8)
    cv2.fillPoly(fan, [np.round(sector.outline_xy_px - 0.5).astype(np.int32)], 1)
    outside = cv2.dilate(fan, np.ones((3, 3), np.uint8)) == 0
    assert not frame.pixels[outside].any()
    assert frame.pixels[fan == 1].mean() > 30
    x0, y0, x1, y1 = sector.box_xyxy_px
    shown = np.argwhere(frame.pixels[:, :, 0] > 0)
    assert (shown.min(0) >= (y0, x0)).all() and (shown.max(0) < (y1, x1)).all()
    face = np.hypot(*(sector.outline_xy_px[0] - sector.apex_xy_px))
    assert face == pytest.approx(sector.face_radius_px)


def test_ruler_ticks_lie_where_the_scale_says(still: PhantomSource) -> None:
    """The demo's burnt-in ruler must agree with the truth: whoever reads it gets the same millimetres."""
    column = still.seek(0).pixels[:, still.spec.width - 14 - 5, 1]
    rows = np.nonzero(column > 100)[0]
    middles = [part.mean() + 0.5 for part in np.split(rows, np.nonzero(np.diff(rows) > 1)[0] + 1)]
    pitch_px = (middles[-1] - middles[0]) / (len(middles) - 1)
    assert len(middles) == still.spec.picture_depth_mm / 10 + 1
    assert 10 / pitch_px == pytest.approx(still.layout.mm_per_px, rel=0.003)
    assert middles[0] == pytest.approx(still.layout.origin_y_px, abs=0.6)


@pytest.mark.parametrize("seed", range(40))
def test_truth_agrees_with_the_mask_over_a_population(seed: int) -> None:
    spec = random_spec(seed)
    motion, rest = ProbeMotion(spec), lumen_at_rest(spec)
    source = PhantomSource(spec)
    for index in (0, 137):
        truth, mask = source.truth(index), source.truth_mask(index)
        assert mask is not None and not truth.clipped and truth.ap_mm is not None and truth.transverse_mm is not None
        assert moments_ap_px(mask) * truth.mm_per_px == pytest.approx(truth.ap_mm, abs=0.15)
        columns = np.nonzero(mask)[1]
        assert 4 * math.sqrt(columns.var() + 1 / 12) * truth.mm_per_px == pytest.approx(truth.transverse_mm, abs=0.15)
        outline = truth.inner_outline_xy_px
        assert outline is not None
        assert np.ptp(outline[:, 1]) * truth.mm_per_px == pytest.approx(truth.ap_mm, abs=0.01)
        moment = motion.at(index / spec.fps)
        assert truth.ap_mm == pytest.approx(spec.ap_mm * moment.swell, abs=1e-6)
        assert rest.extents_mm()[1] == pytest.approx(spec.ap_mm)


@pytest.mark.parametrize("ap_mm", [15.0, 40.0, 90.0])
def test_diameters_from_small_to_huge_fit_the_picture(ap_mm: float) -> None:
    source = PhantomSource(PhantomSpec(ap_mm=ap_mm, axis_ratio=1.0))
    assert not any(source.truth(index).clipped for index in range(0, 300, 20))


def test_heart_beat_changes_the_diameter_about_its_mean() -> None:
    spec = PhantomSpec(ap_mm=41.0, pulsation_mm=1.94, heart_rate_bpm=60, fps=60, frames=600)
    source = PhantomSource(spec)
    values = np.array([source.truth(index).ap_mm for index in range(600)])
    assert np.ptp(values) == pytest.approx(1.94, abs=0.03)
    assert values.mean() == pytest.approx(41.0, abs=0.01)
    assert values[60:120] == pytest.approx(values[:60], abs=1e-6)
    wave = pulse_wave()
    assert np.ptp(wave) == pytest.approx(1) and wave.mean() == pytest.approx(0, abs=1e-6)
    assert np.argmax(wave) < 0.25 * wave.size


def visible_ap_mm(source: PhantomSource, index: int) -> float:
    """Distance between the two places below the vessel's middle where grey is half way from lumen to wall."""
    truth = source.truth(index)
    assert truth.inner_outline_xy_px is not None and truth.ap_mm is not None
    x, y = truth.inner_outline_xy_px.mean(axis=0)
    grey = source.seek(index).pixels[:, int(x) - 5 : int(x) + 6, 0].mean(axis=1)
    radius_px = truth.ap_mm / 2 / truth.mm_per_px
    lumen = grey[int(y - radius_px / 2) : int(y + radius_px / 2)].mean()
    total_px = 0.0
    for side in (-1, 1):
        steps = np.arange(radius_px * 0.5, radius_px * 1.3, 0.1)
        along = np.interp(y + side * steps - 0.5, np.arange(grey.size), grey)
        wall = along[(steps > radius_px) & (steps < radius_px + 3 / truth.mm_per_px)].max()
        total_px += float(steps[np.argmax(along > (lumen + wall) / 2)])
    return total_px * truth.mm_per_px


def test_picture_shows_the_vessel_where_the_truth_says_it_is() -> None:
    """The blur of the walls takes a little from the lumen, as in a real picture; the beat is seen in full."""
    source = PhantomSource(replace(STILL, ap_mm=40, pulsation_mm=4, frames=60))
    truths = [source.truth(index).ap_mm or 0.0 for index in range(60)]
    widest, narrowest = int(np.argmax(truths)), int(np.argmin(truths))
    seen = [visible_ap_mm(source, index) for index in (widest, narrowest)]
    assert seen[0] - seen[1] == pytest.approx(truths[widest] - truths[narrowest], abs=0.4)
    assert seen[0] == pytest.approx(truths[widest], abs=0.8)


@pytest.mark.parametrize("obliquity_deg", [10.0, 20.0, 30.0, 45.0])
def test_oblique_section_is_longer_by_one_over_cosine(obliquity_deg: float) -> None:
    spec = replace(STILL, axis_ratio=1.0, obliquity_deg=obliquity_deg)
    truth = PhantomSource(spec).truth(0)
    assert truth.ap_mm == pytest.approx(20 / math.cos(math.radians(obliquity_deg)))
    assert truth.transverse_mm == pytest.approx(20)


def test_tilted_section_keeps_its_ap_extent() -> None:
    source = PhantomSource(replace(STILL, axis_ratio=1.3, tilt_deg=35))
    truth, mask = source.truth(0), source.truth_mask(0)
    assert truth.ap_mm == pytest.approx(20) and mask is not None
    assert moments_ap_px(mask) * truth.mm_per_px == pytest.approx(20, abs=0.1)


def test_longitudinal_truth_is_the_width_across_the_vessel() -> None:
    source = PhantomSource(replace(STILL, plane=PhantomPlane.LONGITUDINAL, tilt_deg=20, ap_mm=24))
    truth, mask = source.truth(0), source.truth_mask(0)
    assert mask is not None and truth.ap_mm == pytest.approx(24) and truth.transverse_mm is None and not truth.clipped
    column_mm = np.count_nonzero(mask[:, 480]) * truth.mm_per_px
    assert column_mm * math.cos(math.radians(20)) == pytest.approx(24, abs=0.3)
    assert truth.inner_outline_xy_px is not None and truth.outer_outline_xy_px is not None
    gap_mm = (truth.outer_outline_xy_px[-1, 1] - truth.inner_outline_xy_px[-1, 1]) * truth.mm_per_px
    assert gap_mm * math.cos(math.radians(20)) == pytest.approx(1.6, abs=0.01)


def test_outer_wall_surrounds_lumen_and_thrombus() -> None:
    source = PhantomSource(PhantomSpec(ap_mm=45, thrombus_mm=8))
    for index in (0, 8):
        truth = source.truth(index)
        assert truth.inner_outline_xy_px is not None and truth.outer_outline_xy_px is not None
        outer = truth.outer_outline_xy_px.astype(np.float32)
        gaps = [cv2.pointPolygonTest(outer, (float(x), float(y)), True) for x, y in truth.inner_outline_xy_px[::10]]
        assert min(gaps) * truth.mm_per_px > 0.8
        front_mm = (truth.inner_outline_xy_px[:, 1].min() - outer[:, 1].min()) * truth.mm_per_px
        assert front_mm == pytest.approx(0.6 * 8 + 1.6 + 0.35 * 8, abs=0.5)


def test_absent_vessel_has_no_truth() -> None:
    source = PhantomSource(PhantomSpec(plane=PhantomPlane.ABSENT))
    truth = source.truth(0)
    assert source.truth_mask(0) is None
    assert not truth.present and truth.ap_mm is None and truth.inner_outline_xy_px is None


def test_absent_vessel_is_not_in_the_picture() -> None:
    present, absent = PhantomSource(STILL), PhantomSource(replace(STILL, plane=PhantomPlane.ABSENT))
    mask = present.truth_mask(0)
    assert absent.seek(0).pixels[mask].mean() > 3 * present.seek(0).pixels[mask].mean()


def test_vessel_beyond_the_fan_is_clipped() -> None:
    source = PhantomSource(replace(STILL, ap_mm=50, lateral_mm=60))
    truth, mask = source.truth(0), source.truth_mask(0)
    assert truth.clipped and mask is not None and mask.any() and truth.ap_mm == pytest.approx(50)
    assert np.count_nonzero(mask) * truth.mm_per_px**2 < 0.95 * math.pi / 4 * 50 * 50 * 1.05
    assert (
        PhantomSource(replace(STILL, plane=PhantomPlane.LONGITUDINAL, vessel_depth_mm=115, depth_mm=120))
        .truth(0)
        .clipped
    )


def test_warp_brings_the_moving_outline_back_to_the_resting_one() -> None:
    """What is drawn and what is called true use two formulas: they must meet on the wall."""
    spec = PhantomSpec(ap_mm=30, tilt_deg=20, axis_ratio=1.2, thrombus_mm=5, pulsation_mm=3, probe_motion_mm=3)
    grid, motion = beam_grid(spec), ProbeMotion(spec)
    warp, rest, wall = Warp(spec, grid), lumen_at_rest(spec), outer_wall_at_rest(spec)
    x, z = grid.positions_mm(spec.face_radius_mm)
    for time_s in (0.2, 0.5, BREATH_S / 2):
        moment = motion.at(time_s)
        turn, outward = warp.rest_position(moment)
        angle = grid.angle_rad[None, :] + turn
        rest_x, rest_z = outward * np.sin(angle), outward * np.cos(angle) - spec.face_radius_mm
        now, then = _rho(lumen_at(rest, moment), x, z), _rho(rest, rest_x, rest_z)
        assert np.abs(now - then)[now < 1.0].max() < 2e-3
        turns = np.linspace(0, 6, 40)
        cos, sin = math.cos(wall.tilt_rad), math.sin(wall.tilt_rad)
        u, v = wall.semi_x_mm * np.cos(turns), wall.semi_z_mm * np.sin(turns)
        edge = move_scatterers(
            np.column_stack([wall.x_mm + u * cos - v * sin, wall.z_mm + u * sin + v * cos]), rest, moment
        )
        ranges, angles = np.hypot(edge[:, 0], edge[:, 1] + spec.face_radius_mm), np.arctan2(edge[:, 0], edge[:, 1] + 55)
        rows, columns = _places(ranges, grid.range_mm), _places(angles, grid.angle_rad)
        back = [
            cv2.remap(field.astype(np.float32), columns, rows, cv2.INTER_LINEAR).ravel() for field in (rest_x, rest_z)
        ]
        assert np.abs(_rho(wall, back[0], back[1]) - 1).max() < 0.01


def _rho(shape: object, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    a, b, c = shape.matrix()  # type: ignore[attr-defined]
    dx, dz = x - shape.x_mm, z - shape.z_mm  # type: ignore[attr-defined]
    return np.sqrt(a * dx**2 + 2 * b * dx * dz + c * dz**2)


def _places(values: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return ((values - axis[0]) / (axis[1] - axis[0])).astype(np.float32)


def _power(**changes: object) -> tuple[np.ndarray, PhantomSpec]:
    spec = replace(STILL, speckle_smoothing=0.0, **changes)  # type: ignore[arg-type]
    return Scanner(spec).envelope_power(ProbeMotion(spec).at(0), 0), spec


def _db(power: np.ndarray) -> float:
    return 10 * math.log10(float(power.mean()))


def test_speckle_is_fully_developed() -> None:
    """Envelope of diffuse tissue is Rayleigh: mean over deviation is sqrt(pi / (4 - pi)) = 1.913."""
    values = []
    for seed in range(6):
        power, spec = _power(seed=seed, sma=False, vessel_depth_mm=110.0, depth_mm=160.0)
        depths = beam_grid(spec).range_mm - spec.face_radius_mm
        rows = (depths > 55) & (depths < 75)
        envelope = np.sqrt(power[rows][:, 80:130])
        # The liver's own unevenness is slow: measure against the local mean.
        values.append(envelope / cv2.blur(envelope, (25, 25)))
    envelope = np.concatenate(values)
    assert envelope.mean() / envelope.std() == pytest.approx(1.913, abs=0.15)


def test_beam_is_narrowest_at_the_focus() -> None:
    """Correlation of speckle along an arc lasts longer (in mm) deep and shallow than at the vessel's depth."""
    power, spec = _power(plane=PhantomPlane.ABSENT, ivc=False, sma=False, vertebra=False, depth_mm=160.0)
    grid = beam_grid(spec)
    envelope = np.sqrt(power)
    widths = []
    for depth_mm in (spec.centre_depth_mm, 145.0):
        rows = np.abs(grid.range_mm - spec.face_radius_mm - depth_mm) < 8
        part = envelope[rows] - cv2.blur(envelope[rows], (31, 31))
        step_mm = (spec.face_radius_mm + depth_mm) * float(grid.angle_rad[1] - grid.angle_rad[0])
        correlation = [float((part[:, lag:] * part[:, : part.shape[1] - lag]).mean()) for lag in range(8)]
        normal = np.array(correlation) / correlation[0]
        widths.append(
            step_mm
            * float(
                np.interp(
                    -0.5, -normal[: int(np.argmax(normal < 0.3)) + 1], np.arange(int(np.argmax(normal < 0.3)) + 1)
                )
            )
        )
    assert widths[1] > 1.3 * widths[0]


def test_a_narrow_fan_is_blurred_by_a_beam_wider_than_itself() -> None:
    power, _ = _power(fan_deg=20.0, face_radius_mm=10.0, vessel_depth_mm=120.0, depth_mm=160.0)
    assert np.isfinite(power).all() and power.min() >= 0 and power.max() > 0


def test_lumen_is_dark_and_bone_casts_a_shadow(still: PhantomSource) -> None:
    power, spec = _power()
    grid = beam_grid(spec)
    x, z = grid.positions_mm(spec.face_radius_mm)
    rho = _rho(lumen_at(lumen_at_rest(spec), ProbeMotion(spec).at(0)), x, z)
    around = _db(power[(rho > 1.5) & (rho < 2.2)])
    assert around - _db(power[rho < 0.7]) > 18
    behind = (np.abs(x + 6) < 8) & (z > 105)
    beside = (np.abs(x - 45) < 8) & (z > 95)
    assert _db(power[beside]) - _db(power[behind]) > 12
    front = power[(np.abs(x + 6) < 8) & (z > 80) & (z < 92)].max()
    assert 10 * math.log10(float(front)) > around + 3


def test_blood_lets_more_through_than_tissue() -> None:
    """Posterior enhancement: the same place behind the vessel is brighter than without it."""
    with_vessel, spec = _power(ap_mm=40, vertebra=False, ivc=False, sma=False)
    without, _ = _power(ap_mm=40, vertebra=False, ivc=False, sma=False, plane=PhantomPlane.ABSENT)
    x, z = beam_grid(spec).positions_mm(spec.face_radius_mm)
    behind = (np.abs(x - 6) < 8) & (z > 95) & (z < 112)
    assert 2 < _db(with_vessel[behind]) - _db(without[behind]) < 9


def test_gas_hides_what_lies_behind_it() -> None:
    clear, spec = _power(gas=False)
    gassy, _ = _power(gas=True)
    grid = beam_grid(spec)
    depths = grid.range_mm - spec.face_radius_mm
    beams = np.argsort(gassy[depths > 70].mean(0) / clear[depths > 70].mean(0))[:20]
    part = np.ix_(depths > 70, beams)
    assert _db(clear[part]) - _db(gassy[part]) > 15


def test_speckle_moves_with_tissue_and_changes_slowly() -> None:
    source = small(frames=300)
    first, next_, later = (source.seek(index).pixels[150:250, 180:330, 0].astype(float) for index in (0, 1, 60))
    alike = np.corrcoef(first.ravel(), next_.ravel())[0, 1]
    assert 0.9 < alike < 0.99999
    assert np.corrcoef(first.ravel(), later.ravel())[0, 1] < alike


@pytest.mark.parametrize(
    "changes", [{"gain_db": 8.0}, {"dynamic_range_db": 75.0}], ids=lambda changes: next(iter(changes))
)
def test_controls_brighten_the_picture(changes: dict[str, float], still: PhantomSource) -> None:
    spec = replace(STILL, screen=False)
    assert PhantomSource(replace(spec, **changes)).seek(0).pixels.mean() > PhantomSource(spec).seek(0).pixels.mean() + 4


def test_uri_names_every_parameter() -> None:
    spec = parse_phantom_uri(
        "phantom:?ap_mm=24&frames=30&seed=3&fps=25&width=480&height=360&plane=longitudinal&live=1&gas=on"
    )
    assert spec == PhantomSpec(
        ap_mm=24, frames=30, seed=3, fps=25, width=480, height=360, plane=PhantomPlane.LONGITUDINAL, live=True, gas=True
    )
    assert parse_phantom_uri("phantom:") == PhantomSpec()
    assert parse_phantom_uri("phantom://?vessel_depth_mm=70").vessel_depth_mm == 70


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("?ap=24", "'ap'"),
        ("?ap_mm=big", "ap_mm"),
        ("?ap_mm=nan", "ap_mm"),
        ("?ap_mm=-3", "ap_mm"),
        ("?ap_mm=24&ap_mm=25", "twice"),
        ("?frames=2.5", "frames"),
        ("?frames=0", "frames"),
        ("?width=20000", "width"),
        ("?plane=coronal", "plane"),
        ("?gas=perhaps", "gas"),
        ("?ap_mm", "cannot be read"),
        ("ap_mm=24", "cannot be read"),
        ("?plane=longitudinal&obliquity_deg=20", "longitudinal"),
        ("?plane=longitudinal&tilt_deg=80", "steep"),
        ("?ap_mm=8&pulsation_mm=5", "pulsates"),
        ("?seed=1e400", "seed"),
        ("?fps=inf", "fps"),
    ],
)
def test_wrong_parameters_are_refused_in_one_sentence(query: str, named: str) -> None:
    with pytest.raises(UserError, match=named) as caught:
        open_phantom(f"phantom:{query}")
    assert caught.value.do


def test_only_its_own_scheme_is_read() -> None:
    with pytest.raises(UserError, match="not a phantom"):
        parse_phantom_uri("file:aorta.mp4")


def test_indices_outside_are_refused(still: PhantomSource) -> None:
    for index in (-1, 4):
        for ask in (still.seek, still.seek_near, still.truth, still.truth_mask):
            with pytest.raises(UserError, match="no frame"):
                ask(index)


def test_live_phantom_goes_on_until_closed() -> None:
    with small(frames=2, live=True) as source:
        assert source.info.live and source.info.frame_count is None and list(source.times_s()) == []
        frames = iter(source)
        assert [next(frames).key.index for _ in range(4)] == [0, 1, 2, 3]
        with pytest.raises(UserError, match="cannot seek"):
            source.seek(0)
        assert source.truth(1000).present
        source.close()
        assert next(frames, None) is None


def test_random_specs_repeat_and_vary() -> None:
    specs = [random_spec(seed) for seed in range(30)]
    assert specs == [random_spec(seed) for seed in range(30)]
    diameters = [spec.ap_mm for spec in specs]
    assert min(diameters) >= 15 and max(diameters) <= 70 and np.ptp(diameters) > 35
    assert random_spec(1, (30, 31), PhantomPlane.LONGITUDINAL).plane is PhantomPlane.LONGITUDINAL


def test_phantom_is_a_source(still: PhantomSource) -> None:
    assert isinstance(still, Source)


def test_bundled_sample_is_what_its_description_says() -> None:
    told = tomllib.loads((ROOT / "resources" / "sample.toml").read_text(encoding="utf-8"))
    maker = runpy.run_path(str(ROOT / "resources" / "make_sample.py"))
    source = PhantomSource(maker["SAMPLE"])
    assert tomllib.loads(maker["describe"](source)) == told
    with av.open(ROOT / "resources" / "sample.mp4") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == told["frames"] == 120
    apart = np.abs(frames[60].astype(int) - source.seek(60).pixels)
    assert apart.mean() < 3.0


@pytest.mark.parametrize("text", ["20.5", "20,5", "20.5%20mm", "2,05%20cm"])
def test_a_number_of_an_address_is_typed_as_everywhere(text):
    assert parse_phantom_uri(f"phantom:?ap_mm={text}").ap_mm == 20.5


@pytest.mark.parametrize("query", ["ap_mm=2e1", "ap_mm=2_0", "ap_mm=\uff12\uff10", "width=9_60", "seed=1.000"])
def test_what_may_be_another_number_is_refused(query):
    with pytest.raises(UserError, match="cannot be"):
        parse_phantom_uri(f"phantom:?{query}")
