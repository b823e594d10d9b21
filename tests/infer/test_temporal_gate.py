"""An object appears with the full score and stays with less; where it is missing, its outline moves on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from usviewer.frame import Frame, FrameKey, Mask
from usviewer.infer.manifest import OutputSpec
from usviewer.infer.prediction import Instance, full_mask, instance_of
from usviewer.infer.temporal_gate import MAX_GAP_S, TemporalGate
from usviewer.units import Box

OUTPUT = OutputSpec("logits", min_score=0.7, keep_score=0.4)
HERE: Box = (100.0, 100.0, 140.0, 140.0)
SIZE_PX = (320, 240)
EMPTY = np.zeros((240, 320, 3), np.uint8)


def at(time_s: float, source: str = "clip", pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = EMPTY) -> Frame:
    return Frame(FrameKey(source, round(time_s * 25), time_s, 0.0, ""), pixels)


def one(score: float, box: Box = HERE, label: str = "aorta") -> tuple[Instance, ...]:
    return (Instance(label, 0, score, box),)


def moving(time_s: float, shift_px: float, seed: int = 3) -> Frame:
    """Speckle that has moved to the right, with a dark vessel in it."""
    rng = np.random.default_rng(seed)
    speckle = cv2.GaussianBlur(rng.uniform(0, 255, (240, 420)).astype(np.float32), (0, 0), 2.0)
    speckle = 128 + 3.0 * (speckle - speckle.mean())
    cv2.circle(speckle, (170, 120), 20, 20.0, -1, cv2.LINE_AA)
    moved = cv2.warpAffine(speckle, np.array([[1, 0, shift_px - 50], [0, 1, 0]], np.float64), SIZE_PX)
    grey = np.clip(moved, 0, 255).astype(np.uint8)
    return at(time_s, pixels=np.repeat(grey[:, :, None], 3, axis=2))


def vessel(shift_px: float, score: float = 0.9, radius_px: float = 20.0) -> tuple[Instance, ...]:
    rows, columns = np.indices((240, 320))
    mask: Mask = np.hypot(columns - 120 - shift_px, rows - 120) <= radius_px
    return (instance_of(mask, Instance("aorta", 0, 1.0, HERE), score),)


def test_a_faint_object_does_not_appear_by_itself() -> None:
    presence = TemporalGate()
    assert presence.admit(one(0.6), at(0.0), OUTPUT) == ()
    assert presence.admit(one(0.6), at(0.04), OUTPUT) == ()


def test_what_was_there_stays_in_its_place_with_less() -> None:
    presence = TemporalGate()
    assert presence.admit(one(0.9), at(0.0), OUTPUT)
    assert presence.admit(one(0.5, (104.0, 102.0, 145.0, 143.0)), at(0.04), OUTPUT)
    assert presence.admit(one(0.5, (110.0, 105.0, 150.0, 146.0)), at(0.08), OUTPUT), "it may drift"


@pytest.mark.parametrize(
    ("later", "faint"),
    [
        (at(0.04), one(0.6, (300.0, 100.0, 340.0, 140.0))),
        (at(0.04), one(0.6, label="ivc")),
        (at(MAX_GAP_S + 0.05), one(0.6)),
        (at(-0.04), one(0.6)),
        (at(0.04, "another clip"), one(0.6)),
    ],
    ids=["elsewhere", "another label", "after a gap", "before", "another source"],
)
def test_anything_else_needs_the_full_score(later: Frame, faint: tuple[Instance, ...]) -> None:
    presence = TemporalGate()
    assert presence.admit(one(0.9), at(0.0), OUTPUT)
    assert presence.admit(faint, later, OUTPUT) == ()


def test_a_moment_without_it_does_not_end_it() -> None:
    presence = TemporalGate()
    assert presence.admit(one(0.9), at(0.0), OUTPUT)
    assert presence.admit((), at(0.04), OUTPUT) == ()
    assert presence.admit(one(0.5), at(0.08), OUTPUT)


def test_on_a_picture_of_another_size_what_was_there_is_somewhere_else() -> None:
    presence, small = TemporalGate(), np.zeros((120, 160, 3), np.uint8)
    assert presence.admit(one(0.9), at(0.0), OUTPUT)
    assert presence.admit(one(0.5), at(0.04, pixels=small), OUTPUT) == ()
    assert presence.admit(one(0.5), at(0.08), OUTPUT) == (), "the first size again begins anew"


def test_where_it_is_missing_its_outline_moves_on_with_the_picture() -> None:
    presence = TemporalGate()
    presence.admit(vessel(0.0), moving(0.0, 0.0), OUTPUT)
    assert presence.carried == ()
    for step in range(1, 6):
        assert presence.admit((), moving(0.04 * step, 6.0 * step), OUTPUT) == ()
        (carried,), (truth,) = presence.carried, vessel(6.0 * step)
        assert carried.box_xyxy_px == pytest.approx(truth.box_xyxy_px, abs=1.5)
        assert presence.carried_s == pytest.approx(0.04 * step)
        assert 0.4 < carried.score < 0.9, "less sure than when it was seen"


def test_what_is_faint_stays_where_the_motion_has_brought_it() -> None:
    presence, still = TemporalGate(), TemporalGate()
    for gate in (presence, still):
        gate.admit(vessel(0.0), moving(0.0, 0.0), OUTPUT)
    for step in range(1, 4):
        presence.admit((), moving(0.04 * step, 10.0 * step), OUTPUT)
        still.admit((), moving(0.04 * step, 0.0), OUTPUT)
    there = vessel(40.0, score=0.5)
    assert presence.admit(there, moving(0.16, 40.0), OUTPUT) == there
    assert presence.carried == (), "what is found is not carried"
    assert still.admit(there, moving(0.16, 0.0), OUTPUT) == ()


def test_nothing_is_carried_for_long_nor_over_a_cut() -> None:
    presence = TemporalGate()
    presence.admit(vessel(0.0), moving(0.0, 0.0), OUTPUT)
    presence.admit((), moving(0.04, 90.0, seed=4), OUTPUT)
    assert presence.carried == (), "another picture"
    presence.admit((), moving(0.08, 0.0), OUTPUT)
    assert presence.carried == (), "what was lost stays lost"
    presence.admit(vessel(0.0), moving(0.12, 0.0), OUTPUT)
    presence.admit((), moving(0.12 + MAX_GAP_S + 0.04, 0.0), OUTPUT)
    assert presence.carried == ()


def test_a_vessel_that_jumps_is_given_as_the_model_gives_it() -> None:
    """A real change is never smoothed away: neither a new size nor a new place."""
    presence = TemporalGate()
    for step, (shift_px, radius_px) in enumerate([(0.0, 20.0), (0.0, 32.0), (60.0, 32.0), (60.0, 12.0)]):
        seen = vessel(shift_px, 0.9, radius_px)
        assert presence.admit(seen, moving(0.04 * step, 0.0), OUTPUT) == seen
        assert presence.carried == ()
        assert full_mask(seen[0], SIZE_PX).sum() == pytest.approx(np.pi * radius_px**2, rel=0.03)


def test_going_on_from_what_was_kept_says_the_same_as_one_pass() -> None:
    whole, resumed = TemporalGate(), TemporalGate()
    frames = [moving(0.04 * step, 9.0 * step) for step in range(5)]
    for gate in (whole, resumed):
        gate.admit(vessel(0.0), frames[0], OUTPUT)
    for frame in frames[1:4]:
        whole.admit((), frame, OUTPUT)
        resumed.follow((), frame)
    for gate in (whole, resumed):
        gate.admit((), frames[4], OUTPUT)
    (one_pass,), (again,) = whole.carried, resumed.carried
    assert one_pass.box_xyxy_px == again.box_xyxy_px and one_pass.score == again.score
    assert whole.carried_s == resumed.carried_s == pytest.approx(0.16)
