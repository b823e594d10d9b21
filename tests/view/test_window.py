"""The window as a whole: every action, keys, panels, what is remembered, and what is missing."""

from __future__ import annotations

import itertools
import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, QRect, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QAbstractButton, QFileDialog, QLabel, QWidget

from tests.helpers.fakes import FakeClip, FakeDevice, FakeEngine, picture
from tests.helpers.recordings import write_clip
from tests.helpers.tiny_models import add_dark_finder
from usviewer.errors import UserError
from usviewer.frame import digest_of
from usviewer.infer.prediction import Prediction
from usviewer.overlay.text import ReadingText
from usviewer.pipeline.annotations import Annotation, Origin
from usviewer.settings import Settings, load
from usviewer.units import ScaleSource, isotropic
from usviewer.view import theme
from usviewer.view.actions import ACTIONS, clash, usable_keys, with_keys
from usviewer.view.main_window import MainWindow
from usviewer.view.pointing import PromptSession
from usviewer.view.tool_controller import ManualTool

SMALL = "phantom:?live=1&width=320&height=240"


@pytest.fixture
def no_dialogs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: ("", ""))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: "")


@pytest.fixture
def playing(window: MainWindow, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> MainWindow:
    """The window with a source and a model that always finds something."""
    monkeypatch.setattr("usviewer.view.live_controller.open_source", lambda _uri: FakeClip(500))
    window.app_state.set_engine(FakeEngine().engine())
    window.open_live(SMALL)
    qtbot.waitUntil(lambda: window.app_state.on_screen.reading is not None, timeout=20_000)
    return window


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_every_action_runs_without_a_complaint(playing: MainWindow, no_dialogs: None, name: str, qtbot: Any) -> None:
    action = playing.commands.by_id[name]
    assert action.text and action.tooltip
    playing.run(name)
    playing.tick()
    if action.released is not None:
        action.released(playing)
    said = playing.notify.current
    assert said is None or said.level == "info", said


def test_keys_of_a_file_that_cannot_be_used_are_named_and_cost_only_themselves() -> None:
    given = {
        "open": "nonsense",
        "no-such": "X",
        "freeze": "O",
        "play": "Ctrl+",
        "record": "W",
        "save": "",
        "scale": "W",
    }
    usable, problems = usable_keys(given)
    actions = with_keys(usable)
    assert usable.get("record", usable.get("scale")) == "W" and "open" not in usable and "no-such" not in usable
    assert len(problems) == len(given) - len(usable)
    assert all(clash(actions, name, action.key) is None for name, action in actions.items())
    assert any("no-such" in problem for problem in problems) and any("nonsense" in problem for problem in problems)


def test_two_keys_that_were_exchanged_are_both_used() -> None:
    first, other = ACTIONS["open"].key, ACTIONS["demo"].key
    assert usable_keys({"open": other, "demo": first}) == ({"open": other, "demo": first}, ())


@pytest.mark.parametrize(
    "source", ["x" * 300, "/nowhere/" + "y" * 3000, "phantom:?ap_mm=1e9", "device:", "screen:\u0661"]
)
@pytest.mark.parametrize("mode", ["live", "review"])
def test_a_source_of_the_last_session_that_cannot_be_is_said(make_window: Any, source: str, mode: str) -> None:
    window = make_window(Settings(source=source, mode=mode, geometry="????", save_folder="\udcff"))
    window.restore_geometry()
    window.sources.restore()
    assert window.isVisible() and (mode == "live" or window.notify.current is not None)


def test_two_windows_each_keep_their_own_changes(make_window: Any, tmp_path: Path, qtbot: Any) -> None:
    first, second = make_window(), make_window()
    first.app_state.set_setting("mask", "fill")
    second.app_state.set_setting("reference", "nhs")
    first.app_state.set_setting("mask_opacity", 0.5)

    def kept() -> bool:
        first.app_state.tick()
        second.app_state.tick()
        now = load(tmp_path / "settings.json")[0]
        return (now.mask, now.reference, now.mask_opacity) == ("fill", "nhs", 0.5)

    qtbot.waitUntil(kept, timeout=10_000)


def test_no_two_actions_share_a_key() -> None:
    actions = with_keys({})
    for action in actions.values():
        assert clash(actions, action.id, action.key) is None, action


def test_every_control_has_a_name_and_a_tooltip_and_is_large_enough(playing: MainWindow) -> None:
    for panel in ("source", "model", "scale", "overlay", "performance", "keys"):
        playing.side_panel.open_panel(panel)
        playing.tick()
    playing.side_panel.open_panel("overlay")
    buttons = [b for b in playing.findChildren(QAbstractButton) if not b.objectName().startswith("qt_")]
    assert len(buttons) > 15
    for button in buttons:
        assert button.accessibleName() or button.text(), button
        assert button.toolTip(), button.accessibleName() or button.text()
        if button.isVisible():
            assert button.height() >= theme.TOUCH_PX, (button.accessibleName(), button.height())


def test_no_visible_text_is_cut_off(playing: MainWindow, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: playing.live.status is not None and playing.live.status.source is not None)
    for label in playing.readings.findChildren(QLabel):
        if label.isVisible() and label.text() and not label.wordWrap():
            assert label.fontMetrics().horizontalAdvance(label.text()) <= label.width() + 1, label.text()


def test_space_freezes_through_the_keyboard(playing: MainWindow, qtbot: Any) -> None:
    playing.activateWindow()
    playing.canvas.setFocus()
    qtbot.waitUntil(playing.isActiveWindow)
    qtbot.keyClick(playing.canvas, Qt.Key.Key_Space)
    assert playing.live.frozen
    assert all(button.isChecked() for button in playing.commands.buttons["freeze"])


def test_a_held_key_shows_the_untouched_picture(playing: MainWindow, qtbot: Any) -> None:
    qtbot.keyPress(playing.canvas, Qt.Key.Key_H)
    scene = playing.canvas.scene
    assert scene is not None and not scene.items
    qtbot.keyRelease(playing.canvas, Qt.Key.Key_H)
    scene = playing.canvas.scene
    assert scene is not None and scene.items


def test_a_key_can_be_changed_and_is_remembered(playing: MainWindow, qtbot: Any, tmp_path: Path) -> None:
    playing.side_panel.open_panel("keys")
    panel: Any = playing.side_panel.panel("keys")
    panel.fields["freeze"].setKeySequence("F5")
    panel.fields["freeze"].editingFinished.emit()
    assert playing.commands.by_id["freeze"].key == "F5"
    playing.side_panel.close_panel()
    playing.activateWindow()
    playing.canvas.setFocus()
    qtbot.waitUntil(playing.isActiveWindow)
    qtbot.keyClick(playing.canvas, Qt.Key.Key_F5)
    assert playing.live.frozen
    qtbot.waitUntil(lambda: not playing.app_state.jobs.busy)
    assert load(tmp_path / "settings.json")[0].keys == {"freeze": "F5"}


def test_a_key_that_is_taken_is_refused(playing: MainWindow) -> None:
    playing.side_panel.open_panel("keys")
    panel: Any = playing.side_panel.panel("keys")
    panel.fields["freeze"].setKeySequence("O")
    panel.fields["freeze"].editingFinished.emit()
    assert playing.commands.by_id["freeze"].key == "Space"
    assert playing.notify.current is not None and "already" in playing.notify.current.text


def test_panels_open_one_at_a_time_and_escape_closes(playing: MainWindow) -> None:
    playing.run("model")
    playing.run("scale")
    assert playing.side_panel.current == "scale" and playing.side_panel.panel("model").isHidden()
    playing.run("dismiss")
    assert playing.side_panel.current == "" and playing.side_panel.isHidden()


def test_f10_folds_the_rail_and_f11_leaves_picture_and_number(playing: MainWindow) -> None:
    playing.run("fold")
    assert not playing.readings.isVisible()
    playing.run("fold")
    playing.run("full_screen")
    assert not playing.source_bar.isVisible() and playing.readings.isVisible()
    playing.run("dismiss")
    assert playing.source_bar.isVisible() and not playing.window_layout.full_screen


def test_the_first_start_offers_three_ways(window: MainWindow, no_dialogs: None, qtbot: Any) -> None:
    assert window.welcoming and not window.readings.isVisible()
    cards = [b for b in window.welcome.findChildren(QAbstractButton) if b.property("role") == "card"]
    assert [card.accessibleName() for card in cards] == [
        "Watch the demonstration",
        "Open a clip or DICOM",
        "Connect a scanner",
    ]
    cards[2].click()
    assert window.side_panel.current == "source"


def test_the_source_panel_shows_a_live_picture_before_it_is_chosen(window: MainWindow, qtbot: Any) -> None:
    window.run("source")
    panel: Any = window.side_panel.panel("source")
    qtbot.waitUntil(lambda: panel.picture.frame is not None, timeout=20_000)
    assert window.canvas.frame is None and window.welcoming
    panel._use.click()
    assert window.live.uri == "phantom:?live=1" and window.side_panel.current == ""


def test_choosing_a_model_shows_its_card_hash_and_engine(
    make_window: Callable[..., MainWindow], tmp_path: Path, qtbot: Any
) -> None:
    name = add_dark_finder(tmp_path / "m")
    window = make_window(Settings(model=name, engine="cpu"))
    window.app_state.load_model(name, "cpu")
    window.run("model")
    panel: Any = window.side_panel.panel("model")
    qtbot.waitUntil(lambda: window.app_state.engine() is not None and panel.list.count() > 0, timeout=20_000)
    engine = window.app_state.engine()
    assert engine is not None
    assert panel._hash.toolTip() == engine.sha256
    assert "inner edge" in panel._what.text()
    qtbot.waitUntil(lambda: "CPU" in panel._running.text())
    qtbot.waitUntil(lambda: "no card" in panel.card.toPlainText())


def test_a_dropped_model_is_checked_added_and_used(window: MainWindow, tmp_path: Path, qtbot: Any) -> None:
    add_dark_finder(tmp_path / "m", "first")
    folder = tmp_path / "m"
    text = (folder / "manifest.toml").read_text().replace('id = "first"', 'id = "dropped"')
    (folder / "manifest.toml").write_text(text)
    drop(window, folder / "model.onnx")
    qtbot.waitUntil(lambda: (e := window.app_state.engine()) is not None and e.model_id == "dropped", timeout=20_000)
    assert window.app_state.settings.model == "dropped"


def test_a_dropped_file_that_is_no_model_is_one_sentence(window: MainWindow, tmp_path: Path, qtbot: Any) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    drop(window, tmp_path / "bad.onnx")
    qtbot.waitUntil(lambda: (m := window.notify.current) is not None and m.level == "error", timeout=20_000)
    assert window.app_state.engine() is None


def drop(window: MainWindow, path: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    actions, button, modifier = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    window.dropEvent(QDropEvent(QPointF(10, 10), actions, data, button, modifier))


def test_a_missing_model_is_said_and_the_picture_goes_on(window: MainWindow, qtbot: Any) -> None:
    window.app_state.load_model("nothing-here", "auto")
    window.open_live(SMALL)
    qtbot.waitUntil(
        lambda: window.app_state.on_screen.frame is not None and not window.app_state.loading, timeout=20_000
    )
    assert window.notify.current is not None and "nothing-here" in window.notify.current.text
    window.presenter.show(window.app_state.on_screen.frame, None, None, " ")
    assert window.readings.answer is not None and "nothing-here" in window.readings.answer.reason


def test_preferences_that_cannot_be_written_are_one_sentence(window: MainWindow, tmp_path: Path, qtbot: Any) -> None:
    (tmp_path / "file").write_text("")
    window.app_state._settings_path = tmp_path / "file" / "settings.json"
    window.app_state.set_setting("mask", "fill")
    window.app_state.set_setting("mask", "none")
    qtbot.waitUntil(lambda: window.notify.current is not None)
    assert window.notify.current.level == "error"
    qtbot.waitUntil(lambda: not window.app_state.jobs.busy)
    assert len(window.notify.history) == 1


def test_a_scale_is_refused_where_the_picture_brings_another(window: MainWindow, qtbot: Any) -> None:
    playing = window
    playing.open_live(SMALL)
    qtbot.waitUntil(lambda: playing.app_state.on_screen.frame is not None, timeout=20_000)
    with pytest.raises(UserError, match="differs"):
        playing.app_state.set_user_spacing(isotropic(9 * 0.2, ScaleSource.MANUAL))
    assert playing.app_state.user_spacing() is None
    playing.run("scale")
    panel: Any = playing.side_panel.panel("scale")
    panel.typed.setText("a lot")
    panel.use_typed()
    assert playing.notify.current is not None and "'a lot'" in playing.notify.current.text


def test_the_last_session_comes_back(make_window: Callable[..., MainWindow], tmp_path: Path, qtbot: Any) -> None:
    first = make_window()
    first.open_live(SMALL)
    qtbot.waitUntil(lambda: first.app_state.on_screen.frame is not None, timeout=20_000)
    first.run("mask")
    first.run("fold")
    first.close_now()
    settings, problems = load(tmp_path / "settings.json")
    assert not problems
    assert (settings.source, settings.mode, settings.mask, settings.side_panels) == (SMALL, "live", "fill", False)
    assert settings.geometry
    second = make_window(settings)
    second.sources.restore()
    assert second.live.uri == SMALL and not second.readings.isVisible()


@pytest.mark.parametrize("panel", ["", "exam", "keys"])
def test_in_the_smallest_window_nothing_covers_another_and_nothing_is_cut(
    window: MainWindow, tmp_path: Path, qtbot: Any, panel: str
) -> None:
    (tmp_path / "clips").mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path / "clips" / name, count=5)
    window.open_path(tmp_path / "clips" / "a.mp4")
    review = window.late.needed.review
    qtbot.waitUntil(lambda: window.app_state.on_screen.frame is not None and len(review.clips.paths) == 2)
    window.resize(960, 600)
    if panel:
        window.run(panel)
    qtbot.waitUntil(lambda: review.clips.isVisible() == (not panel))
    sides = (
        review.clips,
        window.canvas,
        review.timeline,
        window.side_panel,
        window.readings,
    )
    shown = [part for part in sides if part.isVisible()]
    qtbot.waitUntil(lambda: not _overlapping(window, shown))
    for button in window.readings.buttons.parentWidget().findChildren(QAbstractButton):
        assert not button.isVisible() or window.readings.rect().contains(_place_in(window.readings, button))
    if panel:
        window.run(panel)
        qtbot.waitUntil(review.clips.isVisible)


def _place_in(outer: QWidget, part: QWidget) -> QRect:
    return QRect(part.mapTo(outer, QPoint(0, 0)), part.size())


def _overlapping(window: MainWindow, parts: list[QWidget]) -> bool:
    places = [_place_in(window, part) for part in parts]
    whole = all(window.rect().contains(place) for place in places)
    return not whole or any(a.intersects(b) for a, b in itertools.combinations(places, 2))


def test_in_a_low_window_every_row_of_the_rail_is_whole(playing: MainWindow, qtbot: Any) -> None:
    pairs = tuple((f"row {number}", "20.2 / 18.7 mm") for number in range(6))
    full = ReadingText(
        "Aorta", "AP diameter", number="1.9", unit="cm", basis="median of the last 2.0 s",
        interval="19.4 mm, 95 % 18.1 to 21.2", convention="inner-inner · transverse", quality=0.9,
        beside=pairs, scale="0.2321 mm/px, phantom", has_scale=True,
    )  # fmt: skip
    playing.resize(960, 600)
    rail = playing.readings
    playing._timer.stop()
    rail.show_answer(full)
    labels = [label for label in rail.findChildren(QLabel) if not label.isHidden() and label.text()]

    def is_whole() -> bool:
        return all(label.height() >= label.heightForWidth(label.width()) for label in labels)

    qtbot.waitUntil(is_whole)
    buttons = [each for each in rail.findChildren(QAbstractButton) if each.isVisible()]
    assert buttons and all(rail.rect().contains(_place_in(rail, each)) for each in buttons)
    assert all(each.height() >= 44 for each in buttons)
    playing.resize(1280, 800)
    qtbot.waitUntil(lambda: rail.trend.isVisible() and rail._number.given_px == 0)


@pytest.mark.parametrize("uri", ["screen:?region=abc", "phantom:?ap_mm=-3", "device:nope"])
def test_an_address_that_can_never_be_opened_is_said_and_not_waited_for(window: MainWindow, uri: str) -> None:
    window.app_state.set_setting("source", uri)  # of a session before
    window.app_state.set_setting("mode", "live")
    window.sources.restore()
    assert window.welcoming and not window.live.active
    assert window.notify.current is not None and window.notify.current.level == "error"


def test_a_file_of_the_last_session_that_is_gone_is_said(
    make_window: Callable[..., MainWindow], tmp_path: Path
) -> None:
    window = make_window(Settings(source=str(tmp_path / "gone.mp4"), mode="review"))
    window.sources.restore()
    assert window.welcoming
    assert window.notify.current is not None and "gone.mp4" in window.notify.current.text


def test_closing_while_recording_asks_once(playing: MainWindow, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: playing.app_state.on_screen.frame is not None, timeout=20_000)
    playing.run("record")
    capture = playing.late.needed.capture
    assert capture.recording
    playing.close()
    assert playing.isVisible()
    said = playing.notify.current
    assert said is not None and "recording" in said.text
    said.answers["Finish it and close"]()
    assert not playing.isVisible() and not capture.recording


def test_a_setting_is_kept_whole(window: MainWindow, tmp_path: Path, qtbot: Any) -> None:
    window.app_state.set_setting("mask_opacity", 0.5)
    qtbot.waitUntil(lambda: not window.app_state.jobs.busy)
    assert json.loads((tmp_path / "settings.json").read_text())["mask_opacity"] == 0.5


def test_qt_does_not_lose_references_to_none(window: MainWindow) -> None:
    """PySide6 6.12 on Python 3.11 takes one from None with every call that returns nothing, and ends in an abort."""
    label = QLabel()
    label.setText("a")
    before = sys.getrefcount(None)
    for _ in range(1000):
        label.setText("b")
    assert sys.getrefcount(None) > before - 100


def test_the_trend_of_the_model_does_not_stand_beside_another_outline(playing: MainWindow, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: playing.readings.trend.isVisibleTo(playing.readings), timeout=20_000)
    playing.run("freeze")
    now, session = playing.app_state.on_screen, PromptSession()
    assert now.frame is not None and now.reading is not None
    prediction = Prediction(now.frame.key, now.frame.size_px, (), "fake", "0" * 64, "none")
    other = replace(now.reading, reason="seen otherwise")
    session.layer.put(now.frame.key.index, Annotation(prediction, now.frame.geometry, other, Origin.DRAWN))
    playing.presenter.use_annotations(session)
    assert playing.presenter.shows_annotation and playing.app_state.on_screen.reading is other
    assert not playing.readings.trend.isVisibleTo(playing.readings)
    playing.presenter.use_annotations(None)
    assert not playing.presenter.shows_annotation
    assert playing.readings.trend.isVisibleTo(playing.readings)


# --- the first seconds ------------------------------------------------------------------------------------------------


@pytest.fixture
def beginning(make_window: Callable[..., MainWindow], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MainWindow:
    """A window just after the start: the slow parts are not loaded, and a live source is open."""
    monkeypatch.setattr("usviewer.view.late_parts.COMPLETE_AFTER_S", 3600.0)
    window = make_window(Settings(save_folder=str(tmp_path / "kept")), complete=False)
    assert window.late.made is None
    return window


def put(window: MainWindow, device: FakeDevice, qtbot: Any, value: int) -> None:
    device.frames.put(picture(value))
    digest = digest_of(picture(value))
    qtbot.waitUntil(
        lambda: (frame := window.app_state.on_screen.frame) is not None and frame.key.digest == digest, timeout=10_000
    )


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDevice]:
    device = FakeDevice()
    monkeypatch.setattr("usviewer.view.live_controller.open_source", lambda _uri: device.open())
    yield device
    device.frames.put(None)


def press(window: MainWindow, key: Qt.Key, qtbot: Any) -> None:
    window.activateWindow()
    window.canvas.setFocus()
    qtbot.waitUntil(window.isActiveWindow)
    qtbot.keyClick(window.canvas, key)


def test_before_there_is_a_picture_the_keys_say_why_they_do_nothing(
    beginning: MainWindow, device: FakeDevice, qtbot: Any
) -> None:
    beginning.open_live("device:usb-fake")
    for key in (Qt.Key.Key_S, Qt.Key.Key_C, Qt.Key.Key_R):
        beginning.notify.dismiss()
        press(beginning, key, qtbot)
        said = beginning.notify.current
        assert said is not None and "no picture yet" in said.text
    assert beginning.late.made is None and not beginning.late.waiting


def test_save_in_the_first_seconds_keeps_the_picture_on_the_screen_when_the_key_was_pressed(
    beginning: MainWindow, device: FakeDevice, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = threading.Event()
    monkeypatch.setattr("usviewer.view.late_parts._import_slow_parts", lambda: loaded.wait(30))
    beginning.open_live("device:usb-fake")
    put(beginning, device, qtbot, 1)
    press(beginning, Qt.Key.Key_S, qtbot)
    assert beginning.notify.current is not None and "in a moment" in beginning.notify.current.text
    put(beginning, device, qtbot, 2)
    press(beginning, Qt.Key.Key_S, qtbot)
    put(beginning, device, qtbot, 3)
    loaded.set()
    qtbot.waitUntil(lambda: len(list((tmp_path / "kept").glob("*.json"))) == 2, timeout=20_000)
    qtbot.waitUntil(lambda: not beginning.app_state.jobs.busy)
    kept = {json.loads(path.read_text())["frame_digest"] for path in (tmp_path / "kept").glob("*.json")}
    assert kept == {digest_of(picture(1)), digest_of(picture(2))}


def test_the_caliper_in_the_first_seconds_holds_the_picture_at_once(
    beginning: MainWindow, device: FakeDevice, qtbot: Any
) -> None:
    beginning.open_live("device:usb-fake")
    put(beginning, device, qtbot, 1)
    press(beginning, Qt.Key.Key_C, qtbot)
    assert beginning.live.frozen
    held = beginning.app_state.on_screen.frame
    device.frames.put(picture(2))
    qtbot.waitUntil(
        lambda: (late := beginning.late.made) is not None and late.tools.chosen is ManualTool.CALIPER, timeout=20_000
    )
    assert beginning.app_state.on_screen.frame is held and beginning.live.frozen


def test_a_recording_that_was_asked_for_in_the_first_seconds_begins(
    beginning: MainWindow, device: FakeDevice, qtbot: Any
) -> None:
    beginning.open_live("device:usb-fake")
    put(beginning, device, qtbot, 1)
    press(beginning, Qt.Key.Key_R, qtbot)
    qtbot.waitUntil(lambda: (late := beginning.late.made) is not None and late.capture.recording, timeout=20_000)


def test_what_cannot_be_done_after_all_is_said(beginning: MainWindow, device: FakeDevice, qtbot: Any) -> None:
    beginning.open_live("device:usb-fake")
    put(beginning, device, qtbot, 1)
    press(beginning, Qt.Key.Key_R, qtbot)
    beginning.live.close()
    beginning.presenter.show(None, None, None)
    qtbot.waitUntil(lambda: beginning.late.made is not None, timeout=20_000)
    said = beginning.notify.current
    assert said is not None and "no picture to record" in said.text
