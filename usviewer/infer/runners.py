"""The runner that fits a model's task."""

from __future__ import annotations

from usviewer.infer.manifest import ModelSpec
from usviewer.infer.prompt.prompt_runner import PromptRunner
from usviewer.infer.runner import Runner
from usviewer.infer.session import Session


def runner_for(spec: ModelSpec, session: Session, *, rectangular: bool = True) -> Runner:
    """A model on a session: see ``Runner``, and ``PromptRunner`` for one that is pointed at something."""
    kind = Runner if spec.prompt is None else PromptRunner
    return kind(spec, session, rectangular=rectangular)
