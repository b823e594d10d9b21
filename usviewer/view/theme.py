"""One dark theme: colours, sizes, icons and the style sheet. An instrument in a dark room."""

from __future__ import annotations

from functools import lru_cache

from PySide6.QtGui import QColor, QFont, QFontDatabase, QIcon, QPalette
from PySide6.QtWidgets import QApplication

from usviewer.own_folders import resource_path

BACKGROUND = "#0E1113"
SURFACE = "#171B1F"
GROUND = "#000000"  # under the picture: most scanners paint black to the edge, so no seam shows
RAISED = "#20262B"
LINE = "#2A3036"
TEXT = "#E6EAED"
QUIET = "#9AA4AD"
# From here on Okabe and Ito's colours, told apart by people who are colour blind. https://jfly.uni-koeln.de/color/
ACCENT = "#56B4E9"
CALIPER = "#F0E442"
WARNING = "#E69F00"
ERROR = "#D55E00"
GOOD = "#009E73"

GRID_PX = 8
TOUCH_PX = 44  # a fingertip hits it
RAIL_WIDTH_PX = 304
PICTURE_LEAST_PX = 320  # so wide the picture stays, and with it what stands below it
PICTURE_LOWEST_PX = 112  # in the smallest window, over the timeline and a question
FAMILY = "Inter"

# Type sizes in px at scale 1: the answer, a title, text, a label.
HUGE_PX, TITLE_PX, TEXT_PX, LABEL_PX = 88, 20, 14, 12


def font(size_px: int, *, bold: bool = False) -> QFont:
    """The one family, with figures of equal width so that nothing jumps when a value changes."""
    result = QFont(FAMILY)
    result.setPixelSize(size_px)
    result.setWeight(QFont.Weight.DemiBold if bold else QFont.Weight.Normal)
    result.setFeature(QFont.Tag("tnum"), 1)
    return result


@lru_cache(maxsize=64)
def icon(name: str) -> QIcon:
    """The icon of that name, sharp at every size; no name gives an empty one. Raises ``FileNotFoundError``."""
    if not name:
        return QIcon()
    path = resource_path("resources", "icons", f"{name}.svg")
    if not path.is_file():  # Qt would show an empty button, and nobody would know why
        raise FileNotFoundError(path)
    return QIcon(str(path))


def apply(application: QApplication) -> None:
    """Give the application its fonts, palette and style sheet."""
    for name in ("Inter-Regular.otf", "Inter-SemiBold.otf"):
        QFontDatabase.addApplicationFont(str(resource_path("resources", "fonts", name)))
    application.setStyle("Fusion")
    application.setFont(font(TEXT_PX))
    application.setPalette(_palette())
    application.setStyleSheet(STYLE_SHEET)


def _palette() -> QPalette:
    palette = QPalette()
    roles = QPalette.ColorRole
    for role, colour in {
        roles.Window: BACKGROUND,
        roles.WindowText: TEXT,
        roles.Base: SURFACE,
        roles.AlternateBase: RAISED,
        roles.Text: TEXT,
        roles.Button: RAISED,
        roles.ButtonText: TEXT,
        roles.Highlight: ACCENT,
        roles.HighlightedText: BACKGROUND,
        roles.ToolTipBase: RAISED,
        roles.ToolTipText: TEXT,
        roles.PlaceholderText: QUIET,
        roles.Link: ACCENT,
    }.items():
        palette.setColor(role, QColor(colour))
    for role in (roles.Text, roles.ButtonText, roles.WindowText):
        palette.setColor(QPalette.ColorGroup.Disabled, role, QColor("#5C656D"))
    return palette


STYLE_SHEET = f"""
QWidget {{ background: {BACKGROUND}; color: {TEXT}; }}
QLabel, QCheckBox, QRadioButton {{ background: transparent; }}
#rail, #timeline, #sidebar, #statusline, #topline {{ background: {SURFACE}; }}
#feet {{ background: transparent; }}
#rail {{ border-left: 1px solid {LINE}; }}
#timeline {{ border-top: 1px solid {LINE}; }}
#sidebar {{ border-right: 1px solid {LINE}; }}
#topline {{ border-bottom: 1px solid {LINE}; }}
#statusline {{ border-top: 1px solid {LINE}; }}
QLabel[role="quiet"] {{ color: {QUIET}; }}
QLabel[role="warning"] {{ color: {WARNING}; }}
QLabel[role="error"] {{ color: {ERROR}; }}
QLabel[role="good"] {{ color: {GOOD}; }}
QPushButton, QToolButton {{
  background: {RAISED}; border: 1px solid {LINE}; border-radius: 6px; padding: 0 12px; min-height: {TOUCH_PX - 2}px;
}}
QPushButton:hover, QToolButton:hover {{ border-color: {QUIET}; }}
QPushButton:pressed, QToolButton:pressed {{ background: {LINE}; }}
QPushButton:checked, QToolButton:checked {{ border-color: {ACCENT}; color: {ACCENT}; }}
QPushButton:focus, QToolButton:focus {{ border: 1px solid {ACCENT}; }}
QPushButton:disabled, QToolButton:disabled {{ color: #5C656D; border-color: {SURFACE}; }}
QPushButton[role="record"]:checked {{ border-color: {ERROR}; color: {ERROR}; }}
QPushButton[role="primary"] {{ background: {ACCENT}; color: {BACKGROUND}; border-color: {ACCENT}; }}
QPushButton[role="chip"], QToolButton[role="chip"] {{
  border: none; background: transparent; min-height: {TOUCH_PX}px; padding: 0 10px; text-align: left;
}}
QPushButton[role="chip"]:hover, QToolButton[role="chip"]:hover {{ background: {RAISED}; }}
QToolButton::menu-indicator {{ image: none; }}
QPushButton[role="chip"]:checked {{ color: {ACCENT}; background: {RAISED}; }}
QPushButton[role="chip"][warning="true"] {{ color: {WARNING}; }}
QPushButton[role="rail"], QPushButton[role="record"] {{ padding: 0 6px; min-height: 46px; }}
#drawer {{ background: {SURFACE}; border-left: 1px solid {LINE}; }}
#notify {{ background: {RAISED}; border: 1px solid {LINE}; border-left: 4px solid {ACCENT}; border-radius: 8px; }}
#notify[level="warning"] {{ border-left-color: {WARNING}; }}
#notify[level="error"] {{ border-left-color: {ERROR}; }}
#notify QPushButton {{ background: transparent; border: none; min-width: 40px; }}
#notify QPushButton:hover {{ background: {LINE}; }}
#drawer QWidget {{ background: {SURFACE}; }}
#drawer QPushButton {{ background: {RAISED}; }}
#drawer QPushButton[role="chip"] {{ background: transparent; }}
#drawer QPushButton[role="primary"] {{ background: {ACCENT}; }}
#drawer QPushButton[role="primary"]:disabled {{ background: {RAISED}; border-color: {RAISED}; }}
QRadioButton::indicator, QCheckBox::indicator {{
  width: 16px; height: 16px; border: 2px solid {QUIET}; background: transparent; margin-right: 6px;
}}
QRadioButton::indicator {{ border-radius: 10px; }}
QCheckBox::indicator {{ border-radius: 4px; }}
QRadioButton::indicator:checked, QCheckBox::indicator:checked {{ border-color: {ACCENT}; background: {ACCENT}; }}
QRadioButton:focus, QCheckBox:focus {{ color: {ACCENT}; }}
QListWidget::item {{ padding: 8px; border-radius: 4px; }}
QListWidget::item:selected {{ background: {LINE}; color: {TEXT}; }}
QPushButton[role="card"] {{ border-radius: 10px; background: {SURFACE}; padding: 16px; }}
QComboBox, QLineEdit, QTextEdit, QListWidget, QTableWidget {{
  background: {SURFACE}; border: 1px solid {LINE}; border-radius: 6px; padding: 4px 8px;
  selection-background-color: {ACCENT}; selection-color: {BACKGROUND};
}}
QComboBox, QLineEdit {{ min-height: 34px; }}
QComboBox::drop-down {{ border: none; width: 28px; }}
QComboBox::down-arrow {{ image: url({resource_path("resources", "icons", "down.svg").as_posix()}); width: 14px; }}
QComboBox QAbstractItemView {{ background: {RAISED}; border: 1px solid {LINE}; }}
QMenu {{ background: {RAISED}; border: 1px solid {LINE}; padding: 4px; }}
QMenu::item {{ padding: 8px 24px 8px 16px; border-radius: 4px; background: transparent; }}
QMenu::item:selected {{ background: {LINE}; }}
QMenu::separator {{ height: 1px; background: {LINE}; margin: 4px 8px; }}
QSlider::groove:horizontal {{ height: 4px; background: {LINE}; border-radius: 2px; }}
QSlider::handle:horizontal {{ width: 16px; height: 16px; margin: -6px 0; border-radius: 8px; background: {TEXT}; }}
QSlider::sub-page:horizontal {{ background: {ACCENT}; border-radius: 2px; }}
QScrollBar:vertical {{ background: transparent; width: 10px; }}
QScrollBar::handle:vertical {{ background: {LINE}; border-radius: 5px; min-height: 24px; }}
QScrollBar::add-line, QScrollBar::sub-line {{ height: 0; }}
QScrollBar:horizontal {{ background: transparent; height: 10px; }}
QScrollBar::handle:horizontal {{ background: {LINE}; border-radius: 5px; min-width: 24px; }}
QProgressBar {{ background: {LINE}; border: none; border-radius: 3px; max-height: 6px; }}
QProgressBar::chunk {{ background: {ACCENT}; border-radius: 3px; }}
QToolTip {{ background: {RAISED}; color: {TEXT}; border: 1px solid {LINE}; padding: 4px 8px; }}
QHeaderView::section {{ background: {SURFACE}; border: none; color: {QUIET}; padding: 4px 8px; }}
QTabBar::tab {{ background: transparent; padding: 8px 16px; color: {QUIET}; }}
QTabBar::tab:selected {{ color: {TEXT}; border-bottom: 2px solid {ACCENT}; }}
QTabWidget::pane {{ border: none; }}
QDialog {{ background: {BACKGROUND}; }}
"""
