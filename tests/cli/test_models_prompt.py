from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.prompt_graphs import prompt_model
from usviewer.__main__ import main
from usviewer.infer import registry


@pytest.fixture
def installed(tmp_path: Path) -> str:
    prompt_model(tmp_path / "made", "my-prompt")
    return registry.add_model(tmp_path / "made").id


def test_a_prompt_model_is_listed_shown_and_verified(installed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if installed in line)
    assert "prompt" in line and "not stated" in line and "yours" in line
    assert main(["models", "verify", installed]) == 0
    assert "good (golden case recorded from the file itself)" in capsys.readouterr().out
    assert main(["models", "show", installed]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "prompt (sam): points, excluded points and a box, refined by its own mask" in shown
    assert "encoder.onnx" in shown and "decoder.onnx" in shown


def test_a_changed_decoder_fails_the_check(installed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with registry.load_spec(installed).files["decoder"].path.open("ab") as file:
        file.write(b"x")
    assert main(["models", "verify", installed]) != 0
    said = capsys.readouterr()
    assert "decoder.onnx" in said.out + said.err and "sha256" in said.out + said.err


def test_it_has_no_int8_variant_and_analyses_nothing(
    installed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "quantize", installed]) != 0
    assert "no int8 variant" in capsys.readouterr().err
    code = main(
        ["analyze", "phantom:?frames=2&width=320&height=240", "--model", installed, "--out", str(tmp_path / "o")]
    )
    assert code != 0
    assert "only outlines what it is pointed at" in " ".join(capsys.readouterr().err.split())


def test_a_checkpoint_that_is_not_there_is_said_in_a_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["models", "convert-sam", str(tmp_path / "no.pth"), "--kind", "sam"]) != 0
    error = capsys.readouterr().err
    assert ("There is no file" in error or "needs PyTorch" in error) and "Traceback" not in error
