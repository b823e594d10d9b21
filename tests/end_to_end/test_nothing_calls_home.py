"""Nothing is sent: every command runs alone, in a network where whatever it asks for or calls is seen (``alone``).

The telemetry clients that the engines bring keep identifiers in files, too. Only files that ``docs/privacy.md``
names may appear.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
ALONE = Path(__file__).with_name("alone.py")
USVIEWER = (sys.executable, "-m", "usviewer")
PHANTOM = "phantom:?frames=6"
# A client of ONNX Runtime called first 8 to 10 s after its start.
LINGERS_S = 12
SECONDS = 200
LINGERING = f"""
import sys, time
from usviewer.__main__ import main
for engine in ("cpu", "openvino", "auto"):
    assert main(["analyze", {PHANTOM!r}, "--engine", engine, "--out", sys.argv[1]]) == 0
time.sleep({LINGERS_S})
"""

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Seen:
    """What a command did: exit code and words, names it asked for, addresses it called, files it left."""

    code: int
    said: str
    names: tuple[str, ...]
    called: tuple[str, ...]
    files: tuple[str, ...]


def new_namespace() -> list[str]:
    """The command that gives another one a network of its own; skips the test where there is none."""
    if sys.platform != "linux" or not (shutil.which("unshare") and shutil.which("ip") and shutil.which("mount")):
        pytest.skip("a network of its own needs Linux with unshare, ip and mount")
    for options in (["--net", "--mount"], ["--map-root-user", "--net", "--mount"]):
        command = ["unshare", *options]
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip("this machine gives no process a network of its own")


def alone(folder: Path, *command: object) -> Seen:
    """Run a command with folders of its own for everything that is kept."""
    home, report = folder / "home", folder / "report.json"
    (home / "tmp").mkdir(parents=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "ORT_", "USVIEWER_"))}
    environment |= {
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "QT_QPA_PLATFORM": "offscreen",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    inner = [*new_namespace(), sys.executable, str(ALONE), str(report), str(SECONDS), *map(str, command)]
    done = subprocess.run(inner, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text(encoding="utf-8"))
    files = sorted(str(path.relative_to(home)) for path in home.rglob("*") if not path.is_dir())
    return Seen(found["code"], found["said"], tuple(found["names"]), tuple(found["called"]), tuple(files))


def documented() -> tuple[str, ...]:
    """The files that ``docs/privacy.md`` names, as patterns below the home folder."""
    page = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
    paths = re.findall(r"^\| `(~/[^`]+)`", page, re.MULTILINE)
    return tuple(re.sub(r"[A-Z]{2,}", "*", path).removeprefix("~/") for path in paths)


def assert_silent(seen: Seen, wanted: int = 0) -> None:
    assert seen.code == wanted, seen.said
    assert seen.names == () and seen.called == ()
    strange = [file for file in seen.files if not any(fnmatch(file, pattern) for pattern in documented())]
    assert strange == []


@pytest.mark.parametrize("engine", ["cpu", "openvino", "auto"])
def test_analyze_is_silent(tmp_path: Path, engine: str) -> None:
    out = ("--out", tmp_path / "out")
    assert_silent(alone(tmp_path, *USVIEWER, "analyze", PHANTOM, "--no-video", "--engine", engine, *out))
    assert (tmp_path / "out" / "summary.json").is_file()


def test_a_process_that_lives_on_is_silent(tmp_path: Path) -> None:
    assert_silent(alone(tmp_path, sys.executable, "-c", LINGERING, tmp_path / "out"))


def test_bench_is_silent(tmp_path: Path) -> None:
    options = ("--source", PHANTOM, "--engines", "cpu,openvino", "--threads", "1", "--frames", "20", "--out", tmp_path)
    assert_silent(alone(tmp_path, *USVIEWER, "bench", *options))


def test_evaluate_is_silent(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / "cases" / part).mkdir(parents=True)
        disc = cv2.circle(np.zeros((96, 128), np.uint8), (64, 48), 20, 1, -1)
        cv2.imwrite(str(tmp_path / "cases" / part / "one.png"), disc)
    assert_silent(alone(tmp_path, *USVIEWER, "evaluate", "aorta", tmp_path / "cases", "--out", tmp_path / "out"))


def test_the_window_is_silent(tmp_path: Path) -> None:
    pytest.importorskip("PySide6")
    picture = tmp_path / "window.png"
    assert_silent(alone(tmp_path, *USVIEWER, "--demo", "--screenshot", picture, "--after-s", "1"))
    assert picture.is_file()


def test_files_that_name_addresses_are_not_followed(tmp_path: Path) -> None:
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://stream.example.org/a.ts\n#EXT-X-ENDLIST\n"
    session = "v=0\no=- 0 0 IN IP4 198.51.100.7\ns=x\nc=IN IP4 198.51.100.7\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    joined = "ffconcat version 1.0\nfile http://stream.example.org/a.ts\n"
    described = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
        '<BaseURL>http://stream.example.org/</BaseURL><Period><AdaptationSet mimeType="video/mp4">'
        '<Representation id="1" bandwidth="1"><SegmentList><SegmentURL media="a.mp4"/></SegmentList>'
        "</Representation></AdaptationSet></Period></MPD>"
    )
    kinds = {"m3u8": playlist, "sdp": session, "ffconcat": joined, "mpd": described}
    names = [f"{kind}.{ending}" for kind in kinds for ending in (kind, "mp4")]
    for name in names:
        (tmp_path / name).write_text(kinds[name.partition(".")[0]], encoding="utf-8")
    seen = alone(tmp_path, *USVIEWER, "analyze", *names)
    assert_silent(seen, wanted=2)
    assert all(name in seen.said for name in names)


def test_what_calls_is_seen(tmp_path: Path) -> None:
    """The net itself: a name, an address over TCP and one over UDP are each caught."""
    script = (
        "import socket\n"
        "for what in (lambda: socket.create_connection(('name.example.org', 443), 1),\n"
        "             lambda: socket.create_connection(('198.51.100.1', 80), 1),\n"
        "             lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('198.51.100.2', 9))):\n"
        "    try: what()\n"
        "    except OSError: pass\n"
    )
    seen = alone(tmp_path, sys.executable, "-c", script)
    assert seen.names and set(seen.names) == {"name.example.org"}
    assert {"192.0.2.1 port 443", "198.51.100.1 port 80", "198.51.100.2 port 9"} <= set(seen.called)


def test_the_package_forbids_it_before_anything_can_import_an_engine() -> None:
    script = (
        "import sys, os\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('onnxruntime', 'openvino'):\n"
        "            assert os.environ.get('ORT_DISABLE_TELEMETRY') == '1', name\n"
        "            assert sys.modules['openvino_telemetry'] is None, name\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import pkgutil, importlib, usviewer\n"
        "assert not {'onnxruntime', 'openvino', 'numpy'} & set(sys.modules)\n"
        "from usviewer.infer import session\n"
        "print(sorted(session.versions()))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime" in done.stdout


def test_no_recipe_or_tool_imports_an_engine_before_the_package() -> None:
    """Engines stand in the package, in its tests, and in recipes whose package imports ours first."""
    outside = [
        path
        for path in [*ROOT.glob("*.py"), *(ROOT / "models").rglob("*.py"), *(ROOT / "resources").rglob("*.py")]
        if re.search(r"^\s*(import|from) (onnxruntime|openvino)\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert all(path.parent == ROOT / "models" / "training" for path in outside), outside
    first = (ROOT / "models" / "training" / "__init__.py").read_text(encoding="utf-8").split('"""')[2].strip()
    assert first.startswith("import usviewer")
