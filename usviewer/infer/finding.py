"""Which label of a model is the one that is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from usviewer.finding_names import requires_label, stated_by

if TYPE_CHECKING:
    from usviewer.infer.manifest import Label


def measured_label(labels: Sequence[Label], finding: str) -> Label | None:
    """The label that stands for a finding: one for the whole model, whatever the scores of a frame are.

    The one that the manifest marks ``measured``; else the first whose name is that of the finding; else the first.
    Lumen and wall are two diameters of one vessel: a median over both would be neither. Of a finding beside which other
    structures are labelled (a nerve), the first may be a vessel: None where no label is called or marked as one.
    """
    marked = (label for label in labels if label.measured)
    named = (label for label in labels if stated_by(label.name) == finding)
    found = next(marked, None) or next(named, None)
    if found is None and not requires_label(finding):
        return labels[0]
    return found
