"""The state of the window: how its workers end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from usviewer.settings import Settings
from usviewer.view.app_state import AppState


def test_every_worker_is_asked_to_end_before_any_is_waited_for(themed: Any, tmp_path: Path) -> None:
    app_state = AppState(Settings(), tmp_path / "settings.json")
    others = (app_state.loads, app_state._engines)
    were_asked: list[bool] = []
    app_state.jobs.submit(lambda: were_asked.append(all(each._executor._stopping.wait(1.0) for each in others)))
    assert app_state.close()
    assert were_asked == [True]
