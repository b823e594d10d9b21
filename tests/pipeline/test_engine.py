"""A loaded model as the runs use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.tiny_models import add_dark_finder
from usviewer.acquire import open_source
from usviewer.errors import UserError
from usviewer.pipeline.engine import load_engine


def test_an_engine_says_what_it_is_and_reads(tmp_path: Path) -> None:
    engine = load_engine(add_dark_finder(tmp_path / "m"), "cpu", 1)
    assert (engine.model_id, engine.finding, engine.labels) == ("dark", "aorta", ("aorta",))
    assert len(engine.sha256) == 64
    assert engine.requested == "cpu" and "CPU" in engine.running
    with open_source("phantom:?width=320&height=240&frames=2") as source:
        frame = source.seek(0)
    reading = engine.read(engine.predict(frame), frame.geometry)
    assert reading.key == frame.key and reading.model_sha256 == engine.sha256


def test_a_fresh_engine_shares_the_model_but_not_the_state(tmp_path: Path) -> None:
    engine = load_engine(add_dark_finder(tmp_path / "m"), "cpu", 1)
    other = engine.fresh()
    assert (other.sha256, other.running) == (engine.sha256, engine.running)
    assert other.predict is not engine.predict, "what was there a moment ago belongs to one run"
    assert other.read is not engine.read


def test_a_model_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(UserError, match="no model 'nothing'"):
        load_engine("nothing")
