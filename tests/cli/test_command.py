"""What commands print: names from outside are text, on one line, without a control character."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from usviewer.__main__ import COMMANDS, build_parser
from usviewer.cli.command import unused_names
from usviewer.terminal import Terminal, complain

NAMES = {
    "aorta [left].png": "aorta [left].png",
    "[red]x[bold].png": "[red]x[bold].png",
    "x[/b]y": "x[/b]y",
    "[link=http://example.org]z": "[link=http://example.org]z",
    ":smile: a": ":smile: a",
    "a\x1b[2J\x07b": "a\\x1b[2J\\x07b",
    "a\nusviewer: good": "a\\nusviewer: good",
    b"Untersuchung_\xfc".decode("utf-8", "surrogateescape"): "Untersuchung_\\xfc",
}


@pytest.mark.parametrize(("name", "shown"), NAMES.items())
def test_a_name_is_printed_as_it_is_in_lines_and_in_tables(
    name: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Terminal(width=100)
    screen.print(f"  {name}: measured", style="bold")
    table = Table(name, box=None, title=name)
    table.add_row(name)
    screen.print(table)
    complain(f"{name} is empty.")
    said = capsys.readouterr()
    first, *others = said.out.splitlines()
    assert first == f"  {shown}: measured"
    assert [line.strip() for line in others] == [shown] * 3
    assert said.err == f"usviewer: {shown} is empty.\n"


def test_on_a_terminal_only_our_own_styles_reach_it() -> None:
    screen = Terminal(width=100)
    screen.file = io.StringIO()
    screen._force_terminal = True
    screen.print("a\x1b]0;title\x07[bold]b", style="yellow")
    assert "\x1b]0" not in screen.file.getvalue() and "[bold]b" in screen.file.getvalue()


def test_each_input_gets_a_folder_of_its_own_on_every_disk() -> None:
    names = unused_names(
        ["a.png", "A.png", "b/a.dcm", "a-2.png", "n" * 251 + ".png", "...", "x [y]\n.mp4", "\udcfc.png"]
    )
    assert names[:4] == ["a", "A-2", "a-3", "a-2-2"]
    assert len({name.casefold() for name in names}) == len(names)
    assert all(name.isprintable() and 0 < len(name.encode()) <= 210 and name.strip(". ") == name for name in names)


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_does_is_said_in_its_own_words_in_the_list_and_in_its_help(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        build_parser(name).parse_args([name, "--help"])
    assert COMMANDS[name][1:] in " ".join(capsys.readouterr().out.split())
