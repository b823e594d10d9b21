from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from tests.helpers.recordings import dicom_dataset, write_clip
from tests.helpers.screens import screen
from usviewer.calibrate.ruler import layouts
from usviewer.cli import calibrate
from usviewer.cli.command import Parser
from usviewer.errors import UserError

SIZE = (800, 600)
PITCH = 36.3
KEYS = {
    "name", "size_px", "state", "mm_per_pixel", "source", "detail", "relative_sd", "reason", "changed_at_frame",
    "remembered", "ruler", "across",
}  # fmt: skip


@pytest.fixture
def command(capsys):
    """Runs the command and gives what it printed, as JSON where that was asked for."""

    def call(*arguments):
        parser = Parser(prog="usviewer calibrate")
        calibrate.add_options(parser)
        chosen = parser.parse_args(list(map(str, arguments)))
        assert chosen.run(chosen) == 0
        said = capsys.readouterr().out
        return json.loads(said) if "--json" in arguments else said

    return call


@pytest.fixture
def still(tmp_path):
    path = tmp_path / "screen.png"
    cv2.imwrite(str(path), screen("ge", PITCH, SIZE)[..., ::-1])
    return path


def clip(path, change_at=99, count=12):
    pictures = [screen("ge", PITCH if k < change_at else PITCH * 1.3, SIZE, seed=k) for k in range(count)]
    return write_clip(path, count=count, size=SIZE, pictures=pictures, options={"crf": "18"})


def test_a_ruler_is_a_proposal_until_it_is_confirmed(command, still):
    said = command(still, "--json")
    assert set(said) == KEYS
    assert said["state"] == "proposal"
    assert said["mm_per_pixel"] is None
    assert said["ruler"]["pitch_px"] == pytest.approx(PITCH, rel=0.002)
    assert len(said["ruler"]["ticks_px"]) == 14
    assert "--tick-mm" in said["reason"]


def test_the_worth_of_a_tick_confirms_it(command, still):
    said = command(still, "--json", "--tick-mm", 10)
    assert said["state"] == "confirmed"
    assert said["mm_per_pixel"] == pytest.approx([10 / PITCH] * 2, rel=0.002)
    assert said["source"] == "on-screen ruler"
    assert said["ruler"]["residual_px"] < 0.5
    assert not said["remembered"]
    assert command(still, "--json")["state"] == "proposal"
    assert "on-screen ruler" in command(still, "--tick-mm", 10)


def test_a_remembered_ruler_is_known_again_on_the_same_screen_only(command, still, tmp_path):
    assert command(still, "--json", "--tick-mm", 10, "--remember")["remembered"]
    assert layouts.layouts_path().is_relative_to(tmp_path)
    said = command(still, "--json")
    assert (said["state"], said["remembered"]) == ("remembered", True)
    assert said["mm_per_pixel"] == pytest.approx([10 / PITCH] * 2, rel=0.002)
    other = tmp_path / "other.png"
    cv2.imwrite(str(other), screen("ge", PITCH, SIZE, first_number=2)[..., ::-1])
    assert command(other, "--json")["state"] == "proposal"


def test_a_clip_is_watched_to_its_end(command, tmp_path):
    said = command(clip(tmp_path / "clip.mp4"), "--json", "--tick-mm", 10)
    assert (said["state"], said["changed_at_frame"]) == ("confirmed", None)


def test_a_clip_whose_depth_changes_is_told_by_its_frame(command, tmp_path):
    path = clip(tmp_path / "clip.mp4", change_at=7)
    said = command(path, "--json", "--tick-mm", 10)
    assert (said["state"], said["changed_at_frame"]) == ("confirmed", 7)
    assert said["mm_per_pixel"] == pytest.approx([10 / PITCH] * 2, rel=0.002)


def test_a_change_too_short_to_be_sampled_is_told_by_its_frame(command, tmp_path):
    pictures = [screen("ge", PITCH * (1.3 if k == 8 else 1.0), SIZE, seed=k) for k in range(12)]
    path = write_clip(tmp_path / "clip.mp4", count=12, size=SIZE, pictures=pictures, options={"crf": "18"})
    said = command(path, "--json", "--tick-mm", 10)
    assert (said["state"], said["changed_at_frame"]) == ("confirmed", 8)


def test_a_file_that_states_its_scale_needs_no_ruler(command, tmp_path):
    said = command("phantom:?frames=2", "--json")
    assert (said["state"], said["source"]) == ("stated", "phantom")
    with pytest.raises(UserError, match="states its scale"):
        command("phantom:?frames=2", "--tick-mm", 10)


def test_none_is_said_with_the_reason(command, tmp_path):
    path = tmp_path / "dark.png"
    cv2.imwrite(str(path), np.zeros((300, 400, 3), dtype=np.uint8))
    said = command(path, "--json")
    assert (said["state"], said["ruler"]) == ("none", None)
    assert said["reason"] == "No depth ruler was found on the picture"
    assert "No depth ruler" not in command(path)
    with pytest.raises(UserError, match="no ruler to confirm"):
        command(path, "--tick-mm", 10)


def test_a_dicom_file_without_a_region_says_so_and_its_ruler_is_proposed(command, tmp_path):
    plain = tmp_path / "plain.dcm"
    dicom_dataset([screen("ge", PITCH, SIZE, ruler=False)]).save_as(plain, enforce_file_format=True)
    assert "states no scale" in command(plain, "--json")["reason"]
    ruled = tmp_path / "ruled.dcm"
    dicom_dataset([screen("ge", PITCH, SIZE)]).save_as(ruled, enforce_file_format=True)
    assert command(ruled, "--json")["state"] == "proposal"


def test_remembering_needs_a_value(command, still):
    with pytest.raises(UserError, match="Only a confirmed ruler"):
        command(still, "--remember")
    with pytest.raises(UserError, match="do not say"):
        command(still, "--confirm")


def test_a_second_ruler_that_is_not_there_is_not_confirmed(command, still):
    for words in (("--tick-mm", 10, "--across-tick-mm", 5), ("--across-tick-mm", 5)):
        with pytest.raises(UserError, match="no second ruler"):
            command(still, "--json", *words)
    assert command(still, "--json")["across"] is None


def test_the_second_ruler_alone_confirms_nothing(command, tmp_path):
    path = tmp_path / "two.png"
    across = screen("butterfly", PITCH, SIZE[::-1]).transpose(1, 0, 2)
    cv2.imwrite(str(path), np.maximum(screen("ge", PITCH, SIZE), across)[..., ::-1])
    assert command(path, "--json")["across"] is not None
    with pytest.raises(UserError, match="--tick-mm"):
        command(path, "--across-tick-mm", 10)
    assert command(path, "--json", "--tick-mm", 10, "--across-tick-mm", 10)["state"] == "confirmed"


@pytest.mark.data
def test_dicom_regions_come_first(command, data):
    said = command(data / "devices_itkpocus" / "sonoque_anechoic-3mm-3mm.dcm", "--json")
    assert (said["state"], said["source"]) == ("stated", "DICOM region")
    assert said["mm_per_pixel"] == pytest.approx([0.0291] * 2)


@pytest.mark.data
def test_a_real_clip(command, data):
    said = command(data / "clips_neck_sparq" / "20210816_131218_0003.MP4", "--json", "--tick-mm", 5)
    assert said["mm_per_pixel"] == pytest.approx([0.0702905] * 2, rel=0.01)
    assert said["changed_at_frame"] is None
