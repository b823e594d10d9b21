"""Every command of the window, as data. Menus, buttons, the key map and the tests are built from these records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from PySide6.QtGui import QKeySequence

from usviewer.plain_text import printable
from usviewer.view.action import Action, Needs
from usviewer.view.actions_exam import ACTIONS as OF_EXAM
from usviewer.view.actions_prompt import ACTIONS as OF_PROMPT
from usviewer.view.actions_review import ACTIONS as OF_REVIEW

__all__ = ["ACTIONS", "Action", "Needs", "clash", "key_of", "tooltip_of", "usable_keys", "with_keys"]

_OWN = (
    Action(
        "demo",
        "Watch the demonstration",
        "Play a simulated aorta of known diameter",
        lambda window: window.open_live("phantom:?live=1"),
        icon="demo",
        key="Ctrl+D",
        group="Source",
    ),
    Action(
        "open",
        "Open a file…",
        "Open a clip, a still or a DICOM file",
        lambda window: window.session.ask_for_file(),
        key="O",
        icon="open",
        group="Source",
    ),
    Action(
        "open_folder",
        "Open a folder…",
        "Open a folder of clips or pictures",
        lambda window: window.session.ask_for_folder(),
        key="Shift+O",
        icon="open",
        group="Source",
    ),
    Action(
        "source",
        "Connect a scanner",
        "Choose a capture card, a camera or the phantom; each shows its picture first",
        lambda window: window.drawer.toggle("source"),
        key="D",
        icon="source",
        group="Source",
        checked=lambda window: window.drawer.current == "source",
    ),
    Action(
        "close_source",
        "Close the source",
        "Let the source go and return to the start",
        lambda window: window.session.close(),
        key="Ctrl+W",
        icon="close",
        needs=Needs.SOURCE,
        group="Source",
    ),
    Action(
        "mode",
        "Live / review",
        "Change between the live source and the clip under review",
        lambda window: window.session.change_mode(),
        key="L",
        icon="review",
        group="Source",
    ),
    Action(
        "freeze",
        "Freeze",
        "Hold this picture with its own overlay; again to go on",
        lambda window: window.live.freeze(),
        key="Space",
        icon="freeze",
        needs=Needs.LIVE,
        group="Measure",
        checked=lambda window: window.live.frozen,
    ),
    Action(
        "model",
        "Model",
        "Choose the model and the engine, read its card, add one",
        lambda window: window.drawer.toggle("model"),
        key="M",
        icon="model",
        group="Panels",
        checked=lambda window: window.drawer.current == "model",
    ),
    Action(
        "scale",
        "Scale",
        "Where the millimetres come from, and how to get them",
        lambda window: window.drawer.toggle("scale"),
        key="Shift+K",
        icon="scale",
        group="Panels",
        checked=lambda window: window.drawer.current == "scale",
    ),
    Action(
        "overlay",
        "Overlay",
        "Outline, fill or nothing, and how strong",
        lambda window: window.drawer.toggle("overlay"),
        key="V",
        icon="eye",
        group="Panels",
        checked=lambda window: window.drawer.current == "overlay",
    ),
    Action(
        "performance",
        "Performance",
        "How long each stage takes, and every message so far",
        lambda window: window.drawer.toggle("performance"),
        key="Shift+P",
        icon="performance",
        group="Panels",
        checked=lambda window: window.drawer.current == "performance",
    ),
    Action(
        "keys",
        "Keys",
        "Every key, and how to change it",
        lambda window: window.drawer.toggle("keys"),
        key="F1",
        icon="keys",
        group="Panels",
        checked=lambda window: window.drawer.current == "keys",
    ),
    Action(
        "hide_overlay",
        "Untouched picture",
        "Hide everything that is drawn on the picture while the key is held",
        lambda window: window.hide_overlay(True),
        key="H",
        icon="eye",
        needs=Needs.FRAME,
        released=lambda window: window.hide_overlay(False),
    ),
    Action(
        "mask",
        "Outline, fill or nothing",
        "Change how the outlined area is shown",
        lambda window: window.next_mask(),
        key="T",
        needs=Needs.FRAME,
    ),
    Action(
        "fit", "Whole picture", "Show the whole picture, as large as it goes", lambda window: window.desk.canvas.fit(),
        key="0", needs=Needs.FRAME,
    ),
    Action(
        "zoom_in", "Larger", "Enlarge the picture", lambda window: window.desk.canvas.zoom_by(1.25),
        key="+", needs=Needs.FRAME,
    ),
    Action(
        "zoom_out", "Smaller", "Make the picture smaller", lambda window: window.desk.canvas.zoom_by(0.8),
        key="-", needs=Needs.FRAME,
    ),
    Action(
        "fold",
        "Side panels",
        "Fold the readings and the timeline away, or show them again",
        lambda window: window.set_side_panels(not window.desk.settings.side_panels),
        key="F10",
        icon="panels",
        checked=lambda window: window.desk.settings.side_panels,
    ),
    Action(
        "full_screen",
        "Full screen",
        "Picture and number alone; again to return",
        lambda window: window.set_full_screen(not window.full_screen),
        key="F11",
        icon="fullscreen",
        checked=lambda window: window.full_screen,
    ),
    Action(
        "dismiss",
        "Put away",
        "Close the open panel, end the tool, or put the message away",
        lambda window: window.cancel_tool(),
        key="Escape",
    ),
)  # fmt: skip


ACTIONS: Mapping[str, Action] = {action.id: action for action in _OWN + OF_EXAM + OF_REVIEW + OF_PROMPT}


def with_keys(keys: Mapping[str, str]) -> dict[str, Action]:
    """All actions with the user's own keys in the place of the usual ones; an empty key takes it away."""
    return {name: replace(action, key=keys.get(name, action.key)) for name, action in ACTIONS.items()}


def clash(actions: Mapping[str, Action], name: str, key: str) -> Action | None:
    """Another action that already has this key. What needs live and what needs review never meet: these may share."""
    modes = {Needs.LIVE, Needs.REVIEW}
    mine = actions[name].needs
    for other in actions.values():
        apart = {mine, other.needs} == modes
        if other.id != name and key and other.key == key and not apart:
            return other
    return None


def usable_keys(keys: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Those of the user's keys that can be used, and what is wrong with the others, a sentence each.

    They come from a file: an action may be none, a key may be none, and of two actions with one key neither would work.
    """
    usable, problems = {}, []
    for name, key in keys.items():
        if name not in ACTIONS:
            problems.append(f"The key of '{printable(name[:40])}' belongs to no action and was left out.")
        elif key and (QKeySequence(key).count() != 1 or not QKeySequence(key).toString()):
            problems.append(f"'{printable(key[:40])}' is no key: '{ACTIONS[name].text}' has its usual one.")
        else:
            usable[name] = key
    for name in list(usable):
        actions = with_keys(usable)
        if (other := clash(actions, name, actions[name].key)) is not None:
            problems.append(
                f"{usable.pop(name)} is also the key of '{other.text}': '{actions[name].text}' has its usual one."
            )
    return usable, tuple(problems)


def key_of(action: Action) -> str:
    """The key as it is shown; empty where there is none."""
    shown = {"Escape": "Esc"}
    return shown.get(action.key, action.key)


def tooltip_of(action: Action) -> str:
    """What it does, with its key."""
    return f"{action.tooltip} ({key_of(action)})" if action.key else action.tooltip
