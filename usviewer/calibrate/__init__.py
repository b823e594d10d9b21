"""Which pixels are ultrasound, and how large one is."""

from __future__ import annotations

from usviewer.calibrate.calibrator import Calibrator, calibrate
from usviewer.calibrate.regions import FileScale, regions_of
from usviewer.calibrate.sector import SectorFinder, find_sector
from usviewer.calibrate.source import for_source

__all__ = [
    "Calibrator",
    "FileScale",
    "SectorFinder",
    "calibrate",
    "find_sector",
    "for_source",
    "regions_of",
]
