"""Which pixels are ultrasound, and how large one is."""

from __future__ import annotations

from usviewer.calibrate.calibration import calibration_for
from usviewer.calibrate.calibrator import Calibrator, calibrate
from usviewer.calibrate.regions import FileScale, regions_of
from usviewer.calibrate.sector import SectorFinder, find_sector

__all__ = [
    "Calibrator",
    "FileScale",
    "SectorFinder",
    "calibrate",
    "calibration_for",
    "find_sector",
    "regions_of",
]
