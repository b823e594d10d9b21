"""A prompt model, loaded and checked: frames in, outlines of what was pointed at out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from usviewer.errors import UserError
from usviewer.frame import Frame, Mask
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.prediction import Prediction
from usviewer.infer.predictor import Predictor
from usviewer.infer.preprocess import PixelBox
from usviewer.infer.prompt import Embedding, LowResMask, Prompt, PromptOutline
from usviewer.infer.prompt.decoder_io import low_res_of
from usviewer.infer.runner import PromptRunner

# 60 frames of a model of SAM's size (4 MB each), thousands of the bundled one.
CACHE_BYTES = 256 << 20

_CacheKey = tuple[str, PixelBox | None, float]


class PromptModel:
    """An encoder, a decoder, and the embeddings that were made. **Not** for two threads at once."""

    def __init__(
        self,
        spec: ModelSpec,
        engine: str = "auto",
        threads: int | None = None,
        *,
        spinning: bool = True,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Load the model as a ``Predictor`` does: hashes, graphs, engine, golden case. Raises ``UserError``."""
        if spec.prompt is None:
            raise UserError(f"Model '{spec.id}' takes no clicks", "Choose a model for outlining what is pointed at")
        self._predictor = Predictor(spec, engine, threads, spinning=spinning)
        runner = self._predictor.runner
        assert isinstance(runner, PromptRunner)
        self._runner = runner
        self._kept: OrderedDict[_CacheKey, Embedding] = OrderedDict()
        self._cache_bytes, self._bytes = cache_bytes, 0

    @property
    def spec(self) -> ModelSpec:
        """What is known about the model."""
        return self._predictor.spec

    @property
    def engine(self) -> str:
        """The encoder's engine, in words."""
        return self._predictor.engine

    @property
    def notice(self) -> str:
        """One sentence when another engine runs than was asked for, else empty."""
        return self._predictor.notice

    def cancel(self) -> None:
        """From another thread: end the run in progress, of encoder or decoder; see ``Predictor.cancel``."""
        self._predictor.cancel()

    def embedding(self, frame: Frame) -> Embedding | None:
        """Give what was made of this picture before, or None: never runs the encoder."""
        found = self._kept.get(_cache_key(frame))
        if found is None:
            return None
        self._kept.move_to_end(_cache_key(frame))
        return replace(found, key=frame.key)  # an equal picture may have been met at another place

    def embed(self, frame: Frame) -> Embedding:
        """Give the embedding of a frame: the kept one, or a new one, for which the least recently used give way.

        Raises ``UserError`` where the encoder stops.
        """
        found = self.embedding(frame)
        if found is None:
            found = self._runner.embed(frame)
            self._keep(_cache_key(frame), found)
        return found

    def embed_all(self, frames: Iterable[Frame], cancelled: Callable[[], bool] = lambda: False) -> Iterator[Embedding]:
        """Yield the embeddings of frames, one after another; ends between two frames when ``cancelled`` says so."""
        for frame in frames:
            if cancelled():
                return
            yield self.embed(frame)

    def outline(
        self,
        embedding: Embedding,
        prompt: Prompt,
        previous: LowResMask | None = None,
        *,
        label: str = "",
        clear: bool = False,
    ) -> PromptOutline:
        """Outline what the prompt points at. Several structures are several calls on one embedding.

        ``previous`` is the ``low_res`` of the answer before (refining by one more click), or what ``hint`` makes of a
        mask that was drawn or carried here from another frame; models that take none ignore it. ``label`` is what the
        user calls it. ``clear``: see ``PromptRunner.outline``. Raises ``UserError`` where the decoder stops.
        """
        # Another model's decoder would make something of it, and nobody could tell.
        if embedding.model_sha256 != self.spec.sha256:
            raise ValueError("an embedding of another model")
        found = self._runner.outline(embedding, prompt, previous, clear=clear)
        if label:
            return found.called(label)
        return found

    def hint(self, embedding: Embedding, mask: Mask) -> LowResMask | None:
        """Turn a mask of the whole frame (height, width) into a hint for ``outline``; None where none is taken."""
        size = self._runner.mask_size
        if size is None:
            return None
        return low_res_of(mask, embedding.placement, size)

    def prediction(self, embedding: Embedding, outlines: Sequence[PromptOutline]) -> Prediction:
        """Make of a frame's outlines a prediction as of any other model, to be measured, drawn and saved like it."""
        found = [one.instance for one in outlines if one.instance is not None]
        return Prediction(
            key=embedding.key,
            frame_size_px=embedding.frame_size_px,
            instances=tuple(sorted(found, key=lambda instance: -instance.score)),
            model_id=self.spec.id,
            model_sha256=self.spec.sha256,
            engine=self._predictor.session.actual,
            timings_ms={"infer": embedding.milliseconds, "decode": sum(one.milliseconds for one in outlines)},
            edge_sd_px=embedding.edge_sd_px,
        )

    def _keep(self, key: _CacheKey, embedding: Embedding) -> None:
        self._kept[key] = embedding
        self._bytes += embedding.values.nbytes
        # The newest stays even where it alone is larger than the limit: it is about to be asked for.
        while self._bytes > self._cache_bytes and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.values.nbytes


def _cache_key(frame: Frame) -> _CacheKey:
    """Equal pixels of equal shape looked at through an equal crop."""
    return frame.key.digest, frame.sector_box_px, frame.pixel_aspect
