"""The models that are here: the only reader, and writer, of model folders.

A model is a folder with ``manifest.toml``. The user's own folder is looked into first, then what came with the program.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import tomli_w

from usviewer.errors import UserError
from usviewer.files import PartFolder, make_folder, open_regular, remove_leftovers
from usviewer.infer import exports, golden, onnx_file, trial
from usviewer.infer.manifest import MANIFEST, GoldenCase, ModelSpec, check_id, read_manifest
from usviewer.infer.places import user_folder
from usviewer.infer.predictor import Predictor
from usviewer.own_folders import resource_path
from usviewer.plain_text import printable

__all__ = [
    "add_model",
    "list_broken",
    "list_models",
    "load_spec",
    "record_golden",
    "remove_model",
    "remove_unfinished_models",
    "user_folder",
    "verify_model",
]

GOLDEN_PICTURE = "golden.png"
GOLDEN_EXPECTED = "golden.json"
EXPORT_NAME = "model.onnx"


def list_models() -> tuple[ModelSpec, ...]:
    """Every model whose manifest is right, by id; a user's model hides a bundled one of the same id."""
    return _listed()[0]


def list_broken() -> tuple[tuple[str, str], ...]:
    """Folders that look like a model and are not one: their names, as plain text, and the reason."""
    return _listed()[1]


def _listed() -> tuple[tuple[ModelSpec, ...], tuple[tuple[str, str], ...]]:
    found, broken = [], []
    for model_id in _ids():
        try:
            found.append(load_spec(model_id))
        except UserError as error:
            broken.append((printable(model_id), str(error)))
    return tuple(found), tuple(broken)


def load_spec(model_id: str) -> ModelSpec:
    """What is known about a model. Raises ``UserError`` where it is unknown or its manifest is not right."""
    for parent, bundled in _parents():
        folder = parent / check_id(model_id)
        if _has_manifest(folder):
            spec = read_manifest(folder, bundled=bundled)
            if spec.id != model_id:
                raise UserError(f"The manifest in folder '{model_id}' is of model '{spec.id}'", "Rename the folder")
            return spec
    known = ", ".join(map(printable, _ids())) or "none"
    raise UserError(f"There is no model '{model_id}'; there are: {known}", "Add one with 'usviewer models add'")


def verify_model(model_id: str) -> ModelSpec:
    """Check hash, graph and golden case of a model on the CPU. Raises ``UserError`` for the first that is not right."""
    spec = load_spec(model_id)
    if not trial.needed(spec):
        Predictor(spec, engine="cpu")
        return spec
    onnx_file.check_hashes(spec)
    onnx_file.check_graphs(spec)
    trial.run(spec)
    trial.remember(spec)
    return spec


def add_model(path: Path, model_id: str | None = None, pixels: str = "") -> ModelSpec:
    """Install a model for this user: an ONNX file that Ultralytics exported, or a folder with a manifest.

    A file with a ``manifest.toml`` beside it counts as its folder. A folder without one may hold the encoder and the
    decoder of a known export of SAM: for these ``pixels`` says what the encoder takes (``exports.PIXELS``).
    Where no golden case comes along, one is recorded from the model itself. Raises ``UserError`` and leaves nothing
    behind when anything is not right.
    """
    source = _source_folder(path)
    if pixels and (source or not path.is_dir()):
        raise UserError("The model itself says what its pixels become", "Leave out --pixels")
    target_id = check_id(model_id or _default_id(source, path))
    target = _free_place(target_id, chosen=model_id is not None)
    with _staged(target) as staging:
        if source:
            _copy_folder(source, staging, target_id)
        elif path.is_dir():
            exports.copy_sam(path, staging, target_id, pixels)
        else:
            _copy_export(path, staging, target_id)
        if not source and path.is_file():
            with _called(path):
                _try_out(staging)
        else:
            _try_out(staging)
    spec = load_spec(target_id)
    trial.remember(spec)
    return spec


def _try_out(staging: Path) -> None:
    """Run the model of a folder once, in a process of its own, and record its golden case where it has none."""
    spec = read_manifest(staging)
    onnx_file.check_hashes(spec)
    onnx_file.check_graphs(spec)
    trial.run(spec, record=True)


def remove_model(model_id: str) -> None:
    """Delete one of the user's models. Bundled models stay."""
    folder = user_folder() / check_id(model_id)
    if not folder.is_dir():
        spec = load_spec(model_id)
        raise UserError(f"'{spec.id}' came with the program and cannot be removed", "Only your own models can")
    doomed = _work_folder("removing")
    try:
        # Renamed first: a removal that is interrupted must not leave half a model under its name.
        os.replace(folder, doomed.path / folder.name)
        shutil.rmtree(doomed.path / folder.name)
    except OSError as error:
        raise UserError(f"{folder} cannot be removed: {error.strerror}", "Check its permissions") from None
    finally:
        doomed.remove()


def remove_unfinished_models() -> None:
    """Remove what killed processes left while they added or removed a model; what a living one works on stays."""
    remove_leftovers(user_folder())


def record_golden(folder: Path, source: str = golden.RECORDED, *, only_missing: bool = False) -> None:
    """Run the model of a folder on its golden picture and keep what it says as the expected result.

    The picture is ``[golden] frame`` of the manifest; where the manifest has no golden case, a fixed synthetic picture
    is written and the manifest is completed. ``source`` says who vouches for the result.
    """
    spec = read_manifest(folder)
    case = spec.golden
    if case and only_missing and case.expected.is_file():
        return
    if case is None:
        case = GoldenCase(folder / GOLDEN_PICTURE, folder / GOLDEN_EXPECTED)
        cv2.imwrite(str(case.frame), cv2.cvtColor(golden.synthetic_picture(), cv2.COLOR_RGB2BGR))
        lines = ["", "[golden]", f'frame = "{GOLDEN_PICTURE}"', f'expected = "{GOLDEN_EXPECTED}"']
        if spec.prompt is not None:
            case = replace(case, points_xy_px=(golden.DISC_XY_PX,), positive=(True,))
            lines.append(f"points_xy_px = [{list(golden.DISC_XY_PX)}]")
        with (folder / MANIFEST).open("a", encoding="utf-8") as manifest:
            manifest.write("\n".join(lines) + "\n")
    predictor = Predictor(replace(spec, golden=case), engine="cpu", check_golden=False)
    golden.write_expected(case.expected, predictor.observe(golden.read_picture(case.frame), source))


def _parents() -> tuple[tuple[Path, bool], ...]:
    return ((user_folder(), False), (resource_path("models"), True))


def _ids() -> list[str]:
    """Names of all folders that hold a manifest."""
    found: set[str] = set()
    for parent, _ in _parents():
        with contextlib.suppress(OSError):
            found |= {entry.name for entry in parent.iterdir() if _has_manifest(entry)}
    return sorted(name for name in found if not name.startswith("."))


def _has_manifest(folder: Path) -> bool:
    """Whether something in the folder is called a manifest, whatever it is; or the folder may not be looked into.

    What cannot be read must be named with its reason, so it counts as a model.
    """
    try:
        (folder / MANIFEST).lstat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _source_folder(path: Path) -> Path | None:
    """The model folder that is meant, or None for a lone ONNX file, or a folder of two without a manifest."""
    # The methods of Path raise for a name that is too long, these say no.
    if os.path.isdir(path):
        if not _has_manifest(path):
            if len(exports.sam_graphs(path)) == 2:
                return None
            raise UserError(f"The folder {path} has no {MANIFEST}", "Give an ONNX file or a model's folder")
        return path
    if not os.path.isfile(path):
        what = f"There is no file {path}"
        if os.path.exists(path):
            what = f"{path} is not a regular file"
        raise UserError(what, "Check the name")
    if not _has_manifest(path.parent):
        return None
    if path.name not in {file.path.name for file in read_manifest(path.parent).files.values()}:
        raise UserError(f"{MANIFEST} beside {path.name} belongs to another file", "Move one of the two elsewhere")
    return path.parent


def _default_id(source: Path | None, path: Path) -> str:
    """The id that the manifest says, or one made of the file's name."""
    if source:
        return read_manifest(source).id
    return re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._")[:64] or "model"


def _free_place(model_id: str, *, chosen: bool) -> Path:
    target = user_folder() / model_id
    if target.exists():
        raise UserError(f"You already have a model '{model_id}'", "Remove it first, or give another name with --id")
    if not chosen and (resource_path("models") / model_id / MANIFEST).is_file():
        raise UserError(
            f"A model '{model_id}' came with the program", f"Give another name with --id, or --id {model_id} to hide it"
        )
    return target


def _work_folder(kind: str) -> PartFolder:
    """A folder of unfinished work beside the user's models. Raises ``UserError``."""
    try:
        folder = make_folder(user_folder())
        remove_leftovers(folder)
        return PartFolder(folder, kind)
    except UserError as error:  # which advises another folder, and there is none to choose
        raise UserError(error.what, f"Check the permissions of {user_folder()}") from error


@contextlib.contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """A folder beside the target that becomes it when all went well, and is removed on failure."""
    staging = _work_folder("adding")
    try:
        yield staging.path
        staging.release()
        os.replace(staging.path, target)
    except OSError as error:
        raise UserError(f"The model cannot be installed: {error.strerror}", "Check space and permissions") from error
    finally:
        staging.remove()


def _copy_export(path: Path, staging: Path, model_id: str) -> None:
    graph = onnx_file.inspect(path)
    if not exports.is_ultralytics(graph):
        raise UserError(
            f"{path.name} does not say what it takes and gives",
            f"Write a {MANIFEST} beside it (docs/models.md) and add it again",
        )
    target = staging / EXPORT_NAME
    _copy_file(path, target)
    with _called(path):
        manifest = exports.ultralytics_manifest(graph, model_id, target.name, onnx_file.sha256_of(target))
    (staging / MANIFEST).write_text(tomli_w.dumps(manifest), encoding="utf-8")


@contextlib.contextmanager
def _called(path: Path) -> Iterator[None]:
    """Refusals of a lone file under its own name, and without the manifest, which its user has never seen."""
    try:
        yield
    except UserError as error:
        do = error.do
        if "manifest" in do:
            do = "Export the model again (docs/models.md says how)"
        raise UserError(error.what.replace(EXPORT_NAME, path.name), do) from error


def _copy_folder(source: Path, staging: Path, model_id: str) -> None:
    """The files that the manifest names, the card, and the manifest; nothing else of the folder."""
    spec = read_manifest(source)
    if spec.id != model_id:
        raise UserError(f"The manifest says that this model is '{spec.id}'", "Change it there instead of with --id")
    onnx_file.check_hashes(spec)
    _refuse_outside(source, source / "CARD.md")
    wanted = [file.path for file in spec.files.values()]
    if spec.card:
        wanted.append(spec.card)
    if spec.golden:
        _refuse_outside(source, spec.golden.frame, spec.golden.expected)
        # Of these two the expected result alone may be missing: then it is recorded.
        wanted += [path for path in (spec.golden.frame, spec.golden.expected) if os.path.lexists(path)]
    for path in (source / MANIFEST, *wanted):
        _copy_file(path, staging / path.name)


def _refuse_outside(folder: Path, *paths: Path) -> None:
    """Raise ``UserError`` for links out of the folder: no hash covers what they lead to."""
    for path in paths:
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            raise UserError(f"{path.name} is a link that leads out of the model's folder", "Put the file itself there")


def _copy_file(path: Path, target: Path) -> None:
    """Copy a regular file; a link may lead to one, a pipe or a device is refused."""
    try:
        with open_regular(path) as source:
            if os.fstat(source.fileno()).st_size > onnx_file.MAX_FILE_BYTES:
                raise UserError(f"{path.name} is larger than 2 GiB", "Take it out of the folder")
            with target.open("xb") as copy:
                shutil.copyfileobj(source, copy)
    except OSError as error:
        raise UserError(f"{path} cannot be copied: {error.strerror}", "Check the file, and the space") from None
