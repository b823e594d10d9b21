"""The scene on the screen: what several structures are called stands above each."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QRectF
from PySide6.QtGui import QImage, QPainter, QTransform

from tests.helpers.scenes import circle, flat_frame
from usviewer.overlay.items import BoxMark, Item, Outline, ScaleBar, Scene
from usviewer.view import painter as painting
from usviewer.view.painter import paint

SIZE = (400, 300)


def painted(*items: Item, transform: QTransform | None = None) -> np.ndarray:
    image = QImage(*SIZE, QImage.Format.Format_RGB32)
    image.fill(0)
    with QPainter(image) as painter:
        paint(painter, Scene(flat_frame(*SIZE).key, SIZE, items), transform or QTransform())
    return np.asarray(image.constBits()).reshape(SIZE[1], SIZE[0], 4).copy()


@pytest.fixture
def names(themed: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, QRectF]:
    """Where each name was painted."""
    found: dict[str, QRectF] = {}
    honest = painting._paint_label

    def note(painter: QPainter, text: str, ground: QRectF, *rest: Any) -> None:
        found[text] = QRectF(ground)
        honest(painter, text, ground, *rest)

    monkeypatch.setattr(painting, "_paint_label", note)
    return found


def test_each_of_several_outlines_has_its_name_above_it(names: dict[str, QRectF]) -> None:
    nerve, vessel = circle((120, 150), 40), circle((300, 150), 40)
    bare = painted(Outline(nerve), Outline(vessel))
    assert not names
    named = painted(Outline(nerve, label="nerve 0.89"), Outline(vessel, label="vessel 0.91"))
    rows, columns = np.nonzero((bare != named).any(axis=2))
    assert rows.max() < 116 and columns.min() < 90 < 270 < columns.max()
    assert names["nerve 0.89"].bottom() < 112 and abs(names["nerve 0.89"].left() - 76) < 2


def test_names_lie_over_no_other_and_none_is_cut(names: dict[str, QRectF]) -> None:
    """Boxes of one corner, one at the picture's own edge, and the scale bar's length."""
    painted(
        BoxMark((100, 80, 200, 160), "CSP 0.93"),
        BoxMark((104, 84, 180, 150), "MIDLINE_FALX 0.88"),
        Outline(circle((110, 120), 38), label="CHOROID_PLEXUS 0.71"),
        BoxMark((380, 2, 399, 60), "at the edge 0.50"),
        BoxMark((20, 260, 90, 290), "at the bar 0.50"),
        ScaleBar((20, 268), (90, 268), "2 cm"),
    )
    assert len(names) == 6
    assert not any(a.intersects(b) for a, b in itertools.combinations(names.values(), 2))
    assert all(QRectF(0, 0, *SIZE).contains(box) for box in names.values())


def test_what_is_out_of_sight_has_no_name(names: dict[str, QRectF]) -> None:
    zoomed = QTransform.fromScale(4, 4)
    items = Outline(circle((50, 40), 20), label="here"), Outline(circle((300, 200), 20), label="elsewhere")
    painted(*items, transform=zoomed)
    assert set(names) == {"here"}
