"""A report says where and of which kind an error was, and nothing that a user or a file has said."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from usviewer.bug_report import report_of
from usviewer.errors import UserError

NAME = "Muster_Anna_1970.mp4"
WHERE = f"/nowhere/{NAME}"


def raised() -> Exception:
    try:
        try:
            os.stat(WHERE)
        except OSError as error:
            raise UserError(f"{NAME} is damaged") from error
    except UserError as error:
        try:
            raise ValueError(NAME, 7) from error
        except ValueError as last:
            return last


def test_a_report_has_the_place_and_the_kind_of_every_link_and_no_name() -> None:
    report = report_of(raised(), ["analyze", f"/data/{NAME}", "--out", "/home/anna", f"--mm-per-pixel={NAME}", "-1"])
    assert re.search(r"test_bug_report\.py:\d+ in raised: raise ValueError", report)
    assert ["ValueError", "usviewer.errors.UserError", "FileNotFoundError (ENOENT)"] == re.findall(
        r"^(\S.*), raised at", report, re.MULTILINE
    )
    assert "Options: --out --mm-per-pixel\n" in report
    assert "Python" in report and "numpy" in report
    for secret in ("Muster", "1970", "anna", "/nowhere", str(ROOT), str(Path.home()) + "/"):
        assert secret not in report


def test_a_chain_that_bites_its_tail_ends() -> None:
    error, other = ValueError(), KeyError()
    error.__cause__, other.__cause__ = other, error
    assert report_of(error).count("raised at") == 10


@pytest.mark.skipif(os.name != "posix", reason="rights of others are of POSIX systems")
def test_a_bug_of_a_command_is_one_sentence_and_a_private_report(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from usviewer import __main__\n"
        "__main__.importlib.import_module = lambda name: [][len(sys.argv[1])]\n"
        "sys.exit(__main__.main(['calibrate', sys.argv[1]]))\n"
    )
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, f"/data/{NAME}"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert re.fullmatch(r"usviewer: an error in the program\. Please report it with the file \S+\n", done.stderr)
    (report,) = (tmp_path / "state").rglob("error-*.txt")
    assert report.stat().st_mode & 0o777 == 0o600 and report.parent.stat().st_mode & 0o777 == 0o700
    assert "IndexError" in report.read_text() and "Muster" not in report.read_text()
