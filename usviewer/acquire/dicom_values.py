"""Values of a dataset as they were meant: what is empty, unreadable or not a number counts as absent.

pydicom raises whatever it meets in a value, at the moment the value is asked for: an unknown VR, a text where a number
should be, sequences nested without end. So every value is asked for here and nowhere else.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
# A comma followed by just three digits may stand between thousands, unless there is nothing but 0 before it.
_MAYBE_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom and its decoders: what matters of their words becomes a note or a ``UserError``."""
    _silence_gdcm()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _silence_gdcm() -> None:
    import gdcm  # a large library: loaded with the first DICOM file

    for switch in ("DebugOff", "WarningOff", "ErrorOff"):
        getattr(gdcm.Trace, switch)()


def value_of(dataset: Dataset, keyword: str) -> Any:
    """Give the value of an element; None where it is absent, empty or cannot be understood."""
    try:
        value = dataset.get(keyword)
        if hasattr(value, "__len__") and len(value) == 0:
            return None
    except Exception:  # see the head of this file
        return None
    return value


def is_stated(dataset: Dataset, keyword: str) -> bool:
    """Tell whether an element is there with any value at all, understood or not."""
    element = _raw(dataset, keyword)
    return element is not None and element.value not in (None, b"", "")


def items(dataset: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """List the items of a sequence; empty where it is absent or not a sequence."""
    value = value_of(dataset, keyword)
    if isinstance(value, Sequence):
        return tuple(value)
    return ()


def numbers(dataset: Dataset, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
    """Read all values of an element (just ``count`` of them, if given) as finite numbers, or None."""
    element = _raw(dataset, keyword)
    # Text is parsed here: pydicom refuses a comma, and takes what only Python calls a number ("1_000", "nan").
    if isinstance(element, RawDataElement) and _vr(element) in ("DS", "IS") and element.value:
        parts: Any = bytes(element.value).decode("latin-1").split("\\")
    else:
        value = value_of(dataset, keyword)
        parts = [value]
        if isinstance(value, MultiValue | list | tuple):
            parts = list(value)
    values = _parse_numbers(parts)
    if not values or count not in (None, len(values)):
        return None
    return values


def _parse_numbers(parts: list[Any]) -> tuple[float, ...] | None:
    """Read numbers from numbers and texts; None unless each of them is a number, and can only be this one.

    A writer that follows the language of its computer puts a comma for the point. It is taken for one where it cannot
    stand between thousands, or another value of the same element shows what it means.
    """
    texts = [part.strip(" \0") for part in parts if isinstance(part, str)]
    commas = [text for text in texts if "," in text]
    if commas and all(_MAYBE_THOUSANDS.fullmatch(text) for text in commas):
        return None
    values = []
    for part in parts:
        if isinstance(part, str):
            text = part.strip(" \0")
            if not _NUMBER.fullmatch(text):
                return None
            part = text.replace(",", ".")
        try:
            values.append(float(part))
        except (TypeError, ValueError, OverflowError):
            return None
    if not all(map(math.isfinite, values)):
        return None
    return tuple(values)


def number(dataset: Dataset, keyword: str) -> float | None:
    """Read the only value of an element as a number; None where there is none, or are several."""
    values = numbers(dataset, keyword, 1)
    return values[0] if values else None


def whole(dataset: Dataset, keyword: str) -> int | None:
    """Read the only value of an element as a whole number, as ``number`` does."""
    value = number(dataset, keyword)
    if value is None:
        return None
    return int(value)


def text(dataset: Dataset, keyword: str) -> str:
    """Read an element as text; empty where there is none."""
    value = value_of(dataset, keyword)
    if value is None:
        return ""
    if isinstance(value, MultiValue):
        return " ".join(map(str, value))
    return str(value).strip()


def words(dataset: Dataset, keyword: str) -> np.ndarray[Any, np.dtype[np.uint16]] | None:
    """Read an element of 16-bit words in the order of its file, as numbers; None where it is absent or empty."""
    packed = packed_bytes(dataset, keyword)
    if packed is None or len(packed[0]) < 2:
        return None
    return words_in(*packed)


def words_in(data: bytes, little: bool) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Read all whole 16-bit words of some bytes, in their own byte order."""
    order = ">u2"
    if little:
        order = "<u2"
    return np.frombuffer(data[: len(data) // 2 * 2], order).astype(np.uint16)


def packed_bytes(dataset: Dataset, keyword: str) -> tuple[bytes, bool] | None:
    """Give an element's bytes as they are stored, and whether words among them are little endian; None without any."""
    element = _raw(dataset, keyword)
    if element is None or not element.value:
        return None
    if isinstance(element, RawDataElement):
        return bytes(element.value), bool(element.is_little_endian)
    # Once pydicom has converted an element, only bytes are as they were stored.
    if not isinstance(element.value, bytes):
        return None
    return element.value, True


def stored_as(dataset: Dataset, keyword: str) -> str:
    """Give the VR that an element was written with; empty where the file does not say."""
    element = _raw(dataset, keyword)
    if element is None:
        return ""
    return str(element.VR or "")


def _raw(dataset: Dataset, keyword: str) -> Any:
    """An element as it was read, before its value is converted."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    try:
        return dataset.get_item(tag, keep_deferred=True)
    except Exception:  # see the head of this file
        return None


def _vr(element: RawDataElement) -> str:
    if element.VR and element.VR != "UN":
        return str(element.VR)
    try:
        return str(dictionary_VR(element.tag))
    except KeyError:
        return "UN"
