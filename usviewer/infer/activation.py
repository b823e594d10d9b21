"""Whether a model's raw outputs are what its manifest says they are, as far as one picture can tell.

A sigmoid or softmax that is applied twice brings every value near one half: the whole picture is outlined, and nothing
else looks wrong. The file does not say whether its last step is in the graph, but its outputs do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from usviewer.errors import UserError
from usviewer.infer.manifest import ModelSpec

Outputs = Sequence[NDArray[np.float32]]

# Single precision leaves a probability this far outside 0 to 1, and a softmax's sum this far from 1.
ROUNDING = 1e-5


def check(outputs: Outputs, spec: ModelSpec) -> None:
    """Raise ``UserError`` where outputs on one picture contradict the manifest.

    Logits that all lie within 0 to 1 do not occur: as probabilities they would be 0.5 to 0.73 in every place.
    """
    if spec.decoder == "sam":
        if _within(outputs[-1]):
            raise UserError(
                f"Model '{spec.id}' gives masks of 0 to 1, where logits are expected",
                "Export its decoder without the sigmoid or the threshold at its end",
            )
    elif spec.decoder == "unet":
        _check_unet(outputs[0], spec)


def _check_unet(output: NDArray[np.float32], spec: ModelSpec) -> None:
    activation, channels = spec.output.activation, len(spec.labels) + spec.output.background
    if activation != "none":
        if _within(output):
            raise UserError(
                f"Model '{spec.id}' gives values of 0 to 1 already: a {activation} would be applied twice",
                'Say activation = "none" in its manifest, with background = true where channel 0 is no label',
            )
    elif channels > 1 and not spec.output.background_said and _shares(output, spec):
        raise UserError(
            f"The {channels} channels of model '{spec.id}' are shares of one whole, so one may be the background",
            "Say background = true in its manifest and leave out the label of channel 0, or background = false",
        )


def _within(values: NDArray[np.float32]) -> bool:
    return bool(values.size) and -ROUNDING <= float(values.min()) and float(values.max()) <= 1 + ROUNDING


def _shares(output: NDArray[np.float32], spec: ModelSpec) -> bool:
    """Whether the channels add up to 1 in every place, as a softmax leaves them."""
    total = output.sum(axis=1 if spec.input.layout == "NCHW" else -1, dtype=np.float64)
    return bool(np.abs(total - 1).max(initial=0.0) < 100 * ROUNDING)
