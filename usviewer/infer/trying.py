"""``python -m usviewer.infer.trying FOLDER ENGINE SECONDS [record]``: the child of ``infer.trial``.

Loads a model on one engine and runs it on its golden picture; its standard output is one table as JSON: empty, or what
is wrong. Whatever happens here, an endless loop or a fault of the engine, happens to this process alone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path

from usviewer.errors import UserError
from usviewer.infer import registry, trial
from usviewer.infer.manifest import read_manifest
from usviewer.infer.runner import check_golden, runner_for
from usviewer.infer.session import open_session


def main(folder: str, engine: str, seconds: int, *, record: bool) -> int:
    """Try the model and write the answer to standard output, as JSON. Gives the process's exit code: 0."""
    _end_by_itself(seconds)
    said = _output_of_our_own()
    trial.inside = True
    answer: dict[str, str] = {}
    try:
        if record:
            registry.record_golden(Path(folder), only_missing=True)
        _try(Path(folder), engine)
    except UserError as error:
        answer = {"what": error.what, "do": error.do}
    except Exception:
        answer = {"bug": traceback.format_exc()[-4000:]}
    os.write(said, json.dumps(answer).encode())
    return 0


def _output_of_our_own() -> int:
    """Give the output that the parent reads; what an engine prints is discarded."""
    said, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    return said


def _try(folder: Path, engine: str) -> None:
    spec = read_manifest(folder)
    opened = open_session(spec, engine)
    if opened.actual != engine:
        raise UserError("it does not start on this computer", "Use the engine 'cpu'")
    check_golden(runner_for(spec, opened))


def _end_by_itself(seconds: int) -> None:
    """Ctrl-C ends this process also inside an engine, and so does the deadline where the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds + 5)


if __name__ == "__main__":
    code = main(sys.argv[1], sys.argv[2], int(sys.argv[3]), record="record" in sys.argv[4:])
    # Engines may take seconds to leave, and what they could still do wrong matters to nobody.
    os._exit(code)
