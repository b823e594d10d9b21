"""Capture cards and cameras: who they are, which format is opened, and their newest picture.

A device is named by what it is (vendor, product, serial number or the place it is plugged in), never by its index, and
nothing else is ever opened in its place. Everything that touches the system lies behind ``DeviceBackend``.
"""

from __future__ import annotations

import errno
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from usviewer.acquire.device.backend import (
    SCHEME,
    DeviceBackend,
    DeviceFormat,
    DeviceInfo,
    DeviceReader,
    asked_formats,
    best_first,
)
from usviewer.acquire.source import LiveSource, Source, check_size
from usviewer.errors import UserError
from usviewer.frame import Frame, Pixels, SourceInfo, make_frame

# What the addresses of devices begin with, on one system or another.
KINDS = ("usb", "pci", "virtual", "avf", "dshow")
GRAB_S = 0.1
NO_PICTURE_S = 2.0
# A program of ours that lets the device go (the preview) needs a moment; only then is it really in use.
BUSY_PATIENCE_S = 1.0
BUSY_AGAIN_S = 0.05
# More than drivers hold (V4L2: 32). A device that is faster than its reader must not keep it here for ever.
MAX_WAITING = 64
# Formats that are tried, each of which may take ``BUSY_PATIENCE_S``.
MAX_TRIES = 3
FINAL_ERRORS = (errno.EACCES, errno.EPERM, errno.ENODEV, errno.ENOENT, errno.ENXIO)


def list_devices(backend: DeviceBackend | None = None) -> tuple[DeviceInfo, ...]:
    """Capture cards and cameras that are plugged in, each with a ``uri`` of its own."""
    found = list((backend or system_backend()).devices())
    counts = Counter(device.uri for device in found)
    for place, device in enumerate(found):
        if counts[device.uri] > 1:  # two of a kind without serial numbers, or with the same one
            found[place] = replace(device, uri=_with_port(device))
    # Virtual cameras come last: they are seldom the scanner.
    return tuple(sorted(found, key=lambda device: (device.bus == "virtual", device.name, device.path)))


def open_device(uri: str, backend: DeviceBackend | None = None) -> Source:
    """Open the device of an address from ``list_devices``, and never another one.

    ``?size=1280x720&rate=30&format=mjpeg`` overrides the choice of format. ``UserError`` when it is not there, in use,
    or may not be opened.
    """
    return _DeviceSource(uri, backend or system_backend())


def check_device_uri(uri: str) -> None:
    """Raise ``UserError`` for an address that no device can have. Does not look whether it is connected."""
    identity = uri.partition("?")[0].removeprefix(SCHEME)
    kind, _, rest = identity.partition("-")
    if kind not in KINDS or not rest:
        raise UserError(
            f"The address '{uri}' of a device cannot be read", "Choose one of those that 'usviewer devices' lists"
        )
    asked_formats(uri)


def system_backend() -> DeviceBackend:
    """Choose the backend of the system that the program runs on."""
    import sys

    if sys.platform.startswith("linux"):
        from usviewer.acquire.device.linux import LinuxBackend  # each exists on its own system only

        return LinuxBackend()
    if sys.platform == "win32":
        from usviewer.acquire.device.ffmpeg import WindowsBackend

        return WindowsBackend()
    from usviewer.acquire.device.ffmpeg import MacBackend

    return MacBackend()


def _find_device(uri: str, backend: DeviceBackend) -> DeviceInfo:
    """Find the one device that an address names. Raises ``UserError`` when it is missing, or when two fit."""
    identity = uri.partition("?")[0]
    devices = list_devices(backend)
    # Of two cards with one serial number each is told by its port; the one that is left keeps both names.
    meant = [device for device in devices if identity in (device.uri, _with_port(device))]
    if len(meant) == 1:
        return meant[0]
    name = identity.removeprefix(SCHEME) or "without a name"
    if meant or sum(device.uri.startswith(f"{identity}@") for device in devices) > 1:
        raise UserError(f"Two connected devices have the same name ({name})", "Choose one of them again")
    raise UserError(
        f"The chosen device is not connected ({name})", "Plug it in again; no other one is opened in its place"
    )


class _DeviceSource(LiveSource):
    """A live source: each step of the iteration gives the newest picture that the device has.

    Pictures that waited meanwhile are passed over. The iteration ends within ``GRAB_S`` of ``close``, which may come
    from another thread; a device that vanishes or is silent for ``NO_PICTURE_S`` ends it with a ``UserError``.
    """

    def __init__(self, uri: str, backend: DeviceBackend) -> None:
        super().__init__()
        wanted = asked_formats(uri)
        device = _find_device(uri, backend)
        self._uri, self._name = uri, device.name
        self._reader = _open(device, wanted or best_first(device.formats), backend)
        self._index = 0
        try:
            # The system numbers its devices again when one is plugged in: was it still this one that was opened?
            if _find_device(uri, backend).path != device.path:
                raise UserError(f"{device.name} was plugged in again just now", "It is tried again")
            running = self._reader.format
            check_size(device.name, running.width_px, running.height_px)
        except UserError:
            self.close()
            raise
        notes = (f"Opened as {running}", *device.warnings)
        self._info = SourceInfo(
            uri, device.name, "device", running.width_px, running.height_px, running.rate, live=True, notes=notes
        )

    @property
    def info(self) -> SourceInfo:
        """Size and rate as the device announced them when it was opened."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        last_s = time.monotonic()
        while not self._closed:
            try:
                picture = self._newest()
            except OSError as error:
                raise _why(self._name, error) from error
            if picture is not None:
                yield make_frame(picture[0], self._uri, self._index, capture_time_s=picture[1])
                self._index += 1
                last_s = time.monotonic()
            elif time.monotonic() - last_s > NO_PICTURE_S and not self._closed:
                raise UserError(
                    f"{self._name} gives no picture", "Check the cable to the scanner and that the scanner is on"
                )

    def _newest(self) -> tuple[Pixels, float] | None:
        """The last of the pictures that wait, and its time of capture; None where none came."""
        with self._in_hand():
            if self._closed or (held := self._reader.grab(GRAB_S)) is None:
                return None
            # The newest one counts: each that waited would be one more picture behind the scanner's screen.
            for _ in range(MAX_WAITING):
                newer = self._reader.grab(0)
                if newer is None:
                    break
                held = newer
            packet, captured_s = held
            pixels = self._reader.unpack(packet)
            if pixels is None:
                return None
            return pixels, captured_s

    def _release(self) -> None:
        self._reader.close()


def _with_port(device: DeviceInfo) -> str:
    if device.port and "@" not in device.uri:
        return f"{device.uri}@{device.port}"
    return device.uri


def _open(device: DeviceInfo, formats: Sequence[DeviceFormat], backend: DeviceBackend) -> DeviceReader:
    """Open the device in the first of the best formats that it really takes."""
    if device.hindrance:
        raise UserError(device.hindrance)
    failure: OSError = OSError(errno.EIO, "")
    for wanted in formats[:MAX_TRIES] or (None,):
        try:
            return _open_patiently(device, wanted, backend)
        except OSError as error:
            failure = error
            if error.errno in (*FINAL_ERRORS, errno.EBUSY):
                break
    raise _why(device.name, failure) from failure


def _open_patiently(device: DeviceInfo, wanted: DeviceFormat | None, backend: DeviceBackend) -> DeviceReader:
    until_s = time.monotonic() + BUSY_PATIENCE_S
    while True:
        try:
            return backend.open(device, wanted)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > until_s:
                raise
        time.sleep(BUSY_AGAIN_S)


def _why(name: str, error: OSError) -> UserError:
    """One sentence for what the system said."""
    if error.errno == errno.EBUSY:
        return UserError(f"Another program is using {name}", "Close it there (OBS, a browser, a meeting)")
    if error.errno in (errno.EACCES, errno.EPERM):
        return UserError(f"You have no permission to use {name}", "Run 'usviewer devices': it says how to get it")
    if error.errno in FINAL_ERRORS:
        return UserError(f"{name} was unplugged", "Plug it in again; no other one is opened in its place")
    return UserError(f"{name} does not answer as it should", "Unplug it, wait a moment and plug it in again")
