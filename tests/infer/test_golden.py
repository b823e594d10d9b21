"""The golden case must catch what makes a model quietly wrong: channels, range, and half a pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.pictures import SpecFactory, disc_picture
from usviewer.errors import UserError
from usviewer.frame import Pixels
from usviewer.infer import decode, golden, runner
from usviewer.infer.manifest import InputSpec, ModelSpec
from usviewer.infer.predictor import Predictor
from usviewer.infer.preprocess import Placement, Tensor

PREPARE = runner.prepare


def shifted(pixels: Pixels, spec: InputSpec, *rest: object) -> tuple[Tensor, Placement]:
    """Preprocessing with the classic mistake: everything half an input pixel to the right."""
    tensor, placement = PREPARE(pixels, spec, *rest)  # type: ignore[arg-type]
    axis = 3 if spec.layout == "NCHW" else 2
    return ((tensor.astype(np.float32) + np.roll(tensor, 1, axis=axis)) / 2).astype(tensor.dtype), placement


def problem(spec: ModelSpec, expected: golden.GoldenOutput, engine: str = "cpu", picture: Pixels | None = None) -> str:
    observed = Predictor(spec, engine, threads=1).observe(golden.synthetic_picture() if picture is None else picture)
    return golden.deviation(expected, observed)


@pytest.fixture(params=["yolo", "unet"])
def spec(request: pytest.FixtureRequest, yolo: SpecFactory, unet: SpecFactory) -> ModelSpec:
    return (
        yolo(height=192, width=320)
        if request.param == "yolo"
        else unet({"channels": 3}, channels=3, channel_order="rgb")
    )


@pytest.fixture
def expected(spec: ModelSpec) -> golden.GoldenOutput:
    return Predictor(spec, "cpu", threads=1).observe(golden.synthetic_picture())


def test_the_same_model_reproduces_on_every_engine(spec: ModelSpec, expected: golden.GoldenOutput) -> None:
    assert problem(spec, expected) == ""
    assert problem(spec, expected, "openvino") == ""
    assert golden.output_deviation(expected, Predictor(spec, "openvino").observe(golden.synthetic_picture())) < 1e-3


@pytest.mark.parametrize(
    "change",
    [{"channel_order": "bgr"}, {"value_range": (0.0, 255.0)}, {"value_range": (-1.0, 1.0)}, {"value_range": (0.0, 1.1)},
     {"mean": (0.1,) * 3, "std": (1.0,) * 3}, {"resize": "stretch"}, {"pad_value": 0}],
)  # fmt: skip
def test_another_preprocessing_is_noticed(
    spec: ModelSpec, expected: golden.GoldenOutput, change: dict[str, object]
) -> None:
    if spec.input.pad_value == change.get("pad_value"):
        change = {"pad_value": 255}
    assert problem(replace(spec, input=replace(spec.input, **change)), expected) != ""  # type: ignore[arg-type]


def test_half_an_input_pixel_is_noticed(
    spec: ModelSpec, expected: golden.GoldenOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "prepare", shifted)
    assert problem(spec, expected).startswith("its raw outputs differ")


def test_half_a_frame_pixel_in_decoding_is_noticed(unet: SpecFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = unet({"blob": True})
    picture = disc_picture(320, 240, (130, 120), 50)
    expected = Predictor(spec, "cpu", threads=1).observe(picture)
    assert len(expected.instances) == 1 and problem(spec, expected, picture=picture) == ""
    true = decode.resampler

    def off(placement: Placement, size: tuple[int, int]) -> decode.Resampler:
        left = placement.pad_xy_px[0] + 0.5 * placement.scale_xy[0]
        return true(replace(placement, pad_xy_px=(left, placement.pad_xy_px[1])), size)  # type: ignore[arg-type]

    monkeypatch.setattr(decode, "resampler", off)
    assert "px from where it should be" in problem(spec, expected, picture=picture)


def test_another_model_is_noticed(unet: SpecFactory, yolo: SpecFactory) -> None:
    expected = Predictor(unet({"seed": 1}, "one")).observe(golden.synthetic_picture())
    assert problem(unet({"seed": 2}, "two"), expected).startswith("its raw outputs")
    assert problem(yolo(height=192, width=320), expected) == "its outputs have another shape"


FOUND = golden.GoldenInstance("aorta", 0.8, (10, 10, 30, 30), 300, (20, 20))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"label": "vein"}, "does not find 'aorta'"),
        ({"centroid_xy_px": (20.5, 20)}, "0.50 px from"),
        ({"box_xyxy_px": (10, 10, 30.5, 30)}, "0.50 px from"),
        ({"score": 0.7}, "score"),
        ({"area_px": 330}, "330 px instead of 300"),
        ({"score": 0.81, "area_px": 303, "centroid_xy_px": (20.1, 20)}, ""),
    ],
)
def test_instances_are_compared(change: dict[str, object], says: str) -> None:
    samples = (((1.0, 2.0),),)
    wanted = golden.GoldenOutput("x", samples, (FOUND,))
    got = golden.GoldenOutput("x", samples, (replace(FOUND, **change),))  # type: ignore[arg-type]
    answer = golden.deviation(wanted, got)
    assert says in answer and bool(says) == bool(answer)


def test_an_instance_from_nowhere_is_noticed() -> None:
    samples = (((1.0, 2.0),),)
    nothing, something = golden.GoldenOutput("x", samples, ()), golden.GoldenOutput("x", samples, (FOUND,))
    assert "where nothing is expected" in golden.deviation(nothing, something)
    nan = golden.GoldenOutput("x", (((float("nan"), 2.0),),), ())
    assert "raw outputs" in golden.deviation(nothing, nan)


def test_the_case_survives_the_file(tmp_path: Path) -> None:
    wanted = golden.GoldenOutput("author", (((1.5, -2.25e-7),), ((3.0,),)), (FOUND,))
    golden.write_expected(tmp_path / "golden.json", wanted)
    assert golden.read_expected(tmp_path / "golden.json") == wanted


def _cut(path: Path) -> None:
    path.write_text(path.read_text()[:-30])


def _list(path: Path) -> None:
    path.write_text("[1]")


def _gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [_cut, _list, _gone])
def test_a_damaged_case_is_refused(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    path = tmp_path / "golden.json"
    golden.write_expected(path, golden.GoldenOutput("author", (), (FOUND,)))
    harm(path)
    with pytest.raises(UserError, match="golden case"):
        golden.read_expected(path)


def test_the_synthetic_picture_is_fixed_and_colourful() -> None:
    picture = golden.synthetic_picture()
    assert picture.shape == (223, 301, 3)
    assert picture.astype(np.int64).sum(axis=(0, 1)).tolist() == PICTURE_SUMS
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert np.abs(picture[:, :, a].astype(int) - picture[:, :, b]).mean() > 20


PICTURE_SUMS = [7086122, 7846371, 4207769]
