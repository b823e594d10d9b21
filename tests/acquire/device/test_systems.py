"""What the backends make of what Linux, Windows and macOS say; and FFmpeg's reader on a source it makes itself."""

from __future__ import annotations

import errno
import json
import os
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from tests.helpers.recordings import write_clip
from usviewer.acquire.device import ffmpeg, list_devices, open_device
from usviewer.acquire.device.backend import DeviceFormat
from usviewer.acquire.device.ffmpeg import FFmpegReader, _from_dshow, dshow_formats, from_avfoundation
from usviewer.errors import UserError

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="V4L2 is of Linux")


class Machine:
    """A tree of sysfs and a folder of nodes; ``ioctl`` answers as drivers do."""

    def __init__(self, root: Path) -> None:
        self.sysfs, self.dev, self.root = root / "sys/class/video4linux", root / "dev", root
        self.dev.mkdir()
        self.caps: dict[str, int] = {}
        self.stepwise = False
        self.native: tuple[int, int] | None = None

    def node(self, number: int, home: str, name: str, index: int = 0, captures: bool = True) -> None:
        node = self.sysfs / f"video{number}"
        node.mkdir(parents=True)
        (node / "name").write_text(f"{name}\n")
        (node / "index").write_text(f"{index}\n")
        (self.root / home).mkdir(parents=True, exist_ok=True)
        (node / "device").symlink_to(self.root / home)
        (self.dev / node.name).touch()
        self.caps[str(self.dev / node.name)] = 1 if captures else 0x00800000

    def attributes(self, place: str, **values: str) -> None:
        (self.root / place).mkdir(parents=True, exist_ok=True)
        for name, value in values.items():
            (self.root / place / name).write_text(f"{value}\n")

    def ioctl(self, handle: int, request: int, ask: bytes) -> bytes:
        answer, path = bytearray(ask), os.readlink(f"/proc/self/fd/{handle}")
        index = struct.unpack_from("<I", ask)[0]
        if request == 0x80685600:  # QUERYCAP: of the whole device and of this node
            struct.pack_into("<II", answer, 84, 0x84A00001, self.caps[path])
        elif request == 0xC0405602 and index < 3:
            answer[44:48] = (b"YUYV", b"H264", b"MJPG")[index]
        elif request == 0xC02C564A and index < (1 if self.stepwise else 2):
            size = (1920, 1080) if index == 0 else (1280, 720)
            struct.pack_into("<III", answer, 8, 3 if self.stepwise else 1, *size)
        elif request == 0xC0D05604:
            struct.pack_into("<II", answer, 8, 1024, 768)
        elif request == 0xC034564B and index < 2:
            struct.pack_into("<III", answer, 16, 1, (1, 1001)[index], (30, 60000)[index])
        elif request == 0x80845663 and self.native:
            struct.pack_into("<II", answer, 4, *self.native)
        else:
            raise OSError(errno.EINVAL, "no more")
        return bytes(answer)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    import fcntl

    made = Machine(tmp_path)
    monkeypatch.setattr(fcntl, "ioctl", made.ioctl)
    yield made


def backend(machine: Machine):  # type: ignore[no-untyped-def]
    from usviewer.acquire.device.linux import LinuxBackend

    return LinuxBackend(machine.sysfs, machine.dev)


@linux
def test_a_usb_grabber_is_named_by_vendor_product_and_serial(machine: Machine) -> None:
    machine.attributes("sys/devices/usb2/2-1", idVendor="534d", idProduct="2109", serial="20 210/621", speed="5000")
    machine.node(4, "sys/devices/usb2/2-1/2-1:1.0", "USB Video: USB Video")
    machine.node(5, "sys/devices/usb2/2-1/2-1:1.0", "USB Video: metadata", index=1, captures=False)
    (found,) = list_devices(backend(machine))
    assert found.uri == "device:usb-534d:2109-20%20210%2F621"
    assert (found.name, found.path) == ("USB Video: USB Video", str(machine.dev / "video4"))
    assert (found.vendor_id, found.product_id, found.serial, found.port) == ("534d", "2109", "20 210/621", "2-1")
    assert found.bus == "USB 3" and found.warnings == ()
    assert DeviceFormat("mjpeg", 1280, 720, 30.0) in found.formats and len(found.formats) == 8
    assert {form.pixel_format for form in found.formats} == {"yuyv422", "mjpeg"}
    assert found.formats[1].rate == pytest.approx(59.94, abs=0.001)


@linux
def test_without_a_serial_number_the_port_tells_devices_apart(machine: Machine) -> None:
    for number, port in enumerate(("1-2", "1-4.1")):
        machine.attributes(f"sys/devices/usb1/{port}", idVendor="046d", idProduct="0825", speed="480")
        machine.node(number, f"sys/devices/usb1/{port}/{port}:1.0", "Webcam")
    machine.node(2, "sys/devices/usb1/1-2/1-2:1.0", "Webcam infrared", index=2)
    found = {device.path[-1]: device for device in list_devices(backend(machine))}
    assert [found[key].uri for key in "012"] == [
        "device:usb-046d:0825@1-2", "device:usb-046d:0825@1-4.1", "device:usb-046d:0825@1-2+2",
    ]  # fmt: skip
    assert found["0"].bus == "USB 2" and found["0"].warnings


@linux
def test_cards_in_slots_and_virtual_cameras_have_an_identity_too(machine: Machine) -> None:
    slot = "sys/devices/pci0000:00/0000:03:00.0"
    machine.attributes(slot, vendor="0x1cd7", device="0x0010", **{"class": "0x048000"})
    machine.node(0, slot, "Pro Capture")
    machine.node(1, "sys/devices/virtual/thing", "OBS Virtual Camera")
    found = list_devices(backend(machine))
    assert [device.uri for device in found] == [
        "device:pci-1cd7:0010@0000:03:00.0",
        "device:virtual-OBS%20Virtual%20Camera",
    ]
    assert [device.bus for device in found] == ["PCI", "virtual"]


@linux
def test_a_card_that_sees_the_signal_offers_its_size_only(machine: Machine) -> None:
    machine.node(0, "sys/devices/a", "Grabber")
    machine.native = (1280, 720)
    (found,) = list_devices(backend(machine))
    assert {(form.width_px, form.height_px) for form in found.formats} == {(1280, 720)}
    machine.native, machine.stepwise = None, True
    (found,) = list_devices(backend(machine))
    assert {(form.width_px, form.height_px) for form in found.formats} == {(1024, 768)}


@linux
def test_a_node_that_may_not_be_read_is_listed_with_the_way_out(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.node(0, "sys/devices/a", "Grabber")
    machine.node(1, "sys/devices/a", "Grabber", index=1)

    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, "denied")

    with monkeypatch.context() as patched:
        patched.setattr("usviewer.acquire.device.linux.os.open", denied)
        (found,) = list_devices(backend(machine))
        with pytest.raises(UserError, match="usermod -aG video"):
            open_device(found.uri, backend(machine))
    assert list_devices(backend(machine))[0].uri == found.uri


@linux
def test_a_node_that_is_no_device_is_said_to_fail_in_one_sentence(machine: Machine) -> None:
    """The real FFmpeg is asked to open an ordinary file as a device."""
    machine.node(0, "sys/devices/a", "Grabber")
    (found,) = list_devices(backend(machine))
    with pytest.raises(UserError, match="Grabber"):
        open_device(found.uri, backend(machine))


def test_a_windows_name_holds_vendor_product_and_serial() -> None:
    grabber = _from_dshow(
        r"@device_pnp_\\?\usb#vid_534D&pid_2109&mi_00#7&1c0b8e7&0&0000#{65e8773d-8f56-11d0}\global", "USB Video", ()
    )
    assert grabber.uri == "device:usb-534d:2109-7%261c0b8e7%260%260000"
    assert (grabber.vendor_id, grabber.product_id, grabber.serial) == ("534d", "2109", "")
    cam = _from_dshow(r"@device_pnp_\\?\usb#vid_0fd9&pid_0066#0004550DB4000#{65e8773d}\global", "Cam Link 4K", ())
    assert cam.uri == "device:usb-0fd9:0066-0004550DB4000" and cam.serial == "0004550DB4000"
    virtual = _from_dshow(r"@device_sw_{860BB310}\{A3FCE0F5}", "OBS Virtual Camera", ())
    assert virtual.uri == "device:dshow-%40device_sw_%7B860BB310%7D%5C%7BA3FCE0F5%7D" and virtual.bus == "virtual"


def test_formats_are_read_from_what_ffmpeg_writes_on_windows() -> None:
    lines = [
        "DirectShow video device options (from video devices)\n",
        ' Pin "Capture" (alternative pin name "0")\n',
        "  pixel_format=yuyv422  min s=1920x1080 fps=5 max s=1920x1080 fps=5\n",
        "  pixel_format=yuyv422  min s=1920x1080 fps=5 max s=1920x1080 fps=5 (tv, bt470bg/bt709/unknown, topleft)\n",
        "  vcodec=mjpeg  min s=1920x1080 fps=25 max s=1920x1080 fps=60.0002\n",
        "  vcodec=h264  min s=1920x1080 fps=25 max s=1920x1080 fps=60.0002\n",
    ]
    assert dshow_formats(lines) == (
        DeviceFormat("mjpeg", 1920, 1080, 60.0002),
        DeviceFormat("yuyv422", 1920, 1080, 5.0),
    )


def test_a_camera_of_macos_is_named_by_the_systems_report() -> None:
    usb = {
        "_name": "USB Video",
        "spcamera_model-id": "UVC Camera VendorID_21325 ProductID_8457",
        "spcamera_unique-id": "0x2100000534d2109",
    }
    built_in = {"_name": "FaceTime HD Camera", "spcamera_unique-id": "3F45E80A-0176-46F7-B185-BB9E2C0E82E3"}
    report = json.dumps({"SPCameraDataType": [usb, built_in]})
    found = from_avfoundation(["USB Video", "FaceTime HD Camera", "OBS"], report)
    assert [device.uri for device in found] == [
        "device:usb-534d:2109-0x2100000534d2109",
        "device:avf-3F45E80A-0176-46F7-B185-BB9E2C0E82E3",
        "device:avf-OBS",
    ]
    for unreadable in ("", "[]", "{", "null"):
        assert from_avfoundation(["OBS"], unreadable)[0].uri == "device:avf-OBS"


def test_two_of_one_name_are_not_opened_on_macos() -> None:
    (found,) = from_avfoundation(["USB Video", "USB Video"], "")
    assert "unplug one" in found.hindrance


@pytest.fixture
def moving(tmp_path: Path) -> Iterator[FFmpegReader]:
    """Pictures as a card packs them (YUYV), through FFmpeg; then the end, as when a card is unplugged.

    Opening uses up the first one: nothing is kept that was looked at, so that what is given is new.
    """
    pictures = [np.dstack([np.full((48, 64), 16 + 50 * number), np.full((48, 64), 128)]) for number in (4, 0, 1, 2)]
    (tmp_path / "card").write_bytes(np.array(pictures, np.uint8).tobytes())
    options = {"video_size": "64x48", "pixel_format": "yuyv422", "framerate": "25"}
    reader = FFmpegReader("rawvideo", str(tmp_path / "card"), options, None)
    yield reader
    reader.close()
    reader.close()


def test_ffmpegs_reader_gives_every_picture_and_then_an_error(moving: FFmpegReader) -> None:
    assert moving.format == DeviceFormat("yuyv422", 64, 48, 25.0)
    levels = []
    for _ in range(3):
        grabbed = moving.grab(1.0)
        assert grabbed is not None and 0 <= time.monotonic() - grabbed[1] < 60
        pixels = moving.unpack(grabbed[0])
        assert pixels is not None and pixels.shape == (48, 64, 3)
        levels.append(pixels.mean())
    # 16 to 235 become 0 to 255 (BT.601); FFmpeg is quick rather than exact to a grey level.
    assert levels == pytest.approx([0, 50 * 255 / 219, 100 * 255 / 219], abs=3)
    with pytest.raises(OSError, match="ended") as caught:
        moving.grab(0.0)
    assert caught.value.errno == errno.ENODEV


def test_pictures_outlive_the_device_that_made_them(moving: FFmpegReader) -> None:
    """A driver's packets lie in its own memory, which goes with the device: what is handed out must be a copy."""
    grabbed = moving.grab(1.0)
    moving.close()
    assert grabbed is not None and bytes(grabbed[0]) == bytes([16, 128]) * 64 * 48


def test_a_damaged_picture_is_none(moving: FFmpegReader) -> None:
    assert moving.unpack(av.Packet(b"short")) is None


def test_the_time_of_the_drivers_clock_is_believed_where_it_can_be_true(moving: FFmpegReader) -> None:
    moving._kernel_clock = True
    base = moving._stream.time_base
    now_s = time.monotonic()
    assert moving._captured_s(int((now_s - 0.2) / base)) == pytest.approx(now_s - 0.2, abs=float(base))
    for wrong_s in (now_s + 50.0, now_s - 50.0):
        assert moving._captured_s(int(wrong_s / base)) == pytest.approx(time.monotonic(), abs=1.0)
    assert moving._captured_s(None) >= now_s


def test_what_ffmpeg_cannot_open_or_unpack_is_an_error_of_the_system(tmp_path: Path) -> None:
    for format_name, path in (("v4l2", str(tmp_path / "none")), ("lavfi", "testsrc"), ("no such format", "x")):
        with pytest.raises(OSError, match=r".") as caught:
            FFmpegReader(format_name, path, {}, None)
        assert caught.value.errno in (errno.ENOENT, errno.EIO, errno.EINVAL)
    assert ffmpeg.as_os_error(ValueError("odd")).errno == errno.EIO


def test_a_device_whose_compression_nobody_knows_is_an_error_of_the_system(tmp_path: Path) -> None:
    """FFmpeg opens it, and has no decoder for it: its stream has no codec at all."""
    path = write_clip(tmp_path / "card.avi", "mjpeg", 1, pixel_format="yuvj420p")
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"Q9Z7"))
    with pytest.raises(OSError, match="no pictures that are understood") as caught:
        FFmpegReader("avi", str(path), {}, None)
    assert caught.value.errno == errno.EIO
