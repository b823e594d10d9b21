"""A recipe reads from top to bottom: nothing of it stands in another one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

RECIPES = sorted((Path(__file__).parents[3] / "models" / "training" / "recipes").glob("[!_]*.py"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_knows_no_other(path: Path) -> None:
    imported = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
    ]
    assert imported
    assert not [node.module for node in imported if str(node.module).startswith("models.training.recipes")]


def test_there_is_a_recipe_for_every_bundled_model() -> None:
    models = {path.parent.name.replace("-", "_") for path in RECIPES[0].parents[2].glob("*/manifest.toml")}
    assert models == {path.stem for path in RECIPES}
