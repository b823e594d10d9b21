"""One function for each reader of the product: what a user would do with such a file, by the public door.

Each gives a ``Read`` or lets a ``UserError`` pass. Whatever else it raises is a fault, and so is a value that no
consumer could use: those are asserted here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import seeds_kept
from tests.fuzz.task import Read
from usviewer import settings
from usviewer.acquire import RecordedSource, Source, open_source
from usviewer.calibrate import calibration_for
from usviewer.calibrate.ruler import layouts
from usviewer.calibrate.ruler.detect import find_ruler
from usviewer.calibrate.ruler.watch import Watch
from usviewer.errors import UserError
from usviewer.frame import Frame, make_frame
from usviewer.infer import golden, onnx_file, registry, trial
from usviewer.infer.manifest import MANIFEST, read_manifest
from usviewer.overlay.scene import compose
from usviewer.save.cache import ClipNotes, ClipResults

FIRST_FRAMES = 3
TRIAL_S = 8.0
TRIAL_BYTES = 700_000_000
SCREEN = make_frame(np.zeros((480, 640, 3), np.uint8), "fuzz", 0)


def warm_up() -> None:
    """Load what readers import when they are first used, so that it does not count as an input's memory."""
    import cv2
    import onnx
    import onnxruntime
    import pydicom.pixels

    import usviewer.acquire.dicom
    import usviewer.acquire.images
    import usviewer.acquire.video

    cv2.setNumThreads(1)  # of its own threads each keeps memory
    assert all((onnx, onnxruntime, pydicom.pixels, usviewer.acquire.dicom, usviewer.acquire.images))
    # A model that a user adds is tried in a process that may take minutes and gigabytes, because models are slow and
    # large. The ones here are neither: the same limits, lower, so that they are reached within those of a case.
    trial.DEADLINE_S, trial.MEMORY_BYTES = TRIAL_S, TRIAL_BYTES


# --- recordings ------------------------------------------------------------------------------------------------------


def read_source(folder: Path) -> Read:
    """The one file of the folder: opened, played, sought, calibrated."""
    (path,) = folder.iterdir()
    return _read(path)


def read_folder(folder: Path) -> Read:
    """The folder as pictures."""
    return _read(folder)


class _Watcher:
    """Plays, seeks and calibrates as a user does, with one picture in hand; a refused frame costs itself."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.picture_bytes = 0
        self.sentences: list[str] = []

    def play(self) -> None:
        with self._noting():
            for frame in islice(self._source, FIRST_FRAMES):
                self._look_at(frame)
                del frame

    def seek(self, index: int) -> None:
        with self._noting():
            frame = self._source.seek(index)
            self._look_at(frame)
            assert frame.key.index == index, (frame.key.index, index)

    def calibrate(self, index: int) -> None:
        with self._noting():
            calibrate = calibration_for(self._source)
            frame = self._source.seek_near(index)
            self._look_at(frame)
            _check_geometry(calibrate(frame))

    def _look_at(self, frame: Frame) -> None:
        pixels = frame.pixels
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size, pixels.shape
        time_s = frame.key.media_time_s
        assert time_s is None or math.isfinite(time_s), time_s
        self.picture_bytes = max(self.picture_bytes, pixels.nbytes)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            self.sentences.append(str(error))


def _read(path: Path) -> Read:
    with open_source(path) as source:
        assert isinstance(source, RecordedSource)
        watcher = _Watcher(source)
        watcher.play()
        count = _check_times(source)
        for index in sorted({0, count // 2, count - 1} & set(range(count))):
            watcher.seek(index)
        watcher.calibrate(count // 3)
        _check_info(source)
    return Read(watcher.picture_bytes, tuple(watcher.sentences))


def _check_times(source: Source) -> int:
    times_s = source.times_s()
    assert all(time_s is None or math.isfinite(time_s) for time_s in times_s), times_s[:20]
    return len(times_s)


def _check_info(source: Source) -> None:
    info = source.info
    rate = info.frames_per_second
    assert rate is None or (math.isfinite(rate) and rate > 0), rate
    assert math.isfinite(info.pixel_aspect) and info.pixel_aspect > 0, info.pixel_aspect
    assert all("\n" not in note for note in info.notes), info.notes


def _check_geometry(frame: Frame) -> None:
    """Whatever has a scale has one that can be."""
    for region in frame.geometry.regions if frame.geometry else ():
        if region.spacing is not None:
            sides = (region.spacing.x_mm_per_px, region.spacing.y_mm_per_px)
            assert all(math.isfinite(side) and side > 0 for side in sides), sides


# --- models ----------------------------------------------------------------------------------------------------------


def read_model(folder: Path) -> Read:
    """The folder as a model: looked into, listed, added to the user's models, run on its golden picture."""
    said = []
    for graph in sorted(folder.glob("*.onnx")):
        said += _refusal(lambda at=graph: onnx_file.inspect(at))  # type: ignore[misc]
    if (folder / MANIFEST).exists():
        said += _refusal(lambda: read_manifest(folder))
        said += _refusal(lambda: golden.read_expected(folder / "golden.json"))
        said += _list_beside_others(folder)
    target = folder if (folder / MANIFEST).exists() else folder / seeds_kept.MODEL_FILE
    try:
        spec = registry.add_model(target)
    except UserError:
        left = [path.name for path in _user_models() if path.name != "broken"]
        assert not left, f"left behind: {left}"
        raise
    registry.remove_model(spec.id)
    return Read(sentences=tuple(said))


def _refusal(call: Callable[[], Any]) -> list[str]:
    try:
        call()
    except UserError as error:
        return [str(error)]
    return []


def _user_models() -> list[Path]:
    folder = registry.user_folder()
    return list(folder.iterdir()) if folder.is_dir() else []


def _list_beside_others(folder: Path) -> list[str]:
    """A model among others, as it lies in the user's folder: the list of all must come, with or without it."""
    beside = registry.user_folder() / "broken"
    beside.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(folder, beside, target_is_directory=True)
    try:
        assert any(spec.bundled for spec in registry.list_models()), "the bundled models are gone"
        return [reason for _, reason in registry.list_broken()]
    finally:
        beside.unlink()


# --- what the program keeps ------------------------------------------------------------------------------------------


def read_settings(folder: Path) -> Read:
    """The preferences, and what is written when one is changed: that must be understood again."""
    path = folder / "settings.json"
    found, problems = settings.load(path)
    settings.save(found, path)
    again, _ = settings.load(path)
    assert again == found, (again, found)
    return Read(sentences=problems, refused=found == settings.Settings())


def read_layouts(folder: Path) -> Read:
    """The remembered rulers, held against a screen, and written again."""
    known, problems = layouts.load(folder / "layouts.json")
    picture = seeds_kept.ruled_screen()
    ruler = find_ruler([picture], read=False).vertical
    assert ruler is not None
    layouts.recognized(known, "card-1", ruler, picture)
    layouts.to_text(known)
    layouts.fingerprint(folder / "layouts.json")
    return Read(sentences=problems, refused=not known)


def read_cache(folder: Path) -> Read:
    """What is kept of a clip: marks, the operator's words, corrections and readings, each as the window uses them."""
    clip = folder.parent / "clip.bin"
    clip.write_bytes(seeds_kept.CLIP)
    notes = ClipNotes(clip, folder.parent / "clips")
    notes.folder.parent.mkdir(exist_ok=True)
    os.symlink(folder, notes.folder, target_is_directory=True)
    marks, given, edits = notes.bookmarks(), notes.given(), notes.edits(seeds_kept.MADE_BY.model_sha256)
    assert all(isinstance(mark, int) for mark in marks)
    given.tracker(), given.settings("aorta"), given.settings("fetal-head")
    for edit in edits.values():
        assert edit.mask.dtype == np.bool_ and edit.mask.ndim == 2
    scale = notes.scale()
    for confirmed in scale.confirmed:
        Watch(confirmed.reference)
    results = ClipResults(notes, seeds_kept.MADE_BY, "clip")
    found, predictions = results.load(), results.load_predictions()
    for kept in predictions.frames.values() if predictions is not None else ():
        kept.prediction("clip")
    for reading in (found or {}).values():
        compose(SCREEN, given.named(reading))
    return Read(refused=not (marks and edits and found and scale.confirmed and predictions))
