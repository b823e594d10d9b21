"""The findings: one file each. Whatever the program must know of an anatomy is looked up here.

A new file that registers its finding is found by itself: nothing else in the program has to be changed. What tests and
documents want beside it stands in ``CONTRIBUTING.md``.
"""

from __future__ import annotations

import importlib
import pkgutil

from usviewer.measure.findings.base import (
    EMPTY_REPORT,
    ClipReport,
    Finding,
    Quantity,
    ReadState,
    ReportRow,
    ReportSection,
    StatusMark,
    register,
    registered,
)
from usviewer.measure.findings.generic import generic_finding

__all__ = [
    "EMPTY_REPORT",
    "ClipReport",
    "Finding",
    "Quantity",
    "ReadState",
    "ReportRow",
    "ReportSection",
    "StatusMark",
    "finding_of",
    "quantity_of",
    "register",
    "registered",
]

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")


def finding_of(finding_id: str) -> Finding:
    """The finding of that id; for any other name (what the user pointed at) one without measurements of its own."""
    return registered().get(finding_id) or generic_finding(finding_id)


def quantity_of(measurement: str) -> Quantity | None:
    """What is known of a measurement of that name, whichever finding it belongs to; None: nothing."""
    found = (finding.quantities.get(measurement) for finding in registered().values())
    return next((quantity for quantity in found if quantity is not None), None)
