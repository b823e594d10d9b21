"""Which label of a model is measured is settled by its manifest, never by the scores of a frame."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.pictures import SpecFactory
from usviewer.errors import UserError


def rows(*names: str, marked: str = "") -> list[dict[str, Any]]:
    said = [{"name": name, "color": "#56b4e9", "edge": "inner"} for name in names]
    return [row | ({"measured": True} if row["name"] == marked else {}) for row in said]


@pytest.mark.parametrize(
    ("labels", "measured"),
    [
        (rows("lumen", "wall"), "lumen"),
        (rows("wall", "lumen"), "wall"),
        (rows("lumen", "wall", marked="wall"), "wall"),
        (rows("vena cava", "Abdominal_Aorta", "thrombus"), "Abdominal_Aorta"),
        (rows("vena cava", "aorta", "wall", marked="wall"), "wall"),
        (rows("vein"), "vein"),
    ],
)
def test_the_manifest_says_which_label_is_measured(
    unet: SpecFactory, labels: list[dict[str, Any]], measured: str
) -> None:
    label = unet({"classes": len(labels)}, finding="aorta", labels=labels).measured
    assert label is not None and label.name == measured


@pytest.mark.parametrize(
    ("labels", "measured"),
    [
        (rows("vessel", "Nerve"), "Nerve"),
        (rows("vessel"), None),
        (rows("vessel", "brachial plexus"), None),
        (rows("vessel", "brachial plexus", marked="brachial plexus"), "brachial plexus"),
    ],
)
def test_a_structure_beside_a_nerve_is_never_taken_for_it(
    unet: SpecFactory, labels: list[dict[str, Any]], measured: str | None
) -> None:
    label = unet({"classes": len(labels)}, finding="nerve", labels=labels).measured
    assert (label.name if label else None) == measured


def test_only_one_label_can_be_measured(unet: SpecFactory) -> None:
    labels = [row | {"measured": True} for row in rows("lumen", "wall")]
    with pytest.raises(UserError, match="More than one label"):
        unet({"classes": 2}, finding="aorta", labels=labels)
