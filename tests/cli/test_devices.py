from __future__ import annotations

import argparse

import pytest

from tests.helpers.devices import FULL, FakeBackend, card
from usviewer.acquire.device.backend import DeviceFormat
from usviewer.cli import devices
from usviewer.cli.command import Parser


def run(monkeypatch: pytest.MonkeyPatch, backend: FakeBackend, *arguments: str) -> int:
    monkeypatch.setattr("usviewer.acquire.device.system_backend", lambda: backend)
    parser = Parser(prog="usviewer devices")
    devices.add_options(parser)
    chosen: argparse.Namespace = parser.parse_args(arguments)
    return int(chosen.run(chosen))


def test_each_device_is_listed_with_identity_format_and_warnings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = DeviceFormat("mjpeg", 1280, 720, 30.0)
    backend = FakeBackend(card(0, formats=(slow, FULL)), card(1, serial="", name="Old [b]card", bus="USB 2"))
    assert run(monkeypatch, backend) == 0
    text = capsys.readouterr().out
    assert "device:usb-534d:2109-A1" in text and "serial A1; now at /dev/video0" in text
    assert "opens as    1920 x 1080 at 60, uncompressed" in text and "1280 x 720" not in text
    assert "Old [b]card" in text and "device:usb-534d:2109@2-1" in text and "known by its port" in text
    assert "warning     On a USB 2 connection" in text
    assert run(monkeypatch, backend, "--formats") == 0
    assert "also        1280 x 720 at 30, compressed" in capsys.readouterr().out


def test_where_nothing_is_found_it_says_where_to_look(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert run(monkeypatch, FakeBackend()) == 0
    text = capsys.readouterr().out
    assert text.startswith("No capture card or camera was found.") and "lsusb" in text and "Device Manager" not in text


@pytest.mark.parametrize(("platform", "word"), [("linux", "lsusb"), ("win32", "Device Manager"), ("darwin", "System")])
def test_hints_are_of_the_system(platform: str, word: str) -> None:
    assert word in " ".join(devices.hints(platform))
