"""Whether a refusal is a sentence for a user: one line, whole, short, without a programmer's words."""

from __future__ import annotations

import re

MOST_LETTERS = 400
PROGRAMMERS_WORDS = re.compile(
    r"Traceback|Errno|NoneType|<class|0x[0-9a-f]{8}|object at|\b\w+\.\w+\(|"
    r"\b(?!UserError)[A-Z][a-z]+[A-Za-z]*(Error|Exception|Warning)\b"
)


def fault_of(sentence: str, temporary: str) -> str:
    """What is wrong with it, or nothing. ``temporary`` is the folder that no user knows of."""
    if "\n" in sentence or "\r" in sentence:
        return "more than one line"
    if not sentence.endswith("."):
        return "no full stop"
    if len(sentence) > MOST_LETTERS:
        return f"{len(sentence)} letters"
    if word := PROGRAMMERS_WORDS.search(sentence):
        return f"a programmer's word: {word[0]}"
    if temporary and temporary in sentence:
        return "a temporary path"
    return ""
