from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import onnx_graphs
from usviewer.__main__ import main
from usviewer.infer import registry


@pytest.fixture
def export(tmp_path: Path) -> Path:
    path = tmp_path / "vessel.onnx"
    onnx_graphs.yolov8n(path, segment=False, height=384, names=["aorta [a1]"])
    return path


def test_a_model_comes_is_seen_and_goes(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "add", str(export), "--id", "mine"]) == 0
    said = capsys.readouterr().out
    assert "Added 'mine': detect, aorta [a1]" in said and "recorded from the file itself" in said
    assert main(["models", "list"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("mine ")]
    assert row.split()[1:4] == ["other", "detect", "boxes"] and " yours " in row
    assert main(["models", "show", "mine"]) == 0
    shown = capsys.readouterr().out
    for fact in ("640 x 384 px, rgb", "AGPL-3.0", registry.load_spec("mine").sha256, "aorta [a1]", "recorded from"):
        assert fact in shown
    assert main(["models", "verify", "mine"]) == 0
    assert "mine: good" in capsys.readouterr().out
    assert main(["models", "remove", "mine"]) == 0
    assert main(["models", "show", "mine"]) == 2


def test_verify_tries_every_model(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        assert main(["models", "add", str(export), "--id", name]) == 0
    (registry.user_folder() / "one" / "model.onnx").write_bytes(export.read_bytes() + b"\0")
    (registry.user_folder() / "half").mkdir()
    (registry.user_folder() / "half" / "manifest.toml").write_text("schema = 1\n")
    capsys.readouterr()
    assert main(["models", "verify"]) == 2
    said = capsys.readouterr().out
    assert "one: model.onnx of model 'one' is not the file" in said
    assert "two: good" in said and "half: id is missing" in said
    assert main(["models", "verify", "one"]) == 2
    assert "another sha256" in capsys.readouterr().err


def _pose(path: Path) -> None:
    onnx_graphs.yolov8n(path, task="pose")


def _text(path: Path) -> None:
    path.write_text("this is no model")


def _nothing(path: Path) -> None:
    path.unlink(missing_ok=True)


def _unet(path: Path) -> None:
    onnx_graphs.unet(path)


@pytest.mark.parametrize(
    ("make", "says"),
    [(_pose, "'pose'"), (_text, "not an ONNX model"), (_nothing, "There is no file"), (_unet, "manifest.toml")],
)
def test_bad_files_give_one_sentence_and_leave_nothing(  # type: ignore[no-untyped-def]
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make, says: str
) -> None:
    path = tmp_path / "file.onnx"
    make(path)
    assert main(["models", "add", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and says in captured.err
    assert not registry.user_folder().exists() or not list(registry.user_folder().iterdir())


@pytest.mark.parametrize("name", ["a" * 300, "a" * 300 + ".onnx", "a" * 300 + "/model.onnx"])
def test_a_name_that_is_too_long_is_one_sentence(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "add", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "There is no file" in said
    assert not registry.user_folder().exists()


def test_a_checkpoint_with_a_name_that_is_too_long_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "convert-sam", str(tmp_path / ("a" * 300)), "--kind", "sam"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("words", [["models"], ["models", "add"], ["models", "burn"], ["models", "remove", "nothing"]])
def test_wrong_words_give_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_bundled_models_are_good(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is bundled loads, fits its manifest and reproduces its golden case."""
    assert main(["models", "verify"]) == 0, capsys.readouterr().out


def test_models_needs_no_window(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PySide6", "pyqtgraph"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["models", "add", str(export)]) == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from usviewer.infer import onnx_file, registry
def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "adding":
    onnx_file.check_hashes = die
    registry.add_model(Path(sys.argv[2]), "mine")
else:
    registry.shutil.rmtree = die
    registry.remove_model("mine")
"""


@pytest.mark.skipif(os.name == "nt", reason="a process is killed in another way there")
@pytest.mark.parametrize("kind", ["adding", "removing"])
def test_what_a_killed_command_left_goes_with_the_next(export: Path, kind: str) -> None:
    if kind == "removing":
        registry.add_model(export, "mine")
    killed = subprocess.run([sys.executable, "-c", KILLED, kind, str(export)], check=False)
    assert killed.returncode == -9
    (left,) = registry.user_folder().iterdir()
    assert left.name.startswith(f".{kind}-") and list(left.rglob("*.onnx"))
    assert main(["models", "list"]) == 0
    assert not list(registry.user_folder().iterdir())


@pytest.mark.parametrize("environment", [{"LANG": "C"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "tr_TR.ISO-8859-9"}])
def test_names_that_the_output_cannot_write_are_shown_with_escapes(tmp_path: Path, environment: dict[str, str]) -> None:
    path = tmp_path / "far.onnx"
    onnx_graphs.yolov8n(
        path, segment=False, height=192, width=192, names=["\uc8fc\ub3d9\ub9e5 \u2013 \u0410\u043e\u0440\u0442\u0430"]
    )
    registry.add_model(path)
    for words in (["list"], ["show", "far"]):
        ended = subprocess.run(
            [sys.executable, "-X", "utf8=0", "-m", "usviewer", "models", *words],
            env={**os.environ, "PYTHONCOERCECLOCALE": "0", **environment},
            capture_output=True,
        )
        assert ended.returncode == 0, ended.stderr
        assert b"far" in ended.stdout
