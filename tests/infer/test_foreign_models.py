"""Model folders that somebody made wrong, by accident or on purpose: one sentence each, and only they are lost."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from tests.helpers import onnx_graphs
from tests.helpers.pictures import SpecFactory
from usviewer.errors import UserError
from usviewer.infer import choice, golden, onnx_file, registry
from usviewer.infer.manifest import MANIFEST, ModelSpec, read_manifest
from usviewer.infer.onnx_file import inspect
from usviewer.infer.session import int8


@pytest.fixture
def manifest(unet: SpecFactory) -> Path:
    return unet().folder / MANIFEST


def _after(addition: bytes) -> Callable[[bytes], bytes]:
    return lambda good: good + b"\n" + addition


BAD_TEXT = {
    "arrays in arrays": _after(b"x = " + b"[" * 5000 + b"]" * 5000),
    "tables in tables": _after(b"[training]\nx = " + b"{a=" * 3000 + b"1" + b"}" * 3000),
    "a long dotted key": _after(b"[training." + b".".join([b"a"] * 4000) + b"]\nx = 1"),
    "an endless integer": _after(b"[accuracy]\nx = " + b"9" * 5000),
    "an integer of 400 digits": _after(b"[accuracy]\nedge_sd_input_px = " + b"9" * 400),
    "half a line": lambda good: good[: len(good) // 2],
    "Latin-1": lambda good: good.replace(b"Test U-Net", b"Caf\xe9"),
    "UTF-16": lambda good: good.decode().encode("utf-16"),
    "null characters": lambda good: b"\0" * 100,
    "a date for a label": lambda good: good.replace(b"labels = [", b"labels = [1979-05-27,"),
    "a date for a version": lambda good: good.replace(b'version = "1"', b"version = 2026-01-01"),
    "true for a colour": lambda good: good.replace(b'crop = "whole"', b'crop = "whole"\npad_value = true'),
    "infinity": lambda good: good.replace(b"value_range = [\n    0,\n    1,\n]", b"value_range = [0, inf]"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_TEXT)
def test_a_manifest_that_cannot_be_read_is_one_sentence(manifest: Path, name: str) -> None:
    good = manifest.read_bytes()
    assert BAD_TEXT[name](good) != good
    manifest.write_bytes(BAD_TEXT[name](good))
    with pytest.raises(UserError) as error:
        read_manifest(manifest.parent)
    assert len(str(error.value)) < 600 and "\n" not in str(error.value)


def test_a_manifest_as_windows_writes_it_is_read(manifest: Path) -> None:
    good = manifest.read_bytes()
    manifest.write_bytes(b"\xef\xbb\xbf" + good.replace(b"\n", b"\r\n"))
    assert read_manifest(manifest.parent).id == "unet"


def test_names_are_plain_text_of_a_sensible_length(unet: SpecFactory) -> None:
    spec = unet({}, name="unet", version="1\x1b[2J" + "9" * 5000)
    assert "\x1b" not in spec.version and len(spec.version) < 300


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _folder(path: Path) -> None:
    path.mkdir()


def _endless(path: Path) -> None:
    """As large as a disk, and nothing on it."""
    with path.open("wb") as file:
        file.truncate(50_000_000_000)


NOT_FILES = [_pipe, _zero, _folder, _endless]


@pytest.mark.parametrize("make", NOT_FILES)
@pytest.mark.parametrize("name", [MANIFEST, "model.onnx", "golden.png", "golden.json"])
def test_what_is_no_regular_file_of_sensible_size_is_refused(
    unet: SpecFactory, name: str, make: Callable[[Path], None]
) -> None:
    source = unet({"blob": True}, "disc")
    registry.record_golden(source.folder, "the author")
    (source.folder / name).unlink()
    make(source.folder / name)
    with pytest.raises(UserError):
        registry.add_model(source.folder)
    assert not list(registry.user_folder().glob("*")) if registry.user_folder().exists() else True


@pytest.mark.parametrize("make", NOT_FILES)
def test_a_lone_file_that_is_no_regular_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "lone.onnx")
    with pytest.raises(UserError):
        registry.add_model(tmp_path / "lone.onnx")
    with pytest.raises(UserError):
        inspect(tmp_path / "lone.onnx")
    with pytest.raises(UserError):
        onnx_file.sha256_of(tmp_path / "lone.onnx")


def test_links_out_of_the_folder_are_not_followed_where_no_hash_vouches(unet: SpecFactory, tmp_path: Path) -> None:
    source = unet({"blob": True}, "disc")
    (tmp_path / "private.txt").write_text("not part of a model")
    (source.folder / "CARD.md").symlink_to(tmp_path / "private.txt")
    with pytest.raises(UserError, match=r"CARD\.md is a link that leads out of"):
        registry.add_model(source.folder)
    (source.folder / "CARD.md").unlink()
    weights = source.path.rename(tmp_path / "blob")  # as a cache of downloads keeps them
    source.path.symlink_to(weights)
    assert registry.add_model(source.folder).id == "disc"


def test_one_bad_manifest_among_good_ones_costs_only_itself(unet: SpecFactory) -> None:
    mine = registry.user_folder()
    mine.mkdir(parents=True)
    (unet({}, "good").folder).rename(mine / "good")
    for name, content in (
        ("deep", b"x = " + b"[" * 9000),
        ("latin", b"name = '\xe9'"),
        ("huge", b"x = " + b"9" * 5000),
    ):
        (mine / name).mkdir()
        (mine / name / MANIFEST).write_bytes(content)
    (mine / "pipe").mkdir()
    os.mkfifo(mine / "pipe" / MANIFEST)
    (mine / "folder" / MANIFEST).mkdir(parents=True)
    (mine / "Not A Name").mkdir()
    (mine / "Not A Name" / MANIFEST).write_text("")
    odd = os.fsdecode(os.fsencode(mine) + b"/caf\xe9")
    Path(odd).mkdir()
    (Path(odd) / MANIFEST).write_text("")
    (mine / "not a folder").write_text("")
    assert "good" in {spec.id for spec in registry.list_models()}
    broken = dict(registry.list_broken())
    assert set(broken) == {"deep", "latin", "huge", "pipe", "folder", "Not A Name", "caf\\xe9"}
    assert "regular file" in broken["pipe"] and all(reason.isprintable() for reason in broken.values())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_that_may_not_be_looked_into_is_named(unet: SpecFactory) -> None:
    mine = registry.user_folder()
    mine.mkdir(parents=True)
    unet({}, "good").folder.rename(mine / "good")
    unet({}, "shut").folder.rename(mine / "shut")
    (mine / "shut").chmod(0)
    try:
        assert "good" in {spec.id for spec in registry.list_models()}
        assert "shut" in dict(registry.list_broken())
    finally:
        (mine / "shut").chmod(0o755)


BAD_CASES = {
    "deep": b"[" * 100_000,
    "not a number": b'{"source": "x", "samples": [[[NaN]]], "instances": []}',
    "infinite": b'{"source": "x", "samples": [[[1e999]]], "instances": []}',
    "400 digits": b'{"source": "x", "samples": [[[' + b"9" * 400 + b"]]], " + b'"instances": []}',
    "text for numbers": b'{"source": "x", "samples": ["1234"], "instances": []}',
    "text for a row": b'{"source": "x", "samples": [["12"]], "instances": []}',
    "a table": b'{"source": "x", "samples": {"a": 1}, "instances": []}',
    "true": b'{"source": "x", "samples": [[[true]]], "instances": []}',
    "a box of three": b'{"source": "x", "samples": [], "instances": [{"label": "a", "score": 1, "area_px": 1, '
    b'"box_xyxy_px": [1, 2, 3], "centroid_xy_px": [1, 2]}]}',
    "Latin-1": b'{"source": "\xe9"}',
    "too much": b" " * (golden.MAX_EXPECTED_BYTES + 1),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CASES)
def test_a_golden_case_that_makes_no_sense_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "golden.json").write_bytes(BAD_CASES[name])
    with pytest.raises(UserError, match="golden case"):
        golden.read_expected(tmp_path / "golden.json")


@pytest.mark.parametrize("samples", [(), (((1.0,) * 32,),), (((1.0,) * 3,),) * 2, (((1.0,) * 3, (1.0,)),)])
def test_a_golden_case_of_another_shape_is_said_on_every_engine(samples: tuple[tuple[tuple[float, ...], ...]]) -> None:
    observed = golden.GoldenOutput("x", (((1.0,) * 3,),), ())
    assert golden.deviation(golden.GoldenOutput("x", samples, ()), observed) == golden.OTHER_SHAPE


def test_what_is_no_number_is_never_recorded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not numbers"):
        golden.write_expected(tmp_path / "golden.json", golden.GoldenOutput("x", (((float("nan"),),),), ()))
    assert not (tmp_path / "golden.json").exists()


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "not a picture"), (b"hello", "not a picture"), (png(8000, 8000), "too large"), (png(20, 20), "damaged")],
)
def test_a_golden_picture_of_another_kind_or_absurd_size_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "golden.png").write_bytes(content)
    with pytest.raises(UserError, match=says):
        golden.read_picture(tmp_path / "golden.png")


def _unknown_type(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = 99


def _negative_side(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = -5


@pytest.mark.parametrize("harm", [_unknown_type, _negative_side])
def test_a_graph_with_impossible_fields_is_refused(unet: SpecFactory, harm: Callable[[onnx.ModelProto], None]) -> None:
    path = unet().path
    model = onnx.load(path)
    harm(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError):
        inspect(path)


def test_a_name_that_is_no_text_is_refused(unet: SpecFactory) -> None:
    path = unet().path
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"image", b"\xff\xfe\xff\xff\xff"))
    with pytest.raises(UserError, match="not an ONNX model"):
        inspect(path)


def _field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message: its key, its length, what it holds."""
    length, digits = len(content), bytearray()
    while length > 127:
        digits.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | 2, *digits, length]) + content


@pytest.mark.parametrize("depth", [60, 3000])
def test_branches_nested_without_end_are_refused(unet: SpecFactory, depth: int) -> None:
    path = unet().path
    body = b""
    for _ in range(depth):  # a graph (1) of a node with type (4) and attribute (5), which holds a graph (6)
        body = _field(1, _field(4, b"If") + _field(5, _field(6, body)))
    path.write_bytes(path.read_bytes() + _field(7, body))
    with pytest.raises(UserError, match="not an ONNX model"):
        inspect(path)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b"[]", b"1e999", b'{"model_sha256": 1}'])
def test_what_was_kept_and_is_damaged_is_made_again(unet: SpecFactory, content: bytes) -> None:
    spec: ModelSpec = unet()
    folder = int8.int8_folder(spec)
    folder.mkdir(parents=True)
    (folder / "int8.json").write_bytes(content)
    assert int8.int8_file(spec) is None
    (folder / "engines.json").write_bytes(content)
    assert choice._load(folder / "engines.json") is None


def test_an_ultralytics_export_with_labels_alike_is_told_without_a_manifest(tmp_path: Path) -> None:
    onnx_graphs.yolov8n(
        tmp_path / "dup.onnx", classes=2, names=["aorta", "aorta"], segment=False, height=192, width=192
    )
    with pytest.raises(UserError) as error:
        registry.add_model(tmp_path / "dup.onnx")
    assert "manifest" not in str(error.value) and "same name" in str(error.value)


def test_everything_of_a_model_is_shown_though_its_golden_case_is_damaged(
    unet: SpecFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    from usviewer.__main__ import main

    spec = registry.add_model(unet({"blob": True}, "disc").folder)
    assert spec.golden is not None
    spec.golden.expected.write_text(json.dumps([]))
    assert main(["models", "show", "disc"]) == 0
    assert "is damaged" in capsys.readouterr().out
