"""The structure of the code in figures: ``python -m tests.structure`` prints a table, ``--where NAME`` the places.

``tests/test_structure.py`` holds each figure to its ``Limit``. A change that lowers one lowers its limit as well; none
is raised without a reason in the commit. All is read from the text of the files (``ast``, ``tokenize``); nothing is
imported.
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
import tokenize
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, TRAINING, BENCHMARKS = "usviewer", "models/training", "benchmarks"
# Names of findings may stand here without being counted.
HOME_OF_FINDINGS = "usviewer/measure/findings/"
FINDINGS = frozenset({"aorta", "nerve", "fetal-head", "fetal-brain", "fetal_head", "fetal_brain"})
MOST_FUNCTION_LINES = 60
# Attributes that ctypes and pyqtgraph want to be set.
OF_LIBRARIES = frozenset({"restype", "argtypes", "tickStrings"})
# What not every picture has; all else the frame knows itself.
OF_COMPOSE = frozenset({"summary", "style", "model_label", "context"})
NOT_A_COMMENT = ("noqa", "type:", "pragma", "fmt:", "mypy:", "ruff:")


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that a figure may be (the least, where ``least``), and what issue 12 wants (None: nothing)."""

    most: float
    target: float | None
    least: bool = False

    def holds(self, value: float) -> bool:
        """Whether the figure keeps to it."""
        return value >= self.most if self.least else value <= self.most


# What holds now. Sizes and shares have a little room: a step may add a file before another takes two away.
LIMITS: Mapping[str, Limit] = {
    "files": Limit(203, 180),
    "lines": Limit(46_200, None),
    "public classes": Limit(321, 250),
    "duplicate class names": Limit(0, 0),
    "file names used more than once": Limit(2, None),
    "lines that compare a finding's name": Limit(3, 9),
    "import cycles, usviewer": Limit(0, 0),
    "import cycles, models/training": Limit(0, 0),
    "nested conditional expressions": Limit(0, 0),
    "conditional expressions per 1000 lines": Limit(9.9, 9.9),
    "comments per 100 code lines": Limit(4.1, 4.0, least=True),
    "call shapes of compose": Limit(1, 1),
    "'Any' in annotations of view": Limit(5, None),
    "attributes of view typed 'Any'": Limit(0, 0),
    "attributes assigned from outside in view": Limit(0, 0),
    "lines that reach through the main window": Limit(0, 0),
    "lines of view with self.a.b.c": Limit(148, None),
    "longest file": Limit(560, None),
    "longest function": Limit(60, 60),
    "functions of more than 60 lines": Limit(0, 0),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, and the places that it counts, where it counts places."""

    value: float
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """One file: its path below the root, with slashes, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed text."""
        return ast.parse(self.text)

    @cached_property
    def _by_kind(self) -> dict[type[ast.AST], list[ast.AST]]:
        found = defaultdict(list)
        for node in ast.walk(self.tree):
            found[type(node)].append(node)
        return found

    def nodes(self, *kinds: type[ast.AST]) -> Iterator[Any]:
        """Every node of these kinds."""
        return chain.from_iterable(self._by_kind.get(kind, ()) for kind in kinds)

    @property
    def module(self) -> str:
        """The dotted name; that of the package for an ``__init__.py``."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def lines(self) -> int:
        """Lines of the file."""
        return self.text.count("\n")

    def at(self, node: ast.AST, note: str = "") -> str:
        """Where a node is, for people."""
        return f"{self.path}:{getattr(node, 'lineno', 0)} {note}".rstrip()


def read(root: Path, *folders: str) -> list[Source]:
    """All Python files of these folders; a folder that is not there has none."""
    paths = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
    return [Source(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


def figures(root: Path = ROOT) -> dict[str, Figure]:
    """Every figure by its name, in the order of the table."""
    package, training = read(root, PACKAGE), read(root, TRAINING)
    everything = [*package, *training, *read(root, BENCHMARKS)]
    view = [source for source in package if source.path.startswith(f"{PACKAGE}/view/")]
    lines = sum(source.lines for source in package)
    conditionals = sum(1 for source in package for _ in source.nodes(ast.IfExp))
    lengths = sorted(_function_lengths(everything), reverse=True)
    files = sorted(((source.lines, source.path) for source in everything), reverse=True)
    return {
        "files": Figure(len(package)),
        "lines": Figure(lines),
        "public classes": _counted(_public_classes(package)),
        "duplicate class names": _counted(_duplicate_classes(everything)),
        "file names used more than once": _counted(_duplicate_files(package)),
        "lines that compare a finding's name": _counted(_finding_lines(package)),
        "import cycles, usviewer": _counted(_cycles(package)),
        "import cycles, models/training": _counted(_cycles(training)),
        "nested conditional expressions": _counted(_nested_conditionals(everything)),
        "conditional expressions per 1000 lines": Figure(round(1000 * conditionals / max(1, lines), 1)),
        "comments per 100 code lines": Figure(round(_comments_percent(package), 2)),
        "call shapes of compose": _counted(_call_shapes(package, "compose", OF_COMPOSE)),
        "'Any' in annotations of view": _counted(_anys(view)),
        "attributes of view typed 'Any'": _counted(_any_attributes(view)),
        "attributes assigned from outside in view": _counted(_outside_assignments(view)),
        "lines that reach through the main window": _counted(_reach_throughs(view, _is_window, 2)),
        "lines of view with self.a.b.c": _counted(_reach_throughs(view, _is_self, 3)),
        "longest file": Figure(files[0][0] if files else 0, tuple(f"{path} {count}" for count, path in files[:10])),
        "longest function": Figure(lengths[0][0] if lengths else 0, tuple(f"{at} {n}" for n, at in lengths[:10])),
        "functions of more than 60 lines": _counted(at for n, at in lengths if n > MOST_FUNCTION_LINES),
    }


def _counted(places: Iterable[str]) -> Figure:
    found = tuple(places)
    return Figure(len(found), found)


# --- names ------------------------------------------------------------------------------------------------------------


def _classes(sources: Sequence[Source]) -> Iterator[tuple[Source, ast.ClassDef]]:
    return ((source, node) for source in sources for node in source.nodes(ast.ClassDef))


def _public_classes(sources: Sequence[Source]) -> Iterator[str]:
    return (source.at(node, node.name) for source, node in _classes(sources) if not node.name.startswith("_"))


def _duplicate_classes(sources: Sequence[Source]) -> Iterator[str]:
    """A name with two meanings, private ones included."""
    places = defaultdict(list)
    for source, node in _classes(sources):
        places[node.name].append(source.at(node))
    return (f"{name}: {', '.join(found)}" for name, found in sorted(places.items()) if len(found) > 1)


def _duplicate_files(sources: Sequence[Source]) -> Iterator[str]:
    places = defaultdict(list)
    for source in sources:
        name = source.path.rsplit("/", 1)[-1]
        if not name.startswith("__"):
            places[name].append(source.path)
    return (f"{name}: {', '.join(found)}" for name, found in sorted(places.items()) if len(found) > 1)


# --- findings ---------------------------------------------------------------------------------------------------------


def _finding_lines(sources: Sequence[Source]) -> Iterator[str]:
    """Lines that branch on a finding: compared, matched, or the key of a dictionary or set.

    The name as text, a constant that is one (``aorta.FINDING``), or a constant that holds some (``KNOWN``).
    """
    constants = _finding_constants(sources)
    for source in sources:
        if source.path.startswith(HOME_OF_FINDINGS):
            continue
        lines = {
            part.lineno
            for node in source.nodes(ast.Compare, ast.Dict, ast.Set, ast.MatchValue)
            for part in _deciding_parts(node)
            if _names_finding(part, constants)
        }
        yield from (f"{source.path}:{line}" for line in sorted(lines))


def _finding_constants(sources: Sequence[Source]) -> frozenset[str]:
    """Names in capitals that are bound to a finding, or to several, anywhere."""
    found: set[str] = set()
    for source in sources:
        for node in source.tree.body:
            if isinstance(node, ast.Assign):
                found |= {name for target in node.targets for name in _bound_to_findings(target, node.value)}
    return frozenset(found)


def _bound_to_findings(target: ast.expr, value: ast.expr) -> Iterator[str]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for each, its in zip(target.elts, value.elts, strict=False):
            yield from _bound_to_findings(each, its)
    elif isinstance(target, ast.Name) and target.id.isupper() and not target.id.startswith("DEFAULT"):
        parts = value.elts if isinstance(value, ast.Tuple | ast.List) else [value]
        if any(_is_finding(part) or (isinstance(part, ast.Attribute) and part.attr == "FINDING") for part in parts):
            yield target.id


def _deciding_parts(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.Compare():
            for side in (node.left, *node.comparators):
                yield from side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side]
        case ast.Dict():
            yield from (key for key in node.keys if key is not None)
        case ast.Set():
            yield from node.elts
        case ast.MatchValue():
            yield node.value


def _names_finding(node: ast.expr, constants: frozenset[str]) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in constants
    return _is_finding(node) or (isinstance(node, ast.Name) and node.id in constants)


def _is_finding(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in FINDINGS


# --- imports ----------------------------------------------------------------------------------------------------------


def _cycles(sources: Sequence[Source]) -> Iterator[str]:
    """Knots of modules that import each other, late imports and those for types included."""
    modules = {source.module for source in sources}
    imports = {source.module: sorted(set(_imported(source, modules)) - {source.module}) for source in sources}
    return (", ".join(sorted(knot)) for knot in _knots(imports) if len(knot) > 1)


def _imported(source: Source, modules: set[str]) -> Iterator[str]:
    for node in source.nodes(ast.Import, ast.ImportFrom):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        else:
            base = _base(source, node)
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                if whole in modules or base in modules:
                    yield whole if whole in modules else base


def _base(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = source.module.split(".")
    package = package[: len(package) - node.level + source.path.endswith("/__init__.py")]
    return ".".join([*package, *([node.module] if node.module else [])])


def _knots(imports: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The strongly connected components of a graph (Tarjan 1972)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for other in imports[module]:
            if other not in number:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], number[other])
        if lowest[module] == number[module]:
            at = stack.index(module)
            found.append(stack[at:])
            del stack[at:]

    for module in imports:
        if module not in number:
            visit(module)
    return found


# --- density ----------------------------------------------------------------------------------------------------------


def _nested_conditionals(sources: Sequence[Source]) -> Iterator[str]:
    """Conditional expressions inside another one."""
    for source in sources:
        outer = list(source.nodes(ast.IfExp))
        inner = {id(n): n for node in outer for n in ast.walk(node) if isinstance(n, ast.IfExp) and n is not node}
        yield from (source.at(node) for node in inner.values())


def _comments_percent(sources: Sequence[Source]) -> float:
    """Comments per 100 lines of code; docstrings are neither."""
    comments = code = 0
    for source in sources:
        documented = source.nodes(ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        docstrings = {line for node in documented for line in _docstring_lines(node)}
        coded: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
            if token.type == tokenize.COMMENT:
                comments += not token.string.lstrip("# ").startswith(NOT_A_COMMENT)
            elif token.string.strip():
                coded.update(range(token.start[0], token.end[0] + 1))
        code += len(coded - docstrings)
    return 100 * comments / max(1, code)


def _docstring_lines(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> range:
    """The lines of what stands as text at the beginning of a module, class or function."""
    if node.body:
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            return range(first.lineno, (first.end_lineno or first.lineno) + 1)
    return range(0)


def _function_lengths(sources: Sequence[Source]) -> Iterator[tuple[int, str]]:
    """Lines of each function, without its docstring."""
    for source in sources:
        for node in source.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            yield length - len(_docstring_lines(node)), source.at(node, node.name)


def _call_shapes(sources: Sequence[Source], name: str, optional: frozenset[str]) -> list[str]:
    """In how many ways a function is called: by the names that are given with it; ``optional`` ones do not count."""
    shapes: dict[str, str] = {}
    for source in sources:
        for node in source.nodes(ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id == name:
                named = sorted({keyword.arg or "**" for keyword in node.keywords} - optional)
                shapes.setdefault(", ".join(named), source.at(node))
    return [f"{at} {shape}" for shape, at in shapes.items()]


# --- the window -------------------------------------------------------------------------------------------------------


def _anys(sources: Sequence[Source]) -> Iterator[str]:
    for source in sources:
        yield from (source.at(node) for node in source.nodes(ast.Name) if node.id == "Any")


def _any_attributes(sources: Sequence[Source]) -> Iterator[str]:
    """``self.review: Any = ...``: what nobody checks the use of."""
    for source in sources:
        for node in source.nodes(ast.AnnAssign):
            if isinstance(node.target, ast.Attribute) and ast.unparse(node.annotation) == "Any":
                yield source.at(node, ast.unparse(node.target))


def _outside_assignments(sources: Sequence[Source]) -> Iterator[str]:
    """An attribute that is set on another object than ``self``. (Qt's are changed by methods.)"""
    for source in sources:
        for node in source.nodes(ast.Assign, ast.AugAssign, ast.AnnAssign):
            for target in _targets(node):
                if isinstance(target, ast.Attribute) and not _is_self(target.value) and target.attr not in OF_LIBRARIES:
                    yield source.at(target, ast.unparse(target))


def _targets(node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> Iterator[ast.expr]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield from target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
    else:
        yield node.target


def _reach_throughs(sources: Sequence[Source], starts: Callable[[ast.expr], bool], depth: int) -> Iterator[str]:
    """Lines with a chain of so many attributes that begins with what ``starts`` knows."""
    for source in sources:
        lines = {node.lineno for node in source.nodes(ast.Attribute) if _reaches(node, starts, depth)}
        yield from (f"{source.path}:{line}" for line in sorted(lines))


def _reaches(node: ast.expr, starts: Callable[[ast.expr], bool], depth: int) -> bool:
    for _ in range(depth):
        if not isinstance(node, ast.Attribute):
            return False
        node = node.value
    return starts(node)


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _is_window(node: ast.expr) -> bool:
    """A parameter or an attribute that holds the main window, by its name."""
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name.lstrip("_") in ("window", "main_window")


# --- printing ---------------------------------------------------------------------------------------------------------


def main() -> int:
    """Print the table, or the places of one figure."""
    parser = argparse.ArgumentParser(prog="python -m tests.structure", description=__doc__)
    parser.add_argument("--where", metavar="NAME", help="the places that a figure counts; a part of its name is enough")
    asked = parser.parse_args()
    found = figures()
    if asked.where is None:
        print("\n".join(_table(found)))
        return 0
    for name, figure in found.items():
        if asked.where in name:
            print(f"{name}: {figure.value:g}", *figure.places, sep="\n  ")
    return 0


def _table(found: Mapping[str, Figure]) -> Iterator[str]:
    """A table in Markdown, for ``docs/architecture.md``."""
    yield "| figure | now | held at | target |"
    yield "| --- | --- | --- | --- |"
    for name, figure in found.items():
        limit = LIMITS[name]
        target = "" if limit.target is None else f"{limit.target:g}"
        yield f"| {name} | {figure.value:g} | {'at least ' if limit.least else ''}{limit.most:g} | {target} |"


if __name__ == "__main__":
    sys.exit(main())
