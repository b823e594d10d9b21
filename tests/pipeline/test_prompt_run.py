"""The worker that outlines: newest wins, says how long a slow encoder takes, stops between two frames, ends cleanly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.fakes import FakeClip
from tests.helpers.prompt_graphs import recorded_prompt_model
from usviewer.errors import UserError
from usviewer.frame import Frame, make_frame
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.prompt import Embedding, at_point
from usviewer.infer.prompt.prompt_model import PromptModel
from usviewer.pipeline.annotations import ClipAccess
from usviewer.pipeline.prompt_messages import (
    OutlineRequest,
    OutlineResult,
    TrackEnded,
    TrackProgress,
    TrackRequest,
)
from usviewer.pipeline.prompt_run import Prompting


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    return recorded_prompt_model(tmp_path_factory.mktemp("models") / "test-prompt")


class SlowModel(PromptModel):
    """The real model; each frame's encoder waits until the test lets it go on."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec, threads=1, spinning=False)
        self.gate = threading.Event()
        self.encoded: list[int] = []

    def embed(self, frame: Frame) -> Embedding:
        assert self.gate.wait(30)
        self.encoded.append(frame.key.index)
        return super().embed(frame)


@pytest.fixture
def slow(spec: ModelSpec) -> Iterator[tuple[Prompting, SlowModel]]:
    model = SlowModel(spec)
    worker = Prompting(lambda: model)
    worker.start()
    yield worker, model
    model.gate.set()
    assert worker.stop()


def frame(index: int) -> Frame:
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    dark = np.hypot(x - 80, y - 60) < 25
    return make_frame(np.where(dark, 20, 180 + index).astype(np.uint8), "x", index)


def until(worker: Prompting, done: Callable[[list[Any]], bool], most_s: float = 30.0) -> list[Any]:
    events: list[Any] = []
    end_s = time.monotonic() + most_s
    while not done(events):
        assert time.monotonic() < end_s, events
        events += worker.poll()
        threading.Event().wait(0.002)
    return events


def ask(index: int) -> OutlineRequest:
    return OutlineRequest(frame(index), at_point((80.0, 60.0)), "cyst")


def test_a_slow_encoder_is_followed_by_the_clock_and_the_newest_click_wins(slow: tuple[Prompting, SlowModel]) -> None:
    worker, model = slow
    worker.show(frame(0))
    until(worker, lambda _: worker.state().encoding_s is not None)
    first = worker.state().encoding_s
    assert first is not None and worker.state().encoder_s is None
    until(worker, lambda _: (worker.state().encoding_s or 0.0) > first)
    worker.ask(ask(0))
    newest = ask(0)
    worker.ask(newest)
    model.gate.set()
    (answer,) = until(worker, lambda events: any(isinstance(event, OutlineResult) for event in events))
    assert answer.ask is newest
    assert answer.mark.reading.finding == "cyst" and answer.mark.reading.key == newest.frame.key
    state = worker.state()
    assert state.encoding_s is None and state.encoder_s is not None
    assert model.encoded == [0]  # shown and clicked on: one encoding


def test_following_is_stopped_between_two_frames_and_replaced(slow: tuple[Prompting, SlowModel]) -> None:
    worker, model = slow
    clip = ClipAccess(partial(FakeClip, 40), lambda each: each, 40)
    model.gate.set()
    worker.ask(OutlineRequest(FakeClip(40).seek(0), at_point((30.0, 24.0)), "cyst"))
    (answer,) = until(worker, lambda events: bool(events))
    first = answer.mark.instance
    assert first is not None
    model.gate.clear()
    follow = TrackRequest(clip, first, "cyst", (range(40),))
    worker.follow(follow)
    worker.cancel()
    assert worker.state().followed is None
    model.gate.set()
    events = until(worker, lambda events: any(isinstance(event, TrackEnded) for event in events))
    assert not [event for event in events if isinstance(event, TrackProgress)]
    worker.follow(TrackRequest(clip, first, "cyst", (range(3),)))
    events = until(worker, lambda events: any(isinstance(event, TrackEnded) for event in events))
    assert 1 <= len([event for event in events if isinstance(event, TrackProgress)]) <= 2


def test_a_clip_that_is_gone_is_said_in_one_sentence(slow: tuple[Prompting, SlowModel]) -> None:
    worker, model = slow
    model.gate.set()
    worker.ask(ask(0))
    (answer,) = until(worker, lambda events: bool(events))

    def gone() -> Any:
        raise UserError("clip.mp4 is gone", "Check that it is still there")

    worker.follow(TrackRequest(ClipAccess(gone, lambda each: each, 5), answer.mark.instance, "cyst", (range(5),)))
    events = until(worker, lambda events: any(isinstance(event, TrackEnded) for event in events))
    assert [event.what for event in events if isinstance(event, UserError)] == ["clip.mp4 is gone"]
    worker.ask(ask(1))  # and it goes on working
    until(worker, lambda events: any(isinstance(event, OutlineResult) for event in events))


def test_an_encoder_that_hangs_does_not_hold_the_end_up(spec: ModelSpec) -> None:
    model = SlowModel(spec)
    worker = Prompting(lambda: model)
    worker.start()
    worker.show(frame(0))
    until(worker, lambda _: worker.state().encoding_s is not None)
    assert not worker.stop(0.05)
    model.gate.set()
    assert worker.stop()


def test_a_model_that_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    def broken() -> PromptModel:
        raise UserError("The model is damaged", "Add it again")

    worker = Prompting(broken)
    worker.start()
    (problem,) = until(worker, lambda events: bool(events))
    assert isinstance(problem, UserError) and problem.what == "The model is damaged"
    assert not worker.state().loading
    assert worker.stop()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("bad allocation"), UserError("Values are not numbers")])
def test_a_frame_that_cannot_be_encoded_is_said_once_and_the_pointing_goes_on(
    slow: tuple[Prompting, SlowModel], error: Exception
) -> None:
    worker, model = slow
    model.gate.set()
    embed, tried = model.embed, []

    def fail(shown: Frame) -> Embedding:
        tried.append(shown)
        raise error

    model.embed = fail  # type: ignore[method-assign]
    worker.show(frame(0))
    (problem,) = until(worker, lambda events: bool(events))
    assert isinstance(problem, UserError)
    worker.ask(ask(0))  # asked for on purpose, it is tried again
    until(worker, lambda events: any(isinstance(event, UserError) for event in events))
    assert len(tried) == 2
    model.embed = embed  # type: ignore[method-assign]
    worker.ask(ask(0))
    until(worker, lambda events: any(isinstance(event, OutlineResult) for event in events))
    assert (worker.failure is not None) == isinstance(error, RuntimeError)
