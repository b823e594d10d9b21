"""A picture through one session: prepared, run, decoded. The hot path, with its buffers.

A model that is pointed at something has two graphs: ``PromptRunner`` runs the encoder on the session, the decoder on
the CPU.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from usviewer.errors import UserError
from usviewer.frame import Frame, Pixels
from usviewer.infer import golden
from usviewer.infer.decode import decode
from usviewer.infer.manifest import InputSpec, ModelSpec, PromptSpec
from usviewer.infer.onnx_file import inspect
from usviewer.infer.prediction import Instance
from usviewer.infer.preprocess import PixelBox, Placement, Tensor, Workspace, bytes_alone, make_square, place, prepare
from usviewer.infer.prompt import Embedding, LowResMask, Prompt, PromptOutline
from usviewer.infer.prompt.decoder_io import outline, points_and_labels
from usviewer.infer.session import KINDS, Outputs, Session, open_call

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
    stated = spec.accuracy.get("edge_sd_input_px")
    if not isinstance(stated, int | float) or not (math.isfinite(stated) and stated > 0):
        stated = EDGE_SD_INPUT_PX
    return float(stated) / place(frame.size_px, spec.input, frame.sector_box_px, frame.pixel_aspect).scale


def runner_for(spec: ModelSpec, session: Session, *, rectangular: bool = True) -> Runner:
    """Put a model on a session: a ``PromptRunner`` for one that is pointed at something, a ``Runner`` for any other."""
    kind = Runner if spec.prompt is None else PromptRunner
    return kind(spec, session, rectangular=rectangular)


class PromptRunner(Runner):
    """A prompt model on a session (the encoder's), its decoder on the CPU. **Not** for two threads at once.

    As a ``Runner`` it answers the prompt of its golden case: that is how engines are compared and files are checked.
    """

    def __init__(self, spec: ModelSpec, session: Session, *, rectangular: bool = True) -> None:
        super().__init__(spec, session, rectangular=rectangular)
        assert spec.prompt is not None
        self._names: PromptSpec = spec.prompt
        decoder = spec.files["decoder"].path
        self._decoder = open_call(decoder, (spec.output.name, spec.prompt.scores), session.threads)
        self.mask_size: tuple[int, int] | None = None  # (columns, rows) of the hint that the decoder takes
        if spec.prompt.mask:
            ports = {port.name: port.shape for port in inspect(decoder).inputs}
            rows, columns = ports[spec.prompt.mask][2:]
            if rows and columns:
                self.mask_size = (columns, rows)

    def cancel(self) -> None:
        """From another thread: end the run in progress, of the encoder or of the decoder."""
        super().cancel()
        self._decoder.cancel()

    def embed(self, frame: Frame) -> Embedding:
        """Run the encoder on a frame. Raises ``UserError`` where the engine stops."""
        start = time.perf_counter()
        tensor, placement = self._prepare(frame.pixels, frame.sector_box_px, self.input, frame.pixel_aspect)
        values = np.array(self.session.run(tensor)[0], np.float32)  # the engine's own memory is overwritten next time
        values.setflags(write=False)
        took_ms = (time.perf_counter() - start) * 1e3
        size = frame.size_px
        return Embedding(frame.key, size, placement, values, self.spec.sha256, edge_sd_px(self.spec, frame), took_ms)

    def outline(
        self, embedding: Embedding, prompt: Prompt, previous: LowResMask | None = None, *, clear: bool = False
    ) -> PromptOutline:
        """Run the decoder for one prompt, from the answer before where it is given. Raises ``UserError``.

        ``clear``: a lone click means one thing (it was carried here from another frame), not a part or the whole.
        """
        start = time.perf_counter()
        found = self._ask(embedding.values, embedding.placement, prompt, previous, clear=clear)
        return replace(found, milliseconds=(time.perf_counter() - start) * 1e3)

    def _decode(
        self, outputs: Outputs, placement: Placement, frame_size_px: tuple[int, int], spec: ModelSpec
    ) -> tuple[Outputs, tuple[Instance, ...]]:
        case = spec.golden
        if case is None:
            raise UserError(f"Model '{spec.id}' has no golden case", "Add it with 'usviewer models add'")
        prompt = Prompt(case.points_xy_px, case.positive, case.box_xyxy_px)
        found = self._ask(outputs[0], placement, prompt, None, clear=False)
        instances = (found.instance,) if found.instance else ()
        return (*outputs, found.low_res.logits[None, None]), instances

    def _ask(
        self, values: np.ndarray, placement: Placement, prompt: Prompt, previous: LowResMask | None, *, clear: bool
    ) -> PromptOutline:
        lone = prompt.box_xyxy_px is None and len(prompt.points_xy_px) == 1
        if self._names.passes == 1:
            return self._once(values, placement, prompt, previous, ambiguous=lone and previous is None and not clear)
        first = self._once(values, placement, prompt, previous, ambiguous=False)
        if first.instance is None:
            return first
        # The second pass has the box of the first answer, as the model was trained; the user's own box stays.
        boxed = Prompt(box_xyxy_px=prompt.box_xyxy_px or first.instance.box_xyxy_px)
        second = self._once(values, placement, boxed, first.low_res, ambiguous=True, judged=prompt)
        return replace(second, prompt=prompt)

    def _once(
        self,
        values: np.ndarray,
        placement: Placement,
        prompt: Prompt,
        previous: LowResMask | None,
        *,
        ambiguous: bool,
        judged: Prompt | None = None,
    ) -> PromptOutline:
        """One run of the decoder; ``judged`` is what the user pointed at where ``prompt`` was made from it."""
        names = self._names
        coords, labels = points_and_labels(prompt, placement, names)
        feeds = {names.embeddings: values, names.coords: coords, names.labels: labels}
        if names.mask and self.mask_size:
            columns, rows = self.mask_size
            # Every input must be fed; has_mask says that this one is empty.
            given = np.zeros((rows, columns), np.float32)
            if previous is not None:
                given = previous.logits
            if given.shape != (rows, columns):
                raise ValueError(f"a mask of {given.shape} for a decoder that takes {(rows, columns)}")
            feeds[names.mask] = given[None, None]
            if names.has_mask:
                feeds[names.has_mask] = np.array([previous is not None], np.float32)
        if names.size:  # only sizes a larger mask that is not asked for: the smaller, the cheaper
            feeds[names.size] = np.array([16, 16], np.float32)
        masks, scores = self._decoder(feeds)
        return outline(masks, scores, placement, judged or prompt, self.spec, ambiguous=ambiguous)
