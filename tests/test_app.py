"""The command that opens the window."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from tests.helpers.tiny_models import add_dark_finder
from usviewer.__main__ import main
from usviewer.acquire import check_address
from usviewer.app import _together
from usviewer.settings import settings_path


def start(*arguments: str, without_qt: bool = False, **variables: str | None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; ``variables`` of its environment are set, or (None) taken out of it."""
    code = "import sys; from usviewer.__main__ import main; "  # as the program itself: also its end is tried
    if without_qt:
        code += "sys.modules['PySide6'] = None; sys.modules['PySide6.QtWidgets'] = None; "
    code += "sys.exit(main())"
    wanted = {**os.environ, "QT_QPA_PLATFORM": "offscreen", **variables}
    environment = {name: value for name, value in wanted.items() if value is not None}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, env=environment
    )


ENDLESS = """
import sys, time, threading
import onnx
from onnx import TensorProto, helper
scalar = lambda name, kind: helper.make_tensor_value_info(name, kind, [])
same = [helper.make_node("Identity", [a], [b]) for a, b in (("c", "c_out"), ("x_in", "x_out"))]
body = helper.make_graph(same, "body", [scalar("i", TensorProto.INT64), scalar("c", TensorProto.BOOL),
    scalar("x_in", TensorProto.FLOAT)], [scalar("c_out", TensorProto.BOOL), scalar("x_out", TensorProto.FLOAT)])
true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
loop = helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)
graph = helper.make_graph([loop], "endless", [scalar("x", TensorProto.FLOAT)], [scalar("y", TensorProto.FLOAT)], [true])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()

def endless(*_):
    import numpy, onnxruntime
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    print("begun", flush=True)
    session.run(None, {"x": numpy.float32(1)})

import usviewer.pipeline.analyzer
usviewer.pipeline.analyzer.load_model = endless
from usviewer.__main__ import main
sys.argv = ["usviewer", *sys.argv[1:]]
sys.exit(main())
"""


def test_the_window_closes_while_a_model_that_never_ends_is_loaded(tmp_path: Path) -> None:
    pytest.importorskip("PySide6")
    picture = tmp_path / "window.png"
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", ENDLESS, "--screenshot", str(picture), "--after-s", "2"],
        capture_output=True, text=True, timeout=60, env=environment,
    )  # fmt: skip
    assert "begun" in done.stdout
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert picture.exists() and time.monotonic() - began_s < 30


def test_a_screenshot_of_a_source_is_taken_and_the_window_closes(tmp_path: Path) -> None:
    pytest.importorskip("PySide6")
    add_dark_finder(tmp_path / "m", "aorta-x")
    picture = tmp_path / "window.png"
    uri = "phantom:?live=1&width=320&height=240"
    done = start(uri, "--screenshot", str(picture), "--size", "1280x720", "--after-s", "0.2")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert cv2.imread(str(picture)).shape == (720, 1280, 3)


def test_damaged_files_of_an_earlier_session_do_not_keep_the_window_from_opening(tmp_path: Path) -> None:
    """And what it then keeps does not take their place without a copy."""
    pytest.importorskip("PySide6")
    folder = settings_path().parent
    folder.mkdir(parents=True)
    for name in ("settings.json", "layouts.json"):
        (folder / name).write_bytes(b"[" * 100_000)
    picture = tmp_path / "window.png"
    done = start("--screenshot", str(picture), "--size", "1280x720", "--after-s", "0.2")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and picture.is_file()
    if (folder / "settings.json").read_bytes() != b"[" * 100_000:
        assert (folder / "settings.json.damaged").read_bytes() == b"[" * 100_000


def test_all_that_was_wrong_stands_in_one_message() -> None:
    assert _together(["One", "Two.", "Three."]) == "One. Two. Three."
    assert _together(["It"] * 7) == "It. It. It. It. And 3 more."


def test_without_pyside_there_is_one_sentence() -> None:
    done = start("--demo", without_qt=True)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "usviewer: The window needs PySide6, which is not installed. Run: pip install PySide6-Essentials."
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-thing"], "neither a file nor a command 'no-such-thing'"),
        (["--size", "large"], "is not a size"),
        (["--screnshot", "x.png"], "screnshot"),
        (["a" * 300 + ".mp4"], "is too long for the name of a file"),
        (["screen:?region=abc"], "'screen:?region=abc' of a screen cannot be read"),
        (["phantom:?ap_mm=-3"], "ap_mm cannot be '-3'"),
        (["device:"], "The address 'device:' of a device cannot be read"),
        (["device:nope"], "'device:nope'"),
        (["device:usb-1234:5678@1-2?size=large"], "'size=large'"),
        (["latency-test", "screen:?rate=0"], "0 times a second"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "uri", ["device:usb-1234:5678@1-2?size=1280x720", "device:virtual-None%20such", "screen:9", "phantom:?live=1"]
)
def test_what_may_still_come_is_no_bad_address(uri: str) -> None:
    check_address(uri)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is always a screen")
@pytest.mark.parametrize("command", [["--demo"], ["latency-test"]])
def test_without_a_screen_it_is_one_sentence(command: list[str]) -> None:
    pytest.importorskip("PySide6")
    done = start(*command, QT_QPA_PLATFORM=None, DISPLAY=None, WAYLAND_DISPLAY=None, WAYLAND_SOCKET=None)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("usviewer: There is no screen here") and len(done.stderr.splitlines()) == 1
    assert ("QT_QPA_PLATFORM=offscreen" in done.stderr) == (command == ["--demo"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="X11 is not used elsewhere")
def test_a_screen_that_does_not_answer_is_one_sentence() -> None:
    pytest.importorskip("PySide6")
    done = start("--demo", QT_QPA_PLATFORM=None, DISPLAY=":987", WAYLAND_DISPLAY=None, XDG_SESSION_TYPE=None)
    assert done.returncode == 2, done.stderr
    assert "':987'" in done.stderr and len(done.stderr.splitlines()) == 1
