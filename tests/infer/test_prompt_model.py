from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.helpers.pictures import disc_picture
from tests.helpers.prompt_graphs import decoder, encoder, prompt_model, recorded_prompt_model
from usviewer.errors import UserError
from usviewer.frame import Frame, ImageGeometry, Region, Sector, make_frame
from usviewer.infer import exports, onnx_file, registry
from usviewer.infer.manifest import ModelSpec, read_manifest
from usviewer.infer.prediction import full_mask
from usviewer.infer.predictor import Predictor
from usviewer.infer.prompt import Prompt, at_point, in_box
from usviewer.infer.prompt.prompt_model import PromptModel
from usviewer.measure import read
from usviewer.units import ScaleSource, isotropic

CENTRE, RADIUS = (200.0, 220.0), 60.0

Make = Callable[..., PromptModel]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(name: str = "m", **changes: Any) -> PromptModel:
        return PromptModel(recorded_prompt_model(tmp_path / name, **changes), "cpu", threads=1)

    return made


@pytest.fixture
def frame() -> Frame:
    return make_frame(disc_picture(640, 480, CENTRE, RADIUS), "clip.mp4", 7, 0.25)


def _dice(mask: np.ndarray, centre: tuple[float, float], radius: float) -> float:
    y, x = np.mgrid[0 : mask.shape[0], 0 : mask.shape[1]] + 0.5
    truth = np.hypot(x - centre[0], y - centre[1]) < radius
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


@pytest.mark.parametrize(
    "prompt", [at_point(CENTRE), in_box((260, 280, 140, 160)), Prompt((CENTRE,), (True,), (140, 160, 260, 280))]
)
def test_what_is_pointed_at_is_outlined_where_it_is(make: Make, frame: Frame, prompt: Prompt) -> None:
    model = make()
    embedding = model.embed(frame)
    found = model.outline(embedding, prompt, label="cyst")
    assert found.instance is not None and not found.uncertain and found.score > 0.8
    assert _dice(full_mask(found.instance, (640, 480)), CENTRE, RADIUS) > 0.95
    x0, y0, x1, y1 = found.instance.box_xyxy_px
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx(CENTRE, abs=0.75)  # a cell has 10 frame pixels
    assert (
        found.instance.label == "cyst" and found.instance.mask is not None and not found.instance.mask.flags.writeable
    )


def test_a_sector_is_cropped_and_the_outline_lies_in_the_frame(make: Make) -> None:
    picture = disc_picture(900, 700, (520, 400), 50)
    corners = np.array([(400, 250), (700, 250), (700, 600), (400, 600)], np.float64)
    frame = make_frame(picture, "x", 0, geometry=ImageGeometry(sector=Sector(corners, (400, 250, 700, 600))))
    model = make()
    found = model.outline(model.embed(frame), at_point((520, 400))).instance
    assert found is not None
    assert _dice(full_mask(found, (900, 700)), (520, 400), 50) > 0.96


def test_several_structures_come_from_one_embedding_and_are_measured_like_any_other(make: Make) -> None:
    picture = np.minimum(disc_picture(640, 480, (160, 200), 50), disc_picture(640, 480, (480, 260), 40))
    region = Region((0, 0, 640, 480), isotropic(0.5, ScaleSource.MANUAL))
    frame = make_frame(picture, "x", 3, geometry=ImageGeometry((region,)))
    model = make()
    embedding = model.embed(frame)
    outlines = [
        model.outline(embedding, at_point(at), label=name) for at, name in (((160, 200), "cyst"), ((480, 260), "node"))
    ]
    prediction = model.prediction(embedding, outlines)
    assert prediction.key == frame.key and prediction.frame_size_px == (640, 480)
    assert prediction.model_sha256 == model.spec.sha256 and set(prediction.timings_ms) == {"infer", "decode"}
    reading = read(prediction, frame.geometry, "other")
    areas = {label: m.value_mm for label, m in zip(reading.labels, reading.measurements, strict=True)}
    assert areas["cyst"] == pytest.approx(np.pi * 25**2, rel=0.1) and areas["node"] == pytest.approx(
        np.pi * 20**2, rel=0.1
    )


def test_an_even_place_is_outlined_as_uncertain(make: Make, frame: Frame) -> None:
    model = make()
    found = model.outline(model.embed(frame), at_point((560, 90)))
    assert found.uncertain and found.score < 0.3 and "not sure" in found.reason


def test_a_click_outside_the_outline_makes_it_uncertain(make: Make, frame: Frame) -> None:
    model = make()
    embedding = model.embed(frame)
    missed = model.outline(embedding, Prompt((CENTRE, (560.0, 90.0)), (True, True), (140, 160, 260, 280)))
    taken = model.outline(embedding, Prompt((CENTRE, (210.0, 220.0)), (True, False)))
    assert missed.uncertain or missed.instance is None
    assert taken.uncertain and "excluded" in taken.reason


def test_refining_starts_from_the_answer_before(make: Make, frame: Frame) -> None:
    model = make()
    embedding = model.embed(frame)
    first = model.outline(embedding, at_point(CENTRE))
    nothing, everything = (model.hint(embedding, np.full((480, 640), whole)) for whole in (False, True))
    assert nothing is not None and everything is not None and first.instance is not None
    smaller = model.outline(embedding, at_point(CENTRE), nothing).instance
    larger = model.outline(embedding, at_point(CENTRE), everything).instance
    assert smaller is not None and larger is not None
    assert smaller.area_px < first.instance.area_px < larger.area_px
    same = model.outline(embedding, at_point(CENTRE), first.low_res)
    np.testing.assert_allclose(same.low_res.logits, 1.2 * first.low_res.logits, rtol=1e-5, atol=1e-4)


def test_a_drawn_mask_becomes_a_hint_of_the_same_shape(make: Make, frame: Frame) -> None:
    model = make()
    embedding = model.embed(frame)
    y, x = np.mgrid[0:480, 0:640] + 0.5
    hint = model.hint(embedding, np.hypot(x - CENTRE[0], y - CENTRE[1]) < RADIUS)
    assert hint is not None
    rows, columns = np.nonzero(hint.logits > 0)
    cell_px = 640 / hint.logits.shape[1]
    assert ((columns.mean() + 0.5) * cell_px, (rows.mean() + 0.5) * cell_px) == pytest.approx(CENTRE, abs=0.6)
    assert len(rows) * cell_px**2 == pytest.approx(np.pi * RADIUS**2, rel=0.03)


def test_embeddings_are_kept_by_picture_and_crop_within_a_bound(tmp_path: Path, frame: Frame) -> None:
    model = PromptModel(recorded_prompt_model(tmp_path / "m"), "cpu", threads=1, cache_bytes=2 * 32 * 32 * 4)
    first = model.embed(frame)
    again = make_frame(frame.pixels, "other.mp4", 99)
    assert model.embed(again).values is first.values and model.embed(again).key == again.key
    corners = np.array([(0, 0), (300, 0), (300, 300), (0, 300)], np.float64)
    cropped = frame.with_geometry(ImageGeometry(sector=Sector(corners, (0, 0, 300, 300))))
    assert model.embed(cropped).values is not first.values
    assert model.embedding(frame) is not None  # both fit, and this one is now the newest
    model.embed(make_frame(disc_picture(640, 480, CENTRE, 30), "x", 1))
    assert model.embedding(cropped) is None and model.embedding(frame) is not None


def test_embedding_ahead_ends_between_two_frames(make: Make) -> None:
    model = make()
    frames = [make_frame(disc_picture(64, 64, (20 + i, 30), 8), "x", i) for i in range(5)]
    asked: list[int] = []
    made = list(model.embed_all(frames, lambda: asked.append(1) or len(asked) > 3))  # type: ignore[func-returns-value]
    assert [one.key.index for one in made] == [0, 1, 2]


def test_of_four_masks_a_lone_click_takes_the_best_of_three_and_a_box_the_first(make: Make, frame: Frame) -> None:
    model = make(masks=4)
    embedding = model.embed(frame)
    box = in_box((140, 160, 260, 280))
    lone, boxed = model.outline(embedding, at_point(CENTRE)), model.outline(embedding, box)
    assert lone.score == pytest.approx(0.95, abs=0.06) and boxed.score == pytest.approx(0.5, abs=0.05)
    assert model.outline(embedding, at_point(CENTRE), clear=True).score == pytest.approx(0.5, abs=0.05)
    assert model.outline(embedding, at_point(CENTRE), lone.low_res).score == pytest.approx(0.5, abs=0.05)


def test_a_model_of_two_passes_asks_again_with_the_box_and_the_mask(make: Make, frame: Frame) -> None:
    once, twice = make("once"), make("twice", prompt_passes=2, prompt_prompts="one")
    first = once.outline(once.embed(frame), at_point(CENTRE))
    assert first.instance is not None
    boxed = once.outline(once.embed(frame), in_box(first.instance.box_xyxy_px), first.low_res)
    second = twice.outline(twice.embed(frame), at_point(CENTRE))
    assert boxed.instance is not None and second.instance is not None
    np.testing.assert_array_equal(second.low_res.logits, boxed.low_res.logits)
    assert second.prompt == at_point(CENTRE)


def test_a_prompt_model_does_not_analyse_by_itself_and_a_finder_takes_no_clicks(make: Make, frame: Frame) -> None:
    model = make()
    with pytest.raises(UserError, match="only outlines what it is pointed at"):
        Predictor(model.spec, "cpu", threads=1).predict(frame)
    with pytest.raises(UserError, match="takes no clicks"):
        PromptModel(replace(model.spec, prompt=None), "cpu")


def test_the_golden_case_with_its_click_refuses_a_changed_model(make: Make) -> None:
    spec = make().spec
    PromptModel(spec, "cpu", threads=1)
    assert spec.golden is not None and spec.golden.positive == (True,)
    moved = replace(spec, golden=replace(spec.golden, points_xy_px=((40.0, 190.0),)))
    with pytest.raises(UserError, match="does not reproduce its golden case"):
        PromptModel(moved, "cpu", threads=1)


def test_another_decoder_is_another_model_and_is_refused(make: Make) -> None:
    spec = make().spec
    other = make("other", masks=4).spec
    assert spec.sha256 != other.sha256 and spec.files["encoder"].sha256 == other.files["encoder"].sha256
    spec.files["decoder"].path.write_bytes(other.files["decoder"].path.read_bytes())
    with pytest.raises(UserError, match=r"decoder\.onnx of model 'test-prompt' is not the file"):
        PromptModel(spec, "cpu", threads=1)


def _changed(spec: ModelSpec, role: str, change: Callable[[onnx.ModelProto], None]) -> ModelSpec:
    path = spec.files[role].path
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    return replace(spec, files={**spec.files, role: replace(spec.files[role], sha256=onnx_file.sha256_of(path))})


def _side(port: onnx.ValueInfoProto, axis: int, length: int) -> None:
    port.type.tensor_type.shape.dim[axis].dim_value = length


@pytest.mark.parametrize(
    ("role", "change", "says"),
    [
        ("decoder", lambda m: setattr(m.graph.input[1], "name", "points"), "takes image_embeddings, points"),
        ("decoder", lambda m: setattr(m.graph.output[1], "name", "m"), "no output 'low_res_masks'"),
        ("encoder", lambda m: setattr(m.graph.output[0], "name", "e"), "no output 'image_embeddings'"),
        ("decoder", lambda m: _side(m.graph.input[0], 1, 9), "does not take the embeddings"),
        ("decoder", lambda m: _side(m.graph.input[1], 1, 3), "fixed number of points"),
        ("decoder", lambda m: _side(m.graph.output[0], 1, 3), "masks and"),
        ("encoder", lambda m: _side(m.graph.input[0], 2, 64), "takes"),
    ],
)  # fmt: skip
def test_graphs_that_are_not_what_the_manifest_says_are_refused(
    tmp_path: Path, role: str, change: Callable[[onnx.ModelProto], None], says: str
) -> None:
    spec = _changed(prompt_model(tmp_path / "m"), role, change)
    with pytest.raises(UserError, match=says):
        onnx_file.check_graphs(spec)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompt_scores": ""}, "scores in prompt"),
        ({"prompt_mask": "", "prompt_has_mask": "x"}, "has_mask in prompt"),
        ({"prompt_mask": "", "prompt_has_mask": "", "prompt_passes": 2}, "passes in prompt"),
        ({"prompt_prompts": "text"}, "prompts in prompt"),
        ({"prompt_nonsense": 1}, "nonsense"),
        ({"output_mask_threshold": 1.0}, "mask_threshold"),
        ({"input_pad": "left"}, "pad in input"),
        ({"input_pad_value": [1, 2, 3]}, "pad_value in input"),
        ({"input_pad_value": [True]}, "pad_value in input"),
    ],
)  # fmt: skip
def test_a_wrong_manifest_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        prompt_model(tmp_path / "m", **changes)


@pytest.mark.parametrize(
    ("golden", "says"),
    [
        ('points_xy_px = [[1.0, 2.0]]\npositive = [false]', "at least one positive point"),
        ('points_xy_px = [[1.0]]', "points_xy_px in golden"),
        ('points_xy_px = [[1.0, 2.0]]\npositive = [1]', "positive in golden"),
        ('box_xyxy_px = [5, 5, 1, 9]', "box_xyxy_px in golden"),
    ],
)  # fmt: skip
def test_a_golden_case_without_a_good_prompt_is_refused(tmp_path: Path, golden: str, says: str) -> None:
    prompt_model(tmp_path / "m")
    with (tmp_path / "m" / "manifest.toml").open("a") as manifest:
        manifest.write(f'\n[golden]\nframe = "golden.png"\n{golden}\n')
    with pytest.raises(UserError, match=says):
        read_manifest(tmp_path / "m")


def test_a_folder_of_two_exports_is_recognised_and_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    folder = tmp_path / "edge_sam"
    folder.mkdir()
    _three_channels(folder / "edge_sam_encoder.onnx")
    decoder(folder / "edge_sam_decoder.onnx", 4, mask=False, names=("masks", ""))
    with pytest.raises(UserError, match=r"--pixels sam'.*--pixels 0-1"):  # the file does not say it
        registry.add_model(folder)
    spec = registry.add_model(folder, pixels="sam")
    assert spec.prompt is not None and (spec.prompt.mask, spec.prompt.has_mask, spec.prompt.size) == ("", "", "")
    assert spec.output.name == "masks" and spec.input.pad == "corner" and spec.input.pad_value == (124, 116, 104)
    frame = make_frame(disc_picture(640, 480, CENTRE, RADIUS), "x", 0)
    model = PromptModel(registry.load_spec("edge_sam"), "cpu", threads=1)
    found = model.outline(model.embed(frame), at_point(CENTRE)).instance
    assert found is not None and _dice(full_mask(found, (640, 480)), CENTRE, RADIUS) > 0.9
    assert model.hint(model.embed(frame), np.zeros((480, 640), np.bool_)) is None


def test_two_strange_files_are_not_guessed_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    folder = tmp_path / "two"
    folder.mkdir()
    encoder(folder / "a.onnx")
    encoder(folder / "b.onnx")
    with pytest.raises(UserError, match="not an encoder and a decoder"):
        registry.add_model(folder)
    decoder(folder / "b.onnx")
    with pytest.raises(UserError, match="single precision"):  # this encoder takes bytes of one channel
        registry.add_model(folder)
    assert not list((tmp_path / "home").rglob("*.onnx"))


@pytest.mark.parametrize(
    ("pixels", "value_range", "mean"), [("sam", (0.0, 255.0), 3), ("0-1", (0.0, 1.0), 0), ("0-255", (0.0, 255.0), 0)]
)
def test_what_an_encoder_takes_is_asked_for(
    tmp_path: Path, pixels: str, value_range: tuple[float, float], mean: int
) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    _three_channels(folder / "encoder.onnx")
    decoder(folder / "decoder.onnx")
    exports.copy_sam(folder, tmp_path, "two", pixels)
    spec = read_manifest(tmp_path)
    assert (spec.input.value_range, len(spec.input.mean)) == (value_range, mean)


def _shaped(*sides: int | str) -> Callable[[onnx.ModelProto, onnx.ModelProto], None]:
    def change(encoder: onnx.ModelProto, decoder: onnx.ModelProto) -> None:
        shape = encoder.graph.input[0].type.tensor_type.shape
        del shape.dim[:]
        for side in sides:
            shape.dim.add(**({"dim_param": side} if isinstance(side, str) else {"dim_value": side}))

    return change


def _features(encoder: onnx.ModelProto, decoder: onnx.ModelProto) -> None:
    """As SAM 2: the decoder takes more of the encoder than the embeddings."""
    feature = onnx.helper.make_tensor_value_info("high_res_feats_0", onnx.TensorProto.FLOAT, [1, 1, 32, 32])
    decoder.graph.input.append(feature)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_shaped("batch", 3, "height", "width"), "any size .dynamic axes.*fixed height and width"),
        (_shaped("height", "width", 3), "without preprocessing"),
        (_shaped(4, 3, 128, 128), r"\[1, 3, height, width\]"),
        (_features, "high_res_feats_0.*SAM 2 is not supported"),
    ],
)
def test_exports_of_another_shape_are_told_what_to_do(
    tmp_path: Path, change: Callable[[onnx.ModelProto, onnx.ModelProto], None], says: str
) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    _three_channels(folder / "encoder.onnx")
    decoder(folder / "decoder.onnx")
    models = [onnx.load(folder / f"{role}.onnx") for role in ("encoder", "decoder")]
    change(*models)
    for model, role in zip(models, ("encoder", "decoder"), strict=True):
        onnx.save(model, folder / f"{role}.onnx")
    with pytest.raises(UserError, match=says):
        registry.add_model(folder, pixels="sam")


def _three_channels(path: Path) -> None:
    """An encoder as EdgeSAM's: normalised pixels, three channels, in single precision."""
    from onnx import TensorProto, helper

    from tests.helpers.onnx_graphs import OPSET, Builder
    from tests.helpers.prompt_graphs import CELLS, SIDE

    b = Builder(0)
    grey = b.op("ReduceMean", "image", axes=[1], keepdims=1)
    cells = b.op("AveragePool", b.op("Mul", grey, b.constant(57 / 255)), kernel_shape=[4, 4], strides=[4, 4])
    b.nodes.append(helper.make_node("Identity", [cells], ["image_embeddings"]))
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", [1, 3, SIDE, SIDE]), ("image_embeddings", [1, 1, CELLS, CELLS]))
    ]
    graph = helper.make_graph(b.nodes, "test", ports[:1], ports[1:], b.weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8), path)


@pytest.mark.parametrize("aspect", [2.0, 0.5])
def test_a_click_and_a_box_on_oblong_pixels_outline_what_they_point_at(make: Make, aspect: float) -> None:
    width, height = round(640 / aspect), 480
    y, x = np.mgrid[0:height, 0:width] + 0.5
    inside = np.hypot((x * aspect) - CENTRE[0], y - CENTRE[1]) < RADIUS
    pixels = np.repeat(np.where(inside, 20, 200).astype(np.uint8)[:, :, None], 3, axis=2)
    model, oblong = make(), make_frame(pixels, "clip.mp4", 7, 0.25, pixel_aspect=aspect)
    box = ((CENTRE[0] - 70) / aspect, CENTRE[1] - 70, (CENTRE[0] + 70) / aspect, CENTRE[1] + 70)
    for prompt in (at_point((CENTRE[0] / aspect, CENTRE[1])), in_box(box)):
        found = model.outline(model.embed(oblong), prompt).instance
        assert found is not None
        whole = full_mask(found, (width, height))
        assert np.count_nonzero(whole & inside) / np.count_nonzero(whole | inside) > 0.9


def test_an_embedding_is_not_kept_for_another_shape_of_pixel(make: Make, frame: Frame) -> None:
    model = make()
    first = model.embed(frame)
    assert model.embedding(frame.with_geometry(ImageGeometry(pixel_aspect=2.0))) is None
    assert model.embedding(frame.with_geometry(ImageGeometry())).values is first.values
