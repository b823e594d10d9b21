"""What a folder holds for review."""

from __future__ import annotations

from pathlib import Path

from usviewer.pipeline.folder import find_clips, find_sibling_clips


def test_folders_are_read_by_content_and_name(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("clip 2.mp4", "clip 10.avi", "broken.mp4", "notes.txt"):
        (folder / name).write_bytes(b"nothing")
    assert [path.name for path in find_clips(folder)] == ["broken.mp4", "clip 2.mp4", "clip 10.avi"]
    (folder / "still.png").write_bytes(b"png")
    assert find_clips(folder)[-1] == folder
    alone = tmp_path / "picture.xyz"
    alone.write_bytes(b"")
    assert find_sibling_clips(alone)[0] == alone
    dicom = folder / "IM0001"
    dicom.write_bytes(b"\0" * 128 + b"DICM")
    assert dicom in find_clips(folder)
