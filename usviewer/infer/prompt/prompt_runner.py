"""Encoder and decoder of one model, with their buffers."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.infer.manifest import ModelSpec, PromptSpec
from usviewer.infer.onnx_file import inspect
from usviewer.infer.prediction import Instance
from usviewer.infer.preprocess import Placement
from usviewer.infer.prompt.decoder_io import outline, points_and_labels
from usviewer.infer.prompt.types import Embedding, LowResMask, Prompt, PromptOutline
from usviewer.infer.runner import Runner, edge_sd_px
from usviewer.infer.session import Outputs, Session, open_call


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
            given = np.zeros(
                (rows, columns), np.float32
            )  # every input must be fed; has_mask says that this one is empty
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
