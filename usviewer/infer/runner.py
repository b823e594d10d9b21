"""A picture through one session: prepared, run, decoded. The hot path, with its buffers."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from usviewer.errors import UserError
from usviewer.frame import Frame, Pixels
from usviewer.infer import golden
from usviewer.infer.decode import decode
from usviewer.infer.manifest import InputSpec, ModelSpec
from usviewer.infer.prediction import Instance
from usviewer.infer.preprocess import PixelBox, Placement, Tensor, Workspace, bytes_alone, make_square, place, prepare
from usviewer.infer.session import KINDS, Outputs, Session

Timings = dict[str, float]

# Channels in the wrong order were off by 0.5 to 0.8 of the spread on random networks, bf16 and int8 by 0.01 to 0.1.
REDUCED_TOLERANCE = 0.25
# Without a measured figure ([accuracy] edge_sd_input_px) an outline is as sure as half a pixel of the model's input.
EDGE_SD_INPUT_PX = 0.5


class Runner:
    """A model on a session. **Not** for two threads at once.

    ``rectangular`` models of dynamic size run at the picture's aspect ratio, as their manifest says; without it the
    shorter side is padded to the longer one.
    """

    def __init__(self, spec: ModelSpec, session: Session, *, rectangular: bool = True) -> None:
        self.spec, self.session = spec, session
        self.input = spec.input if rectangular else make_square(spec.input)
        self._work = Workspace()
        self.set_min_score(spec.output.min_score)

    def set_min_score(self, min_score: float) -> None:
        """Another presence gate, for evaluation over the whole range of scores."""
        output = replace(self.spec.output, min_score=min_score, keep_score=min(min_score, self.spec.output.keep_score))
        self.spec = replace(self.spec, output=output)
        self._faint = replace(self.spec, output=replace(output, min_score=output.keep_score))

    def cancel(self) -> None:
        """From another thread: end the run in progress (``Session.cancel``)."""
        self.session.cancel()

    def instances(self, frame: Frame, *, faint: bool = False) -> tuple[tuple[Instance, ...], Timings]:
        """What is found on a frame, and the milliseconds of preprocess, infer and decode.

        ``faint`` gives what reaches the model's ``keep_score``, too.
        """
        spec = self._faint if faint else self.spec
        _, instances, timings = self.run(frame.pixels, frame.sector_box_px, self.input, spec, frame.pixel_aspect)
        return instances, timings

    def run(
        self,
        pixels: Pixels,
        sector_box_px: PixelBox | None,
        input_spec: InputSpec,
        spec: ModelSpec | None = None,
        pixel_aspect: float = 1.0,
    ) -> tuple[Outputs, tuple[Instance, ...], Timings]:
        """Raw outputs (valid until the next call), instances and milliseconds."""
        start = time.perf_counter()
        tensor, placement = self._prepare(pixels, sector_box_px, input_spec, pixel_aspect)
        prepared = time.perf_counter()
        outputs = self.session.run(tensor)
        inferred = time.perf_counter()
        outputs, instances = self._decode(outputs, placement, (pixels.shape[1], pixels.shape[0]), spec or self.spec)
        decoded = time.perf_counter()
        times = {"preprocess": prepared - start, "infer": inferred - prepared, "decode": decoded - inferred}
        return outputs, instances, {stage: seconds * 1e3 for stage, seconds in times.items()}

    def _prepare(
        self, pixels: Pixels, sector_box_px: PixelBox | None, input_spec: InputSpec, pixel_aspect: float = 1.0
    ) -> tuple[Tensor, Placement]:
        """As much of the input as the engine leaves to us."""
        wanted = bytes_alone(input_spec) if self.session.takes_bytes else input_spec
        return prepare(pixels, wanted, sector_box_px, self._work, pixel_aspect)

    def _decode(
        self, outputs: Outputs, placement: Placement, frame_size_px: tuple[int, int], spec: ModelSpec
    ) -> tuple[Outputs, tuple[Instance, ...]]:
        """The outputs that a golden case keeps, and what they say."""
        return outputs, decode(outputs, placement, spec)


def observe(runner: Runner, pixels: Pixels, source: str = golden.RECORDED) -> golden.GoldenOutput:
    """What the model says about a whole picture, as a golden case keeps it.

    Raises ``UserError`` where its outputs show that the manifest has them wrong (``golden.check_activation``).
    """
    outputs, instances, _ = runner.run(pixels, None, runner.spec.input)
    golden.check_activation(outputs, runner.spec)
    return golden.observe(outputs, instances, 1 if runner.spec.input.layout == "NCHW" else -1, source)


def check_golden(runner: Runner) -> None:
    """Raise ``UserError`` when the model does not say on this engine what its golden case expects.

    An engine of lower precision only has to be near: what it does to a mask is checked when it is chosen.
    """
    case, session = runner.spec.golden, runner.session
    if case is None:
        return
    expected, observed = golden.read_expected(case.expected), observe(runner, golden.read_picture(case.frame))
    if KINDS[session.actual].exact:
        problem = golden.deviation(expected, observed)
    elif not golden.alike(expected, observed):
        problem = golden.OTHER_SHAPE
    else:
        off = golden.output_deviation(expected, observed)
        problem = "" if off <= REDUCED_TOLERANCE else f"its raw outputs differ by {off:.1%} of their spread"
    if problem:
        raise UserError(
            f"Model '{runner.spec.id}' does not reproduce its golden case on the {session.describe()}: {problem}",
            "Use the engine 'cpu' or add the model again",
        )


def edge_sd_px(spec: ModelSpec, frame: Frame) -> float | None:
    """Standard deviation of an outline's position in frame pixels; None for a model without outlines.

    Of pixels that are not square: in squares of the same area.

    As the manifest's accuracy states it in pixels of the input, which is how a model's sureness scales with the frame.
    For a prompt model, which outlines things that nobody trained it on, an unmeasured figure is not assumed: None.
    """
    if spec.task == "detect" or (spec.task == "prompt" and "edge_sd_input_px" not in spec.accuracy):
        return None
    scale_x, scale_y = place(frame.size_px, spec.input, frame.sector_box_px, frame.pixel_aspect).scale_xy
    stated = spec.accuracy.get("edge_sd_input_px")
    if not isinstance(stated, int | float) or not (math.isfinite(stated) and stated > 0):
        stated = EDGE_SD_INPUT_PX
    return float(stated) / math.sqrt(scale_x * scale_y)
