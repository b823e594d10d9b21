"""One contract over every kind of source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.devices import FakeBackend, card
from tests.helpers.displays import virtual_display
from tests.helpers.recordings import dicom_dataset, picture, save_packed, write_clip
from usviewer.acquire import Source, frame_count, open_source
from usviewer.errors import UserError
from usviewer.frame import digest_of

COUNT = 6


def _clip(folder: Path) -> Path:
    return write_clip(folder / "clip.mp4", count=COUNT, key_every=4, options={"bf": "2"})


def _counted_clip(folder: Path) -> Path:
    return write_clip(folder / "clip.mpg", "mpeg2video", COUNT, key_every=4, options={"bf": "2"})


def _gif(folder: Path) -> Path:
    return write_clip(folder / "loop.gif", "gif", COUNT, pixel_format="rgb8")


def _pages(folder: Path) -> Path:
    pages = [Image.fromarray(picture(number)) for number in range(COUNT)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    return folder / "pages.tif"


def _folder(folder: Path) -> Path:
    (folder / "stills").mkdir()
    for number in range(COUNT):
        Image.fromarray(picture(number)).save(folder / "stills" / f"{number}.png")
    return folder / "stills"


def _cine(folder: Path) -> Path:
    dicom_dataset([picture(number) for number in range(COUNT)], FrameTime=40.0).save_as(folder / "cine.dcm")
    return folder / "cine.dcm"


def _video_in_dicom(folder: Path) -> Path:
    stream = write_clip(folder / "clip.ts", count=COUNT, format="mpegts").read_bytes()
    dataset = dicom_dataset([picture(0)], NumberOfFrames=COUNT, PhotometricInterpretation="YBR_PARTIAL_420")
    return save_packed(dataset, folder / "video.dcm", "1.2.840.10008.1.2.4.102", [stream])


def _phantom(folder: Path) -> str:
    return f"phantom:?frames={COUNT}&width=320&height=240"


MAKERS: dict[str, Callable[[Path], Path | str]] = {
    "clip": _clip,
    "counted clip": _counted_clip,
    "gif": _gif,
    "pages": _pages,
    "folder": _folder,
    "cine": _cine,
    "video in dicom": _video_in_dicom,
    "phantom": _phantom,
}


@pytest.fixture(params=MAKERS)
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    return MAKERS[request.param](tmp_path)


def test_it_is_a_source_that_describes_itself(uri: Path | str) -> None:
    with open_source(uri) as source:
        assert isinstance(source, Source)
        info = source.info
        assert info.uri == str(uri) and info.name and info.kind and not info.live
        first = source.seek(0)
        assert (first.width_px, first.height_px) == (info.width_px, info.height_px)
        assert frame_count(source) == COUNT == source.info.frame_count


def test_every_frame_comes_in_order_and_again(uri: Path | str) -> None:
    with open_source(uri) as source:
        first, second = list(source), list(source)
        assert [frame.key.index for frame in first] == list(range(COUNT))
        assert [frame.key.digest for frame in first] == [frame.key.digest for frame in second]
        assert len({frame.key.digest for frame in first}) == COUNT


def test_frames_are_rgb_read_only_and_carry_their_digest(uri: Path | str) -> None:
    with open_source(uri) as source:
        for frame in source:
            assert frame.pixels.dtype == np.uint8 and frame.pixels.shape[2:] == (3,)
            assert frame.pixels.flags.c_contiguous and not frame.pixels.flags.writeable
            assert frame.key.digest == digest_of(frame.pixels)
            assert frame.key.source == str(uri) and frame.key.capture_time_s > 0


def test_seeking_gives_the_same_frames_in_any_order(uri: Path | str) -> None:
    with open_source(uri) as source, open_source(uri) as sought:
        keys = [frame.key for frame in source]
        for index in (5, 0, 3, 4, 3, 1, 2):
            frame = sought.seek(index)
            assert (frame.key.index, frame.key.digest) == (index, keys[index].digest)
            assert frame.key.media_time_s == keys[index].media_time_s
            near = sought.seek_near(index)
            assert near.key.digest == keys[near.key.index].digest


def test_times_are_those_of_the_frames_and_rise(uri: Path | str) -> None:
    with open_source(uri) as source:
        times = list(source.times_s())
        assert times == [frame.key.media_time_s for frame in source] == list(source.times_s())
        known = [time for time in times if time is not None]
        assert len(known) in (0, COUNT) and known == sorted(set(known))
        assert not known or known[0] == 0


@pytest.mark.parametrize("index", [-1, COUNT, 10_000])
def test_beyond_the_ends_is_said(uri: Path | str, index: int) -> None:
    with open_source(uri) as source:
        for seek in (source.seek, source.seek_near):
            with pytest.raises(UserError):
                seek(index)


def test_an_abandoned_pass_disturbs_nothing_and_close_may_be_repeated(uri: Path | str) -> None:
    source = open_source(uri)
    digests = [frame.key.digest for frame in source]
    abandoned = iter(source)
    next(abandoned), next(abandoned)
    assert source.seek(4).key.digest == digests[4]
    assert [frame.key.digest for frame in source] == digests
    del abandoned
    source.close()
    source.close()


# -- live sources


@pytest.fixture(params=["phantom", "device", "screen"])
def live(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    if request.param == "screen":
        with virtual_display(320, 240):
            yield open_source("screen:?rate=240")
    else:
        yield _live_phantom() if request.param == "phantom" else _live_device(monkeypatch)


def _live_phantom() -> Source:
    return open_source("phantom:?live=1&width=320&height=240")


def _live_device(monkeypatch: pytest.MonkeyPatch) -> Source:
    grabber = card()
    backend = FakeBackend(grabber)
    monkeypatch.setattr("usviewer.acquire.device.system_backend", lambda: backend)
    monkeypatch.setattr("usviewer.acquire.device.MAX_WAITING", 0)
    grabber.put(*(picture(number) for number in range(COUNT)))
    return open_source(grabber.info.uri)


def test_a_live_source_describes_itself_and_has_no_times(live: Source) -> None:
    with live as source:
        assert isinstance(source, Source)
        info = source.info
        assert info.live and info.uri and info.name and info.kind and info.frame_count is None
        assert frame_count(source) is None and list(source.times_s()) == []
        for seek in (source.seek, source.seek_near):
            with pytest.raises(UserError, match="cannot seek"):
                seek(0)


def test_frames_of_a_live_source_are_numbered_and_carry_their_digest(live: Source) -> None:
    with live as source:
        frames = iter(source)
        seen = [next(frames) for _ in range(COUNT)]
        assert [frame.key.index for frame in seen] == list(range(COUNT))
        for frame in seen:
            assert frame.pixels.dtype == np.uint8 and frame.pixels.shape[2:] == (3,)
            assert frame.pixels.flags.c_contiguous and not frame.pixels.flags.writeable
            assert frame.key.digest == digest_of(frame.pixels)
            assert frame.key.source == source.info.uri and frame.key.capture_time_s > 0


def test_a_closed_live_source_ends_and_may_be_closed_again(live: Source) -> None:
    frames = iter(live)
    next(frames)
    live.close()
    assert next(frames, None) is None
    assert list(live) == []
    live.close()
