"""What an action is: a record. Menus, buttons, the key map and the tests are built from the records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Needs(StrEnum):
    """What must be there for an action to make sense; without it the action is greyed."""

    NOTHING = "nothing"
    SOURCE = "source"
    FRAME = "frame"
    LIVE = "live"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Action:
    """One command of the window.

    ``run`` gets the main window. ``key`` is the key as Qt writes it ("Ctrl+Z"), changeable by the user. ``checked``
    says whether a switch is on; None for what is no switch. ``released`` makes it a command that lasts while its key
    is held. ``shown`` does it with what was on the screen when the key was pressed (``desk.OnScreen``).
    ``holds_still``: a live picture is frozen first.
    """

    id: str
    text: str
    tooltip: str
    run: Callable[[Any], None]
    key: str = ""
    icon: str = ""
    needs: Needs = Needs.NOTHING
    group: str = "View"
    checked: Callable[[Any], bool] | None = None
    released: Callable[[Any], None] | None = None
    shown: Callable[[Any, Any], None] | None = None
    holds_still: bool = False
