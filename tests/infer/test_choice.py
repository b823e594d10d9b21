from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.pictures import SpecFactory, disc_picture
from usviewer.errors import UserError
from usviewer.frame import Frame, make_frame
from usviewer.infer import choice, parity, predictor, registry, runner, session
from usviewer.infer.manifest import ModelSpec, read_manifest
from usviewer.infer.parity import Deviation
from usviewer.infer.predictor import Predictor
from usviewer.infer.preprocess import Placement, Tensor
from usviewer.infer.session import KINDS, ort, usable_engines
from usviewer.infer.session.base import Session

Run = Callable[[Tensor], tuple[np.ndarray, ...]]


@pytest.fixture(autouse=True)
def _free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(choice.ENGINE_VARIABLE)


@pytest.fixture
def spec(unet: SpecFactory) -> ModelSpec:
    return unet({"blob": True})


def discs() -> tuple[Frame, ...]:
    return tuple(make_frame(disc_picture(256, 192, (120 + 3 * i, 90), 40), "x", i) for i in range(3))


def choose(spec: ModelSpec, **options: object) -> choice.EngineChoice:
    options = {"frames": discs, "budget_s": 3.0, **options}
    return choice.choose_engine(spec, 1, **options)  # type: ignore[arg-type]


def test_every_engine_that_is_here_is_checked_and_timed(spec: ModelSpec) -> None:
    made = choose(spec)
    assert {trial.engine for trial in made.trials} == set(usable_engines(spec)) >= {"cpu", "openvino"}
    for engine in ("cpu", "openvino"):
        trial = made.trial(engine)
        assert trial is not None and trial.passed and 0 < trial.p50_ms <= trial.p95_ms
        assert trial.deviation.compared == 3 and trial.deviation.iou > 0.999
    chosen = made.trial(made.engine)
    assert chosen is not None and chosen.passed and made.notice == ""
    assert made.lines()[0].endswith("was chosen, 1 thread")


def test_a_choice_is_kept_for_the_same_file_and_threads_only(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    first = choose(spec)
    with monkeypatch.context() as patch:
        patch.setattr(choice, "open_session", None)
        assert choose(spec) == first
        with pytest.raises(TypeError):
            choice.choose_engine(spec, 2, frames=discs)
        other = replace(spec, files={"model": replace(spec.files["model"], sha256="0" * 64)})
        with pytest.raises(TypeError):
            choose(other)
        with pytest.raises(TypeError):
            choose(spec, again=True)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"engine": "npu"}', "null"])
def test_a_damaged_cache_is_made_anew(spec: ModelSpec, tmp_path: Path, content: str) -> None:
    choose(spec, engines=())
    (path,) = (tmp_path / "xdg_cache_home" / "usviewer" / "engines").iterdir()
    path.write_text(content)
    assert choose(spec, engines=()).engine == "cpu"
    assert json.loads(path.read_text())["engine"] == "cpu"


def test_an_unknown_engine_in_the_cache_is_not_believed(spec: ModelSpec, tmp_path: Path) -> None:
    choose(spec, engines=())
    (path,) = (tmp_path / "xdg_cache_home" / "usviewer" / "engines").iterdir()
    path.write_text(path.read_text().replace('"engine": "cpu"', '"engine": "npu"'))
    assert choose(spec, engines=()).engine == "cpu"


def test_without_a_mask_nothing_is_proved_and_the_cpu_runs(spec: ModelSpec, tmp_path: Path) -> None:
    white = make_frame(np.full((96, 128, 3), 255, np.uint8), "x", 0)
    made = choose(spec, frames=lambda: (white,))
    assert (made.engine, made.trials) == ("cpu", ())
    assert parity.NOTHING_FOUND in made.notice
    assert not (tmp_path / "xdg_cache_home").exists()


def test_an_engine_that_deviates_is_named_and_left_out(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO made to see the picture a little to the right: its masks are no longer the CPU's."""
    open_session = choice.open_session

    def shifted(asked: ModelSpec, engine: str, *rest: object, **named: object) -> Session:
        opened = open_session(asked, engine, *rest, **named)  # type: ignore[arg-type]
        if engine == "openvino":
            run = opened._run
            opened._run = lambda tensor: tuple(np.roll(output, 2, axis=-1) for output in run(tensor))
        return opened

    monkeypatch.setattr(choice, "open_session", shifted)
    made = choose(spec, engines=("openvino",))
    trial = made.trial("openvino")
    assert trial is not None and not trial.passed and trial.deviation.iou < 0.99
    assert made.engine == "cpu"
    assert any(line.startswith("OpenVINO: ") and line.endswith("left out") for line in made.lines())


def test_the_fastest_wins_and_lower_precision_must_be_worth_it() -> None:
    def trial(engine: str, p50_ms: float, deviation: Deviation | None = None) -> choice.EngineTrial:
        return choice.EngineTrial(engine, deviation or Deviation(3, 0.999), p50_ms, p50_ms, 6)

    slow, fast = trial("cpu", 50), trial("openvino", 40)
    assert choice._best((slow, fast)) == "openvino"
    assert choice._best((slow, fast, trial("openvino-bf16", 39))) == "openvino"
    assert choice._best((slow, fast, trial("openvino-bf16", 16))) == "openvino-bf16"
    assert choice._best((slow, fast, trial("openvino-bf16", 16, Deviation(3, 0.98)))) == "openvino"
    assert choice._best((replace(slow, problem="broken"),)) == "cpu"


def test_time_that_is_over_leaves_engines_out_but_never_the_cpu(spec: ModelSpec, tmp_path: Path) -> None:
    made = choose(spec, budget_s=0.0)
    assert made.engine == "cpu" and not (tmp_path / "xdg_cache_home").exists()
    assert {trial.engine for trial in made.trials if trial.problem} == set(usable_engines(spec)) - {"cpu"}


def test_the_aspect_ratio_is_kept_only_if_it_agrees(unet: SpecFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = {"blob": True, "height": None, "width": None}
    spec = unet(graph, width=0, height=0, side=256, stride=32)
    wide = tuple(make_frame(disc_picture(512, 256, (250, 120 + i), 60), "x", i) for i in range(2))
    shapes: list[tuple[int, ...]] = []
    prepare = runner.prepare

    def noting(*asked: object) -> tuple[Tensor, Placement]:
        tensor, placement = prepare(*asked)  # type: ignore[arg-type]
        shapes.append(tensor.shape)
        return tensor, placement

    monkeypatch.setattr(runner, "prepare", noting)
    made = choose(spec, frames=lambda: wide, engines=())
    assert made.rectangular and made.rectangle is not None and made.rectangle.iou > 0.99
    assert set(shapes) == {(1, 1, 256, 256), (1, 1, 128, 256)} and shapes[-1] == (1, 1, 128, 256)
    monkeypatch.setattr(parity, "MIN_IOU", 1.1)
    made = choose(spec, frames=lambda: wide, engines=(), again=True)
    assert not made.rectangular and shapes[-1] == (1, 1, 256, 256)
    assert made.lines()[-1].endswith("left out")
    predictor = Predictor(spec, "auto", 1, frames=lambda: wide)
    predictor.predict(wide[0])
    assert shapes[-1] == (1, 1, 256, 256)


def test_auto_takes_the_choice_and_says_what_runs(spec: ModelSpec) -> None:
    predictor = Predictor(spec, "auto", 1, frames=discs)
    assert predictor.choice is not None and predictor.session.actual == predictor.choice.engine
    assert (predictor.session.requested, predictor.notice) == ("auto", "")
    assert predictor.predict(discs()[0]).instances


def test_the_environment_overrides_auto(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.ENGINE_VARIABLE, "openvino")
    predictor = Predictor(spec, "auto", 1)
    assert (predictor.session.requested, predictor.session.actual, predictor.choice) == ("auto", "openvino", None)
    monkeypatch.setenv(choice.ENGINE_VARIABLE, "npu")
    with pytest.raises(UserError, match="no engine 'npu'"):
        Predictor(spec, "auto", 1)


def test_lower_precision_that_is_asked_for_must_pass(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    if "openvino-bf16" not in usable_engines(spec):
        pytest.skip("this processor has no bf16")
    asked = Predictor(spec, "openvino-bf16", 1, frames=discs)
    trial = asked.choice.trial("openvino-bf16") if asked.choice else None
    if asked.session.actual == "openvino-bf16":
        assert trial is not None and trial.deviation.passed and asked.notice == ""
    else:
        assert "not exact enough (overlap" in asked.notice
    monkeypatch.setattr(parity, "MIN_IOU", 1.1)
    strict = replace(spec, output=replace(spec.output, min_area_px=13.0))  # another key of the cache
    refused = Predictor(strict, "openvino-bf16", 1, frames=discs)
    assert refused.session.actual == "cpu"
    assert refused.notice.startswith("OpenVINO bf16 was asked for, but it is not exact enough (overlap")
    assert refused.notice.endswith("running on the CPU.")


def test_a_model_that_fails_its_golden_case_is_not_chosen_for(spec: ModelSpec) -> None:
    registry.record_golden(spec.folder)
    made = read_manifest(spec.folder)
    wrong = replace(made, input=replace(made.input, value_range=(0.0, 1.3)))
    with pytest.raises(UserError, match="golden case"):
        choose(wrong)


def _off(run: Run, by: int) -> Run:
    """Everything further right: the golden case notices, a circle's diameter does not."""
    return lambda tensor: tuple(np.roll(output, by, axis=-1) for output in run(tensor))


def test_the_golden_case_is_part_of_every_engines_trial(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that would be refused when the model is loaded is never chosen, however fast it is."""
    registry.record_golden(spec.folder)
    recorded = read_manifest(spec.folder)
    open_session = choice.open_session

    def shifted(asked: ModelSpec, engine: str, *rest: object, **named: object) -> Session:
        opened = open_session(asked, engine, *rest, **named)  # type: ignore[arg-type]
        if engine == "openvino":
            opened._run = _off(opened._run, 1)
        return opened

    monkeypatch.setattr(choice, "open_session", shifted)
    monkeypatch.setattr(parity, "MIN_IOU", 0.5)
    monkeypatch.setattr(parity, "MAX_DIAMETER_PX", 9.0)
    made = choose(recorded, engines=("openvino",))
    trial = made.trial("openvino")
    assert made.engine == "cpu" and trial is not None and "golden case" in trial.problem


def test_an_engine_that_stops_while_it_is_timed_is_left_out(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    open_session = choice.open_session

    def tiring(asked: ModelSpec, engine: str, *rest: object, **named: object) -> Session:
        opened = open_session(asked, engine, *rest, **named)  # type: ignore[arg-type]
        if engine == "openvino":
            run, left = opened._run, iter(range(5))

            def stops(tensor: Tensor) -> tuple[np.ndarray, ...]:
                next(left)
                return run(tensor)

            opened._run = stops
        return opened

    monkeypatch.setattr(choice, "open_session", tiring)
    made = choose(spec, engines=("openvino",))
    trial = made.trial("openvino")
    assert made.engine == "cpu" and trial is not None and trial.problem.startswith("The engine stopped")


@pytest.mark.parametrize("happens", ["fails its golden case", "does not load"])
def test_a_kept_choice_that_no_longer_holds_falls_back_to_the_cpu_and_says_why(
    spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, happens: str
) -> None:
    """A library that was exchanged under the same version, or a computer that lacks memory today."""
    registry.record_golden(spec.folder)
    recorded = read_manifest(spec.folder)
    trials = (choice.EngineTrial("openvino", Deviation(3, 1.0), 1.0, 1.0, 6),)
    kept = choice.EngineChoice("openvino", False, 1, trials)
    monkeypatch.setattr(choice, "_load", lambda _: kept)
    open_session = predictor.open_session

    def broken(asked: ModelSpec, engine: str, *rest: object, **named: object) -> Session:
        if engine == "openvino" and happens == "does not load":
            raise UserError("OpenVINO cannot load model.onnx: no memory")
        opened = open_session(asked, engine, *rest, **named)  # type: ignore[arg-type]
        if engine == "openvino":
            opened._run = _off(opened._run, 1)
        return opened

    monkeypatch.setattr(predictor, "open_session", broken)
    loaded = Predictor(recorded, "auto", 1)
    assert (loaded.session.requested, loaded.session.actual) == ("auto", "cpu")
    assert loaded.notice.startswith("OpenVINO was chosen, but is not used (") and loaded.predict(discs()[0]).instances
    assert loaded.choice is not None and loaded.choice.engine == "cpu" and not loaded.choice.rectangular
    with pytest.raises(UserError):  # what was asked for by name is not replaced
        Predictor(recorded, "openvino", 1)


def test_another_golden_case_decides_anew(spec: ModelSpec) -> None:
    registry.record_golden(spec.folder)
    first = choice._path(read_manifest(spec.folder), 1, False, ("cpu",))
    registry.record_golden(spec.folder, "somebody else")
    assert choice._path(read_manifest(spec.folder), 1, False, ("cpu",)) != first


def test_a_gpu_that_does_not_start_is_named_and_left_out(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel for GPUs names CUDA on every computer."""
    start = ort._start

    def without_gpu(library: object, path: object, options: object, _: object) -> object:
        return start(library, path, options, [])  # type: ignore[arg-type]

    monkeypatch.setattr(ort, "_start", without_gpu)
    monkeypatch.setattr(session, "usable_engines", lambda _: ("cpu", "cuda"))
    made = choose(spec)
    trial = made.trial("cuda")
    assert made.engine == "cpu"
    assert trial is not None and trial.problem == "it does not start on this computer"


def test_names_of_all_engines_differ() -> None:
    assert len({session.name_of(engine) for engine in KINDS}) == len(KINDS)
