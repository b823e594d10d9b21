from __future__ import annotations

import json

import pytest

from tests.calibrate.screens import noisy, screen
from usviewer.calibrate import layouts
from usviewer.calibrate.ruler import find_ruler
from usviewer.calibrate.watch import take_reference
from usviewer.errors import UserError
from usviewer.frame import SourceInfo

PITCH = 36.3


def remembered(style="ge", device="card-1", tick_mm=10.0, **options):
    picture = screen(style, PITCH, **options)
    ruler = find_ruler([picture], read=False).vertical
    return layouts.layout_of(device, ruler, tick_mm, take_reference(ruler, [picture]), "2026-01-01")


def recognized(known, picture, device="card-1"):
    return layouts.recognized(known, device, find_ruler([picture], read=False).vertical, picture)


def test_a_layout_survives_the_file(tmp_path):
    known = (remembered(),)
    path = tmp_path / "layouts.json"
    path.write_text(layouts.to_text(known), encoding="utf-8")
    again, problems = layouts.load(path)
    assert problems == ()
    picture = noisy(screen("ge", PITCH, seed=3), 3)
    assert recognized(again, picture).tick_mm == 10.0


def test_only_the_same_screen_of_the_same_device_is_recognized():
    known = (remembered(),)
    assert recognized(known, screen("ge", PITCH)) is known[0]
    assert recognized(known, screen("ge", PITCH), "card-2") is None
    assert recognized(known, screen("ge", PITCH * 1.1)) is None
    assert recognized(known, screen("ge", PITCH, top_px=66.0)) is None
    assert recognized(known, screen("ge", PITCH, (800, 768))) is None
    assert recognized(known, screen("butterfly", PITCH)) is None


def test_the_same_ticks_at_another_depth_are_not_recognized():
    assert recognized((remembered(),), screen("ge", PITCH, first_number=1)) is None


def test_without_writing_beside_it_a_ruler_is_not_remembered():
    with pytest.raises(UserError, match="written"):
        remembered("sonosite", depth=" ")


def test_confirming_again_replaces_and_another_device_adds():
    known = layouts.with_layout((remembered(),), remembered(tick_mm=5.0))
    assert [layout.tick_mm for layout in known] == [5.0]
    assert len(layouts.with_layout(known, remembered(device="card-2"))) == 2


def test_live_devices_have_their_own_name_and_recordings_share_one():
    assert layouts.device_of(SourceInfo("v4l2:usb-1", "card", "device", 640, 480, live=True)) == "v4l2:usb-1"
    assert layouts.device_of(SourceInfo("/x/clip.mp4", "clip.mp4", "video", 640, 480)) == "recording"


@pytest.mark.parametrize("content", ["", "[]", '{"version": 99}', '{"version": 1}', '{"version": 1, "layouts": 3}'])
def test_a_damaged_file_costs_the_layouts_and_says_so(tmp_path, content):
    path = tmp_path / "layouts.json"
    path.write_text(content)
    known, problems = layouts.load(path)
    assert known == ()
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tick_mm", -1.0),
        ("tick_mm", "ten"),
        ("pitch_px", float("nan")),
        ("grey", "????"),
        ("grey", "AAAA"),
        ("box_px", [0, 0, 9999, 10]),
        ("axis", "z"),
        ("size_px", None),
    ],
)
def test_a_damaged_entry_costs_only_itself(tmp_path, key, value):
    document = json.loads(layouts.to_text((remembered(), remembered(device="card-2"))))
    document["layouts"][0][key] = value
    path = tmp_path / "layouts.json"
    path.write_text(json.dumps(document))
    known, problems = layouts.load(path)
    assert [layout.device for layout in known] == ["card-2"]
    assert "damaged" in problems[0]


def test_without_a_file_nothing_is_remembered():
    assert layouts.load() == ((), ())
