"""The recipes' folder: who imports whom, late imports included."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRAINING = ROOT / "models" / "training"


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path, modules: set[str]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & modules


def import_graph() -> dict[str, set[str]]:
    files = {module_of(path): path for path in TRAINING.rglob("*.py")}
    return {name: imports_of(path, set(files)) for name, path in files.items()}


def test_no_module_imports_itself_over_others() -> None:
    graph = import_graph()
    while ready := [name for name, needs in graph.items() if not needs & set(graph)]:
        for name in ready:
            del graph[name]
    assert not graph, f"in a cycle, or above one: {sorted(graph)}"


def test_recipes_know_nothing_of_one_another() -> None:
    for name, needs in import_graph().items():
        if name.startswith("models.training.recipes."):
            assert not [other for other in needs if other.startswith("models.training.recipes")], name
