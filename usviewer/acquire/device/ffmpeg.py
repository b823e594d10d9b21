"""Reading a device through FFmpeg, without ever waiting in it; finding devices on Windows (DirectShow) and macOS.

On macOS devices are found by name (AVFoundation), and told apart by the system's report on cameras.
"""

from __future__ import annotations

import errno
import json
import re
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import av
from av.error import FFmpegError

from usviewer.acquire.decoding import Converter
from usviewer.acquire.device.backend import MJPEG, SCHEME, UNCOMPRESSED, DeviceFormat, DeviceInfo, best_first
from usviewer.frame import Pixels

# FFmpeg looks at the first picture in a busy loop; a device that gives none in this time is open all the same.
PROBE_S = 0.3
# A picture is seen this much late at most: an eighth of the time between two at 60 a second.
LOOK_AGAIN_S = 0.002
# A time of capture that is older, or in the future, is of another clock: then the time of arrival counts.
MAX_CLOCK_AGE_S = 1.0
# AVFMT_FLAG_NONBLOCK has no name among the options. With it a silent device cannot hold a thread for ever.
NONBLOCK = 4
CODECS = ("rawvideo", MJPEG)
OPTIONS = {"fflags": f"nobuffer+{NONBLOCK}", "probesize": "32", "analyzeduration": "0", "fpsprobesize": "0"}
AVFOUNDATION_RATES = ("60", "30", "29.97", "25", "50")
CAMERA_REPORT = ("/usr/sbin/system_profiler", "SPCameraDataType", "-json")
# It asks all buses, and may take seconds; without it cameras are named by what they are called.
CAMERA_REPORT_S = 10.0


class FFmpegReader:
    """One open device. ``kernel_clock``: its packets carry the monotonic time of their capture in their pts."""

    def __init__(
        self,
        format_name: str,
        path: str,
        options: dict[str, str],
        wanted: DeviceFormat | None,
        kernel_clock: bool = False,
    ) -> None:
        try:
            self._container: Any = av.open(path, format=format_name, options=OPTIONS | options, timeout=PROBE_S)
        except (FFmpegError, ValueError) as error:
            raise as_os_error(error) from error
        videos = self._container.streams.video
        # A stream whose compression FFmpeg does not know has no codec context.
        codec = videos[0].codec_context if videos else None
        if codec is None or codec.name not in CODECS:
            self.close()
            raise OSError(errno.EIO, "no pictures that are understood")
        self._stream: Any = videos[0]
        self._stream.thread_type, self._stream.thread_count = "NONE", 1  # threads of a decoder hold pictures back
        self._kernel_clock = kernel_clock
        self._convert = Converter()
        self._format = _running(self._stream, wanted)

    @property
    def format(self) -> DeviceFormat:
        """The format that the driver has set."""
        return self._format

    def grab(self, timeout_s: float) -> tuple[Any, float] | None:
        """The oldest picture that waits, or the next one if it comes in time; damaged ones are left out."""
        until_s = time.monotonic() + timeout_s
        while True:
            grabbed = self._packet()
            if grabbed is not None and grabbed[0].size:  # a driver marks a damaged picture by an empty one
                return grabbed
            now_s = time.monotonic()
            if now_s >= until_s:
                return None
            if grabbed is None:
                time.sleep(min(LOOK_AGAIN_S, until_s - now_s))

    def _packet(self) -> tuple[Any, float] | None:
        """The next packet as a copy, None where none waits.

        The driver's own packet lies in memory that is gone once the device is closed: none may outlive this function.
        """
        try:
            packet = next(self._container.demux(self._stream))
            own, ticks = av.Packet(packet), packet.pts
            del packet
            if not own.size and ticks is None:  # PyAV's sign of the end
                raise StopIteration
        except BlockingIOError:
            return None
        except (FFmpegError, ValueError) as error:
            raise as_os_error(error) from error
        except StopIteration as error:
            raise OSError(errno.ENODEV, "the device ended") from error
        return own, self._captured_s(ticks)

    def _captured_s(self, ticks: int | None) -> float:
        now_s = time.monotonic()
        if self._kernel_clock and ticks is not None:
            captured_s = float(ticks * self._stream.time_base)
            if 0 <= now_s - captured_s < MAX_CLOCK_AGE_S:
                return captured_s
        return now_s

    def unpack(self, packet: Any) -> Pixels | None:
        """RGB; None where the picture is damaged."""
        try:
            frames = self._stream.codec_context.decode(packet)
        except (FFmpegError, ValueError):
            return None
        if not frames:
            return None
        return self._convert.as_stored(frames[-1])

    def close(self) -> None:
        """Release the device; may be called twice."""
        container, self._container = getattr(self, "_container", None), None
        if container is not None:
            container.close()


def as_os_error(error: Exception) -> OSError:
    """Keep the system's error number; turn FFmpeg's own errors into an input error."""
    number = getattr(error, "errno", None)
    if not isinstance(number, int) or not 0 < number < 1000:
        number = errno.EIO
    return OSError(number, str(error))


def format_options(wanted: DeviceFormat | None) -> dict[str, str]:
    """Size and rate in the words that all of FFmpeg's devices share."""
    if wanted is None:
        return {}
    options = {"video_size": f"{wanted.width_px}x{wanted.height_px}"}
    if wanted.rate:
        options["framerate"] = f"{wanted.rate:g}"
    return options


def _running(stream: Any, wanted: DeviceFormat | None) -> DeviceFormat:
    codec = stream.codec_context
    rate = stream.average_rate or stream.guessed_rate
    pixel_format = str(codec.pix_fmt or "")
    if codec.name == MJPEG:
        pixel_format = MJPEG
    stated = wanted.rate if wanted else None
    if rate and 1 <= rate <= 1000:  # what the driver has set counts, where it can be a rate
        stated = float(rate)
    return DeviceFormat(pixel_format, codec.width, codec.height, stated)


class WindowsBackend:
    """DirectShow: a device's own name holds vendor, product, and serial number or place."""

    def devices(self) -> Sequence[DeviceInfo]:
        """Video inputs, with the formats that they list."""
        try:
            found = av.enumerate_input_devices("dshow")
        except (FFmpegError, ValueError):
            return ()
        videos = [device for device in found if "video" in device.media_types or not device.media_types]
        return [_from_dshow(device.name, device.description, _dshow_formats(device.name)) for device in videos]

    def open(self, device: DeviceInfo, wanted: DeviceFormat | None) -> FFmpegReader:
        """Open by the device's own name."""
        options = {"rtbufsize": "64M", **format_options(wanted)}
        if wanted is not None and wanted.compressed:
            options["vcodec"] = MJPEG
        elif wanted is not None and wanted.pixel_format:
            options["pixel_format"] = wanted.pixel_format
        return FFmpegReader("dshow", f"video={device.path}", options, wanted)


def _from_dshow(path: str, name: str, formats: tuple[DeviceFormat, ...]) -> DeviceInfo:
    usb = re.search(r"usb#vid_([0-9a-f]{4})&pid_([0-9a-f]{4})[^#]*#([^#]+)#", path, re.IGNORECASE)
    if usb is None:
        return DeviceInfo(f"{SCHEME}dshow-{quote(path, safe='')}", name or path, path, bus="virtual", formats=formats)
    vendor, product, instance = usb[1].lower(), usb[2].lower(), usb[3]
    serial = "" if "&" in instance else instance  # Windows makes up one with & from the place
    uri = f"{SCHEME}usb-{vendor}:{product}-{quote(instance, safe='')}"
    return DeviceInfo(uri, name or path, path, vendor, product, serial, formats=formats)


def _dshow_formats(path: str) -> tuple[DeviceFormat, ...]:
    """FFmpeg tells a device's formats in its log only."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        with av.logging.Capture() as log:
            try:
                av.open(f"video={path}", format="dshow", options={"list_options": "true"}).close()
            except (FFmpegError, ValueError):
                pass  # it always ends so, after the list
    finally:
        av.logging.set_level(before)
    return dshow_formats(message for _, _, message in log)


def dshow_formats(lines: Iterable[str]) -> tuple[DeviceFormat, ...]:
    """Formats from lines such as ``pixel_format=yuyv422  min s=640x480 fps=5 max s=640x480 fps=30``."""
    pattern = re.compile(r"(?:pixel_format|vcodec)=(\w+)\s+min s=\d+x\d+ fps=[\d.]+ max s=(\d+)x(\d+) fps=([\d.]+)")
    parts = [match.groups() for line in lines if (match := pattern.search(line))]
    return best_first(
        DeviceFormat(name, int(width), int(height), float(rate))
        for name, width, height, rate in parts
        if name == MJPEG or name in UNCOMPRESSED
    )


class MacBackend:
    """AVFoundation does not tell formats: the device gives what it gives, at the first rate that it takes."""

    def devices(self) -> Sequence[DeviceInfo]:
        """Video inputs; regions of the screen are not devices."""
        try:
            found = av.enumerate_input_devices("avfoundation")
        except (FFmpegError, ValueError):
            return ()
        names = [device.description for device in found if "video" in device.media_types]
        return from_avfoundation([name for name in names if not name.startswith("Capture screen")], _camera_report())

    def open(self, device: DeviceInfo, wanted: DeviceFormat | None) -> FFmpegReader:
        """Open a device by its name. Raises ``OSError`` where it takes no rate."""
        # AVFoundation refuses a rate that the device does not have, and FFmpeg asks for 29.97 where none is given.
        tries = [{"framerate": rate} for rate in AVFOUNDATION_RATES]
        if wanted:
            tries = [format_options(wanted)]
        for options in tries:
            try:
                return FFmpegReader("avfoundation", f"{device.path}:none", options, wanted)
            except OSError as error:
                failure = error
        raise failure


def _camera_report() -> str:
    try:
        return subprocess.run(
            CAMERA_REPORT, capture_output=True, text=True, timeout=CAMERA_REPORT_S, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def from_avfoundation(names: Sequence[str], report: str) -> list[DeviceInfo]:
    """Devices from the names of AVFoundation and the system's report; two of one name cannot be told apart."""
    return [_from_avfoundation(name, _camera(report, name), names.count(name) > 1) for name in dict.fromkeys(names)]


def _camera(report: str, name: str) -> Mapping[str, str]:
    """What the report says of the one camera of this name; nothing where there are two, or none."""
    try:
        listed = json.loads(report).get("SPCameraDataType", [])
    except (ValueError, AttributeError):
        return {}
    cameras = [camera for camera in listed if camera.get("_name") == name]
    return cameras[0] if len(cameras) == 1 else {}


def _from_avfoundation(name: str, camera: Mapping[str, str], doubled: bool) -> DeviceInfo:
    hindrance = ""
    if doubled:
        hindrance = f"Two devices are called {name}: unplug one, macOS opens them by name only"
    unique = camera.get("spcamera_unique-id", "")
    ids = re.search(r"VendorID_(\d+) ProductID_(\d+)", camera.get("spcamera_model-id", ""))
    if ids is None or not unique:
        identity = f"avf-{quote(unique or name, safe='')}"
        return DeviceInfo(f"{SCHEME}{identity}", name, name, hindrance=hindrance)
    # The report writes the numbers in decimal; addresses have them in hexadecimal, as every other system does.
    vendor, product = (f"{int(number):04x}" for number in ids.groups())
    uri = f"{SCHEME}usb-{vendor}:{product}-{quote(unique, safe='')}"
    return DeviceInfo(uri, name, name, vendor, product, hindrance=hindrance)
