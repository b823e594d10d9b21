"""What must hold whatever is missing or slow: an overlay belongs to its picture, and nothing half-written stays."""

from __future__ import annotations

import csv
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QFileDialog

from tests.helpers.fakes import FakeClip, FakeEngine
from tests.helpers.recordings import write_clip
from usviewer.frame import Frame, ImageGeometry
from usviewer.infer.prediction import Prediction
from usviewer.infer.temporal_gate import TemporalGate
from usviewer.measure.reading import Dimension, Measurement, Reading
from usviewer.pipeline.live_run import MAX_PAIR_AGE_S
from usviewer.settings import Settings
from usviewer.view.actions import ACTIONS
from usviewer.view.main_window import MainWindow

resource = pytest.importorskip("resource")

SLOW_S = 0.2
FAST_HZ = 60.0


def value_of(digest: str) -> float:
    """A length that only this picture has."""
    return 1.0 + int(digest[:5], 16) / 7.0


class SlowEngine(FakeEngine):
    """Takes 200 ms for a picture, and measures what only this very picture has."""

    def predict(self, frame: Frame, state: TemporalGate | None = None) -> Prediction:
        threading.Event().wait(SLOW_S)
        return super().predict(frame, state)

    def read(self, prediction: Prediction, geometry: ImageGeometry | None) -> Reading:
        value = Measurement(
            "ap_diameter", Dimension.LENGTH, value_of(prediction.key.digest), ends_xy_px=((9, 9), (9, 30))
        )
        return replace(super().read(prediction, geometry), measurements=(value,))


@pytest.fixture
def fast(make_window: Callable[..., MainWindow], tmp_path: Path, qtbot: Any, monkeypatch: Any) -> MainWindow:
    """A source of 60 pictures a second before a model that manages five."""
    window = make_window(Settings(save_folder=str(tmp_path / "kept")))
    monkeypatch.setattr("usviewer.view.live_controller.open_source", lambda _uri: FakeClip(5000, FAST_HZ))
    window.app_state.set_engine(SlowEngine().engine())
    window.open_live("fast")
    qtbot.waitUntil(lambda: window.app_state.on_screen.frame is not None, timeout=20_000)
    return window


def test_every_picture_on_the_screen_carries_its_own_overlay_or_none(fast: MainWindow, qtbot: Any) -> None:
    pairs: list[tuple[Frame, Reading | None, float]] = []
    fast.app_state.shown_changed.connect(lambda: pairs.append(_pair(fast)))
    qtbot.waitUntil(lambda: len({frame.key.index for frame, *_ in pairs}) > 40, timeout=60_000)
    for frame, reading, newest_s in pairs:
        if reading is not None:
            assert reading.key == frame.key
            assert reading.measurements[0].value_px == value_of(frame.key.digest)
            assert newest_s - frame.key.capture_time_s <= MAX_PAIR_AGE_S + 1e-6, "older than may be shown as current"


def _pair(window: MainWindow) -> tuple[Frame, Reading | None, float]:
    now = window.app_state.on_screen
    assert now.frame is not None and window.live._run is not None
    newest = window.live._run.snapshot().newest
    same = newest is None or newest.key.digest == now.frame.key.digest or now.reading is None
    return now.frame, now.reading, now.frame.key.capture_time_s if same or newest is None else 0.0


def test_frozen_and_exported_the_overlay_was_computed_from_exactly_that_picture(
    fast: MainWindow, tmp_path: Path, qtbot: Any
) -> None:
    kept = tmp_path / "kept"
    for turn in range(1, 5):
        fast.run("freeze")
        frame = fast.app_state.on_screen.frame
        qtbot.waitUntil(lambda: fast.app_state.on_screen.reading is not None, timeout=20_000)
        assert fast.app_state.on_screen.frame is frame, "the picture that was held, not a later one"
        fast.run("save")
        qtbot.waitUntil(lambda turn=turn: len(list(kept.glob("*.png"))) == turn, timeout=20_000)
        fast.run("freeze")
        before = fast.app_state.on_screen.frame
        qtbot.waitUntil(lambda before=before: fast.app_state.on_screen.frame is not before, timeout=20_000)
    documents = [json.loads(file.read_text()) for file in kept.glob("*.json")]
    assert len({document["frame_digest"] for document in documents}) == 4
    for document in documents:
        assert document["reading"]["frame_digest"] == document["frame_digest"]
        assert document["measurements"][0]["value_px"] == pytest.approx(value_of(document["frame_digest"]))


def test_a_recording_keeps_each_picture_with_its_own_numbers(
    fast: MainWindow, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.SLOW_S", 0.0)  # a slow model's pictures are bare: they have no numbers to keep
    fast.run("record")
    read: set[str] = set()
    fast.app_state.shown_changed.connect(lambda: read.add(_digest_of_reading(fast)))
    qtbot.waitUntil(lambda: len(read - {""}) > 3, timeout=60_000)
    fast.run("record")
    qtbot.waitUntil(lambda: any((tmp_path / "kept").glob("*/readings.csv")), timeout=60_000)
    with next((tmp_path / "kept").glob("*/readings.csv")).open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        assert float(row["ap_diameter_px"]) == pytest.approx(value_of(row["frame_digest"]), abs=0.01)


def _digest_of_reading(window: MainWindow) -> str:
    reading = window.app_state.on_screen.reading
    return reading.key.digest if reading is not None else ""


# -- nothing there: every action does what it can, and says what it cannot

LEAST_BYTES = 2_000


@contextmanager
def full(name: str) -> Iterator[None]:
    """On a full disk no file grows. Not longer than the block: the tests' own log is a file, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if name == "full disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (LEAST_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(params=["no model", "no scale", "no permission", "full disk"])
def lacking(
    request: pytest.FixtureRequest, make_window: Callable[..., MainWindow], tmp_path: Path, monkeypatch: Any
) -> tuple[str, MainWindow, Path]:
    """What is missing, the window, and the folder that things are kept in. (No camera is there in any case.)"""
    name, kept = request.param, tmp_path / "kept"
    if name == "no permission":  # root may write everywhere: a file in the place of the folder refuses all alike
        kept.write_text("")
        monkeypatch.setattr("usviewer.save.cache.clips_folder", lambda: kept / "clips")
    window = make_window(Settings(save_folder=str(kept)))
    if name == "no permission":
        window.app_state._settings_path = kept / "settings.json"
    if name != "no model":
        window.app_state.set_engine(FakeEngine().engine())
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: ("", ""))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: "")
    return name, window, kept


# In the order of a session: what ends it comes last.
_LAST = ("record", "clear_hand", "undo", "mode", "dismiss", "full_screen", "fold", "close_source")
_WALK = [*sorted(set(ACTIONS) - set(_LAST)), *_LAST]


def walk(window: MainWindow, qtbot: Any) -> None:
    """Every action, one after another; what can be begun is ended again."""
    for name in _WALK:
        action = window.commands.by_id[name]
        window.run(name)
        window.tick()
        if action.released is not None:
            action.released(window)
        if name in ("full_screen", "fold", "record"):
            window.run(name)
    qtbot.waitUntil(
        lambda: not window.app_state.jobs.busy and not window.late.needed.capture._encoder.busy, timeout=60_000
    )


def save_when_measured(window: MainWindow, kept: Path, qtbot: Any) -> None:
    """Save, or be refused by the disk: the walk's own key may meet a picture that is just being measured."""

    def is_done() -> bool:
        window.run("save")
        was_refused = any("Could not write" in message.text for message in window.notify.history)
        return was_refused or (kept.is_dir() and any(kept.glob("*.png")))

    qtbot.waitUntil(is_done, timeout=20_000)


def check(window: MainWindow, kept: Path) -> None:
    """Each complaint is a sentence in the user's words; no file is half-written."""
    for message in window.notify.history:
        assert not re.search(r"Errno|Traceback|Exception|error in the program|0x", message.text), message.text
        assert message.text.rstrip().endswith((".", "?", "!")), message.text
    left = [file for file in kept.parent.rglob("*") if file.name.endswith(".part")]
    assert not left, left
    for picture in kept.glob("*.png"):
        assert picture.with_suffix(".json").exists(), "both or neither"


def test_live_every_action_works_or_says_why_it_cannot(
    lacking: tuple[str, MainWindow, Path], qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, window, kept = lacking
    monkeypatch.setattr("usviewer.view.live_controller.open_source", lambda _uri: FakeClip(500))
    window.open_live("fake")
    qtbot.waitUntil(lambda: window.app_state.on_screen.frame is not None, timeout=20_000)
    if name != "no model":
        qtbot.waitUntil(lambda: window.app_state.on_screen.reading is not None, timeout=20_000)
    with full(name):
        save_when_measured(window, kept, qtbot)
        walk(window, qtbot)
    check(window, kept)
    said = " ".join(message.text for message in window.notify.history)
    refused = name in ("no permission", "full disk")
    assert ("Could not write" in said) == refused, said
    pictures = list(kept.glob("*.png")) if kept.is_dir() else []
    assert bool(pictures) != refused


def test_in_review_every_action_works_or_says_why_it_cannot(
    lacking: tuple[str, MainWindow, Path], qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, window, kept = lacking
    monkeypatch.setattr("usviewer.view.live_controller.open_source", lambda _uri: FakeClip(500))
    (tmp_path / "clips").mkdir()
    clip = write_clip(tmp_path / "clips" / "clip.mp4", count=20)
    with full(name):
        window.open_path(clip)
        qtbot.waitUntil(lambda: window.app_state.on_screen.frame is not None, timeout=20_000)
        if name != "no model":
            qtbot.waitUntil(lambda: window.late.needed.review.snapshot.complete, timeout=30_000)
        walk(window, qtbot)
    check(window, kept)


def test_no_model_no_number_and_it_says_so(
    make_window: Callable[..., MainWindow], qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = make_window()
    monkeypatch.setattr("usviewer.view.live_controller.open_source", lambda _uri: FakeClip(500))
    window.open_live("fake")
    qtbot.waitUntil(lambda: window.app_state.on_screen.frame is not None, timeout=20_000)
    assert window.readings.answer is not None and "No model" in window.readings.answer.reason
    assert window.app_state.on_screen.reading is None


def test_a_device_that_is_not_there_is_said_over_the_picture_and_no_other_is_opened(
    window: MainWindow, qtbot: Any
) -> None:
    window.open_live("device:usb-0000:0000@none-of-these")
    qtbot.waitUntil(lambda: window.notify.current is not None, timeout=20_000)
    assert window.app_state.on_screen.frame is None
    assert window.canvas.banner is not None


def test_without_a_scale_everything_is_in_pixels_and_says_so(
    make_window: Callable[..., MainWindow], qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = make_window()
    monkeypatch.setattr("usviewer.view.live_controller.open_source", lambda _uri: FakeClip(500))
    window.app_state.set_engine(FakeEngine().engine())
    window.open_live("fake")
    qtbot.waitUntil(lambda: window.app_state.on_screen.summary is not None, timeout=20_000)
    answer = window.readings.answer
    assert answer is not None and answer.unit == "px" and not answer.has_scale
    assert "mm" not in " ".join(value for _, value in answer.pairs)
    qtbot.waitUntil(lambda: "No scale" in window.source_bar.scale.text())
