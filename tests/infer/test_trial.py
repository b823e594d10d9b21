"""What a model can do to the program that loads it: nothing, because a process of its own tries it first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import tomli_w

from tests.helpers import loop_graphs, onnx_graphs
from tests.helpers.pictures import SpecFactory
from usviewer.errors import UserError
from usviewer.infer import registry, trial
from usviewer.infer.manifest import ModelSpec, read_manifest
from usviewer.infer.predictor import Predictor

Make = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Make:
    """A model's folder around a graph of ``tests.helpers.loop_graphs``."""

    def make(write: Callable[..., None], name: str = "odd", **arguments: Any) -> Path:
        made = tmp_path / name
        made.mkdir()
        write(made / "model.onnx", **arguments)
        sides = {"width": loop_graphs.SIDE, "height": loop_graphs.SIDE}
        manifest = onnx_graphs.unet_manifest(made / "model.onnx", name, activation="none", **sides)
        (made / "manifest.toml").write_text(tomli_w.dumps(manifest))
        return made

    return make


@pytest.fixture(autouse=True)
def _no_child_stays() -> Iterator[None]:
    yield
    assert not [child for child in psutil.Process().children() if "usviewer.infer.trying" in child.cmdline()]


def installed(source: Path) -> ModelSpec:
    """A folder among the user's models, as somebody unpacked it there."""
    target = registry.user_folder() / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
    return registry.load_spec(source.name)


def nothing_is_left() -> bool:
    return not registry.user_folder().exists() or not list(registry.user_folder().iterdir())


def test_a_loop_without_end_is_ended_at_the_deadline(folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "DEADLINE_S", 1.0)
    with pytest.raises(UserError, match="not finished one picture after 1 s"):
        registry.add_model(folder(loop_graphs.endless))
    assert nothing_is_left()


def test_every_way_to_load_such_a_model_tries_it_first(folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "DEADLINE_S", 0.2)
    spec = installed(folder(loop_graphs.endless))
    for load in (lambda: registry.verify_model(spec.id), lambda: Predictor(spec), lambda: Predictor(spec, "cpu")):
        with pytest.raises(UserError, match="not finished"):
            load()


def test_a_graph_that_takes_all_memory_is_ended(folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MEMORY_BYTES", 700_000_000)
    with pytest.raises(UserError, match=r"takes more than 0\.[57] GB"):
        registry.add_model(folder(loop_graphs.greedy, gigabytes=2))
    assert nothing_is_left()


def while_trying(spec: ModelSpec, act: Callable[[subprocess.Popen[bytes]], None]) -> str:
    """What a trial says during which something happens to its child."""
    said: list[str] = []

    def work() -> None:
        try:
            trial.run(spec)
        except UserError as error:
            said.append(str(error))
        except Exception as error:  # so that the test says what it was
            said.append(repr(error))

    thread = threading.Thread(target=work)
    thread.start()
    while not trial._running:
        time.sleep(0.01)
    (child,) = tuple(trial._running)
    act(child)
    thread.join(20)
    assert not thread.is_alive()
    return said[0]


def test_a_fault_of_the_engine_is_one_sentence(folder: Make) -> None:
    spec = read_manifest(folder(loop_graphs.endless))
    said = while_trying(spec, lambda child: os.kill(child.pid, signal.SIGSEGV))
    assert said == "Loading the model 'odd' ended the engine with a fault (signal 11). Use another model."


def test_a_trial_is_stopped_from_another_thread(folder: Make) -> None:
    """As the window does when it is closed."""
    spec = read_manifest(folder(loop_graphs.endless))
    trial.stop("another")
    assert "was stopped" in while_trying(spec, lambda _: trial.stop())
    assert "was stopped" in while_trying(spec, lambda _: trial.stop("odd"))
    assert "was stopped" in while_trying(spec, lambda child: os.kill(child.pid, signal.SIGINT))


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT for one process")
@pytest.mark.parametrize("after_s", [0.006, 0.010, 0.012, 0.014, 0.016, 0.018, 0.020, 0.024])
def test_ctrl_c_while_the_child_starts_is_no_fault(folder: Make, after_s: float) -> None:
    """Python that is interrupted while it starts ends with code 1, as after a fault."""
    spec = read_manifest(folder(loop_graphs.endless))

    def soon(child: subprocess.Popen[bytes]) -> None:
        time.sleep(after_s)  # moments of the start: any of them may be the one
        child.send_signal(signal.SIGINT)

    assert "was stopped" in while_trying(spec, soon)


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT for one process")
@pytest.mark.parametrize(
    "words", ["models add {folder}", "models verify odd", "analyze phantom: --model odd --out {out}"]
)
def test_ctrl_c_ends_the_command_and_its_child(folder: Make, tmp_path: Path, words: str) -> None:
    source = folder(loop_graphs.endless)
    if "add" not in words:
        installed(source)
    arguments = words.format(folder=source, out=tmp_path / "out").split()
    command = subprocess.Popen(
        [sys.executable, "-m", "usviewer", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    seen = psutil.Process(command.pid)
    while not (children := seen.children()):
        assert command.poll() is None
        time.sleep(0.02)
    command.send_signal(signal.SIGINT)
    _, said = command.communicate(timeout=20)
    assert command.returncode == 130 and "stopped" in said and "Traceback" not in said
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    if "add" in words:
        assert nothing_is_left()


def test_what_went_well_is_remembered_for_exactly_this_model(
    unet: SpecFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = registry.add_model(unet({"blob": True}, "disc").folder)
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", None)
        Predictor(spec, "cpu")
        with pytest.raises(TypeError):
            registry.verify_model("disc")  # asked for: tried anew
        patch.setattr(trial.session, "versions", lambda: {"onnxruntime": "99"})
        with pytest.raises(TypeError):
            Predictor(spec, "cpu")
    manifest = spec.folder / "manifest.toml"
    manifest.write_text(manifest.read_text().replace('crop = "whole"', 'crop = "whole"\npad_value = 9'))
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", None)
        with pytest.raises(TypeError):
            Predictor(registry.load_spec("disc"), "cpu")


def test_what_came_with_the_program_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    assert not trial.needed(registry.load_spec("aorta"))
    assert registry.verify_model("aorta").bundled


def test_what_is_wrong_in_the_child_is_said_and_an_error_of_our_own_stays_visible(folder: Make) -> None:
    spec = read_manifest(folder(loop_graphs.endless))
    (spec.folder / "manifest.toml").write_bytes(b"\xff")
    with pytest.raises(UserError, match="is not valid TOML"):
        trial.run(spec)
    with pytest.raises(RuntimeError, match="KeyError: 'npu'"):
        trial._judge(0, b'{"bug": "KeyError: \'npu\'"}', False, spec)


def test_a_loop_is_never_left_to_an_engine_that_cannot_be_stopped_in_it(folder: Make) -> None:
    spec = read_manifest(folder(loop_graphs.endless, brighter_than=2.0))
    loaded = Predictor(spec, "openvino", check_golden=False)
    assert loaded.session.actual == "cpu" and "has a loop" in loaded.notice
