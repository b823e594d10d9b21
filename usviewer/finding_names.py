"""What a finding is called, for the parts that know nothing of medicine: model manifests and their labels.

The findings themselves are in ``usviewer.measure.findings``. Models are read below that, so each finding leaves here
what its models are told by, when it is registered.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

# Importing it registers every finding. By name, as a plug-in is loaded: the layers forbid to import it from here, and a
# process that only reads a manifest must know the same findings as one that has measured before (adr/0010).
_REGISTERED_BY = "usviewer.measure.findings"


@dataclass(frozen=True, slots=True)
class FindingName:
    """One finding in the words of a model.

    ``labels`` are label names that say what is looked for: lower case, words by single spaces. ``label_required``: a
    label that is not called so may be something else that is labelled beside it, and is never measured in its place.
    """

    id: str
    labels: tuple[str, ...] = ()
    label_required: bool = False


_NAMES: dict[str, FindingName] = {}


def register_name(name: FindingName) -> None:
    """Let manifests state this finding. Raises ``ValueError`` where the id, or one of the labels, is taken."""
    if name.id in _NAMES:
        raise ValueError(f"there is a finding '{name.id}' already")
    for label in name.labels:
        if (other := stated_by(label, _NAMES)) is not None:
            raise ValueError(f"the label '{label}' states the finding '{other}' already")
    _NAMES[name.id] = name


def known_findings() -> Mapping[str, FindingName]:
    """Every finding that a manifest may state, by its id."""
    importlib.import_module(_REGISTERED_BY)
    return _NAMES


def stated_by(label: str, names: Mapping[str, FindingName] | None = None) -> str | None:
    """The id of the finding that a label's name states; case, ``_`` and ``-`` do not matter."""
    words = " ".join(label.lower().replace("_", " ").replace("-", " ").split())
    known = known_findings() if names is None else names
    return next((name.id for name in known.values() if words in name.labels), None)
