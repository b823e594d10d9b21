"""What training may see: whole patients on one side of the split."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.training.data.sources import exam_of, is_held_out, list_images, muscle_of


def test_pictures_of_one_patient_or_recording_are_one_exam() -> None:
    assert exam_of("fetal_plane", "Patient00188_Plane5_1_of_1") == exam_of("fetal_plane", "Patient00188_Plane2_1_of_2")
    assert muscle_of("dataset_1_S10_S10_L20_step_025") == muscle_of("dataset_1_S10_S10_R20_step_075")
    assert muscle_of("dataset_1_S1_S1_L20_step_025") != muscle_of("dataset_1_S10_S10_L20_step_025")
    jumps = ("dataset_2_jumping_gastroc_jumping_050", "dataset_2_jumping_gastroc_jumping_054")
    assert muscle_of(jumps[0]) == muscle_of(jumps[1])


@pytest.mark.parametrize("kind", ["fetal_plane", "muscle", "carotid", "nerve"])
def test_no_exam_is_on_both_sides(data: Path, kind: str) -> None:
    seen = {image.exam for image in list_images(data, held_out=False) if image.kind == kind}
    kept = {image.exam for image in list_images(data, held_out=True) if image.kind == kind}
    assert seen and kept and not seen & kept
    assert all(is_held_out(kind, exam) for exam in kept)
