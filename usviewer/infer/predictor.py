"""A model, loaded and checked, that says what it sees on a frame."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from usviewer.errors import UserError
from usviewer.frame import Frame, Pixels
from usviewer.infer import golden, onnx_file
from usviewer.infer.decode import decode
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.prediction import Instance, Prediction
from usviewer.infer.preprocess import PixelBox, Workspace, prepare
from usviewer.infer.session import Outputs, open_session


class Predictor:
    """A model on an engine, with its buffers. **Not** for two threads at once: give each thread its own."""

    def __init__(
        self,
        spec: ModelSpec,
        engine: str = "auto",
        threads: int | None = None,
        *,
        spinning: bool = True,
        check_golden: bool = True,
    ) -> None:
        """Load the model: hash, graph, engine, golden case, in this order; the golden case also warms the engine up.

        Raises ``UserError`` at the first that is not right. ``check_golden`` is False only where the case is made.
        """
        onnx_file.check_hashes(spec)
        onnx_file.check_fits(spec, onnx_file.inspect(spec.path))
        self.spec = spec
        self.session = open_session(spec, engine, threads, spinning=spinning)
        self._work = Workspace()
        if check_golden and spec.golden is not None:
            self._check_golden()

    @property
    def engine(self) -> str:
        """The engine that runs, in words."""
        return self.session.describe()

    @property
    def notice(self) -> str:
        """One sentence when another engine runs than was asked for, else empty."""
        return self.session.notice

    def predict(self, frame: Frame, prompts: Sequence[Any] = (), state: Any = None) -> Prediction:
        """What the model sees on the frame, in the frame's pixels.

        ``prompts`` and ``state`` are for models that take them; the others see only the frame.
        """
        sector = frame.geometry.sector if frame.geometry else None
        _, instances, timings = self._infer(frame.pixels, sector.box_xyxy_px if sector else None)
        return Prediction(
            key=frame.key,
            frame_size_px=(frame.width_px, frame.height_px),
            instances=instances,
            model_id=self.spec.id,
            model_sha256=self.spec.sha256,
            engine=self.session.actual,
            timings_ms=timings,
        )

    def observe(self, pixels: Pixels, source: str = golden.RECORDED) -> golden.Expected:
        """What the model says about a whole picture, as a golden case keeps it."""
        outputs, instances, _ = self._infer(pixels, None)
        return golden.observe(outputs, instances, 1 if self.spec.input.layout == "NCHW" else -1, source)

    def _infer(
        self, pixels: Pixels, sector_box_px: PixelBox | None
    ) -> tuple[Outputs, tuple[Instance, ...], dict[str, float]]:
        start = time.perf_counter()
        tensor, placement = prepare(pixels, self.spec.input, sector_box_px, self._work)
        prepared = time.perf_counter()
        outputs = self.session.run(tensor)
        inferred = time.perf_counter()
        instances = decode(outputs, placement, self.spec)
        decoded = time.perf_counter()
        times = {"preprocess": prepared - start, "infer": inferred - prepared, "decode": decoded - inferred}
        return outputs, instances, {stage: seconds * 1e3 for stage, seconds in times.items()}

    def _check_golden(self) -> None:
        case = self.spec.golden
        assert case is not None
        observed = self.observe(golden.read_picture(case.frame))
        if problem := golden.deviation(golden.read_expected(case.expected), observed):
            raise UserError(
                f"Model '{self.spec.id}' does not reproduce its golden case on the {self.engine}: {problem}",
                "Use the engine 'cpu' or add the model again",
            )
