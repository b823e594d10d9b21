from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import loop_graphs, onnx_graphs
from tests.helpers.pictures import SpecFactory, cloudy
from usviewer.errors import UserError
from usviewer.frame import make_frame
from usviewer.infer.manifest import parse_manifest
from usviewer.infer.predictor import Predictor
from usviewer.infer.preprocess import bytes_alone, prepare
from usviewer.infer.session import (
    ENGINES,
    KINDS,
    RunStopped,
    engine_threads,
    name_of,
    open_call,
    open_session,
    ort,
    usable_cores,
    usable_engines,
    vino,
)


def test_openvino_agrees_with_onnx_runtime(yolo: SpecFactory) -> None:
    pytest.importorskip("openvino")
    spec = yolo(height=384)
    tensor, _ = prepare(cloudy(640, 360), spec.input)
    ours = open_session(spec, "cpu", threads=1).run(tensor)
    session = open_session(spec, "openvino", threads=1)
    assert (session.requested, session.actual, session.notice) == ("openvino", "openvino", "")
    for a, b in zip(ours, session.run(tensor), strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).mean() / a.std() < 1e-3


@pytest.mark.parametrize("engine", sorted(engine for engine in ENGINES if not engine.startswith("openvino")))
def test_what_runs_is_said_and_nothing_is_printed(
    unet: SpecFactory, engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    session = open_session(unet(), engine, threads=1)
    assert session.requested == engine
    if session.actual != engine and engine != "auto":
        assert session.actual in ("cpu", "cuda")
        assert session.notice.endswith("running on the CPU.") and "was asked for, but" in session.notice
    else:
        assert session.notice == ""
    assert "ONNX Runtime" in session.describe()
    (output,) = session.run(np.zeros((1, 1, 96, 128), np.float32))
    assert output.shape == (1, 1, 96, 128)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_openvino_that_is_not_installed_is_said(unet: SpecFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    session = open_session(unet(), "openvino")
    assert (session.requested, session.actual) == ("openvino", "cpu")
    assert session.notice == "OpenVINO was asked for, but it is not installed: running on the CPU."


def test_an_unknown_engine_is_refused(unet: SpecFactory) -> None:
    with pytest.raises(UserError, match="no engine 'npu'"):
        open_session(unet(), "npu")


@pytest.mark.parametrize("engine", ["cpu", "openvino"])
def test_a_graph_that_cannot_be_loaded_is_refused(unet: SpecFactory, engine: str) -> None:
    spec = unet()
    spec.path.write_bytes(b"no model at all")
    with pytest.raises(UserError, match=r"cannot (be )?load"):
        open_session(spec, engine)


@pytest.mark.parametrize("engine", ["cpu", "openvino"])
def test_an_error_while_running_is_one_sentence(unet: SpecFactory, engine: str) -> None:
    with pytest.raises(UserError, match="The engine stopped") as error:
        open_session(unet(), engine, threads=1).run(np.zeros((1, 3, 5, 5), np.float32))
    assert "\n" not in str(error.value)


def test_threads() -> None:
    assert usable_cores() >= 1


def test_outputs_live_in_buffers_that_are_kept(unet: SpecFactory) -> None:
    session = open_session(unet({"blob": True}), "cpu", threads=1)
    rng = np.random.default_rng(0)
    fresh = open_session(unet({"blob": True}, "other"), "cpu", threads=1)
    tensor = np.empty((1, 1, 96, 128), np.float32)
    addresses = set()
    for _ in range(4):
        tensor[...] = rng.random(tensor.shape)
        (output,) = session.run(tensor)
        addresses.add(output.ctypes.data)
        (expected,) = fresh._run(tensor.copy())
        np.testing.assert_allclose(output, expected, rtol=1e-5)
    assert len(addresses) == 1


def test_a_tensor_elsewhere_in_memory_is_seen(unet: SpecFactory) -> None:
    session = open_session(unet({"blob": True}), "cpu", threads=1)
    dark, bright = np.zeros((1, 1, 96, 128), np.float32), np.ones((1, 1, 96, 128), np.float32)
    for tensor in (dark, bright, dark, np.ascontiguousarray(bright[:, :, ::-1])[:, :, ::-1]):
        (output,) = session.run(tensor)
        assert (output[0, 0, 40, 40] > 0) == (tensor[0, 0, 40, 40] == 0)


@pytest.mark.parametrize("engine", ["cpu", "openvino"])
def test_shapes_may_change_and_come_back(unet: SpecFactory, engine: str) -> None:
    spec = unet({"blob": True, "height": None, "width": None}, width=0, height=0, side=128, stride=32)
    session = open_session(spec, engine, threads=1)
    for height in (96, 128, 64, 32, 96, 128):
        (output,) = session.run(np.zeros((1, 1, height, 128), np.float32))
        assert output.shape == (1, 1, height, 128) and output[0, 0, 5, 5] == pytest.approx(8.0)


def test_engines_that_cannot_be_tried_say_why(unet: SpecFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_session(unet(), "cpu-int8")
    assert session.actual == "cpu" and "usviewer models quantize unet" in session.notice
    monkeypatch.setattr(vino, "has_bf16", lambda: False)
    refused = open_session(unet(name="second"), "openvino-bf16")
    assert refused.actual == "cpu" and "this processor has no bf16" in refused.notice


def test_threads_leave_a_core_to_the_window() -> None:
    assert engine_threads(live=False) == usable_cores()
    assert engine_threads(live=True) == max(1, usable_cores() - 1)


def test_every_engine_has_a_name_and_the_cpu_is_always_there(unet: SpecFactory) -> None:
    assert ENGINES == ("auto", *KINDS)
    assert usable_engines(unet())[0] == "cpu"
    assert all(name_of(engine) for engine in KINDS)


def test_an_engine_is_asked_for_only_where_the_installation_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no GPU here: what it would be asked for, as far as the wheel allows to look."""
    monkeypatch.setattr(ort, "installed", lambda: ("CUDAExecutionProvider", "CPUExecutionProvider"))
    ((provider, options),) = ort._providers("cuda")
    assert provider == "CUDAExecutionProvider" and options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert ort._providers("auto") == ort._providers("cuda")
    assert ort._providers("coreml") == ort._providers("cpu") == ort._providers("cpu-int8") == []
    assert ort._actual("cuda", "CUDAExecutionProvider") == "cuda"
    assert ort._actual("auto", "CPUExecutionProvider") == "cpu"


def test_pip_libraries_of_cuda_are_preloaded_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[bool] = []

    class Library:
        @staticmethod
        def preload_dlls() -> None:
            called.append(True)
            print("Failed to load libcudnn")

    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    ort._preload(Library)
    assert called == [True] and capsys.readouterr().out == ""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    ort._preload(Library)
    assert called == [True]


ODD_INPUTS = {
    "grey": {},
    "bgr with mean and std": {
        "channels": 3, "channel_order": "bgr", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]
    },
    "rgb from -1 to 1": {"channels": 3, "channel_order": "rgb", "value_range": [-1, 1]},
    "channels last": {"channels": 3, "channel_order": "bgr", "layout": "NHWC", "value_range": [0, 255]},
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD_INPUTS)
def test_bytes_say_the_same_as_the_finished_input(unet: SpecFactory, odd: str) -> None:
    pytest.importorskip("openvino")
    changes = ODD_INPUTS[odd]
    graph = {key: changes[key] for key in ("channels", "layout") if key in changes}
    spec = unet(graph, **changes)
    session = open_session(spec, "openvino", threads=1)
    assert session.takes_bytes and not open_session(spec, "cpu", threads=1).takes_bytes
    picture = cloudy(300, 200)
    (wanted,) = (output.copy() for output in session.run(prepare(picture, spec.input)[0]))
    tensor, placement = prepare(picture, bytes_alone(spec.input))
    assert tensor.dtype == np.uint8 and tensor.shape == (1, 96, 128, spec.input.channels)
    assert placement == prepare(picture, spec.input)[1]
    (found,) = session.run(tensor)
    assert np.abs(found - wanted).max() <= 2e-5 * np.abs(wanted).max() and wanted.std() > 0


def _ended(run: Callable[[], object], cancel: Callable[[], None]) -> list[BaseException]:
    """What a run raises that is ended from this thread, which asks until it has ended."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            run()
        except UserError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until = time.monotonic() + 20
    while thread.is_alive() and time.monotonic() < until:
        thread.join(0.05)
        cancel()
    assert not thread.is_alive()
    return raised


def test_a_run_without_end_is_ended_from_another_thread_and_the_next_one_works(tmp_path: Path) -> None:
    loop_graphs.endless(tmp_path / "model.onnx", brighter_than=0.5)
    sides = {"width": loop_graphs.SIDE, "height": loop_graphs.SIDE}
    manifest = onnx_graphs.unet_manifest(tmp_path / "model.onnx", activation="none", **sides)
    predictor = Predictor(parse_manifest(manifest, tmp_path), "cpu", 1, check_golden=False)
    bright, dark = (make_frame(np.full((64, 64, 3), level, np.uint8), "x", 0) for level in (250, 20))
    predictor.cancel()  # nothing runs: nothing happens
    for _ in range(2):
        assert predictor.predict(dark).instances == ()
        (error,) = _ended(lambda: predictor.predict(bright), predictor.cancel)
        assert isinstance(error, RunStopped)
    assert predictor.predict(dark).instances == ()


def test_the_decoder_of_a_prompt_model_is_ended_alike(tmp_path: Path) -> None:
    loop_graphs.endless(tmp_path / "decoder.onnx", brighter_than=0.5)
    call = open_call(tmp_path / "decoder.onnx", ["map"], 1)
    bright, dark = (np.full((1, 1, 64, 64), level, np.float32) for level in (0.9, 0.1))
    (error,) = _ended(lambda: call({"image": bright}), call.cancel)
    assert isinstance(error, RunStopped) and call({"image": dark})[0].mean() == pytest.approx(0.1)


def test_cancelling_where_nothing_runs_harms_no_engine(unet: SpecFactory) -> None:
    spec = unet({"blob": True})
    tensor = np.zeros((1, 96, 128, 1), np.uint8)
    opened = open_session(spec, "openvino", 1)
    before = opened.run(tensor)[0].copy()
    opened.cancel()
    assert np.array_equal(opened.run(tensor)[0], before)
