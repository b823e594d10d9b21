"""What a finding is called, for the parts that know nothing of medicine: model manifests and their labels.

The findings themselves are in ``usviewer.measure.findings``. Models are read below that, so each finding leaves here
what its models are told by, when it is registered.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

# Importing it registers every finding. By name, as a plug-in is loaded: the layers forbid to import it from here, and a
# process that only reads a manifest must know the same findings as one that has measured before (adr/0010).
_REGISTERED_BY = "usviewer.measure.findings"


@dataclass(frozen=True, slots=True)
class _Name:
    labels: tuple[str, ...]
    label_required: bool


_NAMES: dict[str, _Name] = {}


def register_name(finding: str, labels: tuple[str, ...] = (), *, label_required: bool = False) -> None:
    """Let manifests state this finding. Raises ``ValueError`` where its id, or one of its labels, is taken.

    ``labels`` are label names that say what is looked for: lower case, words by single spaces. ``label_required``: a
    label that is not called so may be something else that is labelled beside it, and is never measured in its place.
    """
    if finding in _NAMES:
        raise ValueError(f"there is a finding '{finding}' already")
    for label in labels:
        if (other := _owner_of(label)) is not None:
            raise ValueError(f"the label '{label}' states the finding '{other}' already")
    _NAMES[finding] = _Name(labels, label_required)


def known_findings() -> tuple[str, ...]:
    """The ids of all findings that a manifest may state, sorted."""
    importlib.import_module(_REGISTERED_BY)
    return tuple(sorted(_NAMES))


def stated_by(label: str) -> str | None:
    """The id of the finding that a label's name states; case, ``_`` and ``-`` do not matter."""
    return _owner_of(label) if known_findings() else None


def requires_label(finding: str) -> bool:
    """Whether only a label that states the finding may be measured as it."""
    return finding in known_findings() and _NAMES[finding].label_required


def _owner_of(label: str) -> str | None:
    words = " ".join(label.lower().replace("_", " ").replace("-", " ").split())
    return next((finding for finding, name in _NAMES.items() if words in name.labels), None)
