"""A case through the program, and where its golden files lie."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from unittest import mock

from tests.golden import outputs, replay
from tests.golden.cases import AnalyzeCase, export_pointed
from usviewer.__main__ import main

HERE = Path(__file__).parent
EXPECTED, ANSWERS, MAKERS = HERE / "expected", HERE / "answers", HERE / "makers.json"


def answers_file(name: str) -> Path:
    """What the network said in a case."""
    return ANSWERS / f"{name}.json"


def analyzed(case: AnalyzeCase, folder: Path, *more: str) -> dict[str, str]:
    """Run ``usviewer analyze`` in an empty folder; gives its results as texts. Who replays the network, says so."""
    given = folder / "given"
    given.mkdir(parents=True)
    out = folder / "out"
    said = io.StringIO()
    with redirect_stderr(said):
        code = main(["analyze", case.make(given), "--model", case.model, *case.options, "--out", str(out), *more])
    assert code == 0, said.getvalue()
    return outputs.texts_of(out, said.getvalue(), real=case.needs is not None)


def replayed(case: AnalyzeCase, folder: Path) -> dict[str, str]:
    """The case with the network's kept answers."""
    with replay.replaying(answers_file(case.name)):
        return analyzed(case, folder)


def pointed(folder: Path) -> dict[str, str]:
    """What is written of a structure that was pointed at."""
    return outputs.texts_of(export_pointed(folder))


def golden_texts(name: str) -> dict[str, str]:
    """The kept results of a case."""
    folder = EXPECTED / name
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())}


def same_makers(*, rendered: bool = False) -> bool:
    """Whether all that decodes and draws here is what the golden files were recorded with.

    Of pixels that are ``rendered`` here the processor is one of the makers.
    """
    recorded: dict[str, str] = json.loads(MAKERS.read_text(encoding="utf-8"))
    here = outputs.makers()
    return all(here.get(name) == value for name, value in recorded.items() if rendered or name != "processor")


@contextmanager
def own_folders(folder: Path) -> Iterator[None]:
    """As ``tests/conftest.py`` does it for tests: nobody's own models or settings, and the processor as the engine."""
    names = ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_PICTURES_DIR")
    with mock.patch.dict(os.environ, {name: str(folder / name.lower()) for name in names} | {"USVIEWER_ENGINE": "cpu"}):
        yield
