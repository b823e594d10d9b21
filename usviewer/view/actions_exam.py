"""The actions by which the operator says what only the operator knows: how the vessel is cut, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from usviewer.measure.reading import Plane, Site
from usviewer.view.action import Action, Needs

_PLANES = (None, Plane.TRANSVERSE, Plane.LONGITUDINAL)
_SITES = (
    (Site.PROXIMAL, "Proximal aorta"),
    (Site.MID, "Mid aorta"),
    (Site.DISTAL, "Distal aorta"),
    (Site.RIGHT_ILIAC, "Right iliac artery"),
    (Site.LEFT_ILIAC, "Left iliac artery"),
)


def _next_plane(window: Any) -> None:
    given = window.desk.given
    window.desk.set_given(replace(given, plane=_PLANES[(_PLANES.index(given.plane) + 1) % len(_PLANES)]))


def _say_site(site: Site) -> Callable[[Any], None]:
    """Say it; said again, it is taken back."""

    def run(window: Any) -> None:
        given = window.desk.given
        window.desk.set_given(replace(given, site=Site.NOT_SET if given.site is site else site))

    return run


def _is_site(site: Site) -> Callable[[Any], bool]:
    return lambda window: window.desk.given.site is site


ACTIONS: tuple[Action, ...] = (
    Action(
        "exam", "Exam", "Plane, site and age as you say; the sweep, the pulse and what was seen so far",
        lambda window: window.drawer.toggle("exam"), key="I", icon="exam", group="Panels",
        checked=lambda window: window.drawer.current == "exam",
    ),
    Action(
        "plane", "Set the plane", "The plane as seen, transverse, or longitudinal: your word wins over the outline",
        _next_plane, key="A", needs=Needs.FRAME, group="Exam",
    ),
    *(
        Action(
            f"site_{site.name.lower()}", text, f"This is the {text[0].lower()}{text[1:]}; again: not set",
            _say_site(site), key=str(number), needs=Needs.FRAME, group="Exam", checked=_is_site(site),
        )
        for number, (site, text) in enumerate(_SITES, start=1)
    ),
)  # fmt: skip
