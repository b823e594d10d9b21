"""The inputs whose results are kept: small, made from what a clone has, but for one real DICOM file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from tests.conftest import DATA, ROOT
from tests.helpers.fakes import FakeClip
from tests.helpers.recordings import dicom_dataset
from usviewer.frame import Frame, ImageGeometry, Region, make_frame
from usviewer.infer.prediction import Instance, Prediction
from usviewer.infer.prompt import Prompt
from usviewer.measure.manual import limit_quality, read_pointed
from usviewer.pipeline.annotation_export import OutlineExport, export_outlines
from usviewer.pipeline.annotations import AnnotatedStructure, Annotation, ClipAccess, Origin
from usviewer.pipeline.prompt_messages import PromptState
from usviewer.units import ScaleSource, isotropic

MODELS = ROOT / "models"
REAL_DICOM = DATA / "dicom_ultrasound" / "sf_ybrfull_rle_acuson_carotid_regions_dcm4che.dcm"

Make = Callable[[Path], str]


@dataclass(frozen=True, slots=True)
class AnalyzeCase:
    """One run of ``usviewer analyze``. ``make`` puts the input into a folder and gives its address.

    The pixels of a ``rendered`` input are computed here: another make of processor rounds some of them otherwise.
    """

    name: str
    make: Make
    model: str = "aorta"
    options: tuple[str, ...] = ()
    needs: Path | None = None
    rendered: bool = False

    @property
    def here(self) -> bool:
        """Whether the input is on this computer."""
        return self.needs is None or self.needs.is_file()


def _sample(_folder: Path) -> str:
    return str(ROOT / "resources" / "sample.mp4")


def _phantom(_folder: Path) -> str:
    return "phantom:?frames=8"


def _real_dicom(_folder: Path) -> str:
    return str(REAL_DICOM)


def _golden_picture(model: str) -> NDArray[np.uint8]:
    """The picture of a bundled model's golden case (height, width, 3), RGB."""
    return np.asarray(Image.open(MODELS / model / "golden.png").convert("RGB"))


def _still(model: str) -> Make:
    def make(folder: Path) -> str:
        return str(shutil.copy(MODELS / model / "golden.png", folder / f"{model}.png"))

    return make


def _stills(model: str) -> Make:
    """What the model knows, its mirror image, and an empty picture; their names sort as numbers do."""

    def make(folder: Path) -> str:
        known = _golden_picture(model)
        stills = folder / model
        stills.mkdir()
        for number, pixels in ((1, known), (2, known[:, ::-1]), (10, np.full_like(known, 40))):
            Image.fromarray(np.ascontiguousarray(pixels)).save(stills / f"scan{number}.png")
        return str(stills)

    return make


def _dicom(folder: Path) -> str:
    """A cine with a region of 0.25 mm a pixel, whose picture moves a little from frame to frame."""
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 319, 319
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3  # cm
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.025
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    known = _golden_picture("aorta")
    frames = [np.ascontiguousarray(np.roll(known, shift, axis=1)) for shift in (0, 1, 2, 1)]
    path = folder / "cine.dcm"
    dicom_dataset(frames, FrameTime=40.0, SequenceOfUltrasoundRegions=[region]).save_as(path, enforce_file_format=True)
    return str(path)


ANALYZED = (
    AnalyzeCase("sample", _sample, options=("--mm-per-pixel", "0.2572")),
    AnalyzeCase("phantom", _phantom, options=("--site", "distal", "--reference", "nhs"), rendered=True),
    AnalyzeCase("dicom", _dicom, options=("--masks",)),
    AnalyzeCase("dicom-real", _real_dicom, needs=REAL_DICOM),
    AnalyzeCase("aorta-stills", _stills("aorta"), options=("--masks",)),
    AnalyzeCase("aorta-still", _still("aorta"), options=("--mm-per-pixel", "0.4", "--plane", "transverse")),
    AnalyzeCase("fetal-head-stills", _stills("fetal-head"), "fetal-head", ("--mm-per-pixel", "0.8")),
    AnalyzeCase(
        "fetal-head-still",
        _still("fetal-head"),
        "fetal-head",
        ("--mm-per-pixel", "0.8", "--gestational-age-weeks", "28+3"),
    ),
    AnalyzeCase("fetal-brain-stills", _stills("fetal-brain"), "fetal-brain"),
    AnalyzeCase("fetal-brain-still", _still("fetal-brain"), "fetal-brain"),
    AnalyzeCase("nerve-stills", _stills("nerve"), "nerve", ("--mm-per-pixel", "0.15", "--masks")),
    AnalyzeCase("nerve-still", _still("nerve"), "nerve", ("--mm-per-pixel", "0.15")),
)


# --- what was pointed at ----------------------------------------------------------------------------------------------

POINTED = "pointed"
_WIDTH, _HEIGHT = 320, 240
_SCALED = ImageGeometry((Region((0.0, 0.0, float(_WIDTH), float(_HEIGHT)), isotropic(0.2, ScaleSource.USER)),))


class _Screen(FakeClip):
    """Pictures that are large enough for the words that are drawn on them, of whole numbers alone."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self._info = replace(self._info, uri="screen", name="screen", width_px=_WIDTH, height_px=_HEIGHT)

    def _frame(self, index: int) -> Frame:
        ramp = np.add.outer(np.arange(_HEIGHT), np.arange(_WIDTH)) + 5 * index
        pixels = (ramp % 120 + 60).astype(np.uint8)
        return make_frame(pixels, "screen", index, index / 25)


def _scaled(frame: Frame) -> Frame:
    return frame.with_geometry(_SCALED)


def _outline(index: int) -> Instance:
    """An upright ellipse that wanders to the right and shrinks."""
    mask = np.zeros((100, 120), np.uint8)
    cv2.ellipse(mask, (60, 50), (50 - 2 * index, 36 - index), 0, 0, 360, 1, cv2.FILLED)
    x, y = 80 + 4 * index, 70
    return Instance("cyst", 0, 0.9, (float(x), float(y), float(x + 120), float(y + 100)), mask.astype(np.bool_), (x, y))


def _mark(frame: Frame, by: Origin, confidence: float | None = None, why: str = "") -> Annotation:
    instances = () if why else (_outline(frame.key.index),)
    prediction = Prediction(frame.key, (_WIDTH, _HEIGHT), instances, "prompt", "0" * 64, "none", edge_sd_px=1.5)
    reading = limit_quality(read_pointed(prediction, frame.geometry, "cyst", why), confidence)
    prompt = Prompt(((140.0, 120.0),), (True,)) if by is Origin.POINTED else None
    return Annotation(prediction, frame.geometry, reading, by, prompt, why=why, confidence=confidence)


def export_pointed(parent: Path) -> Path:
    """Write what was pointed at on the first of four frames, followed over the next two, and lost on the last."""
    clip = ClipAccess(lambda: _Screen(4), _scaled, 4)
    first, second, third, last = (_scaled(frame) for frame in _Screen(4))
    marks = {
        0: _mark(first, Origin.POINTED),
        1: _mark(second, Origin.FOLLOWED, 0.93),
        2: _mark(third, Origin.FOLLOWED, 0.71),
        3: _mark(last, Origin.FOLLOWED, 0.2, "The structure was lost here"),
    }
    state = PromptState(False, "Prompt 1.0", "0" * 64, "none", None, None, None, live=False)
    folder, _, _ = export_outlines(
        OutlineExport(clip, AnnotatedStructure("cyst", marks), "screen", "prompt"), parent, state
    )
    return folder
