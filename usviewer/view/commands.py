"""The actions at work: buttons, shortcuts and the first page's cards, made of the records.

They are greyed where what they need is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QObject, QSize, Qt
from PySide6.QtGui import QAction, QIcon, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from usviewer.errors import UserError
from usviewer.view import theme
from usviewer.view.actions import Action, Controllers, Needs, key_of, tooltip_of, usable_keys, with_keys
from usviewer.view.theme import icon
from usviewer.view.widgets import PlainLabel

# Only what can be done many times a second: a held key must not save twenty pictures.
_REPEATS = frozenset({"zoom_in", "zoom_out", "step_back", "step_on", "second_back", "second_on"})
# On a button with its key there is room for one word.
_SHORT = {"play": "Play"}
NO_PICTURE = "There is no picture yet: wait for the source to send one."
# The quickest way first: it needs neither a file nor a device.
_CARDS = (
    ("demo", "Watch the demonstration", "A simulated abdominal aorta of known diameter, segmented and measured live."),
    ("open", "Open a clip or DICOM", "Recorded clips, stills, folders and DICOM files. Or drop them on this window."),
    ("source", "Connect a scanner", "A capture card or a camera that shows the scanner's screen."),
)


class Commands(QObject):
    """Runs the actions of one window. ``by_id`` has them with the user's own keys."""

    def __init__(self, window: QWidget, controllers: Controllers) -> None:
        super().__init__(window)
        self._window, self._controllers = window, controllers
        self.by_id: dict[str, Action] = with_keys(usable_keys(controllers.app_state.settings.keys)[0])
        self.buttons: dict[str, list[QPushButton]] = {}
        self._shortcuts: dict[str, QAction] = {}

    def button(self, name: str, *, words: bool = True) -> QPushButton:
        """One more button for an action; with its words and key on it, or its picture alone."""
        action = self.by_id[name]
        button = QPushButton(icon(action.icon), "")
        button.setIconSize(QSize(18, 18))
        button.setCheckable(action.checked is not None)
        button.setAccessibleName(action.text)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.setProperty("words", words)
        button.clicked.connect(lambda _=False: self.run(name))
        self.buttons.setdefault(name, []).append(button)
        return button

    def take_keys(self) -> None:
        """Shortcuts and the words of the buttons from the records; again when the user has changed a key."""
        self.by_id = with_keys(usable_keys(self._controllers.app_state.settings.keys)[0])
        for shortcut in self._shortcuts.values():
            self._window.removeAction(shortcut)
            shortcut.deleteLater()
        self._shortcuts = {}
        for name, action in self.by_id.items():
            if action.released is None:  # a held key is followed by hand, below
                self._shortcuts[name] = self._shortcut(action)
            for button in self.buttons.get(name, ()):
                button.setToolTip(tooltip_of(action))
                if button.property("words"):
                    button.setText(f"{_SHORT.get(name, action.text)}   {key_of(action)}")

    def _shortcut(self, action: Action) -> QAction:
        shortcut = QAction(action.text, self._window)
        shortcut.setShortcut(QKeySequence(action.key))
        shortcut.setAutoRepeat(action.id in _REPEATS)
        shortcut.triggered.connect(lambda _=False: self.run(action.id))
        self._window.addAction(shortcut)
        return shortcut

    # -- running

    def run(self, name: str) -> None:
        """Do what an action says, if what it needs is there; what goes wrong is said in one place."""
        action, do = self.by_id[name], self._controllers
        if not self.possible(action):
            if self._says_why(action):
                do.notify.warn(NO_PICTURE, key="no-picture")
            return
        if action.is_loaded_later and do.late.made is None:
            self._guarded(partial(self._do_later, action))
        else:
            self._guarded(partial(action.run, do))

    def _do_later(self, action: Action) -> None:
        """A key of the first seconds: what it is about is held now, and done as soon as the slow parts are there."""
        do = self._controllers
        if action.shown is not None:
            # What was seen when the key was pressed is kept, not what is seen once the parts are loaded.
            act: Callable[[], object] = partial(action.shown, do, do.presenter.to_keep())
        else:
            act = partial(action.run, do)
            if action.holds_still and do.live.active and not do.live.frozen:
                do.live.freeze()
        do.late.later(partial(self._guarded, act))
        do.notify.tell(f"{action.text}: in a moment, the rest of the program is being loaded.", key="loading")

    def _guarded(self, act: Callable[[], object]) -> None:
        """Do something; what goes wrong is said in one place."""
        try:
            act()
        except UserError as error:
            self._controllers.notify.report(error)
        self.enable()

    def _says_why(self, action: Action) -> bool:
        """Whether a key that is not possible yet must not stay without an answer: a source is open, and no picture."""
        return action.needs is Needs.FRAME and action.is_loaded_later and not self._controllers.layout.welcoming

    # -- what is possible

    def possible(self, action: Action) -> bool:
        """Whether what the action needs is there."""
        do = self._controllers
        has_frame = do.app_state.on_screen.frame is not None
        return {
            Needs.NOTHING: True,
            Needs.SOURCE: do.live.active or do.late.reviewing,
            Needs.FRAME: has_frame,
            Needs.LIVE: do.live.active and has_frame,
            Needs.REVIEW: do.late.reviewing,
        }[action.needs]

    def enable(self) -> None:
        """Grey what is not possible now; switches show whether they are on."""
        for name, action in self.by_id.items():
            possible = self.possible(action)
            if (shortcut := self._shortcuts.get(name)) is not None:
                # A disabled shortcut is silent: then nobody could say why nothing happens.
                shortcut.setEnabled(possible or self._says_why(action))
            on = possible and self._is_on(action)
            for button in self.buttons.get(name, ()):
                button.setEnabled(possible)
                if button.isCheckable():
                    button.setChecked(on)

    def _is_on(self, action: Action) -> bool:
        do = self._controllers
        if action.checked is None or (action.is_loaded_later and do.late.made is None):
            return False
        return action.checked(do)

    def held(self, event: QKeyEvent, *, pressed: bool) -> bool:
        """Follow the keys that work while they are held; False for every other key."""
        key = QKeySequence(event.keyCombination()).toString()
        for action in self.by_id.values():
            if action.released is not None and key and action.key == key:
                if event.isAutoRepeat():  # a key that is held sends presses and releases in turn
                    return True
                if pressed:
                    self.run(action.id)
                else:
                    action.released(self._controllers)
                return True
        return False


class Welcome(QWidget):
    """The first page, with three ways to begin: shown while no source is open."""

    def __init__(self, actions: dict[str, Action], run: Callable[[str], None], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Welcome")
        column = QVBoxLayout(self)
        column.setContentsMargins(32, 24, 32, 24)
        column.addStretch(2)
        title = PlainLabel("usviewer")
        title.setFont(theme.font(40, bold=True))
        title.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        claim = PlainLabel("Live ultrasound: outline, diameter, and where the millimetres come from")
        claim.setFont(theme.font(theme.TITLE_PX - 4))
        claim.setProperty("role", "quiet")
        claim.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        claim.setWordWrap(True)
        column.addWidget(title)
        column.addSpacing(4)
        column.addWidget(claim)
        column.addSpacing(32)
        column.addLayout(self._cards(actions, run))
        column.addSpacing(24)
        keys = PlainLabel("F1 shows every key")
        keys.setProperty("role", "quiet")
        keys.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        column.addWidget(keys)
        column.addStretch(3)

    def _cards(self, actions: dict[str, Action], run: Callable[[str], None]) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(24)
        row.addStretch(1)
        for action_id, title, text in _CARDS:
            card = _Card(icon(actions[action_id].icon), title, text, tooltip_of(actions[action_id]))
            card.clicked.connect(partial(self._chosen, run, action_id))
            row.addWidget(card, 8)
        row.addStretch(1)
        return row

    def _chosen(self, run: Callable[[str], None], action_id: str, _checked: bool = False) -> None:
        run(action_id)


class _Card(QPushButton):
    """A button as large as a card: icon, title, sentence."""

    def __init__(self, picture: QIcon, title: str, text: str, tooltip: str) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAccessibleName(title)
        self.setAccessibleDescription(text)
        self.setToolTip(tooltip)
        self.setMinimumSize(220, 210)
        self.setMaximumSize(380, 260)
        grid = QGridLayout(self)
        grid.setContentsMargins(24, 24, 24, 24)
        symbol, heading, body = PlainLabel(), PlainLabel(title), PlainLabel(text)
        symbol.setPixmap(picture.pixmap(QSize(36, 36)))
        heading.setFont(theme.font(theme.TITLE_PX - 2, bold=True))
        heading.setWordWrap(True)
        body.setWordWrap(True)
        body.setProperty("role", "quiet")
        for row, label in enumerate((symbol, heading, body)):
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            grid.addWidget(label, row, 0)
        grid.setRowStretch(2, 1)
        body.setAlignment(Qt.AlignmentFlag.AlignTop)
