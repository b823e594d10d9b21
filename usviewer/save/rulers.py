"""Remembers confirmed rulers: the settings file of ``calibrate.layouts``, written whole or not at all."""

from __future__ import annotations

import datetime
from pathlib import Path

from usviewer.atomic import make_folder, write_text
from usviewer.calibrate import layouts
from usviewer.calibrate.proposal import Proposal
from usviewer.errors import UserError
from usviewer.files import keep_copy, one_at_a_time


def remember(proposal: Proposal, tick_mm: float, path: Path | None = None) -> None:
    """Remember a ruler, for use wherever the same screen is seen.

    Raises ``UserError`` where another depth could not be told from this one, or the file cannot be written.
    """
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    layout = proposal.layout(tick_mm, today)
    target = path or layouts.layouts_path()
    make_folder(target.parent)
    with one_at_a_time(target):
        known, problems = layouts.load(target)
        if problems and keep_copy(target) is None:
            raise UserError(
                f"{target.name} cannot be understood, and no copy of it can be made before it is written again",
                "Move it away, then confirm the ruler again",
            )
        write_text(target, layouts.to_text(layouts.with_layout(known, layout)))
