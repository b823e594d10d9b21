"""Formulas of fetal biometry: gestational age from the head, and centiles. Pure.

Sources and checked vectors: ``docs/clinical.md``, "Gestational age and centiles".

Circumferences are outer to outer, in mm. A gestational age from a measurement is an estimate of its own: it never
becomes the age against which a centile is read, which only the operator can give.
"""

from __future__ import annotations

import math
import re

from usviewer.errors import UserError
from usviewer.typed_number import parse_number

# Hadlock 1984: the rows of the published table begin at 68 mm; beyond 42 weeks it is not used.
HADLOCK_LEAST_MM = 68.0
HADLOCK_WEEKS = (12.0, 42.0)
INTERGROWTH_WEEKS = (14.0, 40.0)
# Standard deviation of an automatic circumference's age against the age by crown-rump length, in days, below 14 weeks,
# below 28 and from there on (van den Heuvel 2018). It holds for the estimate as a whole, whichever the formula.
_AGE_SD_DAYS = ((14.0, 4.3), (28.0, 4.7), (math.inf, 12.4))
_GIVEN = re.compile(r"(\d{1,2})\+([0-6])", re.ASCII)
# Many write weeks and days with a point: 28.3 is 28 weeks and 3 days to them, and 28 weeks and 2 days as a decimal.
_MAYBE_DAYS = re.compile(r"(\d{1,2})[.,]([1-6])", re.ASCII)
LEAST_WEEKS, MOST_WEEKS = 4.0, 45.0


def hadlock_weeks(hc_mm: float) -> float:
    """Gestational age in weeks, without limits: 8.96 + 0.540 HC + 0.0003 HC^3, HC in cm (Radiology 1984;152:497)."""
    hc_cm = hc_mm / 10.0
    return 8.96 + 0.540 * hc_cm + 0.0003 * hc_cm**3


def intergrowth_days(hc_mm: float) -> float:
    """Gestational age in days, without limits: exp(0.05970 ln(HC)^2 + 6.409e-9 HC^3 + 3.3258) (INTERGROWTH-21st)."""
    return math.exp(0.05970 * math.log(hc_mm) ** 2 + 6.409e-9 * hc_mm**3 + 3.3258)


def age_by_hadlock(hc_mm: float) -> float | None:
    """Weeks by Hadlock 1984; None outside what its table covers."""
    weeks = hadlock_weeks(hc_mm)
    if hc_mm >= HADLOCK_LEAST_MM and HADLOCK_WEEKS[0] <= weeks <= HADLOCK_WEEKS[1]:
        return weeks
    return None


def age_by_intergrowth(hc_mm: float) -> float | None:
    """Weeks by INTERGROWTH-21st; None outside 14 to 40 weeks."""
    weeks = 0.0
    if hc_mm > 0:
        weeks = intergrowth_days(hc_mm) / 7.0
    if INTERGROWTH_WEEKS[0] <= weeks <= INTERGROWTH_WEEKS[1]:
        return weeks
    return None


def age_sd_days(weeks: float) -> float:
    """How far such an estimate is off, as a standard deviation in days."""
    return next(sd for until, sd in _AGE_SD_DAYS if weeks < until)


def weeks_and_days(weeks: float) -> tuple[int, int]:
    """Completed weeks and days; the days are rounded, and seven of them are another week."""
    whole = math.floor(weeks)
    days = round((weeks - whole) * 7.0)
    if days == 7:
        return (whole + 1, 0)
    return (whole, days)


def age_words(weeks: float) -> str:
    """As obstetricians write it: ``20w0d``."""
    whole, days = weeks_and_days(weeks)
    return f"{whole}w{days}d"


def circumference_standard(weeks: float) -> tuple[float, float]:
    """Mean and standard deviation in mm of the circumference at exact weeks (Papageorghiou, Lancet 2014;384:869).

    Raises ``ValueError`` outside 14 to 40 weeks.
    """
    if not INTERGROWTH_WEEKS[0] <= weeks <= INTERGROWTH_WEEKS[1]:
        raise ValueError(f"the INTERGROWTH-21st standard covers 14 to 40 weeks, not {weeks:g}")
    g, log = weeks, math.log(weeks)
    mean = -28.2849 + 1.69267 * g**2 - 0.397485 * g**2 * log
    sd = 1.98735 + 0.0136772 * g**3 - 0.00726264 * g**3 * log + 0.000976253 * g**3 * log**2
    return mean, sd


def circumference_centile(hc_mm: float, given_weeks: float) -> float | None:
    """Centile of a circumference at an age that the operator gave; None outside 14 to 40 weeks."""
    if not INTERGROWTH_WEEKS[0] <= given_weeks <= INTERGROWTH_WEEKS[1]:
        return None
    mean, sd = circumference_standard(given_weeks)
    return 50.0 * (1.0 + math.erf((hc_mm - mean) / sd / math.sqrt(2.0)))


def weeks_from_text(text: str) -> float:
    """An age as people type it: ``28``, ``28+3`` (weeks and days) or ``28.50`` (weeks).

    ``28.3`` may mean 28 weeks and 3 days: ``UserError``, as for anything else.
    """
    typed = text.strip()
    if (maybe := _MAYBE_DAYS.fullmatch(typed)) and LEAST_WEEKS <= int(maybe[1]) < MOST_WEEKS:
        weeks, digit = maybe.groups()
        raise UserError(
            f"'{typed}' may mean {weeks} weeks and {digit} days, or {weeks}.{digit} weeks",
            f"Write {weeks}+{digit}, or {weeks}.{digit}0",
        )
    try:
        if found := _GIVEN.fullmatch(typed):
            return parse_number(found[1], least=LEAST_WEEKS, most=MOST_WEEKS - 1.0) + int(found[2]) / 7.0
        return parse_number(typed, least=LEAST_WEEKS, most=MOST_WEEKS)
    except UserError:
        raise UserError(f"'{typed[:40]}' is not a gestational age", "Give weeks, or weeks+days, such as 28+3") from None
