"""Choosing a device: its live picture before it is chosen, and what is said when there is none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.devices import FakeBackend, card
from tests.helpers.fakes import picture
from usviewer.frame import digest_of
from usviewer.view.main_window import MainWindow
from usviewer.view.panels.source_panel import SourcePanel


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    backend = FakeBackend(card(0, name="Grabber"), card(1, serial="B2", name="Webcam", bus="USB 2"))
    monkeypatch.setattr("usviewer.acquire.device.system_backend", lambda: backend)
    return backend


def opened(window: MainWindow, qtbot: Any, rows: int) -> SourcePanel:
    window.side_panel.open_panel("source")
    panel = window.side_panel.panel("source")
    assert isinstance(panel, SourcePanel)
    qtbot.waitUntil(lambda: panel.list.count() == rows, timeout=10_000)
    return panel


def test_each_device_shows_its_picture_before_it_is_chosen(window: MainWindow, cards: FakeBackend, qtbot: Any) -> None:
    panel = opened(window, qtbot, 3)
    assert panel.list.item(0).text() == "Grabber\n1920 x 1080 at 60, uncompressed · USB 3"
    assert panel.list.item(1).text().startswith("Webcam\n1920 x 1080 at 60, uncompressed · USB 2 · On a USB 2")
    for row, each in enumerate(cards.cards):
        panel.list.setCurrentRow(row)
        each.put(picture(row + 1))
        qtbot.waitUntil(lambda: panel.picture.frame is not None, timeout=10_000)
        assert panel.picture.frame.key.digest == digest_of(picture(row + 1))
    qtbot.waitUntil(lambda: cards.cards[0].closed > 0, timeout=10_000)
    panel.list.setCurrentRow(0)
    panel.use()
    qtbot.waitUntil(lambda: window.live.uri == "device:usb-534d:2109-A1", timeout=10_000)

    def comes() -> bool:
        cards.cards[0].put(picture(5))  # a card sends pictures all the time; one alone may fall between two readers
        return window.app_state.on_screen.frame is not None

    qtbot.waitUntil(comes, timeout=10_000)
    assert window.app_state.on_screen.frame.key.source == "device:usb-534d:2109-A1"


def test_without_a_device_the_panel_says_so_and_offers_the_phantom(
    window: MainWindow, cards: FakeBackend, qtbot: Any
) -> None:
    cards.cards.clear()
    panel = opened(window, qtbot, 1)
    assert panel.list.item(0).text().startswith("Phantom") and "No capture card" in panel._hint.text()
