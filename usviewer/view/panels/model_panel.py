"""The model: which ones there are, what each one's card says, the engine asked for and the engine that runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QFont, QTextBlock, QTextBlockFormat, QTextCharFormat, QTextCursor, QTextFormat
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QListWidget,
    QVBoxLayout,
)

from usviewer.files import read_bytes
from usviewer.overlay.text import DASH
from usviewer.view import theme
from usviewer.view.app_state import AppState
from usviewer.view.notify import Notify
from usviewer.view.panels import PanelBase
from usviewer.view.widgets import PlainLabel, PlainPage, button, shown, tip, words

if TYPE_CHECKING:
    from usviewer.infer.manifest import ModelSpec

_EDGES = {"inner": "the inner edge", "outer": "the outer edge", "not stated": "an edge that its makers do not state"}

# A hundred pages of text; the bundled cards have 3 to 6 kB.
MAX_CARD_BYTES = 300_000


class ModelPanel(PanelBase):
    """Choose a model while live; the picture goes on."""

    title = "Model"

    def __init__(self, app_state: AppState, notify: Notify) -> None:
        super().__init__()
        self._app_state, self._notify = app_state, notify
        self._specs: tuple[ModelSpec, ...] = ()
        self._broken: tuple[tuple[str, str], ...] = ()
        self._filling = False
        self.list = QListWidget()
        self.list.setAccessibleName("Models")
        self.list.setToolTip("Choose a model: it is loaded while the picture goes on")
        self.list.currentRowChanged.connect(self._chosen)
        self.engine = QComboBox()
        self.engine.setAccessibleName("Engine asked for")
        self.engine.setToolTip("What runs the model; auto lets the program choose")
        self.engine.activated.connect(lambda _: self._app_state.choose_engine(self.engine.currentText()))
        self._running, self._hash, self._what = words(DASH), words(DASH), words(DASH)
        self._hash.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.card = PlainPage()
        self.card.setAccessibleName("Model card")
        self._build()
        app_state.engine_changed.connect(self._show_engine)

    def _build(self) -> None:
        form = QFormLayout()
        form.setHorizontalSpacing(12)
        form.setVerticalSpacing(6)
        for name, widget in (
            ("Outlines", self._what),
            ("SHA-256", self._hash),
            ("Engine asked for", self.engine),
            ("Engine running", self._running),
        ):
            label = PlainLabel(name)
            label.setProperty("role", "quiet")
            if widget is self.engine:  # in line with the words of its box
                label.setMinimumHeight(theme.TOUCH_PX)
            form.addRow(label, widget)
        add = button("Add a model…", "Add an ONNX file or a model's folder; or drop one on the window", self._ask)
        self._remove = button("Remove", "Remove this model of yours", self.remove)
        row = QHBoxLayout()
        row.addWidget(add, 1)
        row.addWidget(self._remove)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 8, 0)
        column.setSpacing(theme.GRID_PX)
        column.addWidget(self.list)
        column.addLayout(form)
        column.addWidget(self.card, 1)
        column.addLayout(row)

    def opened(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Read the models again."""
        self._app_state.loads.submit(_models, self._fill, self._notify.report)

    def add(self, path: Path) -> None:
        """Check and install a model, then use it."""
        self._notify.tell(f"Checking {path.name} …", key="model")
        self._app_state.loads.submit(
            lambda: _add(path), self._added, lambda error: self._notify.report(error, key="model")
        )

    def remove(self) -> None:
        """Remove the chosen model, if it is the user's own."""
        spec = self._spec()
        if spec is not None and not spec.bundled:
            self._notify.ask(
                f"Remove the model {spec.name} {spec.version} from this computer?",
                {"Remove": lambda: self._removed(spec.id), "Keep": lambda: None},
            )

    def _added(self, model_id: str) -> None:
        self._notify.tell(f"The model {model_id} was added.", key="model")
        self._app_state.choose_model(model_id)
        self.refresh()

    def _removed(self, model_id: str) -> None:
        self._app_state.loads.submit(lambda: _remove(model_id), lambda _: self.refresh(), self._notify.report)

    def _ask(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Add a model", "", "Models (*.onnx manifest.toml)")
        if path.endswith("manifest.toml"):  # one file of several that make up the model
            self.add(Path(path).parent)
        elif path:
            self.add(Path(path))

    # -- showing

    def _fill(self, found: tuple[tuple[ModelSpec, ...], tuple[tuple[str, str], ...], tuple[str, ...]]) -> None:
        self._specs, broken, engines = found
        self._filling = True  # filling the list is not choosing from it
        self.list.clear()
        for spec in self._specs:
            origin = "came with the program" if spec.bundled else "yours"
            self.list.addItem(shown(f"{spec.name} {spec.version}\n{spec.finding.replace('-', ' ')} · {origin}"))
        for name, _reason in broken:
            self.list.addItem(shown(f"{name}\ncannot be used"))
        self._broken = broken
        chosen = next((i for i, spec in enumerate(self._specs) if spec.id == self._app_state.settings.model), -1)
        self.list.setCurrentRow(chosen)
        rows = min(4, max(1, self.list.count()))
        self.list.setFixedHeight(rows * max(52, self.list.sizeHintForRow(0)) + 14)
        self.engine.clear()
        self.engine.addItems(engines)
        self.engine.setCurrentText(self._app_state.settings.engine)
        self._filling = False
        self._show_spec(self._spec())
        self._show_engine()

    def _spec(self) -> ModelSpec | None:
        row = self.list.currentRow()
        if not 0 <= row < len(self._specs):  # nothing is chosen, or a folder that holds no whole model
            return None
        return self._specs[row]

    def _chosen(self, row: int) -> None:
        if self._filling or row < 0:
            return
        spec = self._spec()
        self._show_spec(spec)
        if spec is not None:
            self._app_state.choose_model(spec.id)
        elif row - len(self._specs) < len(self._broken):
            self._notify.warn(self._broken[row - len(self._specs)][1], key="model")

    def _show_spec(self, spec: ModelSpec | None) -> None:
        self._remove.setEnabled(spec is not None and not spec.bundled)
        if spec is None:
            self._what.setText(DASH)
            self._hash.setText(DASH)
            self.card.setPlainText("Choose a model to read its card.")
            if not self._specs:
                self.card.setPlainText("There is no model here yet.")
            return
        edges = sorted({str(label.edge) for label in spec.labels})
        names = ", ".join(label.name for label in spec.labels)
        self._what.setText(f"{names}: {' and '.join(_EDGES.get(edge, edge) for edge in edges)}")
        self._hash.setText(f"{spec.sha256[:16]}…")
        self._hash.setToolTip(tip(spec.sha256))
        self._app_state.loads.submit(lambda: _card(spec), self._show_card)

    def _show_card(self, text: str) -> None:
        """Markdown, with headings that are no larger than the panel's own."""
        self.card.setMarkdown(text)
        block = self.card.document().begin()
        while block.isValid():
            cursor = QTextCursor(block)
            cursor.select(QTextCursor.SelectionType.BlockUnderCursor)
            level = block.blockFormat().headingLevel()
            if level:
                heading = QTextCharFormat()
                heading.setFont(theme.font(theme.TEXT_PX + (4 if level == 1 else 1), bold=True))
                heading.setProperty(QTextFormat.Property.FontSizeAdjustment, 0)
                cursor.mergeCharFormat(heading)
            for cursor_of_bold in _bold_parts(block):
                weight = QTextCharFormat()
                weight.setFontWeight(QFont.Weight.DemiBold)
                cursor_of_bold.mergeCharFormat(weight)
            space = QTextBlockFormat()
            space.setTopMargin(10 if level else 2)
            space.setBottomMargin(4)
            space.setLineHeight(118, QTextBlockFormat.LineHeightTypes.ProportionalHeight.value)
            cursor.mergeBlockFormat(space)
            block = block.next()
        self.card.moveCursor(QTextCursor.MoveOperation.Start)

    def _show_engine(self) -> None:
        engine = self._app_state.engine()
        if self._app_state.loading:
            self._running.setText("loading …")
        elif self._app_state.engine_problem:
            self._running.setText(self._app_state.engine_problem)
        else:
            self._running.setText(engine.running if engine else "none")


def _models() -> tuple[tuple[ModelSpec, ...], tuple[tuple[str, str], ...], tuple[str, ...]]:
    # Late, here and below: not while the window starts, and in the background.
    from usviewer.infer import registry
    from usviewer.infer.session import ENGINES

    ordinary = tuple(spec for spec in registry.list_models() if spec.task != "prompt")  # those are pointed with
    return ordinary, registry.list_broken(), ENGINES


def _add(path: Path) -> str:
    from usviewer.infer import registry

    return registry.add_model(path).id


def _remove(model_id: str) -> None:
    from usviewer.infer import registry

    registry.remove_model(model_id)


def _card(spec: ModelSpec) -> str:
    if spec.card is None:
        return f"# {spec.name}\n\nThis model has no card: what it was trained on and how well it does is not known."
    try:
        return read_bytes(spec.card, MAX_CARD_BYTES).decode("utf-8", errors="replace")
    except OSError as error:
        return f"# {spec.name}\n\nThe card of this model cannot be read: {error.strerror}."


def _bold_parts(block: QTextBlock) -> list[QTextCursor]:
    """What is set in a weight that the program's font does not have: it would be smeared."""
    found = []
    part = block.begin()
    while not part.atEnd():
        fragment = part.fragment()
        if fragment.charFormat().fontWeight() > QFont.Weight.DemiBold:
            cursor = QTextCursor(block)
            cursor.setPosition(fragment.position())
            cursor.setPosition(fragment.position() + fragment.length(), QTextCursor.MoveMode.KeepAnchor)
            found.append(cursor)
        part += 1
    return found
