"""A folder of results as text that can be kept and compared: tables as they are, pictures by their decoded pixels.

Only what cannot be the same on two computers or releases is masked, by name (``VOLATILE``): the program's version, and
in the report the engine and the folder. Clips are encoded by whatever codec is there: they are told by the number and
size of their frames. A picture is told by the SHA-256 of its pixels. Where another release of a library that decodes
or draws is installed (``makers``) that digest may differ without anybody's fault: then a small grey copy of the picture
is compared, coarsely enough to forgive another anti-aliasing, and finely enough to see a missing line or word.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import platform
import re
import zlib
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pictures = dict[str, Any]

TEXTS = (".csv", ".json", ".txt")
PICTURES, REPORT = "pictures.json", "report.txt"
# What decodes the input, prepares it and draws. Read where the digests were recorded, and where they are compared.
LIBRARIES = ("numpy", "av", "opencv-python-headless", "pillow", "matplotlib", "pydicom")
VOLATILE = (
    (re.compile(r'("program": )"usviewer [^"]*"'), r'\1"usviewer *"'),
    (re.compile(r"( on ).*(; results in ).*"), r"\1*\2*"),
)
THUMBNAIL_PX = (64, 48)
# Grey levels. A caption that is drawn one pixel off changes 0.3 on average; one that is missing, 2 and more.
MEAN_GREY, MOST_GREY = 1.0, 60


def makers() -> dict[str, str]:
    """The releases of what decodes and draws, and the kind and make of the processor."""
    releases = {name: version(name) for name in LIBRARIES}
    return {"machine": platform.machine(), "processor": _processor(), **releases}


def _processor() -> str:
    """Its name, as Linux and Windows tell it; empty where nobody does."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8", errors="replace").splitlines() if told.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def masked(text: str) -> str:
    """The same text without what is never the same."""
    for pattern, put in VOLATILE:
        text = pattern.sub(put, text)
    return text


def texts_of(folder: Path, report: str = "", *, real: bool = False) -> dict[str, str]:
    """Every table and document, the report, and the pictures as a table of their own, by file name.

    Of ``real`` images no small copy is kept: none is ever committed.
    """
    found = {
        path.relative_to(folder).as_posix(): masked(path.read_bytes().decode("utf-8"))
        for path in sorted(folder.rglob("*"))
        if path.suffix in TEXTS
    }
    if report:
        found[REPORT] = masked(report)
    found[PICTURES] = _lines(dict(_pictures(folder, real=real)))
    return found


def _lines(pictures: Mapping[str, Any]) -> str:
    """JSON with one picture in a line, so that a difference names it."""
    lines = (f"{json.dumps(name)}: {json.dumps(told)}" for name, told in pictures.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _pictures(folder: Path, *, real: bool) -> Iterator[tuple[str, Any]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".mp4":
            yield name, _clip(path)
        elif path.suffix == ".png":
            yield name, _picture(path, labels=name.startswith("masks/"), real=real)
        elif path.is_file() and path.suffix not in TEXTS:
            yield name, {"bytes": path.stat().st_size}


def _clip(path: Path) -> dict[str, Any]:
    with av.open(str(path)) as file:
        sizes = [(frame.width, frame.height) for frame in file.decode(video=0)]
    return {"frames": len(sizes), "sizes": sorted(map(list, set(sizes)))}


def _picture(path: Path, *, labels: bool, real: bool) -> dict[str, Any]:
    """The labels of a mask have no small copy: they must be right everywhere."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
        told: dict[str, Any] = {"size": list(picture.size), "pixels": _digest(pixels)}
        if real:
            told["small"] = None
        elif not labels:
            grey = np.asarray(picture.convert("L").resize(THUMBNAIL_PX, Image.Resampling.BOX))
            told["small"] = base64.b64encode(zlib.compress(grey.tobytes(), 9)).decode()
    return told


def _digest(pixels: NDArray[Any]) -> str:
    return hashlib.sha256(repr((pixels.shape, str(pixels.dtype))).encode() + pixels.tobytes()).hexdigest()[:32]


# --- comparing --------------------------------------------------------------------------------------------------------


def differences(expected: Mapping[str, str], found: Mapping[str, str], *, same_makers: bool) -> list[str]:
    """What differs, a message each: file, line and both texts. Empty where all is as it was."""
    messages = [f"{name}: not written any more" for name in expected.keys() - found.keys()]
    messages += [f"{name}: not there before" for name in found.keys() - expected.keys()]
    for name in sorted(expected.keys() & found.keys()):
        if name == PICTURES:
            messages += _picture_differences(expected[name], found[name], same_makers=same_makers)
        else:
            messages += _text_differences(name, expected[name], found[name], same_makers=same_makers)
    return messages


def _text_differences(name: str, expected: str, found: str, *, same_makers: bool) -> list[str]:
    if not same_makers and name.endswith("readings.csv"):
        expected, found = (_without_digest(text) for text in (expected, found))
    before, now = expected.split("\n"), found.split("\n")
    messages = [
        f"{name}:{number}{_columns(name, before[0], was, is_now)}\n  golden: {was}\n  now:    {is_now}"
        for number, (was, is_now) in enumerate(zip(before, now, strict=False), 1)
        if was != is_now
    ]
    if len(before) != len(now):
        messages.append(f"{name}: {len(before)} lines before, {len(now)} now")
    return messages


def _columns(name: str, header: str, was: str, is_now: str) -> str:
    """Which columns of a table differ; nothing where that is not all."""
    if not name.endswith(".csv"):
        return ""
    names, before, now = (next(csv.reader([line]), []) for line in (header, was, is_now))
    if not len(names) == len(before) == len(now):
        return ""
    differing = [each for each, old, new in zip(names, before, now, strict=True) if old != new]
    return f" ({', '.join(differing)})"


def _without_digest(text: str) -> str:
    """Another decoder may round a colour otherwise: the frame's digest then says nothing about the program."""
    rows = list(csv.reader(text.splitlines()))
    column = rows[0].index("frame_digest")
    return "\n".join(",".join([*row[:column], "*", *row[column + 1 :]]) for row in rows)


def _picture_differences(expected: str, found: str, *, same_makers: bool) -> list[str]:
    before, now = json.loads(expected), json.loads(found)
    lines = {name: number for number, name in enumerate(before, 2)}
    messages = [f"{PICTURES}: {name} not written any more" for name in before.keys() - now.keys()]
    messages += [f"{PICTURES}: {name} not there before" for name in now.keys() - before.keys()]
    for name in before.keys() & now.keys():
        if not _alike(before[name], now[name], same_makers=same_makers):
            was, is_now = (_without_small(told) for told in (before[name], now[name]))
            messages.append(f"{PICTURES}:{lines[name]} {name}\n  golden: {was}\n  now:    {is_now}")
    return sorted(messages)


def _without_small(told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key != "small"}


def _alike(before: Mapping[str, Any], now: Mapping[str, Any], *, same_makers: bool) -> bool:
    if _without_small(before) == _without_small(now):
        return True
    if same_makers or "small" not in before or "small" not in now or before["size"] != now["size"]:
        return False
    if before["small"] is None:  # a real image: here only its size can be told
        return True
    off = np.abs(_small(before) - _small(now))
    return float(off.mean()) <= MEAN_GREY and int(off.max()) <= MOST_GREY


def _small(told: Mapping[str, Any]) -> NDArray[np.int16]:
    return np.frombuffer(zlib.decompress(base64.b64decode(told["small"])), np.uint8).astype(np.int16)
