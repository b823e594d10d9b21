"""An object appears with the full score and stays with less, in its place and for a moment only."""

from __future__ import annotations

import pytest

from usviewer.frame import FrameKey
from usviewer.infer.manifest import OutputSpec
from usviewer.infer.prediction import Instance
from usviewer.infer.temporal_gate import MAX_GAP_S, TemporalGate
from usviewer.units import Box

OUTPUT = OutputSpec("logits", min_score=0.7, keep_score=0.4)
HERE: Box = (100.0, 100.0, 140.0, 140.0)


def key(at_s: float, source: str = "clip") -> FrameKey:
    return FrameKey(source, round(at_s * 25), at_s, 0.0, "")


def one(score: float, box: Box = HERE, label: str = "aorta") -> tuple[Instance, ...]:
    return (Instance(label, 0, score, box),)


def test_a_faint_object_does_not_appear_by_itself() -> None:
    presence = TemporalGate()
    assert presence.admit(one(0.6), key(0.0), OUTPUT) == ()
    assert presence.admit(one(0.6), key(0.04), OUTPUT) == ()


def test_what_was_there_stays_in_its_place_with_less() -> None:
    presence = TemporalGate()
    assert presence.admit(one(0.9), key(0.0), OUTPUT)
    assert presence.admit(one(0.5, (104.0, 102.0, 145.0, 143.0)), key(0.04), OUTPUT)
    assert presence.admit(one(0.5, (110.0, 105.0, 150.0, 146.0)), key(0.08), OUTPUT), "it may drift"


@pytest.mark.parametrize(
    ("later", "faint"),
    [
        (key(0.04), one(0.6, (300.0, 100.0, 340.0, 140.0))),
        (key(0.04), one(0.6, label="ivc")),
        (key(MAX_GAP_S + 0.05), one(0.6)),
        (key(-0.04), one(0.6)),
        (key(0.04, "another clip"), one(0.6)),
    ],
    ids=["elsewhere", "another label", "after a gap", "before", "another source"],
)
def test_anything_else_needs_the_full_score(later: FrameKey, faint: tuple[Instance, ...]) -> None:
    presence = TemporalGate()
    assert presence.admit(one(0.9), key(0.0), OUTPUT)
    assert presence.admit(faint, later, OUTPUT) == ()


def test_a_moment_without_it_does_not_end_it() -> None:
    presence = TemporalGate()
    assert presence.admit(one(0.9), key(0.0), OUTPUT)
    assert presence.admit((), key(0.04), OUTPUT) == ()
    assert presence.admit(one(0.5), key(0.08), OUTPUT)


def test_on_a_picture_of_another_size_what_was_there_is_somewhere_else() -> None:
    presence = TemporalGate()
    assert presence.admit(one(0.9), key(0.0), OUTPUT, (640, 480))
    assert presence.admit(one(0.5), key(0.04), OUTPUT, (320, 240)) == ()
    assert presence.admit(one(0.5), key(0.08), OUTPUT, (640, 480)) == (), "the first size again begins anew"
