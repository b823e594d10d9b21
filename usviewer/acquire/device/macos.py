"""Devices of macOS: found by name through AVFoundation, told apart by the system's report on cameras."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import av
from av.error import FFmpegError

from usviewer.acquire.device.backend import SCHEME, DeviceInfo
from usviewer.acquire.device.ffmpeg import FFmpegReader, format_options
from usviewer.acquire.device.formats import DeviceFormat

RATES = ("60", "30", "29.97", "25", "50")
REPORT = ("/usr/sbin/system_profiler", "SPCameraDataType", "-json")
# It asks all buses, and may take seconds; without it cameras are named by what they are called.
REPORT_S = 10.0


class MacBackend:
    """AVFoundation does not tell formats: the device gives what it gives, at the first rate that it takes."""

    def devices(self) -> Sequence[DeviceInfo]:
        """Video inputs; regions of the screen are not devices."""
        try:
            found = av.enumerate_input_devices("avfoundation")
        except (FFmpegError, ValueError):
            return ()
        names = [device.description for device in found if "video" in device.media_types]
        return from_names([name for name in names if not name.startswith("Capture screen")], _report())

    def open(self, device: DeviceInfo, wanted: DeviceFormat | None) -> FFmpegReader:
        """Open a device by its name. Raises ``OSError`` where it takes no rate."""
        # AVFoundation refuses a rate that the device does not have, and FFmpeg asks for 29.97 where none is given.
        tries = [{"framerate": rate} for rate in RATES]
        if wanted:
            tries = [format_options(wanted)]
        for options in tries:
            try:
                return FFmpegReader("avfoundation", f"{device.path}:none", options, wanted)
            except OSError as error:
                failure = error
        raise failure


def _report() -> str:
    try:
        return subprocess.run(REPORT, capture_output=True, text=True, timeout=REPORT_S, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def from_names(names: Sequence[str], report: str) -> list[DeviceInfo]:
    """Devices from the names of AVFoundation and the system's report; two of one name cannot be told apart."""
    return [_device(name, _camera(report, name), names.count(name) > 1) for name in dict.fromkeys(names)]


def _camera(report: str, name: str) -> Mapping[str, str]:
    """What the report says of the one camera of this name; nothing where there are two, or none."""
    try:
        listed = json.loads(report).get("SPCameraDataType", [])
    except (ValueError, AttributeError):
        return {}
    cameras = [camera for camera in listed if camera.get("_name") == name]
    return cameras[0] if len(cameras) == 1 else {}


def _device(name: str, camera: Mapping[str, str], doubled: bool) -> DeviceInfo:
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
