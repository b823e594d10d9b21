"""``usviewer devices``: lists capture cards and cameras, and says what to do about one that is missing."""

from __future__ import annotations

import argparse
import sys

from usviewer import acquire
from usviewer.acquire.device.backend import DeviceInfo, best_first
from usviewer.terminal import results

EVERYWHERE = (
    "Plug it straight into the computer, not through a hub, with the cable that came with it, and wait a few seconds.",
    "Cards that need their maker's own driver are seen once that is installed (Magewell, Blackmagic, Epiphan).",
)
HINTS = {
    "linux": (
        "'lsusb' (or 'lspci' for a card in a slot) should name it. If it does not: cable, port, power.",
        "'ls /dev/video*' should show it. If it is named but not there, the kernel has no driver for it: see 'dmesg'.",
        "In a container or virtual machine the device has to be handed in (--device /dev/video0, USB pass-through).",
    ),
    "win32": (
        "Device Manager should show it under Cameras or Imaging devices, without a yellow mark.",
        "Settings, Privacy & security, Camera: 'Let desktop apps access your camera' must be on.",
    ),
    "darwin": (
        "System Settings, Privacy & Security, Camera: the terminal or program that starts usviewer must be allowed.",
        "System Information, Camera should show it.",
    ),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``usviewer devices``."""
    parser.add_argument("--formats", action="store_true", help="every format of each device, in the order of choice")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is plugged in; 0 also where there is nothing."""
    output = results()
    devices = acquire.list_devices()
    for device in devices:
        output.print(*_lines(device, args.formats), sep="\n")
    if not devices:  # an answer, not an error
        output.print("No capture card or camera was found.")
        output.print(*(f"  - {hint}" for hint in hints(sys.platform)), sep="\n")
    return 0


def hints(platform: str) -> tuple[str, ...]:
    """What to look at when a device is missing; ``platform`` is that of ``sys.platform``."""
    return EVERYWHERE + HINTS.get(platform, ())


def _lines(device: DeviceInfo, with_formats: bool) -> list[str]:
    # In the order of choice: the first is the one that opening the device takes.
    formats = best_first(device.formats)
    opens_as = "what the device decides"
    if formats:
        opens_as = str(formats[0])
    lines = [
        device.name,
        f"  open with   {device.uri}",
        f"  identity    {', '.join(_identity(device))}; now at {device.path}",
        f"  opens as    {opens_as}",
    ]
    lines += [f"  also        {form}" for form in formats[1:] if with_formats]
    return lines + [f"  warning     {warning}" for warning in device.warnings]


def _identity(device: DeviceInfo) -> list[str]:
    """How the device is known again; without a serial number another port makes it another device."""
    known = []
    if device.vendor_id:
        known.append(f"{device.vendor_id}:{device.product_id}")
    if device.bus:
        known.append(device.bus)
    if device.serial:
        return [*known, f"serial {device.serial}"]
    return [*known, "no serial number: known by its port"]
