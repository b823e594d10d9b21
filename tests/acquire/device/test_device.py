"""Identity, choice of format, newest picture and every way to fail, against a fake of the system."""

from __future__ import annotations

import errno
import threading
import time
from dataclasses import replace

import pytest

from tests.helpers.devices import FULL, FakeBackend, FakeCard, card
from tests.helpers.fakes import picture
from usviewer import acquire
from usviewer.acquire import device as devices
from usviewer.acquire.device import list_devices, open_device
from usviewer.acquire.device.backend import DeviceFormat, asked_formats, best_first
from usviewer.errors import UserError

URI = "device:usb-534d:2109-A1"
MJPEG = DeviceFormat("mjpeg", 1920, 1080, 60.0)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("GRAB_S", 0.01), ("NO_PICTURE_S", 0.05), ("BUSY_PATIENCE_S", 0.02), ("BUSY_AGAIN_S", 0.001)):
        monkeypatch.setattr(devices, name, value)


# -- identity


def test_a_device_keeps_its_address_when_numbers_and_ports_change() -> None:
    grabber = card(0)
    backend = FakeBackend(card(1, serial="laptop", name="Webcam"), grabber)
    uri = next(device.uri for device in list_devices(backend) if device.name == "USB Video")
    grabber.info = replace(grabber.info, path="/dev/video7", port="1-4")
    backend.cards[0].info = replace(backend.cards[0].info, path="/dev/video0")
    with open_device(uri, backend) as source:
        assert source.info.name == "USB Video"
    assert backend.cards[0].asked == []


@pytest.mark.parametrize("uri", [URI, "device:usb-534d:2109@2-0", "device:0", "device:", "device:/dev/video0"])
def test_nothing_is_opened_in_the_place_of_a_device_that_is_gone(uri: str) -> None:
    other = card(0, serial="B2")
    with pytest.raises(UserError, match=r"not connected.*no other one is opened"):
        open_device(uri, FakeBackend(other))
    assert other.asked == []


def test_a_replugged_device_is_opened_again_by_the_same_address() -> None:
    grabber = card(0)
    backend = FakeBackend(card(3, serial="B2"), grabber)
    with open_device(URI, backend) as source:
        frames = iter(source)
        grabber.put(picture(1))
        next(frames)
        grabber.plugged, grabber.error = False, errno.ENODEV
        with pytest.raises(UserError, match="unplugged"):
            next(frames)
    with pytest.raises(UserError, match="not connected"):
        open_device(URI, backend)
    grabber.plugged, grabber.error = True, 0
    grabber.info = replace(grabber.info, path="/dev/video9")
    with open_device(URI, backend) as source:
        grabber.put(picture(2))
        assert (next(iter(source)).pixels == picture(2)).all()
    assert backend.cards[0].asked == []


def test_two_cards_with_one_serial_number_are_told_apart_by_their_ports() -> None:
    first, second = card(0), card(1)
    backend = FakeBackend(first, second)
    uris = [device.uri for device in list_devices(backend)]
    assert uris == [f"{URI}@2-0", f"{URI}@2-1"]
    with open_device(uris[1], backend):
        assert (len(first.asked), len(second.asked)) == (0, 1)
    with pytest.raises(UserError, match="Choose one of them again"):
        open_device(URI, backend)
    first.plugged = False
    with open_device(uris[1], backend), open_device(URI, backend):
        assert len(second.asked) == 3
    with pytest.raises(UserError, match="not connected"):
        open_device(uris[0], backend)


def test_two_of_one_name_that_nothing_tells_apart_are_refused() -> None:
    twins = FakeBackend(*(card(number, uri="device:virtual-OBS", port="", bus="virtual") for number in (0, 1)))
    with pytest.raises(UserError, match="have the same name"):
        open_device("device:virtual-OBS", twins)


def test_a_device_that_changes_its_number_while_it_is_opened_is_not_used() -> None:
    """Between finding and opening, another device may have been given the number."""
    grabber = card(0)

    class Replugged(FakeBackend):
        def open(self, device, wanted):  # type: ignore[no-untyped-def]
            reader = super().open(device, wanted)
            grabber.info = replace(grabber.info, path="/dev/video5")
            return reader

    with pytest.raises(UserError, match="just now"):
        open_device(URI, Replugged(grabber))
    assert grabber.closed == 1


# -- format


def test_full_size_uncompressed_and_fast_comes_first() -> None:
    small = DeviceFormat("yuyv422", 640, 480, 60.0)
    slow = DeviceFormat("yuyv422", 1920, 1080, 5.0)
    huge = DeviceFormat("yuyv422", 3840, 2160, 30.0)
    thirty = DeviceFormat("yuyv422", 1920, 1080, 30.0)
    fast = DeviceFormat("yuyv422", 1920, 1080, 120.0)
    unknown = DeviceFormat("h264", 1920, 1080, 60.0)
    ranked = best_first([small, slow, huge, thirty, fast, FULL, MJPEG, unknown, FULL])
    assert ranked == (FULL, thirty, fast, MJPEG, small, huge, slow)


def test_a_usb_2_card_is_opened_compressed_and_says_why() -> None:
    formats = (DeviceFormat("yuyv422", 1920, 1080, 5.0), MJPEG)
    info = card(bus="USB 2", formats=formats).info
    assert best_first(formats)[0] == MJPEG
    assert "USB 2" in info.warnings[0] and "USB 3 port" in info.warnings[0]
    assert info.detail.startswith("1920 x 1080 at 60, compressed · USB 2 · ")
    only_slow = card(formats=formats[:1]).info
    assert only_slow.warnings == ("Gives only 5 pictures a second",)
    assert card().info.warnings == () and card().info.detail == "1920 x 1080 at 60, uncompressed · USB 3"


def test_the_next_best_format_is_tried_where_a_driver_refuses_what_it_lists() -> None:
    grabber = card(formats=(FULL, MJPEG))
    grabber.takes = (MJPEG,)
    with open_device(URI, FakeBackend(grabber)) as source:
        assert source.info.frames_per_second == 60 and "compressed" in source.info.notes[0]
    assert grabber.asked == [FULL, MJPEG]


def test_a_device_that_lists_no_formats_decides_itself() -> None:
    grabber = card(formats=())
    with open_device(URI, FakeBackend(grabber)) as source:
        assert (source.info.width_px, source.info.height_px) == (1920, 1080)
    assert grabber.asked == [None]


def test_the_address_may_ask_for_a_format() -> None:
    grabber = card()
    with open_device(f"{URI}?size=1280x720&rate=50&format=mjpeg", FakeBackend(grabber)) as source:
        assert source.info.uri.endswith("mjpeg")
    assert grabber.asked == [DeviceFormat("mjpeg", 1280, 720, 50.0)]
    assert asked_formats(f"{URI}?size=640x480&rate=29,97")[0].rate == 29.97
    assert asked_formats(f"{URI}?size=640x480") == (DeviceFormat("", 640, 480, 30.0),)


@pytest.mark.parametrize(
    "query",
    [
        "size=big",
        "size=640x480&rate=3e1",
        "size=\uff16\uff14x48",
        "rate=30",
        "size=640x480&rate=0",
        "size=640x480&format=h264",
        "size=640x480&colour=1",
    ],
)
def test_a_format_that_cannot_be_read_is_refused(query: str) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        open_device(f"{URI}?{query}", FakeBackend(card()))


# -- pictures


def test_the_newest_picture_is_given_and_carries_its_own_time() -> None:
    grabber = card()
    with open_device(URI, FakeBackend(grabber)) as source:
        grabber.put(*(picture(value) for value in range(9)), captured_s=1.0)
        grabber.put(picture(9), captured_s=2.5)
        frame = next(iter(source))
        assert (frame.pixels == picture(9)).all()
        assert frame.key.capture_time_s == 2.5 and frame.key.media_time_s is None and frame.key.index == 0


def test_a_device_that_is_faster_than_the_computer_does_not_hold_it_for_ever() -> None:
    grabber = card()
    with open_device(URI, FakeBackend(grabber)) as source:
        grabber.put(*[picture(1)] * 500)
        next(iter(source))
        assert grabber.grabs == 1 + devices.MAX_WAITING


def test_damaged_pictures_are_passed_over() -> None:
    grabber = card()
    with open_device(URI, FakeBackend(grabber)) as source:
        frames = iter(source)
        grabber.put(None)
        threading.Timer(0.02, grabber.put, [picture(4)]).start()
        assert (next(frames).pixels == picture(4)).all()


def test_another_size_comes_through_as_it_is() -> None:
    """The pipeline sees the change and withdraws the numbers: nothing is resized."""
    grabber = card()
    with open_device(URI, FakeBackend(grabber)) as source:
        frames = iter(source)
        sizes = []
        for size in ((64, 48), (80, 60)):
            grabber.put(picture(1, *size))
            sizes.append((frame := next(frames)).width_px)
        assert sizes == [64, 80] and frame.key.index == 1


def test_silence_ends_the_iteration_with_a_sentence() -> None:
    with open_device(URI, FakeBackend(card())) as source, pytest.raises(UserError, match="gives no picture"):
        next(iter(source))


def test_close_from_another_thread_ends_the_iteration_promptly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "NO_PICTURE_S", 60.0)
    grabber = card()
    source = open_device(URI, FakeBackend(grabber))
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.extend(source))
    thread.start()
    assert grabber.reading.wait(5)
    began_s = time.monotonic()
    source.close()
    thread.join(5)
    assert not thread.is_alive() and time.monotonic() - began_s < 1.0
    assert seen == [] and grabber.closed >= 1


# -- failures


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EBUSY, r"^Another program is using USB Video\. Close it there"),
        (errno.EACCES, r"^You have no permission to use USB Video\."),
        (errno.ENODEV, r"^USB Video was unplugged\."),
        (errno.EIO, r"^USB Video does not answer"),
    ],
)
def test_every_failure_of_the_system_is_one_sentence(number: int, sentence: str) -> None:
    grabber = card(formats=(FULL, MJPEG))
    grabber.open_error = number
    with pytest.raises(UserError, match=sentence):
        open_device(URI, FakeBackend(grabber))
    tries = len(grabber.asked)
    assert {errno.EBUSY: tries > 1, errno.EIO: tries == 2}.get(number, tries == 1)
    grabber.open_error, grabber.error = 0, number
    with open_device(URI, FakeBackend(grabber)) as source, pytest.raises(UserError, match=sentence):
        next(iter(source))


def test_a_device_that_our_own_preview_lets_go_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "BUSY_PATIENCE_S", 5.0)
    grabber = card()
    grabber.open_error = errno.EBUSY
    threading.Timer(0.03, setattr, [grabber, "open_error", 0]).start()
    with open_device(URI, FakeBackend(grabber)):
        assert len(grabber.asked) > 1


def test_a_known_hindrance_is_said_and_nothing_is_tried() -> None:
    grabber = card(hindrance="You may not read /dev/video0: run this")
    with pytest.raises(UserError, match=r"^You may not read /dev/video0: run this\.$"):
        open_device(URI, FakeBackend(grabber))
    assert grabber.asked == [] and grabber.info.warnings[0].startswith("You may not")


def test_the_package_opens_and_lists_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = FakeBackend(card())
    monkeypatch.setattr(devices, "system_backend", lambda: backend)
    (info,) = acquire.list_devices()
    with acquire.open_source(info.uri) as source:
        assert isinstance(source, acquire.Source) and source.info.live and source.info.kind == "device"


def test_this_computer_can_be_asked() -> None:
    """Whatever is plugged in: the system's own backend answers, and what it lists has an address."""
    assert all(found.uri.startswith("device:") and found.name for found in list_devices())


def test_virtual_cameras_come_last() -> None:
    cards: list[FakeCard] = [card(0, serial="v", bus="virtual", name="A"), card(1, name="B")]
    assert [found.name for found in list_devices(FakeBackend(*cards))] == ["B", "A"]
