"""Clips: a sweep with ellipses, the label images that ``usviewer analyze --masks`` writes, and clips without labels."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from usviewer.errors import UserError
from usviewer.evaluate.datasets.dataset import (
    Dataset,
    DatasetKind,
    DatasetOptions,
    EllipseTruth,
    GroundTruth,
    LengthTruth,
    Sample,
    calibrated_clip,
    can_open,
    chosen,
    class_name,
    pictures_of,
    read_label_image,
)
from usviewer.frame import Frame, ImageGeometry
from usviewer.units import Spacing

NOTHING = "Nothing is to be found here: every mask or box is a false alarm."
_ELLIPSES = "ellipses.csv"
_COLUMNS = ("frame", "center_x_px", "center_y_px", "semi_axis_x_px", "semi_axis_y_px", "angle_deg")
# Neighbouring frames show the same picture: so many are drawn together when a single clip is resampled.
_BLOCK_FRAMES = 22


# --- a sweep with ellipses --------------------------------------------------------------------------------------------


def open_sweep(folder: Path, options: DatasetOptions) -> Dataset | None:
    """One clip beside ``ellipses.csv``; only the frames in that table are judged. None when there is no such table."""
    table = folder / _ELLIPSES
    if not table.is_file():
        return None
    ellipses = _read_ellipses(table)
    clips = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix.lower() not in (".csv", ".md")]
    if len(clips) != 1:
        raise UserError(f"{folder.name} must hold one clip beside {_ELLIPSES}", "Remove the other files")
    frames = [index for number, index in enumerate(sorted(ellipses)) if chosen(options, number)][: options.limit]
    if not frames:
        raise UserError(f"{table.name} has no rows", "Give the ellipse of at least one frame")
    spacing = options.spacing
    notes = (
        f"One clip: intervals resample blocks of {_BLOCK_FRAMES} frames; other patients may differ by more.",
        "Truth: ellipses of the lumen; AP is their extent along the beam.",
    )
    wanted = {index: ellipses[index] for index in frames}
    return Dataset(
        folder.name,
        DatasetKind.MASKS,
        ("aorta",),
        lambda: _sweep_samples(clips[0], wanted, spacing),
        len(frames),
        f"block of {_BLOCK_FRAMES} frames",
        notes,
    )


def _read_ellipses(table: Path) -> dict[int, EllipseTruth]:
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return {int(row["frame"]): _ellipse(*(float(row[column]) for column in _COLUMNS[1:])) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{table.name} cannot be read", f"Its columns are {', '.join(_COLUMNS)}") from error


def _ellipse(x: float, y: float, semi_x: float, semi_y: float, angle_deg: float) -> EllipseTruth:
    # Drawn with OpenCV: 0 is the middle of the first pixel.
    return EllipseTruth((x + 0.5, y + 0.5), semi_x, semi_y, angle_deg)


def _sweep_samples(clip: Path, ellipses: Mapping[int, EllipseTruth], spacing: Spacing | None) -> Iterator[Sample]:
    for frame in calibrated_clip(str(clip), spacing, ellipses.__contains__, last=max(ellipses)):
        ellipse = ellipses[frame.key.index]
        group = f"frames from {frame.key.index // _BLOCK_FRAMES * _BLOCK_FRAMES}"
        yield Sample(f"frame {frame.key.index}", group, frame, _ellipse_truth(frame, ellipse))


def _ellipse_truth(frame: Frame, ellipse: EllipseTruth) -> GroundTruth:
    geometry = frame.geometry or ImageGeometry()
    beam = (0.0, 1.0)
    if geometry.sector:
        beam = geometry.sector.beam_direction(ellipse.center_xy_px)
    length_px = ellipse.extent_px(beam)
    length = LengthTruth(length_px)
    spacing = next((region.spacing for region in geometry.regions), None)
    if spacing:  # along the beam: x and y may have different scales
        end = (beam[0] * length_px, beam[1] * length_px)
        length = LengthTruth(length_px, spacing.length_mm((0.0, 0.0), end))
    return GroundTruth({"aorta": ellipse.mask(*frame.size_px)}, lengths={"ap_diameter": length})


# --- label images of a clip's frames ----------------------------------------------------------------------------------


def open_label_images(folder: Path, options: DatasetOptions) -> Dataset | None:
    """``masks/000000.png`` ..., as analyze writes them, for the clip given with ``--frames``; None without them."""
    masks = {int(path.stem): path for path in pictures_of(folder / "masks") if path.stem.isdecimal()}
    clip = options.frames
    if not masks or clip is None:
        return None
    indices = [index for number, index in enumerate(sorted(masks)) if chosen(options, number)][: options.limit]
    highest = max(int(read_label_image(masks[index]).max()) for index in indices)
    if not highest:
        raise UserError("All masks of this folder are empty", "Use --negatives if nothing is to be found")
    labels = tuple(class_name(number) for number in range(1, highest + 1))

    def samples() -> Iterator[Sample]:
        for frame in calibrated_clip(clip, options.spacing, set(indices).__contains__, last=indices[-1]):
            path = masks[frame.key.index]
            image = read_label_image(path)
            if image.shape != (frame.height_px, frame.width_px):
                raise UserError(f"The mask {path.name} is not as large as its frame", "Give the clip it was made from")
            truth = GroundTruth({label: image == value for value, label in enumerate(labels, 1)})
            yield Sample(f"frame {frame.key.index}", f"frames from {frame.key.index // _BLOCK_FRAMES}", frame, truth)

    # Class values of label images carry no names: ``named`` is False, and the model's labels are taken by their order.
    note = "One clip: its intervals say nothing about other patients."
    return Dataset(
        folder.name,
        DatasetKind.MASKS,
        labels,
        samples,
        len(indices),
        f"block of {_BLOCK_FRAMES} frames",
        (note,),
        named=False,
    )


# --- nothing to be found ----------------------------------------------------------------------------------------------


def open_negative_clips(folder: Path, options: DatasetOptions) -> Dataset | None:
    """The files named in ``clips.csv``, none of which shows what is looked for; None when there is no such table."""
    table = folder / "clips.csv"
    if not table.is_file():
        return None
    with table.open(newline="", encoding="utf-8") as file:
        names = [row.get("file") or "" for row in csv.DictReader(file)]
    paths = [folder / name for name in names if name and (folder / name).is_file()]
    if not paths:
        raise UserError(f"None of the files that {table.name} names is there", "Restore the folder")
    return negatives(folder.name, [str(path) for path in paths], options)


def open_anything(uri: str, options: DatasetOptions) -> Dataset:
    """A clip or still, or all files of a folder that can be opened, as pictures in which nothing is to be found."""
    folder = Path(uri)
    if not os.path.isdir(folder):  # Path.is_dir raises for a name that is too long
        return negatives(folder.name or uri, [uri], options)
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    able = [path for path in files if can_open(path)]
    if not able:
        raise UserError(f"{folder.name} holds nothing that can be opened", "Give a folder of clips or pictures")
    left_out = ", ".join(path.name for path in files if path not in able)
    dataset = negatives(folder.name, [str(path) for path in able], options)
    if left_out:
        return replace(dataset, notes=(*dataset.notes, f"Left out, since they cannot be opened: {left_out}."))
    return dataset


def negatives(name: str, uris: list[str], options: DatasetOptions) -> Dataset:
    """Clips or stills in which nothing is to be found: every mask or box is a false alarm."""

    def samples() -> Iterator[Sample]:
        left = options.limit
        for uri in uris:
            for frame in calibrated_clip(uri, options.spacing, _every(options)):
                if left is not None:
                    if left <= 0:
                        return
                    left -= 1
                clip = Path(uri).name
                yield Sample(frame.name or f"{clip} frame {frame.key.index}", frame.name or clip, frame, GroundTruth())

    return Dataset(name, DatasetKind.NEGATIVES, (), samples, None, "clip", (NOTHING,))


def _every(options: DatasetOptions) -> Callable[[int], bool]:
    return lambda index: chosen(options, index)
