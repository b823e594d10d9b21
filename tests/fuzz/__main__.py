"""Damaged inputs by the thousand for everything that reads a file: ``python -m tests.fuzz --cases 5000``.

A case is made from a seed number and its own number alone, so that it can be repeated anywhere (with the same releases
of the libraries that encode the healthy inputs). It is read in a process of its own (``worker``), so that a crash, an
endless loop or a full memory is told from a refusal, and the run goes on. Exit code 1 when anything but read or refused
came of a case.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from tests.fuzz import cases, known
from tests.fuzz.run import run
from tests.fuzz.table import faults, table
from tests.fuzz.task import Result, Task

SAY_EVERY_S = 10.0


def main() -> int:
    """Run what is asked for and print what came."""
    asked = _arguments()
    if asked.keep:
        asked.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        folder = Path(place)
        store = folder / "seeds"
        store.mkdir()
        results = list(_told(run(_tasks(asked, store), folder, asked.jobs, asked.keep)))
    print(table(results))
    if found := faults(results):
        print(f"\n{found}")
    if again := [result for result in results if result.again]:
        print(f"\n{len(again)} cases were tried again in a fresh process, and the second outcome counts:")
        print("\n".join(f"{result.task.again}: {result.again}, then {result.outcome}" for result in again))
    if absent := sum(result.outcome == "absent" for result in results):
        print(f"\n{absent} cases start from real files of ../shared/data that are not here: left out")
    return 0 if all(result.good for result in results) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=500, help="how many cases (default 500)")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives other cases")
    parser.add_argument("--only", choices=list(cases.KINDS), help="only cases of this kind")
    parser.add_argument("--jobs", type=int, default=1, help="how many are read at the same time")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the inputs that show a fault here")
    parser.add_argument("--case", type=int, metavar="NUMBER", help="only this case")
    exact = "of the inputs that are built exactly: all (default), none, or only the one of this name"
    parser.add_argument("--known", choices=["all", "none", *known.KNOWN], default="all", metavar="NAME", help=exact)
    return parser.parse_args()


def _tasks(asked: argparse.Namespace, store: Path) -> Iterable[Task]:
    if asked.case is not None:
        return [cases.task(store, asked.seed, asked.case)]
    if asked.known not in ("all", "none"):
        return [known.KNOWN[asked.known]]
    exact = known.KNOWN.values() if asked.known == "all" and asked.only is None else ()
    return chain(exact, cases.tasks(store, asked.seed, asked.cases, asked.only))


def _told(results: Iterable[Result]) -> Iterator[Result]:
    """The same, with a sign of life on the terminal."""
    last = time.monotonic()
    for number, result in enumerate(results, 1):
        if not result.good or time.monotonic() - last > SAY_EVERY_S:
            print(f"{number}: {result.task.again}: {result.outcome} {result.said[:100]}", file=sys.stderr, flush=True)
            last = time.monotonic()
        yield result


if __name__ == "__main__":
    sys.exit(main())
