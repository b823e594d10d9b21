"""What a script uses: the same numbers as ``usviewer analyze``, sentences for what cannot be, nothing left open."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import usviewer
from tests.conftest import ROOT
from tests.golden import replay, run
from tests.golden.cases import ANALYZED
from tests.helpers.fakes import FakeClip, FakeDevice, FakeEngine, picture
from tests.helpers.tiny_models import add_dark_finder
from usviewer import api
from usviewer.errors import UserError
from usviewer.pipeline.analyzer import LoadedModel
from usviewer.save.tables import CsvTable, reading_columns
from usviewer.units import ScaleSource

HEAVY = ("numpy", "cv2", "av", "PySide6", "pyqtgraph", "onnxruntime", "openvino", "usviewer.api")
ENGINES_AND_QT = ("PySide6", "pyqtgraph", "onnxruntime", "openvino")
SAID: dict[str, dict[str, Any]] = {
    "sample": {"mm_per_pixel": 0.2572},
    "phantom": {"site": "distal"},
    "dicom": {},
    "aorta-stills": {},
    "aorta-still": {"mm_per_pixel": (0.4, 0.4), "plane": "transverse"},
    "fetal-head-still": {"mm_per_pixel": "0.8", "gestational_age_weeks": "28+3"},
}


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout.split())


def stage_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("usviewer-")]


def fake_model() -> LoadedModel:
    return replace(FakeEngine().engine(), model_id="fake", finding="aorta")


class ClosingClip(FakeClip):
    """A clip that counts how often it was closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


# --- the package ------------------------------------------------------------------------------------------------------


def test_importing_the_package_brings_nothing_slow() -> None:
    assert not modules_after("import usviewer").intersection(HEAVY)


@pytest.mark.slow
def test_the_first_use_brings_neither_qt_nor_an_engine() -> None:
    found = modules_after("import usviewer\nusviewer.analyze")
    assert "usviewer.api" in found
    assert not found.intersection(ENGINES_AND_QT)


def test_the_package_offers_what_the_api_has_and_nothing_else() -> None:
    assert set(usviewer.__all__) - {"RESEARCH_USE", "__version__"} == set(api.__all__)
    assert all(getattr(usviewer, name) is getattr(api, name) for name in api.__all__)
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        getattr(usviewer, "analyse")  # noqa: B009 - a type checker refuses it, too


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(api.__file__).parent / "py.typed").is_file()


# --- the same numbers -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", SAID)
@pytest.mark.filterwarnings("ignore::UserWarning")  # that the phantom is simulated
def test_the_readings_are_those_that_the_command_writes(name: str, tmp_path: Path) -> None:
    case = next(case for case in ANALYZED if case.name == name)
    source = case.make(tmp_path)
    with replay.replaying(run.answers_file(name)):
        results = usviewer.analyze(source, case.model, **SAID[name])
        with CsvTable(tmp_path / "readings.csv", reading_columns(case.model)) as table:
            for result in results:
                table.add(usviewer.reading_row(result.reading, result.frame.name))
    assert (tmp_path / "readings.csv").read_text("utf-8") == run.golden_texts(name)["readings.csv"]


def test_pictures_in_memory_give_what_their_clip_gives() -> None:
    clip = FakeClip(6)
    pixels = [frame.pixels for frame in clip]
    found = [
        [result.reading.measurements for result in usviewer.analyze(source, fake_model(), mm_per_pixel=0.3, **more)]
        for source, more in (
            (clip, {}),
            (pixels, {"frames_per_second": 25}),
            (np.stack(pixels), {"frames_per_second": 25}),
        )
    ]
    assert found[0] and found[0] == found[1] == found[2]


# --- sources ----------------------------------------------------------------------------------------------------------


def test_a_source_that_was_given_open_stays_open() -> None:
    clip = ClosingClip(3)
    assert len(list(usviewer.analyze(clip, fake_model()))) == 3
    assert clip.closed == 0


@pytest.mark.parametrize("taken", [1, 4])
def test_what_was_opened_is_closed_also_where_the_loop_is_left_early(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = ClosingClip(4)
    monkeypatch.setattr(api, "open_source", lambda _uri: clip)
    for count, _ in enumerate(usviewer.analyze("fake", fake_model()), 1):
        if count == taken:
            break
    assert clip.closed == 1
    assert not stage_threads()


def test_pictures_without_a_rate_are_measured_each_by_itself_and_stay_writable() -> None:
    pixels = [np.array(picture(number)) for number in range(2)]
    results = list(usviewer.analyze(pixels, fake_model()))
    assert [result.frame.key.media_time_s for result in results] == [None, None]
    pixels[0][:] = 0


def test_frames_keep_their_own_numbers_and_times() -> None:
    frames = list(FakeClip(9))[::4]
    results = list(usviewer.analyze(iter(frames), fake_model()))
    assert [result.frame.key for result in results] == [frame.key for frame in frames]


def test_a_folder_of_a_model_serves_without_being_installed(tmp_path: Path) -> None:
    add_dark_finder(tmp_path / "dark")
    (result,) = usviewer.analyze(np.full((96, 128), 90, np.uint8), tmp_path / "dark", engine="cpu")
    assert result.reading.model_id == "dark"


# --- what must be said, and what cannot be ----------------------------------------------------------------------------


def test_a_scale_in_numbers_is_the_users() -> None:
    (result,) = usviewer.analyze([picture(1)], fake_model(), mm_per_pixel=(1.234, 1.3))
    assert result.frame.geometry is not None
    spacing = result.frame.geometry.regions[0].spacing
    assert spacing is not None and spacing.source is ScaleSource.USER
    assert (spacing.x_mm_per_px, spacing.y_mm_per_px) == (1.234, 1.3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"mm_per_pixel": 0}, "0 mm per pixel cannot be right"),
        ({"mm_per_pixel": float("nan")}, "nan mm per pixel cannot be right"),
        ({"mm_per_pixel": (0.2, 0.2, 0.2)}, "is not a scale in mm per pixel"),
        ({"mm_per_pixel": "0.2 cm"}, "'0.2 cm' is not a scale"),
        ({"mm_per_pixel": None, "ruler_tick_mm": -1}, "ruler_tick_mm -1 cannot be right"),
        ({"plane": "sagittal"}, "There is no plane 'sagittal'. Choose one of transverse, longitudinal."),
        ({"plane": "undetermined"}, "There is no plane"),
        ({"site": "left"}, "There is no site 'left'"),
        ({"gestational_age_weeks": "28.3"}, "28 weeks and 3 days"),
        ({"gestational_age_weeks": 400}, "gestational_age_weeks 400 cannot be right"),
        ({"frames_per_second": 25}, "Only pictures in memory are given their rate"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused_at_once(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        usviewer.analyze("there-is-no-such.mp4", **arguments)
    assert sentence in str(refused.value)


def test_an_engine_for_a_model_that_is_loaded_is_refused() -> None:
    with pytest.raises(UserError, match="has its engine already"):
        usviewer.analyze("clip.mp4", fake_model(), engine="cpu")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("there-is-no-such.mp4", "there-is-no-such.mp4"),
        (FakeDevice(), "is live and has no end"),
        ([], "There is no picture"),
        ([np.zeros((64, 64, 4), np.uint8)], "Picture 0 is not an RGB picture: uint8, 64 x 64 x 4"),
        ([np.zeros((64, 64), np.float32)], "float32"),
        ([np.zeros((8, 64), np.uint8)], "too small"),
        (["a.png"], "Picture 0 is not an RGB picture"),
    ],
)
def test_sources_that_cannot_be_read_are_refused_with_the_first_frame(source: Any, sentence: str) -> None:
    results = usviewer.analyze(source, fake_model())
    with pytest.raises(UserError) as refused:
        next(results)
    assert sentence in str(refused.value)


def test_what_another_finding_needs_is_refused() -> None:
    model = replace(fake_model(), model_id="head", finding="fetal-head")
    with pytest.raises(UserError, match="site is for the finding aorta, the model 'head' is of fetal-head"):
        list(usviewer.analyze(FakeClip(1), model, site="distal"))


def test_a_clip_without_a_frame_is_refused() -> None:
    with pytest.raises(UserError, match="no frame that could be read"):
        list(usviewer.analyze(FakeClip(0), fake_model()))


def test_a_picture_that_cannot_be_read_is_named_in_a_warning(tmp_path: Path) -> None:
    Image.fromarray(picture(1)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.warns(UserWarning, match=r"b\.png") as told:
        assert len(list(usviewer.analyze(tmp_path, fake_model()))) == 1
    assert told[0].filename == __file__  # the script, not the library


# --- the page ---------------------------------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "api.md").read_text("utf-8")


def test_the_page_names_everything_that_the_package_offers() -> None:
    assert [name for name in api.__all__ if f"`{name}" not in PAGE] == []


@pytest.mark.parametrize("name", ["analyze", "load_model", "reading_row"])
def test_the_page_states_the_arguments_as_they_are(name: str) -> None:
    parameters = inspect.signature(getattr(api, name)).parameters.values()
    stated = re.search(rf"`(?:usviewer\.)?{name}\((.*?)\)`", PAGE)
    assert stated is not None
    keywords = [p.kind is p.KEYWORD_ONLY for p in parameters]
    texts = [p.name if p.default is p.empty else f"{p.name}={p.default!r}".replace("'", '"') for p in parameters]
    if any(keywords):
        texts.insert(keywords.index(True), "*")
    assert stated[1] == ", ".join(texts)


def test_every_argument_of_analyze_is_described() -> None:
    described = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert (
        list(inspect.signature(api.analyze).parameters) == described[: len(inspect.signature(api.analyze).parameters)]
    )


@pytest.mark.slow
def test_the_pages_script_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code = re.search(r"```python\n(.+?)```", PAGE, re.DOTALL)
    assert code is not None
    with replay.replaying(run.answers_file("sample")):
        exec(code[1], {})
    assert capsys.readouterr().out.startswith("0 3")
