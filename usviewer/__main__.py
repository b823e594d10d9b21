"""The command line. Each command is a module of ``usviewer.cli``, imported only when it is asked for."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from usviewer import RESEARCH_USE, __version__
from usviewer.cli.command import EXIT_BAD_INPUT, EXIT_BUG, Parser, bug_sentence, logged
from usviewer.errors import UserError
from usviewer.logs import DEFAULT_LEVEL

COMMANDS = {
    "analyze": "segment and measure whole clips, stills, folders and DICOM files",
    "models": "list, show, add, remove and verify models",
    "evaluate": "compare a model with labelled images",
    "agreement": "compare readings with the operator's calipers over many clips",
    "bench": "measure how fast this computer is, stage by stage",
    "latency-test": "measure the delay from a window through a grabber into the program",
    "devices": "list capture cards and cameras, or say why there is none",
    "calibrate": "find the scale of a source, confirm its ruler and remember it",
}
# Commands that open a window live with the window: nothing else may import Qt.
WINDOWED = {"latency-test": "usviewer.view.latency_test"}
EXIT_INTERRUPTED = 130


def build_parser(chosen: str | None) -> Parser:
    """Every command with its one line; only the chosen one's module is imported, and brings its options."""
    parser = Parser(
        prog="usviewer",
        description=f"Point-of-care ultrasound: segmentation and calibrated measurements. {RESEARCH_USE}.",
        epilog="Without a command the window opens: usviewer [FILE | --demo] [--screenshot OUT.png [--size WxH]].",
    )
    parser.add_argument("--version", action="version", version=f"usviewer {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[:1].upper()}{text[1:]}.")
        if name == chosen:
            importlib.import_module(WINDOWED.get(name, f"usviewer.cli.{name}")).add_options(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code: 0 done, 2 bad input (one sentence on stderr), 1 a bug, 130 Ctrl-C.

    As the program itself (without ``argv``) it also ends where a thread hangs.
    """
    code = _run(argv)
    if argv is None:
        _leave(code)
    return code


def _leave(code: int) -> None:
    """Stop every thread that still runs; end at once where one hangs in a driver or an engine.

    Python would end it in the middle of foreign code, which aborts the process (SIGABRT). The log, the settings and
    all results are closed by now: what was not finished in time is an unfinished file under a name of its own.
    """
    workers = sys.modules.get("usviewer.pipeline.worker")
    if workers is None:  # no thread was ever started
        return
    ended = False
    with suppress(KeyboardInterrupt):  # Ctrl-C once more: nothing is waited for
        ended = workers.stop_all()
    if ended:
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or its reader has gone
            stream.flush()
    os._exit(code)


def _run(argv: Sequence[str] | None) -> int:
    if argv is None:
        argv = sys.argv[1:]
    arguments = _command_first(argv)
    _let_every_name_be_printed()
    try:
        if not arguments or arguments[0] not in (*COMMANDS, "-h", "--help", "--version"):
            return int(importlib.import_module("usviewer.app").main(arguments))
        parser = build_parser(next((a for a in arguments[:1] if a in COMMANDS), None))
        chosen = parser.parse_args(arguments)
        with logged(getattr(chosen, "log_level", DEFAULT_LEVEL), arguments[0], arguments):
            return int(chosen.run(chosen))
    except UserError as error:
        print(f"usviewer: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("usviewer: stopped. What was finished is whole.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output (head, less) went away
        sys.stderr.close()
        return 0
    except Exception as error:
        print(f"usviewer: {bug_sentence(error, arguments)}", file=sys.stderr)
        return EXIT_BUG


def _command_first(arguments: Sequence[str]) -> list[str]:
    """``--log-level`` may stand before the command: it is given to it."""
    words = list(arguments)
    option = words[:2]
    if words and words[0].startswith("--log-level="):
        option = words[:1]
    rest = words[len(option) :]
    if option and option[0].partition("=")[0] == "--log-level" and rest and rest[0] in COMMANDS:
        return [rest[0], *option, *rest[1:]]
    return words


def _let_every_name_be_printed() -> None:
    """Show a letter that the terminal's encoding does not have as an escape: it must not end the work."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
