"""How a measuring program starts and ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from usviewer.cli.command import EXIT_BAD_INPUT
from usviewer.errors import UserError
from usviewer.terminal import complain


def end_with(main: Callable[[Sequence[str]], int]) -> None:
    """Run ``main`` with the command line's words and leave with its exit code; 2, with one sentence, for bad input."""
    try:
        code = main(sys.argv[1:])
    except UserError as error:
        complain(str(error))
        code = EXIT_BAD_INPUT
    sys.exit(code)
