"""What is shown to the user is plain text, whatever a name or a library brings."""

import pytest

from usviewer.errors import UserError, foreign_parser
from usviewer.plain_text import encodable, in_markdown, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Aorta längs [links] 主动脉.mp4", "Aorta längs [links] 主动脉.mp4"),
        ("Foto 10\u202f00\u00a0Uhr.png", "Foto 10\u202f00\u00a0Uhr.png"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        (b"Untersuchung_\xfc.png".decode("utf-8", "surrogateescape"), "Untersuchung_\\xfc.png"),
        ("\ud800", "\\ud800"),
    ],
)
def test_text_from_outside_becomes_plain_text(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert str(UserError(f"{text} is empty", f"Copy {text} again")) == f"{shown} is empty. Copy {shown} again."
    shown.encode("utf-8")


class Panic(BaseException):
    """As a library written in Rust raises it: no ``Exception``."""


@pytest.mark.parametrize("kind", [KeyError, RecursionError, MemoryError, AssertionError, ZeroDivisionError, Panic])
def test_whatever_a_library_raises_becomes_one_sentence(kind: type[BaseException]) -> None:
    with (
        pytest.raises(UserError, match=r"^x is damaged\. Copy it again\.$") as caught,
        foreign_parser("x is damaged", "Copy it again"),
    ):
        raise kind
    assert isinstance(caught.value.__cause__, kind)


def test_a_sentence_that_was_found_already_stays_and_ctrl_c_passes() -> None:
    with pytest.raises(UserError, match="too large"), foreign_parser("damaged"):
        raise UserError("too large")
    for kind in (KeyboardInterrupt, SystemExit, GeneratorExit):
        with pytest.raises(kind), foreign_parser("damaged"):
            raise kind


def test_text_for_a_file_keeps_its_lines_and_markdown_reads_as_it_is() -> None:
    assert encodable("a\n\tb\x1b \udcfc\ud800") == "a\n\tb\x1b \\xfc\\ud800"
    assert in_markdown("<img src=x> [a](b) *c* d|e `f` g_h &lt; R&D") == (
        r"\<img src=x\> \[a\](b) \*c\* d\|e \`f\` g_h \&lt; R&D"
    )
    assert in_markdown("phantom:?frames=6&screen=0 \n# x") == r"phantom:?frames=6&screen=0 \\n# x"


def test_a_sentence_has_an_end_whatever_a_file_holds() -> None:
    assert len(str(UserError("x" * 1_000_000, "y" * 1_000_000))) < 1100
