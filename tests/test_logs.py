"""The log helps whoever looks into a fault, names nobody, and costs the program nothing when it cannot be written."""

from __future__ import annotations

import logging
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.helpers.fakes import FakeEngine
from tests.helpers.recordings import dicom_dataset, write_clip
from tests.helpers.scenes import flat_frame
from usviewer import __version__, logs
from usviewer.__main__ import main
from usviewer.acquire import open_source
from usviewer.calibrate import calibration_for
from usviewer.errors import UserError
from usviewer.files import write_text
from usviewer.infer.predictor import in_words
from usviewer.infer.registry import load_spec
from usviewer.logs import OwnText, log_path, redacted, report_of, written_down
from usviewer.pipeline.analyzer import FrameAnalyzer
from usviewer.settings import Settings, load, save

NAME = "Muster_Änne 1970"
# Whatever of the name is found in a log is too much.
TELLTALE = re.compile("muster|änne|1970", re.IGNORECASE)
_log = logging.getLogger("usviewer.somewhere")
# A report is told of this file; neither its name nor its folder may be in it.
FILE_NAME = "Muster_Anna_1970.mp4"
WHERE = f"/nowhere/{FILE_NAME}"


def written(path: Path | None = None) -> str:
    """All that was written, the newest file last."""
    path = path or log_path()
    return "".join(each.read_text("utf-8") for each in sorted(path.parent.glob(f"{path.name}*"), reverse=True))


@pytest.mark.parametrize(
    "value",
    [
        NAME,
        Path(f"/data/{NAME}.mp4"),
        [NAME],
        {"name": NAME},
        NAME.encode(),
        UserError(NAME),
        KeyError(NAME),
        (NAME, 1),
    ],
)
def test_a_line_is_filled_with_numbers_and_the_programs_own_words_alone(value: object) -> None:
    with written_down():
        _log.info("the value %s was met", value)
        _log.info("%s at %.2f, %s", OwnText("cpu"), 0.25, (1, 2))
    assert not TELLTALE.search(written())
    assert "cpu at 0.25, (1, 2)" in written()


def test_a_text_in_the_place_of_a_number_costs_the_numbers_alone() -> None:
    record = logging.LogRecord(_log.name, logging.INFO, "", 1, "frame %d of %d", (NAME, 7), None)
    assert logs._Lines().format(record).endswith("usviewer.somewhere:1 frame %d of %d")


@pytest.mark.parametrize(
    "text",
    [
        f"could not read /data/{NAME}/clip.mp4",
        f"could not read ~/{NAME}",
        f"could not read C:\\Users\\{NAME}\\clip.mp4",
        f"could not read \\\\server\\{NAME}\\clip",
        f"could not read '../{NAME}'",
        "opened Muster.mp4",
        "opened Muster.DCM, 3 frames",
        "opened device:Muster",
        "opened file:///Muster",
        "instance 1.2.840.1970.1.2",
    ],
)
def test_what_looks_like_a_path_an_address_or_a_file_is_cut_out(text: str) -> None:
    assert not TELLTALE.search(redacted(text))
    assert redacted(text).startswith(text.split()[0])


def test_what_the_program_says_of_itself_stays_readable() -> None:
    plain = (
        "scale: 0.2572 x 0.2572 mm (manual), 25/s, usviewer 0.1.0, model aorta 0.2.0, 1280 x 800 px of 1 : 1; 5 % off"
    )
    assert redacted(plain) == plain


@pytest.mark.parametrize(
    "error", [UserError(f"{NAME} is damaged"), OSError(28, "No space", f"/{NAME}"), KeyError(NAME)]
)
def test_a_frame_that_is_refused_tells_the_kind_and_not_the_message(error: Exception) -> None:
    with written_down():
        FrameAnalyzer(FakeEngine().engine()).refuse(flat_frame(), error)
    assert type(error).__name__ in written() and not TELLTALE.search(written())


def test_an_error_that_ends_the_program_leaves_the_lines_that_led_to_it() -> None:
    def fail(name: str) -> None:
        try:
            raise OSError(28, "No space", f"/data/{name}")
        except OSError as error:
            raise ValueError(name) from error

    with pytest.raises(ValueError, match="Muster"), written_down():
        fail(NAME)
    assert re.search(r"tests/test_logs\.py:\d+ in fail: raise ValueError\(name\) from error", written())
    assert "OSError (ENOSPC)" in written() and not TELLTALE.search(written())


def test_a_file_that_could_not_be_written_is_logged_with_the_systems_code(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("a file where a folder should be")
    with pytest.raises(UserError), written_down():
        write_text(tmp_path / NAME / "results.csv", "text")
    assert "a file could not be written: NotADirectoryError (ENOTDIR)" in written()
    assert not TELLTALE.search(written())


def test_a_whole_run_over_named_inputs_names_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clip, a DICOM file, a damaged file, one that is missing, and a results folder, all called like the patient."""
    folder = tmp_path / NAME
    folder.mkdir()
    write_clip(folder / f"{NAME}.mp4", count=3)
    dataset = dicom_dataset([np.zeros((240, 320), np.uint8)], PatientName=NAME)
    dataset.save_as(folder / NAME, enforce_file_format=True)
    (folder / f"{NAME}.avi").write_bytes(b"RIFF damaged " + NAME.encode())
    monkeypatch.chdir(folder)
    inputs = [f"{NAME}.mp4", NAME, f"{NAME}.avi", f"{NAME} is missing.mp4"]
    assert main(["analyze", *inputs, "--no-video", "--out", f"results of {NAME}", "--log-level", "debug"]) == 2
    assert main(["analyze", inputs[0], "--model", NAME, "--mm-per-pixel", NAME]) == 2
    assert TELLTALE.search(capsys.readouterr().err)
    said = written()
    for kept in (f"usviewer {__version__}", "model loaded: aorta", "input opened: video, ", "input opened: dicom, "):
        assert kept in said
    assert said.count("an input is refused: usviewer.errors.UserError") == 2
    assert "scale from frame 0 on" in said
    assert not TELLTALE.search(said)


def test_a_users_own_model_is_known_by_its_hash_alone() -> None:
    own = replace(load_spec("aorta"), id=NAME, name=NAME, bundled=False)
    assert own.sha256[:12] in in_words(own) and not TELLTALE.search(in_words(own))
    assert in_words(load_spec("aorta")).startswith("aorta ")


def test_the_scale_of_a_source_is_logged_once_with_where_it_came_from() -> None:
    with open_source("phantom:?frames=3") as source, written_down():
        calibrate = calibration_for(source)
        for frame in source:
            calibrate(frame)
    assert written().count("scale from frame 0 on") == 1 and "mm (phantom)" in written()


def test_libraries_are_not_heard() -> None:
    with written_down("debug"):
        logging.getLogger("pydicom").warning("PatientName is %s", NAME)
        logging.getLogger().error(NAME)
    assert not TELLTALE.search(written())


def test_the_log_is_for_its_user_alone() -> None:
    with written_down():
        _log.info("a line")
    for path, mode in ((log_path(), 0o600), (log_path().parent, 0o700), (log_path().parents[1], 0o700)):
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_the_level_may_stand_before_or_after_the_command() -> None:
    for arguments in (["--log-level", "debug", "models"], ["--log-level=debug", "models"]):
        assert main([*arguments, "list"]) == 0
    assert main(["models", "list", "--log-level", "warning"]) == 0
    assert written().count("begin: models") == 2
    assert main(["models", "list"]) == 0
    assert written().count("begin: models") == 3


def test_a_level_that_is_none_is_refused_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--log-level", "loud"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_level_is_kept_in_the_preferences() -> None:
    save(Settings(log_level="debug"))
    assert load() == (Settings(log_level="debug"), ())


def test_what_repeats_itself_is_counted() -> None:
    with written_down():
        for number in range(500):
            _log.warning("a frame is refused")
            _log.warning("every hundredth: %d", number // 100)
    assert written().count("a frame is refused") == 2
    assert "a frame is refused (and 499 more like it)" in written()
    assert written().count("every hundredth: 4") == 2


def test_old_files_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_BYTES", 2000)
    with written_down():
        for number in range(500):
            _log.info("line %d of a good many", number)
    files = list(log_path().parent.glob("usviewer.log*"))
    assert len(files) == logs.KEPT_FILES and all(file.stat().st_size <= 2000 for file in files)
    assert "line 499 of" in log_path().read_text()


# -- what is wrong with the disk


@contextmanager
def nothing_said(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_costs_the_lines_alone(capfd: pytest.CaptureFixture[str]) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("only Linux has a disk that is always full")
    with nothing_said(capfd), written_down(path=full):
        for number in range(100):
            _log.error("line %d", number)


def test_a_folder_that_cannot_be_made_costs_the_lines_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with nothing_said(capfd), written_down(path=tmp_path / "file" / "usviewer.log"):
        _log.error("a line")


def test_a_file_that_cannot_be_opened_costs_the_lines_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "usviewer.log").mkdir()
    with nothing_said(capfd), written_down(path=tmp_path / "usviewer.log"):
        _log.error("a line")


def test_a_folder_that_goes_meanwhile_costs_the_lines_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "log"
    with nothing_said(capfd), written_down(path=folder / "usviewer.log"):
        _log.error("a line")
        (tmp_path / "log").rename(tmp_path / "gone")
        _log.error("another line")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_disk_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    """A pipe that nobody reads: opening it never ends."""
    pipe = tmp_path / "usviewer.log"
    os.mkfifo(pipe)
    began_s = time.monotonic()
    with written_down(path=pipe):
        for number in range(3 * logs.MOST_WAITING):
            _log.error("line %d", number)
        took_s = time.monotonic() - began_s
    ended_s = time.monotonic() - began_s - took_s
    os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))  # lets the thread go
    assert took_s < 3.0 and ended_s < logs.END_DEADLINE_S + 1.0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_disk_that_hangs_does_not_keep_the_program_from_ending(tmp_path: Path) -> None:
    pipe = tmp_path / "usviewer.log"
    os.mkfifo(pipe)
    command = [sys.executable, "-c", _CHILD, str(pipe), "1000", "1"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=30)


_CHILD = """
import logging, sys
from pathlib import Path
from usviewer import logs
logs.MOST_BYTES, number = int(sys.argv[2]), int(sys.argv[3])
with logs.written_down(path=Path(sys.argv[1])):
    for line in range(200):
        logging.getLogger("usviewer.child").info("line %d of process %d, and so on to the end.", line, number)
"""


@pytest.mark.parametrize(("most_bytes", "complete"), [(1_000_000, True), (4000, False)])
def test_several_processes_share_the_file_line_by_line(tmp_path: Path, most_bytes: int, complete: bool) -> None:
    path = tmp_path / "usviewer.log"
    command = [sys.executable, "-c", _CHILD, str(path), str(most_bytes)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    children = [subprocess.Popen([*command, str(number)], env=environment) for number in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    lines = written(path).splitlines()
    whole = re.compile(
        r"\S+Z \d+ info MainThread usviewer\.child:\d+ line (\d+) of process (\d), and so on to the end\."
    )
    assert all(whole.fullmatch(line) for line in lines)
    seen = [found.groups() for line in lines if (found := whole.fullmatch(line))]
    assert len(set(seen)) == len(seen)
    assert len(seen) == 600 if complete else len(list(tmp_path.glob("usviewer.log*"))) == logs.KEPT_FILES


IMPORTED = """
import logging, sys, threading
from usviewer.logs import written_down

class Watch:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            print(name)

sys.meta_path.insert(0, Watch())
with written_down("info"):
    logging.getLogger("usviewer.test").warning("line %d", 1)
"""


def test_the_thread_that_writes_imports_nothing(tmp_path: Path) -> None:
    """PySide6 is imported while the first lines are written; it ends the process where ``sys.modules`` grows then."""
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "line 1" in log_path().read_text(encoding="utf-8")


# --- the report of an error -------------------------------------------------------------------------------------------


def raised() -> Exception:
    try:
        try:
            os.stat(WHERE)
        except OSError as error:
            raise UserError(f"{FILE_NAME} is damaged") from error
    except UserError as error:
        try:
            raise ValueError(FILE_NAME, 7) from error
        except ValueError as last:
            return last


def test_a_report_has_the_place_and_the_kind_of_every_link_and_no_name() -> None:
    report = report_of(
        raised(), ["analyze", f"/data/{FILE_NAME}", "--out", "/home/anna", f"--mm-per-pixel={FILE_NAME}", "-1"]
    )
    assert re.search(r"test_logs\.py:\d+ in raised: raise ValueError", report)
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
        [sys.executable, "-c", script, f"/data/{FILE_NAME}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"usviewer: an error in the program\. Please report it with the file \S+\n", done.stderr)
    (report,) = (tmp_path / "state").rglob("error-*.txt")
    assert report.stat().st_mode & 0o777 == 0o600 and report.parent.stat().st_mode & 0o777 == 0o700
    assert "IndexError" in report.read_text() and "Muster" not in report.read_text()
