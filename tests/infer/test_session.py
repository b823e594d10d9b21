from __future__ import annotations

import numpy as np
import pytest

from tests.infer.pictures import SpecFactory, cloudy
from usviewer.errors import UserError
from usviewer.infer.preprocess import prepare
from usviewer.infer.session import ENGINES, open_session, usable_cores


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


@pytest.mark.parametrize("engine", sorted(set(ENGINES) - {"openvino"}))
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
