"""Record the golden results again: ``python -m tests.golden --record`` (all), or with the names of cases.

The network's kept answers stay as they are, so that what changes is what the program makes of them: read the diff, and
say in the commit why it changed. ``--ask-network`` asks the real network again first: where a model or a case is new.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from tests.golden import replay, run
from tests.golden.cases import ANALYZED, POINTED, AnalyzeCase
from tests.golden.outputs import makers


def main() -> int:
    """Record what is asked for; without ``--record``, list the cases."""
    names = [*(case.name for case in ANALYZED), POINTED]
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--record", nargs="*", metavar="CASE", help=f"of {', '.join(names)}; all where none is named")
    parser.add_argument("--ask-network", action="store_true", help="keep what the real network says now")
    asked = parser.parse_args()
    if asked.record is None:
        print("\n".join(names))
        return 0
    if unknown := set(asked.record) - set(names):
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as folder, run.own_folders(Path(folder)):
        for name in asked.record or names:
            _record(name, Path(folder), ask_network=asked.ask_network)
    run.MAKERS.write_text(json.dumps(makers(), indent=2) + "\n", encoding="utf-8")
    return 0


def _record(name: str, folder: Path, *, ask_network: bool) -> None:
    case = next((case for case in ANALYZED if case.name == name), None)
    if case is not None and not case.here:
        print(f"{name}: left as it is, its input is not here", file=sys.stderr)
        return
    if case is not None and ask_network:
        _keep_answers(case, folder / f"{name}-asked")
    texts = run.pointed(folder / name) if case is None else run.replayed(case, folder / name)
    kept = run.EXPECTED / name
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for file, text in texts.items():
        (kept / file).write_text(text, encoding="utf-8", newline="\n")
    print(f"{name}: {', '.join(texts)}")


def _keep_answers(case: AnalyzeCase, folder: Path) -> None:
    with replay.recording() as answers:
        run.analyzed(case, folder, "--no-video")
    run.ANSWERS.mkdir(exist_ok=True)
    replay.write(answers, run.answers_file(case.name))


if __name__ == "__main__":
    sys.exit(main())
