"""A sigmoid or softmax is applied once: whether the graph has it is seen in its outputs when the model is added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.pictures import SpecFactory
from tests.helpers.prompt_graphs import prompt_model
from usviewer.errors import UserError
from usviewer.infer import golden, registry

VESSEL = {"name": "vessel", "color": "#56b4e9", "edge": "inner"}


@pytest.mark.parametrize(
    ("graph", "said", "refusal"),
    [
        ({"activation": "none"}, {"activation": "sigmoid"}, ""),
        ({"activation": "sigmoid"}, {"activation": "none"}, ""),
        ({"activation": "sigmoid"}, {"activation": "sigmoid"}, "sigmoid would be applied twice"),
        ({"activation": "none"}, {"activation": "none"}, "gives probabilities from"),
        ({"activation": "none", "classes": 2}, {"activation": "softmax"}, ""),
        ({"activation": "softmax", "classes": 2}, {"activation": "softmax"}, "softmax would be applied twice"),
        ({"activation": "softmax", "classes": 2}, {"activation": "none", "background": True}, ""),
        ({"activation": "softmax", "classes": 4}, {"activation": "softmax", "labels": 3}, "applied twice"),
        ({"activation": "softmax", "classes": 2}, {"activation": "none", "labels": 2}, "may be the background"),
        ({"activation": "softmax", "classes": 2}, {"activation": "none", "labels": 2, "background": False}, ""),
        ({"activation": "sigmoid", "classes": 2}, {"activation": "none", "labels": 2}, ""),
        ({"activation": "sigmoid", "layout": "NHWC"}, {"activation": "sigmoid", "layout": "NHWC"}, "applied twice"),
    ],
)
def test_an_activation_is_applied_once(
    unet: SpecFactory, graph: dict[str, Any], said: dict[str, Any], refusal: str
) -> None:
    count = said.get("labels", 1)
    said = said | {"labels": [VESSEL | {"name": f"label {number}"} for number in range(count)]}
    source = unet({"blob": True, **graph}, "made", **said)
    if not refusal:
        assert registry.add_model(source.folder).id == "made"
        return
    with pytest.raises(UserError, match=refusal):
        registry.add_model(source.folder)
    assert not registry.user_folder().exists() or not list(registry.user_folder().iterdir())


def test_what_came_along_as_golden_case_does_not_excuse_it(unet: SpecFactory) -> None:
    """A case that was recorded before this was looked at agrees with the mistake."""
    source = unet({"blob": True, "activation": "sigmoid"}, "made", activation="none")
    registry.record_golden(source.folder, "the author")
    manifest = source.folder / "manifest.toml"
    manifest.write_text(manifest.read_text().replace('activation = "none"', 'activation = "sigmoid"'))
    with pytest.raises(UserError, match="applied twice"):
        registry.add_model(source.folder)


def test_masks_that_are_no_logits_are_refused_of_a_prompt_model(tmp_path: Path) -> None:
    spec = prompt_model(tmp_path / "made")
    logits = np.linspace(-8, 8, 64, dtype=np.float32).reshape(1, 1, 8, 8)
    embeddings = np.zeros((1, 1, 4, 4), np.float32)
    golden.check_activation((embeddings, logits), spec)
    for masks in (1 / (1 + np.exp(-logits)), (logits > 0).astype(np.float32)):
        with pytest.raises(UserError, match="logits are expected"):
            golden.check_activation((embeddings, masks), spec)
