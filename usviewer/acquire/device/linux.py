"""Devices of Linux: found in sysfs, asked for their formats (V4L2), read through FFmpeg.

Numbers of ioctls and the layout of their structures: ``linux/videodev2.h`` (the V4L2 user-space interface).
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from usviewer.acquire.device.backend import MJPEG, SCHEME, DeviceFormat, DeviceInfo
from usviewer.acquire.device.ffmpeg import FFmpegReader, format_options

SYSFS, DEV = Path("/sys/class/video4linux"), Path("/dev")

QUERYCAP, ENUM_FMT, G_FMT = 0x80685600, 0xC0405602, 0xC0D05604
ENUM_FRAMESIZES, ENUM_FRAMEINTERVALS, QUERY_DV_TIMINGS = 0xC02C564A, 0xC034564B, 0x80845663
VIDEO_CAPTURE, DEVICE_CAPS = 0x00000001, 0x80000000
CAPTURE_BUFFER, DISCRETE = 1, 1
# A driver that never ends its list is broken; real ones give some dozen formats, sizes or rates.
MAX_LISTED = 256
# What sysfs gives as ``speed``: 480 for USB 2, 5000 and more for USB 3.
USB_3_MBIT = 5000

# V4L2's name of a pixel format, and FFmpeg's.
PIXEL_FORMATS = {
    b"YUYV": "yuyv422",
    b"UYVY": "uyvy422",
    b"NV12": "nv12",
    b"YU12": "yuv420p",
    b"RGB3": "rgb24",
    b"BGR3": "bgr24",
    b"BGR4": "bgr0",
    b"XR24": "bgr0",
    b"GREY": "gray",
    b"MJPG": MJPEG,
    b"JPEG": MJPEG,
}


class LinuxBackend:
    """Video4Linux. The folders are arguments for tests only."""

    def __init__(self, sysfs: Path = SYSFS, dev: Path = DEV) -> None:
        self._sysfs, self._dev = sysfs, dev

    def devices(self) -> Sequence[DeviceInfo]:
        """Nodes that give pictures; nodes for metadata and output are left out."""
        nodes = sorted(self._sysfs.glob("video*"), key=lambda node: (len(node.name), node.name))
        return [device for node in nodes if (device := self._device(node)) is not None]

    def open(self, device: DeviceInfo, wanted: DeviceFormat | None) -> FFmpegReader:
        """Open the node; it opens in its present format where none is wanted."""
        options = format_options(wanted)
        if wanted and wanted.pixel_format:
            options["input_format"] = wanted.pixel_format
        return FFmpegReader("v4l2", device.path, options, wanted, kernel_clock=True)

    def _device(self, node: Path) -> DeviceInfo | None:
        path = self._dev / node.name
        index = int(_text(node / "index") or 0)
        device = _identified(node, index, DeviceInfo("", _text(node / "name") or node.name, str(path)))
        try:
            handle = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        except PermissionError:
            if index:  # nodes beyond the first give no pictures
                return None
            reason = f"You may not read {path}: run 'sudo usermod -aG video $USER' and log in again"
            return replace(device, hindrance=reason)
        except OSError:
            return None
        try:
            if _captures(handle):
                return replace(device, formats=tuple(_formats(handle)))
        except OSError:
            pass
        finally:
            os.close(handle)
        return None


def _identified(node: Path, index: int, device: DeviceInfo) -> DeviceInfo:
    """Add identity and bus from the device's place in sysfs; ``index`` counts the nodes of one device."""
    channel = f"+{index}" if index else ""
    home = (node / "device").resolve()
    around = (home, *home.parents)
    usb = next((place for place in around if (place / "idVendor").is_file()), None)
    if usb is not None:
        vendor, product, serial = (_text(usb / name) for name in ("idVendor", "idProduct", "serial"))
        port = usb.name + channel
        # Without a serial number two of a kind differ by where they are plugged in only.
        own = f"-{quote(serial, safe='')}{channel}" if serial else f"@{port}"
        bus = "USB 3" if float(_text(usb / "speed") or 0) >= USB_3_MBIT else "USB 2"
        ids: Any = {"vendor_id": vendor, "product_id": product, "serial": serial, "port": port, "bus": bus}
        return replace(device, uri=f"{SCHEME}usb-{vendor}:{product}{own}", **ids)
    pci = next((place for place in around if (place / "class").is_file() and ":" in place.name), None)
    if pci is not None:
        vendor, product = (_text(pci / name).removeprefix("0x") for name in ("vendor", "device"))
        port = pci.name + channel
        ids = {"vendor_id": vendor, "product_id": product, "port": port, "bus": "PCI"}
        return replace(device, uri=f"{SCHEME}pci-{vendor}:{product}@{port}", **ids)
    return replace(device, uri=f"{SCHEME}virtual-{quote(device.name, safe='')}", bus="virtual")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _captures(handle: int) -> bool:
    """Of v4l2_capability: driver 16s, card 32s, bus 32s, version, capabilities, device_caps, reserved[3]."""
    answer = fcntl.ioctl(handle, QUERYCAP, bytes(104))
    whole, own = struct.unpack_from("<II", answer, 84)
    # ``whole`` is of all nodes of the device, ``own`` of this one; old drivers do not give it.
    if whole & DEVICE_CAPS:
        return bool(own & VIDEO_CAPTURE)
    return bool(whole & VIDEO_CAPTURE)


def _formats(handle: int) -> Iterator[DeviceFormat]:
    """Every format, size and rate; of a card that sees what the scanner sends, only that size."""
    native = _native_size(handle)
    for fourcc in _fourccs(handle):
        if fourcc not in PIXEL_FORMATS:
            continue
        sizes = list(_sizes(handle, fourcc))
        if native in sizes:
            sizes = [native]
        for width, height in sizes:
            rates: list[float | None] = [*_rates(handle, fourcc, width, height)]
            for rate in rates or [None]:
                yield DeviceFormat(PIXEL_FORMATS[fourcc], width, height, rate)


def _listed(handle: int, request: int, head: bytes, size: int) -> Iterator[bytes]:
    """Answers of an ioctl that lists: ``head`` has room for the index at its first 4 bytes."""
    for index in range(MAX_LISTED):
        ask = struct.pack("<I", index) + head
        try:
            yield fcntl.ioctl(handle, request, ask.ljust(size, b"\0"))
        except OSError:
            return


def _fourccs(handle: int) -> Iterator[bytes]:
    """Of v4l2_fmtdesc: index, type, flags, description 32s, pixelformat, mbus_code, reserved[3]."""
    for answer in _listed(handle, ENUM_FMT, struct.pack("<I", CAPTURE_BUFFER), 64):
        yield answer[44:48]


def _sizes(handle: int, fourcc: bytes) -> Iterator[tuple[int, int]]:
    """Of v4l2_frmsizeenum: index, pixel_format, type, width and height (or a range: then the present size)."""
    for answer in _listed(handle, ENUM_FRAMESIZES, fourcc, 44):
        kind, width, height = struct.unpack_from("<III", answer, 8)
        if kind != DISCRETE:
            # struct v4l2_format: type, padding, then width and height.
            present = fcntl.ioctl(handle, G_FMT, struct.pack("<I", CAPTURE_BUFFER).ljust(208, b"\0"))
            yield struct.unpack_from("<II", present, 8)
            return
        yield width, height


def _rates(handle: int, fourcc: bytes, width: int, height: int) -> Iterator[float]:
    """Of v4l2_frmivalenum: index, pixel_format, width, height, type, interval as a fraction (or the shortest)."""
    for answer in _listed(handle, ENUM_FRAMEINTERVALS, fourcc + struct.pack("<II", width, height), 52):
        kind, numerator, denominator = struct.unpack_from("<III", answer, 16)
        if numerator:
            yield denominator / numerator
        if kind != DISCRETE:
            return


def _native_size(handle: int) -> tuple[int, int] | None:
    """Of v4l2_dv_timings (packed): type, then width and height, of the signal that arrives."""
    try:
        width, height = struct.unpack_from("<II", fcntl.ioctl(handle, QUERY_DV_TIMINGS, bytes(132)), 4)
    except OSError:
        return None
    if not width or not height:  # nothing is plugged into the card
        return None
    return width, height
