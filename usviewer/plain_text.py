"""Text from outside (names of files, models, labels) as plain text that can be shown, printed and written."""

from __future__ import annotations

import re
import unicodedata

_SURROGATE = re.compile("[\ud800-\udfff]")
# What makes a link, a tag, a table's edge or another face of letters; an underscore inside a word does not.
_MARKDOWN = re.compile(r"[\\`*\[\]<>|]|&(?=#?\w+;)")


def printable(text: str) -> str:
    """Show control characters, line ends and parts that are not text as visible escapes.

    A name may hold a line end, an escape sequence that moves the cursor of a terminal, a mark that turns the direction
    of reading, or bytes that are not UTF-8 (Python keeps these as surrogates, which no file and no pipe takes).
    """
    if text.isprintable():
        return text
    return "".join(letter if _shows(letter) else _escaped(letter) for letter in text)


def encodable(text: str) -> str:
    """Escape the parts of a name that are not text, so that UTF-8 takes it; all else stays as it is."""
    return _SURROGATE.sub(lambda found: _escaped(found[0]), text)


def in_markdown(text: str) -> str:
    """Plain text for a page of Markdown: it reads as it is, whatever it looks like."""
    return _MARKDOWN.sub(r"\\\g<0>", printable(text))


def _shows(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"  # a no-break space is a space


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")
