from __future__ import annotations

import base64
import json
import os

import pytest

from tests.helpers.screens import noisy, screen
from usviewer.calibrate.ruler import layouts
from usviewer.calibrate.ruler.detect import find_ruler
from usviewer.calibrate.ruler.layouts import propose, remember
from usviewer.calibrate.ruler.watch import take_reference
from usviewer.errors import UserError
from usviewer.frame import SourceInfo, make_frame

PITCH = 36.3


# A PNG that says it has 60,000 x 60,000 pixels.
BOMB = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0" + bytes(40)
).decode()


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
    with pytest.raises(UserError, match="no text beside this ruler"):
        remembered("sonosite", depth=" ")


def test_confirming_again_replaces_and_another_device_adds():
    known = layouts.with_layout((remembered(),), remembered(tick_mm=5.0))
    assert [layout.tick_mm for layout in known] == [5.0]
    assert len(layouts.with_layout(known, remembered(device="card-2"))) == 2


def test_live_devices_have_their_own_name_and_recordings_share_one():
    assert layouts.device_of(SourceInfo("v4l2:usb-1", "card", "device", 640, 480, live=True)) == "v4l2:usb-1"
    assert layouts.device_of(SourceInfo("/x/clip.mp4", "clip.mp4", "video", 640, 480)) == "recording"


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b'{"version": 99}', b'{"version": 1}', b'{"version": 1, "layouts": 3}', b"1e400"),
        *(b"[" * 100_000, b'{"layouts":' * 50_000, b"\xff\xfe\xfd", b'{"version": ' + b"1" * 10_000 + b"}"),
    ],
)
def test_a_damaged_file_costs_the_layouts_and_says_so(tmp_path, content):
    path = tmp_path / "layouts.json"
    path.write_bytes(content)
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
        ("size_px", [1e400, 768]),
        ("size_px", [10**400, 768]),
        ("size_px", [True, 768]),
        ("box_px", [0, 0, 1e9, 1e9]),
        ("tick_mm", 1e400),
        ("tick_mm", 1e-9),
        ("origin_px", float("-inf")),
        ("ticks_px", [0]),
        ("along_px", [0, "1"]),
        ("along_px", {}),
        ("grey", None),
        ("grey", 5),
        ("grey", "\u0130"),
        ("grey", BOMB),
        ("device", ["card"]),
        ("device", "x" * 5000),
        ("confirmed", None),
        ("axis", ["y"]),
    ],
)
def test_a_damaged_entry_costs_only_itself(tmp_path, key, value):
    document = json.loads(layouts.to_text((remembered(), remembered(device="card-2"))))
    document["layouts"][0][key] = value
    path = tmp_path / "layouts.json"
    path.write_text(json.dumps(document))
    known, problems = layouts.load(path)
    assert [layout.device for layout in known] == ["card-2"]
    assert problems == ("Remembered ruler 1 of 2 is damaged and was left out.",)


@pytest.mark.parametrize("entry", [None, 1e400, [], "", {}, [[[]]], {"grey": {}}])
def test_an_entry_that_is_none_costs_only_itself(tmp_path, entry):
    document = json.loads(layouts.to_text((remembered(),)))
    document["layouts"].append(entry)
    path = tmp_path / "layouts.json"
    path.write_text(json.dumps(document))
    known, problems = layouts.load(path)
    assert len(known) == 1 and problems == ("Remembered ruler 2 of 2 is damaged and was left out.",)


def test_remembering_keeps_a_copy_of_what_is_not_understood(tmp_path):
    path = tmp_path / "layouts.json"
    path.write_bytes(b"[" * 100_000)
    proposal, _ = propose(
        [make_frame(screen("ge", PITCH), "card-1", 0)], SourceInfo("card-1", "card", "image", 1024, 768)
    )
    assert proposal is not None
    remember(proposal, 10.0, path)
    assert len(layouts.load(path)[0]) == 1
    assert (tmp_path / "layouts.json.damaged").read_bytes() == b"[" * 100_000
    remember(proposal, 5.0, path)
    assert [layout.tick_mm for layout in layouts.load(path)[0]] == [5.0]
    assert len(list(tmp_path.glob("*.damaged*"))) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_the_place_of_the_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "layouts.json")
    known, problems = layouts.load(tmp_path / "layouts.json")
    assert known == () and len(problems) == 1
    assert layouts.fingerprint(tmp_path / "layouts.json") == ""


def test_a_remembered_ruler_that_no_body_has_is_not_used():
    picture = screen("ge", PITCH)
    proposal, _ = propose([make_frame(picture, "card-1", 0)], SourceInfo("card-1", "card", "image", 1024, 768))
    assert proposal is not None
    wrong = layouts.layout_of(layouts.RECORDING, proposal.ruler, 100.0, proposal.reference(), "2026-01-01")
    assert layouts.recognized((wrong,), layouts.RECORDING, proposal.ruler, picture) is wrong
    assert proposal.remembered((wrong,)) is None


def test_without_a_file_nothing_is_remembered():
    assert layouts.load() == ((), ())
