"""``python -m benchmarks.seeks``: how soon a frame that is asked for is shown, and how evenly a clip plays."""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.command import end_with
from usviewer.acquire import open_source
from usviewer.calibrate.calibration import gather
from usviewer.cli.bench_cases import Spread, spread
from usviewer.cli.command import MOST_SECONDS, Parser, number, require_least, whole
from usviewer.errors import UserError
from usviewer.files import make_folder, write_text
from usviewer.pipeline.playback import Playback, PlaybackState
from usviewer.plain_text import printable
from usviewer.typed_number import SECONDS

RATE_HZ = 30
KEY_EVERY = 60  # frames: two seconds, as capture programs write them
POLL_S = 0.001  # 16 times finer than a window, so that its own turn is not measured
GIVE_UP_S = 30.0
LOOPED_FRAMES = 90


@dataclass(frozen=True, slots=True)
class SeekResult:
    """Times from the asking to the picture, in ms. ``rate`` is how fast playing at 1x went, of the clip's own rate."""

    clip: str
    width_px: int
    height_px: int
    frames: int
    opened_ms: float
    exact_ms: Spread
    near_ms: Spread
    rate: float
    shown_share: float


def main(argv: Sequence[str]) -> int:
    """Measure one clip and print the figures. Raises ``UserError`` for bad options or a clip that cannot be shown."""
    args = _parser().parse_args(list(argv))
    require_least("--count", args.count, 1)
    require_least("--play", args.play, 0)
    with tempfile.TemporaryDirectory(prefix="usviewer-seeks-") as folder:
        if args.clip:
            clip = Path(args.clip).expanduser()
        else:
            clip = make_clip(Path(folder) / "phantom-60s-1080p.mp4")
        result = measure(clip, args.count, args.play)
    print(words(result))
    if args.out is not None:
        write_text(make_folder(args.out) / "seeks.json", json.dumps(asdict(result), indent=1) + "\n")
    return 0


def _parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.seeks", description="Measure how fast a clip is sought and played.")
    parser.add_argument(
        "clip", nargs="?", help="a clip; without one a minute of 1920 x 1080 is made, a key frame in 60"
    )
    parser.add_argument("--count", type=whole(), default=60, metavar="N", help="how many seeks (default: %(default)s)")
    parser.add_argument(
        "--play",
        type=number(most=MOST_SECONDS, units=SECONDS),
        default=10.0,
        metavar="S",
        help="seconds of playing (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write seeks.json there")
    return parser


def make_clip(path: Path, seconds: int = 60, size: tuple[int, int] = (1920, 1080)) -> Path:
    """A recording of the phantom, as a capture program writes it: H.264 with B-frames, a key frame in 60."""
    with open_source(f"phantom:?width={size[0]}&height={size[1]}&frames={LOOPED_FRAMES}") as source:
        pictures = [frame.pixels for frame in source]
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=RATE_HZ, options={"preset": "veryfast", "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = KEY_EVERY
        for index in range(seconds * RATE_HZ):
            # Forwards and backwards, so that no cut makes one frame cost more than the others.
            turn = index % (2 * LOOPED_FRAMES - 2)
            pixels = pictures[min(turn, 2 * LOOPED_FRAMES - 2 - turn)]
            frame = av.VideoFrame.from_ndarray(np.asarray(pixels), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE_HZ)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def measure(path: Path, count: int, play_s: float) -> SeekResult:
    """Seek to random frames, each exactly and near, then play. Raises ``UserError`` where the clip cannot be shown."""
    began = time.perf_counter()
    playback = Playback(partial(open_source, path), gather)
    playback.start()
    try:
        _wait(playback, lambda now: bool(now.times_s) and now.frame is not None)
        # Only with all times counted can any frame be asked for.
        opened_ms = (time.perf_counter() - began) * 1e3
        playback.calibration()  # else the first seeks would share the computer with the search for the sector
        now = playback.picture()
        frames = len(now.times_s)
        chance = random.Random(1)  # the same places in every run
        places = [chance.randrange(frames) for _ in range(count)]
        exact = [_time_seek(playback, index, exact=True) for index in places]
        near = [_time_seek(playback, chance.randrange(frames), exact=False) for _ in range(count)]
        rate, share = _play(playback, play_s)
        assert now.source is not None
        size = (now.source.width_px, now.source.height_px)
        return SeekResult(path.name, *size, frames, opened_ms, spread(exact), spread(near), rate, share)
    finally:
        playback.stop()


def _time_seek(playback: Playback, index: int, *, exact: bool) -> float:
    """Give the ms until the frame is shown; for a near one, until any other frame is."""
    before = playback.picture().frame
    if before is not None and before.key.index == index:
        return 0.0
    began = time.perf_counter()
    playback.seek(index, exact=exact)
    if exact:
        _wait(playback, lambda now: now.frame is not None and now.frame.key.index == index)
    else:
        _wait(playback, lambda now: now.frame is not before)
    took_ms = (time.perf_counter() - began) * 1e3
    if not exact:  # the exact one follows by itself; the next seek must not share the computer with it
        _wait(playback, lambda now: now.frame is not None and now.frame.key.index == index)
    return took_ms


def _play(playback: Playback, seconds: float) -> tuple[float, float]:
    """Play for some seconds; give the clip's time over the time that passed, and the share of frames shown."""
    times_s = playback.picture().times_s
    playback.seek(0)
    # From the second frame on: the start of playing is not the evenness of playing.
    _wait(playback, lambda now: now.frame is not None and now.frame.key.index == 0)
    playback.play(1.0)
    first = _wait(playback, lambda now: now.frame is not None and now.frame.key.index > 0)
    began, shown, last = time.perf_counter(), {first}, first
    until_s = min(times_s[first] + seconds, times_s[-1])
    while last < len(times_s) - 1 and times_s[last] < until_s:
        last = _wait(playback, lambda now, last=last: now.frame is not None and now.frame.key.index != last)  # type: ignore[misc]
        shown.add(last)
    took_s = time.perf_counter() - began
    playback.pause()
    return (times_s[last] - times_s[first]) / took_s, len(shown) / (last - first + 1)


def _wait(playback: Playback, there: Callable[[PlaybackState], bool]) -> int:
    """Poll as a window does, but finer; the number of the frame that is shown then."""
    began = time.perf_counter()
    while not there(now := playback.picture()):
        playback.raise_failure()
        if now.message:
            raise UserError(now.message)
        if time.perf_counter() - began > GIVE_UP_S:
            raise UserError("The clip does not come to the frame that was asked for", "Try another clip")
        time.sleep(POLL_S)
    if now.frame is None:
        return -1
    return now.frame.key.index


def words(result: SeekResult) -> str:
    """What was found, in four lines."""
    exact, near = result.exact_ms, result.near_ms
    return (
        f"{printable(result.clip)}: {result.width_px} x {result.height_px}, {result.frames} frames, "
        f"shown and counted after {result.opened_ms:.0f} ms\n"
        f"exact frame: p50 {exact.p50:.0f}, p95 {exact.p95:.0f}, max {exact.maximum:.0f} ms ({exact.count} seeks)\n"
        f"nearest while dragging: p50 {near.p50:.0f}, p95 {near.p95:.0f}, max {near.maximum:.0f} ms\n"
        f"playing: {result.rate:.4f} of its own rate, {result.shown_share:.1%} of the frames shown"
    )


if __name__ == "__main__":
    end_with(main)
