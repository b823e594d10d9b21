"""What a folder holds for review, and a first look at each clip. Slow work, for a worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from natsort import natsorted, ns

from usviewer.acquire import open_source
from usviewer.calibrate.calibration import StatedScale
from usviewer.errors import UserError
from usviewer.files import open_regular
from usviewer.frame import Pixels
from usviewer.measure import ExamContext
from usviewer.pipeline.curve import Curve, curve_of
from usviewer.save.cache import ClipNotes, ClipResults, MadeBy

CLIPS = frozenset(".mp4 .m4v .mov .avi .mkv .webm .wmv .mpg .mpeg .ts .gif .dcm .dicom .ima".split())
PICTURES = frozenset(".png .jpg .jpeg .bmp .tif .tiff .webp".split())
MOST_CLIPS = 1000
MadeFor = Callable[[ExamContext, StatedScale], MadeBy]
THUMBNAIL_PX = 176


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnail:
    """A clip's first picture (None: it cannot be opened), and its curve where results are kept."""

    pixels: Pixels | None
    curve: Curve | None


NOTHING_SEEN = Thumbnail(None, None)


def find_clips(folder: Path) -> tuple[Path, ...]:
    """The clips and DICOM files directly in a folder; the folder itself stands for its still pictures.

    Raises ``UserError`` where there is nothing to show.
    """
    try:
        files = [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    except OSError as error:
        raise UserError(f"The folder {folder.name} cannot be opened", "Check that you may read it") from error
    found = natsorted((file for file in files if _is_single_clip(file)), key=lambda file: file.name, alg=ns.PATH)
    stills = [folder] if any(file.suffix.lower() in PICTURES for file in files) else []
    if not found and not stills:
        raise UserError(f"The folder {folder.name} holds nothing to review", "Choose one with clips, DICOM or pictures")
    return tuple(found[:MOST_CLIPS] + stills)


def find_sibling_clips(path: Path) -> tuple[Path, ...]:
    """A file and the clips of its folder."""
    try:
        found = find_clips(path.parent)
    except UserError:
        return (path,)
    return found if path in found else (path, *found)


def _is_single_clip(file: Path) -> bool:
    """By its ending; DICOM files often have none."""
    if file.suffix.lower() in CLIPS:
        return True
    if file.suffix and not file.suffix[1:].isdigit():
        return False
    try:
        with open_regular(file) as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def make_thumbnail(path: Path, made_for: MadeFor | None) -> Thumbnail:
    """A small first picture, and the curve where this clip was analysed before.

    Whatever goes wrong with a file costs its own thumbnail alone: the other clips of the folder are glanced at all the
    same, and opening it says what is wrong.
    """
    try:
        return _glance(path, made_for)
    except Exception:
        return NOTHING_SEEN


def _glance(path: Path, made_for: MadeFor | None) -> Thumbnail:
    with open_source(path) as source:
        first = next(iter(source), None)
    if first is None:
        return NOTHING_SEEN
    wide, high = first.width_px * first.pixel_aspect, first.height_px
    shrink = THUMBNAIL_PX / max(wide, high)
    size = (max(1, round(wide * shrink)), max(1, round(high * shrink)))
    small = cv2.resize(np.asarray(first.pixels), size, interpolation=cv2.INTER_AREA)
    pixels = np.asarray(small, dtype=np.uint8)
    return Thumbnail(pixels, result_of(path, made_for) if made_for is not None else None)


def result_of(path: Path, made_for: MadeFor) -> Curve | None:
    """The kept curve of a clip; None where it has not been analysed with this model and what was said of the clip.

    None also for whatever is wrong with the file, or with what was kept of it: then it counts as not analysed.
    """
    try:
        notes = ClipNotes(path)
        readings = ClipResults(notes, made_for(notes.given(), notes.scale()), str(path)).load()
        if readings is None:
            return None
        with open_source(path) as source:
            return curve_of(readings, max(readings) + 1, aggregated=source.info.is_sequence)
    except Exception:
        return None
