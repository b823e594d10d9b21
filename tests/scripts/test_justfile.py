"""The short names stand for the documented commands, and for nothing else."""

from __future__ import annotations

import re

from tests.conftest import ROOT


def commands() -> dict[str, list[str]]:
    """The lines of each recipe, without what the caller adds."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "justfile").read_text(encoding="utf-8").splitlines():
        if recipe := re.match(r"([a-z-]+)[A-Z *]*:$", line):
            lines = found.setdefault(recipe[1], [])
        elif line.startswith("    "):
            lines.append(line.strip().replace("{{python}}", ".venv/bin/python").replace(" {{ARGS}}", ""))
    return found


def test_every_short_name_stands_for_a_documented_command() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    recipes = commands()
    assert {"setup", "test-fast", "test", "lint", "window", "fuzz", "bench", "recipe", "docs"} <= recipes.keys()
    del recipes["default"]
    for lines in recipes.values():
        assert [line for line in lines if line.replace("{{NAME}}", "NAME") not in page] == []


def test_the_linters_of_ci_are_those_of_the_short_name() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert [line for line in commands()["lint"] if line not in script] == []
