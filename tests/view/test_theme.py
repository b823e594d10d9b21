"""The look of the window: every icon that is asked for is there."""

from __future__ import annotations

from typing import Any

import pytest

from usviewer.view.actions import ACTIONS
from usviewer.view.theme import icon


def test_every_action_has_the_icon_that_it_names(themed: Any) -> None:
    for action in ACTIONS.values():
        assert icon(action.icon).isNull() == (not action.icon), action.id


def test_an_icon_that_is_not_there_is_an_error_and_not_an_empty_button(themed: Any) -> None:
    with pytest.raises(FileNotFoundError, match=r"nonsense\.svg"):
        icon("nonsense")
