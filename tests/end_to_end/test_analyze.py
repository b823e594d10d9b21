"""``usviewer analyze`` as its users run it: real files in, whole files out; one sentence for what cannot be read."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from tests.conftest import ROOT
from tests.helpers.recordings import dicom_dataset, write_clip
from tests.helpers.tiny_models import add_dark_finder, add_normalising_finder
from usviewer.__main__ import main

SAMPLE = ROOT / "resources" / "sample.mp4"


def rows(folder: Path, name: str = "readings.csv") -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def shape_and_times(path: Path) -> tuple[set[tuple[int, int]], list[float]]:
    with av.open(str(path)) as file:
        frames = [(frame.width, frame.height, float(frame.time or 0)) for frame in file.decode(video=0)]
    return {(width, height) for width, height, _ in frames}, [at for _, _, at in frames]


@pytest.fixture(scope="module")
def sample_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample") / "out"
    assert main(["analyze", str(SAMPLE), "--mm-per-pixel", "0.2572", "--masks", "--out", str(out)]) == 0
    return out


def test_every_frame_has_a_row_and_a_picture_of_the_sources_size_and_time(sample_results: Path) -> None:
    sizes, times = shape_and_times(SAMPLE)
    sizes_out, times_out = shape_and_times(sample_results / "annotated.mp4")
    assert sizes_out == sizes
    assert times_out == pytest.approx(times, abs=0.001)
    readings = rows(sample_results)
    assert [int(row["frame"]) for row in readings] == list(range(len(times)))
    assert len(list((sample_results / "masks").glob("*.png"))) == len(times)


def test_the_folder_holds_what_the_readme_lists_and_nothing_half_written(sample_results: Path) -> None:
    assert {path.name for path in sample_results.iterdir()} == {
        "annotated.mp4",
        "best-frame.png",
        "diameter.png",
        "instances.csv",
        "masks",
        "masks.json",
        "readings.csv",
        "summary.json",
    }


def test_the_vessel_of_the_sample_is_found_and_measured(sample_results: Path) -> None:
    readings = rows(sample_results)
    measured = [row for row in readings if row["status"] == "measured"]
    assert len(measured) >= 0.8 * len(readings)
    assert all(row["ap_diameter_mm"] and row["scale_source"] == "given by the user" for row in measured)
    summary = json.loads((sample_results / "summary.json").read_text(encoding="utf-8"))
    assert summary["aggregate"]["unit"] == "mm"
    assert summary["model"]["id"] == "aorta"
    assert "diagnos" in summary["research_use"]


def test_masks_rows_and_instances_agree(sample_results: Path) -> None:
    by_frame = {int(row["frame"]): float(row["area_px"]) for row in rows(sample_results, "instances.csv")}
    for index in (0, 40, 80):
        mask = cv2.imread(str(sample_results / "masks" / f"{index:06d}.png"), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(mask)) <= {0, 1}
        assert np.count_nonzero(mask) == by_frame.get(index, 0.0)


def test_without_a_scale_there_is_no_millimetre_anywhere(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["analyze", str(SAMPLE), "--no-video", "--out", str(out)]) == 0
    readings = rows(out)
    assert any(row["ap_diameter_px"] for row in readings)
    for row in readings:
        assert not [value for key, value in row.items() if key.endswith(("_mm", "_mm2", "_mm_per_px")) and value]
        assert row["no_scale_reason"]
    assert json.loads((out / "summary.json").read_text(encoding="utf-8"))["aggregate"]["unit"] == "px"
    assert not (out / "annotated.mp4").exists()


def test_why_a_still_has_no_scale_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    still = tmp_path / "aorta.png"
    still.write_bytes((ROOT / "models" / "aorta" / "golden.png").read_bytes())
    out = tmp_path / "out"
    assert main(["analyze", str(still), "--out", str(out)]) == 0
    reason = rows(out)[0]["no_scale_reason"]
    assert rows(out)[0]["status"] == "measured" and reason
    assert capsys.readouterr().err.count(reason) == 1


@pytest.mark.parametrize("given", [".", "..", "stills/.", "stills/.."])
def test_a_folder_that_is_given_by_dots_keeps_its_name(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = tmp_path / "exam"
    (named / "stills").mkdir(parents=True)
    for folder in (named, named / "stills"):
        png(folder / "a.png", 200, 150)
    if given == "..":
        monkeypatch.chdir(named / "stills")
    else:
        monkeypatch.chdir(named)
    name = "stills" if given == "stills/." else "exam"
    assert main(["analyze", given]) == 0
    assert capsys.readouterr().err.startswith(f"{name}: ")
    assert rows(Path("usviewer-results") / name)


def test_an_empty_name_is_refused_and_does_not_mean_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    png(tmp_path / "a.png", 200, 150)
    monkeypatch.chdir(tmp_path)
    assert main(["analyze", ""]) == 2
    sentence = capfd.readouterr().err
    assert one_sentence(sentence) and "is empty" in sentence
    assert [path.name for path in tmp_path.iterdir() if path.is_file() or "results" in path.name] == ["a.png"]


def test_a_folder_of_pictures_goes_in_natural_order_and_names_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "stills"
    folder.mkdir()
    with av.open(str(SAMPLE)) as file:
        for index, frame in zip((10, 2, 1), file.decode(video=0), strict=False):
            frame.to_image().save(folder / f"scan{index}.png")
    out = tmp_path / "out"
    assert main(["analyze", str(folder), "--out", str(out)]) == 0
    assert [row["file"] for row in rows(out)] == ["scan1.png", "scan2.png", "scan10.png"]
    assert sorted(path.name for path in (out / "annotated").iterdir()) == ["scan1.png", "scan10.png", "scan2.png"]


def test_of_several_inputs_one_failing_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("no clip")
    still = tmp_path / "still.png"
    with av.open(str(SAMPLE)) as file:
        next(file.decode(video=0)).to_image().save(still)
    out = tmp_path / "out"
    assert main(["analyze", str(broken), str(still), "--out", str(out)]) == 2
    assert [path.name for path in out.iterdir()] == ["still"]
    assert len(rows(out / "still")) == 1
    assert "broken.mp4" in capsys.readouterr().err


def png(path: Path, width: int, height: int) -> Path:
    cv2.imwrite(str(path), np.full((height, width), 60, np.uint8))
    return path


def cut(source: Path, target: Path, share: float) -> Path:
    content = source.read_bytes()
    target.write_bytes(content[: int(len(content) * share)])
    return target


def bad_input(kind: str, folder: Path) -> Path:
    """One of the things that people hand over by mistake."""
    match kind:
        case "empty":
            (folder / "empty.mp4").touch()
            return folder / "empty.mp4"
        case "text":
            (folder / "text.mp4").write_text("this is no clip\n" * 100)
            return folder / "text.mp4"
        case "truncated clip":
            return cut(SAMPLE, folder / "cut.mp4", 0.02)
        case "tiny":
            return png(folder / "tiny.png", 1, 1)
        case "huge":
            return png(folder / "huge.png", 10_000, 10_000)
        case "folder without pictures":
            (folder / "none").mkdir()
            (folder / "none" / "notes.txt").write_text("nothing")
            return folder / "none"
    return folder / "absent.mp4"


KINDS = ("empty", "text", "truncated clip", "tiny", "huge", "folder without pictures", "absent")


def one_sentence(text: str) -> bool:
    lines = [line for line in text.splitlines() if line.strip()]
    return len(lines) == 1 and lines[0].startswith("usviewer: ") and "Traceback" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_gets_one_sentence_and_leaves_nothing(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    out = tmp_path / "out"
    assert main(["analyze", str(bad_input(kind, given)), "--out", str(out)]) == 2
    assert one_sentence(capfd.readouterr().err)
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--mm-per-pixel", "twelve"),
        ("--mm-per-pixel", ""),
        ("--gestational-age-weeks", ""),
        ("--gestational-age-weeks", "28+3"),
        ("--mm-per-pixel", "0"),
        ("--mm-per-pixel", "nan"),
        ("--model", "nothing-of-that-name"),
        ("--engine", "abacus"),
        ("--nonsense",),
    ],
)
def test_bad_options_get_one_sentence(
    arguments: Sequence[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["analyze", str(SAMPLE), "--out", str(out), *arguments]) == 2
    assert one_sentence(capfd.readouterr().err)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--reference", "nhs"), "--reference is for"),
        (("--site", "mid"), "--site is for"),
        (("--plane", "transverse"), "--plane is for"),
        (("--gestational-age-weeks", "28+3"), "--gestational-age-weeks is for"),
    ],
)
def test_options_of_another_finding_are_refused_before_anything_is_opened(
    arguments: Sequence[str], says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = add_dark_finder(tmp_path / "model", "n", "nerve", "nerve")
    assert main(["analyze", "absent.mp4", "--model", model, "--out", str(tmp_path / "out"), *arguments]) == 2
    sentence = capfd.readouterr().err
    assert one_sentence(sentence) and says in sentence and "nerve" in sentence
    assert not (tmp_path / "out").exists()


def test_a_name_that_is_too_long_for_a_folder_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "phantom:?frames=1", "--out", str(tmp_path / ("a" * 300))]) == 2
    sentence = capfd.readouterr().err
    assert one_sentence(sentence) and "name is too long" in sentence
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("a")]


def test_results_of_an_earlier_run_are_replaced_whole_and_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, still = tmp_path / "out", png(tmp_path / "still.png", 200, 150)
    (tmp_path / "out").mkdir()
    (out / "notes.txt").write_text("mine")
    assert main(["analyze", "phantom:?frames=3", "--masks", "--out", str(out)]) == 0
    assert "replaced" not in capfd.readouterr().err
    assert main(["analyze", str(still), "--no-video", "--out", str(out)]) == 0
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "replaced" in line]
    assert "Phantom" in line and str(out) in line
    assert {path.name for path in out.iterdir()} == {
        "best-frame.png", "instances.csv", "notes.txt", "readings.csv", "summary.json",
    }  # fmt: skip
    assert main(["analyze", str(tmp_path / "absent.mp4"), "--out", str(out)]) == 2
    assert json.loads((out / "summary.json").read_text(encoding="utf-8"))["source"]["name"] == "still"


@pytest.mark.parametrize("given", ["annotated.mp4", "best-frame.png", "masks", "masks/000000.png"])
def test_a_source_that_would_be_replaced_by_its_own_results_is_refused(
    given: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["analyze", "phantom:?frames=2", "--masks", "--out", str(out)]) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    capfd.readouterr()
    assert main(["analyze", str(out / given), "--no-video", "--out", str(out)]) == 2
    sentence = capfd.readouterr().err
    assert one_sentence(sentence) and "--out" in sentence
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_live_source_has_no_end_and_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "phantom:?live=1", "--out", str(tmp_path / "out")]) == 2
    assert one_sentence(capfd.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused_and_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    assert main(["analyze", str(SAMPLE), "--out", str(out)]) == 2
    assert one_sentence(capfd.readouterr().err)
    assert out.read_text() == "mine"


def test_dicom_without_or_with_cut_off_pixels(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import pydicom

    source = data / "dicom_ultrasound" / "sf_rgb_raw_ge_noregion_pydicom.dcm"
    dataset = pydicom.dcmread(source)
    del dataset.PixelData
    bare = tmp_path / "bare.dcm"
    dataset.save_as(bare)
    for path in (bare, cut(source, tmp_path / "cut.dcm", 0.0005)):
        out = tmp_path / "out"
        assert main(["analyze", str(path), "--out", str(out)]) == 2
        assert one_sentence(capfd.readouterr().err)
        assert not out.exists()


def test_the_shrunken_sonosite_cine_gives_pixels_only_and_says_why(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = data / "dicom_ultrasound" / "mf30_ybr422_jpeg_sonosite_pydicom.dcm"
    assert main(["analyze", str(source), "--no-video", "--out", str(out)]) == 0
    readings = rows(out)
    assert len(readings) == 30
    assert all("inconsistent" in row["no_scale_reason"].lower() for row in readings)
    assert not any(row["ap_diameter_mm"] or row["spacing_x_mm_per_px"] for row in readings)


def test_a_scale_that_contradicts_the_file_is_refused(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = data / "devices_itkpocus" / "sonoque_anechoic-3mm-3mm.dcm"
    assert main(["analyze", str(source), "--mm-per-pixel", "0.5", "--out", str(tmp_path / "out")]) == 2
    sentence = capfd.readouterr().err
    assert one_sentence(sentence)
    assert "0.0291" in sentence and "0.5" in sentence


def test_the_sweep_is_processed_whole(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sweep = data / "aorta_sweep" / "sweep.mp4"
    assert main(["analyze", str(sweep), "--mm-per-pixel", "0.21277", "--out", str(out)]) == 0
    sizes, times = shape_and_times(sweep)
    sizes_out, times_out = shape_and_times(out / "annotated.mp4")
    assert len(times_out) == len(rows(out)) == 444
    assert sizes_out == sizes
    assert times_out == pytest.approx(times, abs=0.001)


def test_nothing_of_it_needs_qt(tmp_path: Path) -> None:
    """PySide6 and pyqtgraph cannot be imported here, and nobody tries."""
    blocked = tmp_path / "blocked"
    for name in ("PySide6", "pyqtgraph", "shiboken6"):
        (blocked / name).mkdir(parents=True)
        (blocked / name / "__init__.py").write_text("raise ImportError('blocked by the test')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(blocked), str(ROOT)])}
    command = [sys.executable, "-m", "usviewer", "analyze", str(SAMPLE), "--no-video", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "out")


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process there")
@pytest.mark.parametrize("numbers", [("SIGINT",), ("SIGTERM", "SIGHUP")], ids=["Ctrl-C", "logout"])
def test_ctrl_c_and_logout_leave_what_is_finished_whole(tmp_path: Path, numbers: tuple[str, ...]) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "usviewer", "analyze", "phantom:?frames=3000", "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    deadline = time.monotonic() + 120
    while not any(part.stat().st_size > 4096 for part in out.glob(".part-*/.readings.csv*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    for number in numbers:
        process.send_signal(signal.Signals[number])
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == 130, complaint
    assert "Traceback" not in complaint
    readings = rows(out)
    assert 0 < len(readings) < 3000
    _, times = shape_and_times(out / "annotated.mp4")
    assert len(times) == len(readings)
    notes = json.loads((out / "summary.json").read_text(encoding="utf-8"))["notes"]
    assert any("Stopped by the user" in note for note in notes)
    assert not list(out.glob(".*"))


@pytest.mark.skipif(os.name == "nt", reason="a signal ends a process at once there")
def test_a_command_that_is_ended_while_its_model_loads_ends_like_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("usviewer.api.open_source", ended)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["analyze", str(SAMPLE), "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == "usviewer: stopped. What was finished is whole.\n"
    assert signal.getsignal(signal.SIGTERM) is before
    assert list(tmp_path.glob("out*")) == []


def _discs(black: set[int], count: int = 12) -> list[np.ndarray]:
    y, x = np.mgrid[0:96, 0:128]
    disc = np.where(np.hypot(x - 64, y - 48) < 25, 220, 20).astype(np.uint8)
    return [np.repeat((disc * (i not in black))[:, :, None], 3, axis=2) for i in range(count)]


def _clip_of(path: Path, pictures: Sequence[np.ndarray]) -> Path:
    return write_clip(path, "ffv1", len(pictures), size=(128, 96), pixel_format="bgr0", pictures=pictures)


def test_a_frame_that_the_model_cannot_read_costs_only_itself_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A black picture in the middle, as a scanner sends while it changes its mode."""
    model = add_normalising_finder(tmp_path / "model")
    clip = _clip_of(tmp_path / "black.mkv", _discs({5}))
    out = tmp_path / "out"
    assert main(["analyze", str(clip), "--model", model, "--no-video", "--out", str(out)]) == 0
    readings = rows(out)
    assert [int(row["frame"]) for row in readings if row["status"] == "refused"] == [5]
    assert "not numbers" in readings[5]["reason"] and not readings[5]["ap_diameter_px"]
    assert all(row["status"] == "measured" for row in readings if row["frame"] != "5")
    said = "1 of 12 frames could not be read (frame 5)"
    assert any(said in note for note in json.loads((out / "summary.json").read_text())["notes"])
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_a_clip_of_which_the_model_reads_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = add_normalising_finder(tmp_path / "model")
    clip = _clip_of(tmp_path / "black.mkv", _discs(set(range(12))))
    out = tmp_path / "out"
    assert main(["analyze", str(clip), "--model", model, "--no-video", "--out", str(out)]) == 2
    assert "not numbers" in capsys.readouterr().err and not out.exists()


def _write_dicom(path: Path, frames: Sequence[np.ndarray], x_mm: float, y_mm: float) -> Path:
    region = Dataset()
    region.RegionSpatialFormat = region.RegionDataType = 1
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = frames[0].shape[1] - 1, frames[0].shape[0] - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = round(x_mm / 10, 8), round(y_mm / 10, 8)
    dicom_dataset(frames, FrameTime=40.0, SequenceOfUltrasoundRegions=[region]).save_as(path, enforce_file_format=True)
    return path


def _sample_frames(count: int) -> list[np.ndarray]:
    with av.open(str(SAMPLE)) as file:
        return [frame.to_ndarray(format="rgb24") for frame, _ in zip(file.decode(video=0), range(count), strict=False)]


@pytest.mark.parametrize("size", [(480, 720), (960, 360)])
def test_the_same_vessel_has_the_same_millimetres_whatever_the_shape_of_its_pixels(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """The sample, squashed to pixels of 2 : 1 and 1 : 2 that the file states; its vessel is of 33.9 mm."""
    whole = _sample_frames(4)
    height, width = whole[0].shape[:2]
    squashed = [np.asarray(cv2.resize(each, size, interpolation=cv2.INTER_AREA)) for each in whole]
    scale = 0.257181461 * width / size[0], 0.257181461 * height / size[1]
    path = _write_dicom(tmp_path / "oblong.dcm", squashed, *scale)
    assert main(["analyze", str(path), "--no-video", "--engine", "cpu", "--out", str(tmp_path / "out")]) == 0
    values = [float(row["ap_diameter_mm"]) for row in rows(tmp_path / "out")]
    assert np.median(values) == pytest.approx(33.9, abs=1.0)
    picture = cv2.imread(str(tmp_path / "out" / "best-frame.png"))
    assert picture.shape[1] / picture.shape[0] == pytest.approx(width / height, rel=0.01)


def test_a_clip_whose_picture_changes_its_size_loses_its_millimetres_there_and_nothing_else(tmp_path: Path) -> None:
    whole = [each[::2, :752:2] for each in _sample_frames(6)]  # without the ruler: nothing else watches the scale
    small = [np.asarray(cv2.resize(each, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)) for each in whole]
    parts = []
    for number, frames in enumerate((whole, small)):
        size = (frames[0].shape[1], frames[0].shape[0])
        part = tmp_path / f"{number}.h264"
        write_clip(part, count=6, size=size, pictures=frames, options={"bf": "0", "crf": "16"}, format="h264")
        parts.append(part.read_bytes())
    path = tmp_path / "two.h264"
    path.write_bytes(b"".join(parts))
    out = tmp_path / "out"
    assert main(["analyze", str(path), "--mm-per-pixel", "0.514362922", "--engine", "cpu", "--out", str(out)]) == 0
    readings = rows(out)
    in_mm, in_px = (np.array([float(row[f"ap_diameter_{unit}"]) for row in readings[:6]]) for unit in ("mm", "px"))
    assert in_mm.mean() == pytest.approx(33.9, abs=1.0) and in_mm == pytest.approx(in_px * 0.514362922, abs=0.02)
    assert {row["ap_diameter_mm"] for row in readings[6:]} == {""} and "another size" in readings[6]["no_scale_reason"]
    document = json.loads((out / "summary.json").read_text())
    assert document["aggregate"]["count"] == 6 and document["scale_withdrawn"][0]["frame"] == 6
    sizes, times = shape_and_times(out / "annotated.mp4")
    assert len(times) == 12 and sizes == {(376, 360)}


def test_bad_pictures_of_a_folder_cost_only_themselves_and_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = add_dark_finder(tmp_path / "model")
    folder = tmp_path / "with space"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((96, 128), 90 + number, np.uint8))
    whole = (folder / "0.png").read_bytes()
    (folder / "3.png").write_bytes(whole[: len(whole) // 2])
    (folder / "4.tif").write_bytes(b"II*\0\x08\0\0\0")
    address = "file://" + str(folder).replace(" ", "%20")
    code = main(["analyze", address, "--model", model, "--no-video", "--out", str(tmp_path / "out")])
    said = " ".join("".join(capfd.readouterr()).split())
    assert code == 2 and [row["file"] for row in rows(tmp_path / "out")] == ["0.png", "1.png", "2.png"]
    assert "3.png could not be read: it is damaged or cut off" in said
    assert "4.tif could not be read: it is damaged or of a kind that cannot be read" in said
    assert "The pictures of a folder are not summed up" in said


def test_pages_of_a_file_are_not_called_pictures_of_a_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = add_dark_finder(tmp_path / "model")
    pages = [Image.fromarray(np.full((96, 128), 90 + number, np.uint8)) for number in range(3)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    code = main(["analyze", str(tmp_path / "pages.tif"), "--model", model, "--out", str(tmp_path / "out")])
    said = " ".join("".join(capfd.readouterr()).split())
    assert code == 0 and "The pages of a file without times are not summed up" in said and "of a folder" not in said
