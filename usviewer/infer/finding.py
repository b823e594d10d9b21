"""Which finding a label's name states, and which label of a model is the one that is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usviewer.infer.manifest import Label

# Label names (lower case, words by single spaces) that say what is looked for.
FINDING_OF_LABEL = {
    "aorta": "aorta",
    "abdominal aorta": "aorta",
    "nerve": "nerve",
    "fetal head": "fetal-head",
    "choroid plexus": "fetal-brain",
    "csp": "fetal-brain",
    "cavum septi pellucidi": "fetal-brain",
    "falx": "fetal-brain",
    "midline falx": "fetal-brain",
}


def stated_by(name: str) -> str | None:
    """The finding that a label's name states; case, ``_`` and ``-`` do not matter."""
    return FINDING_OF_LABEL.get(" ".join(name.lower().replace("_", " ").replace("-", " ").split()))


def measured_label(labels: Sequence[Label], finding: str) -> Label | None:
    """The label that stands for a finding: one for the whole model, whatever the scores of a frame are.

    The one that the manifest marks ``measured``; else the first whose name is that of the finding; else the first.
    Lumen and wall are two diameters of one vessel: a median over both would be neither. Beside a nerve other structures
    are labelled, so that there the first may be a vessel: None where no label is called or marked as one.
    """
    marked = (label for label in labels if label.measured)
    named = (label for label in labels if stated_by(label.name) == finding)
    found = next(marked, None) or next(named, None)
    return labels[0] if found is None and finding != "nerve" else found
