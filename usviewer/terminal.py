"""What is printed in a terminal or a pipe: plain text, whatever stands in it."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console  # noqa: TID251  # the one place
from rich.text import Text

from usviewer.plain_text import printable


class Terminal(Console):
    """What a command prints. Names of files, models and devices stand in it, so that no text is markup or a control."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """As ``rich`` does it, for lines and the cells of tables alike; what is not a letter shows as an escape."""
        return super().render_str(printable(text), **options)


def results() -> Terminal:
    """Give where the results themselves go, for a person or another program to read."""
    return _unbroken(Terminal(), 200)


def console() -> Terminal:
    """Give where a command talks to the user."""
    return _unbroken(Terminal(stderr=True), 240)


def _unbroken(terminal: Terminal, width: int) -> Terminal:
    if not terminal.is_terminal:  # rich breaks lines in a pipe or file at 80 columns, even inside a path
        terminal.width = width
    return terminal


def complain(text: str) -> None:
    """One sentence on the error stream, without any control character."""
    print(f"usviewer: {printable(text)}", file=sys.stderr)
