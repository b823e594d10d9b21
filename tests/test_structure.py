"""The structure of the code gets no worse: every figure of ``tests.structure`` keeps to its limit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.structure import LIMITS, Figure, figures

MOST_SHOWN = 60

Written = Callable[..., dict[str, Figure]]


@pytest.fixture(scope="module")
def found() -> dict[str, Figure]:
    return figures()


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Figures of a tree of files: their text by their path."""

    def write(**files: str) -> dict[str, Figure]:
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return figures(tmp_path)

    return write


@pytest.mark.parametrize("name", LIMITS)
def test_a_figure_keeps_to_its_limit(name: str, found: dict[str, Figure]) -> None:
    figure, limit = found[name], LIMITS[name]
    places = "\n".join(figure.places[:MOST_SHOWN])
    assert limit.holds(figure.value), f"{name}: {figure.value:g}, held at {limit.most:g}\n{places}"


def test_every_figure_has_a_limit(found: dict[str, Figure]) -> None:
    assert list(found) == list(LIMITS)


def test_a_class_name_in_two_files_is_counted_once_and_both_are_named(written: Written) -> None:
    names = written(usviewer__a="class _A: ...\n", models__training__b="class _A: ...\n")["duplicate class names"]
    assert names.places == ("_A: usviewer/a.py:1, models/training/b.py:1",)


@pytest.mark.parametrize(
    "line",
    [
        "x = finding == 'aorta'",
        "x = finding in ('nerve', other)",
        "x = finding != aorta.FINDING",
        "x = finding in KNOWN",
        "x = {'fetal-head': 1}",
        "x = frozenset({'aorta'})",
        "match finding:\n    case 'aorta': ...",
    ],
)
def test_a_line_that_branches_on_a_finding_is_counted_outside_its_home(written: Written, line: str) -> None:
    constants = "FINDING = 'aorta'\nKNOWN = (aorta.FINDING,)\n"
    name = "lines that compare a finding's name"
    files = {"usviewer__measure__findings__aorta": f"{constants}{line}\n", "usviewer__b": f"{line}\ny = 'aorta'\n"}
    assert written(**files)[name].value == 1


def test_imports_inside_functions_and_for_types_close_a_cycle(written: Written) -> None:
    late = "def f():\n    from usviewer.b import x\n"
    typed = "if TYPE_CHECKING:\n    from usviewer import a\n"
    cycles = written(usviewer__a=late, usviewer__b=typed, usviewer__c="from usviewer import a\n")
    assert cycles["import cycles, usviewer"].places == ("usviewer.a, usviewer.b",)


def test_conditions_inside_conditions_are_counted(written: Written) -> None:
    text = "x = 1 if a else (2 if b else 3)\ny = 1 if a else 2\n"
    found = written(usviewer__a=text)
    assert found["nested conditional expressions"].places == ("usviewer/a.py:1",)
    assert found["conditional expressions per 1000 lines"].value == 1500


def test_docstrings_and_words_to_tools_are_no_comments(written: Written) -> None:
    text = '"""Text."""\n\n# Why.\nx = 1  # noqa: E501\ny = 2  # because\n'
    assert written(usviewer__a=text)["comments per 100 code lines"].value == 100


def test_what_is_done_through_the_window_or_from_outside_is_counted(written: Written) -> None:
    text = "def f(window):\n    window.state.show()\n    window.close()\n    window.state.lens = 1\n    self.lens = 2\n"
    found = written(usviewer__view__a=text)
    assert found["lines that reach through the main window"].value == 2
    assert found["attributes assigned from outside in view"].places == ("usviewer/view/a.py:4 window.state.lens",)
