"""The one exception that is meant for the user, and the one place that catches what other people's parsers raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from usviewer.plain_text import printable

# A damaged file may hold a value of a million letters where a name should be, with the patient's name in it.
MOST_LETTERS = 500


class UserError(Exception):
    """What happened, and what to do about it: two short clauses in the user's words.

    The text is shown as it is, on the command line (exit code 2) and in the window. Anything that is raised
    and is not a ``UserError`` is a bug. Names of files and models stand in it, so control characters become escapes.
    """

    def __init__(self, what: str, do: str = "") -> None:
        self.what = _clause(what)
        self.do = _clause(do)
        super().__init__(". ".join(filter(None, (self.what, self.do))) + ".")


def _clause(text: str) -> str:
    # Cut first: escaping a value of some megabytes would take longer than anything that led to the error.
    plain = printable(text[: MOST_LETTERS + 1]).rstrip(".")
    if len(plain) <= MOST_LETTERS:
        return plain
    return f"{plain[:MOST_LETTERS]} …"


@contextmanager
def foreign_parser(what: str, do: str = "") -> Iterator[None]:
    """Turn whatever a library raises on a file's content into ``UserError(what, do)``.

    Parsers of files raise far more than they document: a wrong byte becomes a ``KeyError``, a ``RecursionError`` or
    a ``MemoryError``, and the next release adds others. A list of exceptions is therefore never complete. A panic in a
    library written in Rust is not even an ``Exception``. Put only the library's own calls inside the block: an error in
    our code must stay visible. A ``UserError`` passes as it is, and so does what ends the program or a generator.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise UserError(what, do) from error
