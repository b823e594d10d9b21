"""The bundled prompt network: a U-Net encoder that looks once, and a small U-Net that answers every prompt.

All prompts are drawn inside the decoder's graph as maps on the embedding's grid, and the embedding at the clicks is
compared with the embedding everywhere: both spare the network from learning what a coordinate is, which a
transformer has to, and let it train from nothing on a CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.training.networks.small_unet import ConvBlock, SceneGate, conv_unit

SIDE_PX = 256
"""Input of the encoder; points are in its pixels, origin at the corner of the first."""
GRID = 64
"""Cells a side of the embedding and of the prompt maps."""
LOGIT_PX = 128
"""Side of the logits that go out and of the mask that comes back."""
EMBEDDING = 64
HEADS = 8
KEY = 8
PROMPT_MAPS = 13
SPARE = 3
"""Empty maps: ONNX Runtime takes four times as long for a convolution whose channels are no multiple of eight."""
PIXEL_CENTRE = 0.5
"""SAM's graphs count points from the middle of a pixel; the network counts from corners."""
FAR = 1e6
"""More than any squared distance on the grid."""
NEGATIVE, POSITIVE, BOX_START, BOX_END = 0, 1, 2, 3
"""Labels of points, as SAM numbers them; anything below zero is padding."""


class PromptEncoder(nn.Module):
    """Gray bytes [N, 1, 256, 256] to `image_embeddings` [N, 64, 64, 64]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 24, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(24), nn.ReLU(inplace=True)
        )
        self.fine = conv_unit(24, 24)
        self.down = nn.ModuleList([ConvBlock(24, 64), ConvBlock(64, 96), ConvBlock(96, 128), ConvBlock(128, 128)])
        self.bottom = nn.Sequential(ConvBlock(128, 128, dilation=2), SceneGate(128))
        self.up = nn.ModuleList([nn.Conv2d(deep, shallow, 1) for deep, shallow in ((128, 128), (128, 96), (96, 64))])
        self.join = nn.ModuleList([ConvBlock(width, width) for width in (128, 96, 64)])
        self.out = nn.Conv2d(64, EMBEDDING, 1)

    def forward(self, image: Tensor) -> Tensor:
        """See the class; the scaling of the bytes is part of the graph."""
        x = self.fine(self.stem((image.to(torch.float32) - 45.0) / 55.0))
        skips: list[Tensor] = []
        for block in self.down:
            x = block(nn.functional.max_pool2d(x, 2))
            skips.append(x)
        x = self.bottom(skips.pop())
        for up, join in zip(self.up, self.join, strict=True):
            x = join(nn.functional.interpolate(up(x), scale_factor=2.0, mode="nearest") + skips.pop())
        embedding: Tensor = self.out(x)
        return embedding


def draw_prompts(coords: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Points [N, P, 2] (input pixels) and labels [N, P] as maps [N, 11, 64, 64].

    Also two weights [N, 2, 64, 64] each summing to about one: where the object surely is (near positive clicks,
    the middle of the box), and where it surely is not (near negative clicks; zero without any).
    """
    cells = coords * (GRID / SIDE_PX)
    axis = torch.arange(GRID, dtype=torch.float32, device=coords.device) + 0.5
    dx = axis[None, None, :] - cells[..., 0:1]  # [N, P, G]
    dy = axis[None, None, :] - cells[..., 1:2]
    squared = dx.square()[:, :, None, :] + dy.square()[:, :, :, None]  # [N, P, G, G]
    maps = []
    for label in (POSITIVE, NEGATIVE):
        missing = (labels != label).to(torch.float32)[..., None, None] * FAR
        nearest = (squared + missing).amin(dim=1)
        maps += [torch.exp(-nearest / (2 * spread * spread)) for spread in (1.5, 5.0, 16.0)]
    box, core, size = draw_box(cells, labels, axis)
    near_positive = maps[0] + core
    weight = near_positive / (near_positive.sum(dim=(1, 2), keepdim=True) + 1e-4)
    away = maps[3] / (maps[3].sum(dim=(1, 2), keepdim=True) + 1e-4)
    clicked = (labels == POSITIVE).to(torch.float32).amax(dim=1)[:, None, None].expand(-1, GRID, GRID)
    stacked = torch.stack([*maps, *box, size, clicked], dim=1)
    return stacked, torch.stack([weight, away], dim=1)


def draw_box(cells: Tensor, labels: Tensor, axis: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Maps of the box [N, 64, 64]: inside, near its edge, the inscribed ellipse; then its middle, then its size."""
    start = ((labels == BOX_START).to(torch.float32)[..., None] * cells).sum(dim=1)  # zero without a box
    end = ((labels == BOX_END).to(torch.float32)[..., None] * cells).sum(dim=1)
    has = (labels == BOX_END).to(torch.float32).sum(dim=1).clamp(max=1.0)[:, None, None]
    middle, half = (start + end) / 2, ((end - start) / 2).clamp(min=0.5)
    x = (axis[None, :] - middle[:, 0:1])[:, None, :]
    y = (axis[None, :] - middle[:, 1:2])[:, :, None]
    across, along = half[:, 0, None, None], half[:, 1, None, None]
    inside = torch.minimum(across - x.abs(), along - y.abs())  # cells to the nearest side, positive inside
    round_ = (x / across).square() + (y / along).square()
    core = has * torch.exp(-4.0 * round_)
    maps = [has * torch.sigmoid(2 * inside), has * torch.exp(-inside.square() / 4), has * torch.exp(-round_)]
    size = has * (across * along).sqrt().expand(-1, GRID, GRID) / GRID
    return maps, core, size


class PromptDecoder(nn.Module):
    """An embedding and prompts to logits [N, 1, 128, 128] and the overlap (IoU) that it expects [N, 1]."""

    def __init__(self, widths: tuple[int, int, int, int] = (32, 64, 96, 112)) -> None:
        super().__init__()
        top, *deeper = widths
        self.picture = nn.Conv2d(EMBEDDING, top, 1)
        self.key = nn.Conv2d(EMBEDDING, KEY * HEADS, 1)
        self.like = nn.Linear(EMBEDDING, KEY * HEADS)
        self.unlike = nn.Linear(EMBEDDING, KEY * HEADS)
        self.tone = nn.Linear(EMBEDDING, top)
        self.prompt = conv_unit(PROMPT_MAPS + 2 * HEADS + SPARE, top)
        self.first = conv_unit(top, top)
        self.down = nn.ModuleList([ConvBlock(s, d) for s, d in zip(widths, deeper, strict=False)])
        self.bottom = nn.Sequential(ConvBlock(widths[-1], widths[-1], dilation=2), SceneGate(widths[-1]))
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList([nn.Conv2d(deep, shallow, 1) for deep, shallow in pairs])
        self.join = nn.ModuleList([conv_unit(shallow, shallow) for _, shallow in pairs])
        self.fine = nn.Sequential(nn.Conv2d(top, 32, 1), nn.PixelShuffle(2), nn.ReLU(inplace=True))
        self.head = nn.Conv2d(8, 1, 3, padding=1)
        self.quality = nn.Sequential(nn.Linear(widths[-1] + top, 64), nn.ReLU(inplace=True), nn.Linear(64, 1))

    def forward(
        self, embedding: Tensor, coords: Tensor, labels: Tensor, mask: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Embeddings [B, ...] and N = B K prompts: coords [N, P, 2], labels [N, P], mask [N, 1, 128, 128] (logits of
        the former answer), has_mask [N, 1]; the K prompts of a picture lie next to one another.
        """
        batch, cells = embedding.shape[0], GRID * GRID
        maps, weights = draw_prompts(coords.float(), labels.float())
        # What the prompts of one picture share is computed once, and compared by plain matrix products.
        flat = embedding.reshape(batch, EMBEDDING, cells)
        keys = self.key(embedding).reshape(batch, 1, HEADS, KEY, cells)
        there = torch.matmul(weights[:, 0].reshape(batch, -1, cells).to(flat.dtype), flat.transpose(1, 2))
        not_there = torch.matmul(weights[:, 1].reshape(batch, -1, cells).to(flat.dtype), flat.transpose(1, 2))
        likeness = [
            torch.matmul(query.reshape(batch, -1, HEADS, 1, KEY), keys).reshape(-1, HEADS, GRID, GRID)
            for query in (self.like(there), self.unlike(not_there))
        ]
        before = nn.functional.avg_pool2d(torch.tanh(mask / 4), LOGIT_PX // GRID) * has_mask[:, :, None, None]
        known = has_mask[:, :, None, None].expand(-1, -1, GRID, GRID)
        spare = torch.zeros_like(maps[:, :SPARE])
        x = self.prompt(torch.cat([t.to(flat.dtype) for t in (maps, before, known, *likeness, spare)], dim=1))
        shared = self.picture(embedding)[:, None] + self.tone(there)[:, :, :, None, None]
        x = self.first(torch.relu(x + shared.reshape(-1, x.shape[1], GRID, GRID)))
        return self._answer(x)

    def _answer(self, x: Tensor) -> tuple[Tensor, Tensor]:
        skips = [x]
        for block in self.down:
            x = block(nn.functional.max_pool2d(x, 2))
            skips.append(x)
        x = self.bottom(skips.pop())
        summary = x.mean(dim=(2, 3))
        for up, join in zip(self.up, self.join, strict=True):
            x = join(nn.functional.interpolate(up(x), scale_factor=2.0, mode="nearest") + skips.pop())
        logits = self.head(self.fine(x)).to(torch.float32)
        # How sure it is, judged by what lies under the outline; the outline itself does not learn from that.
        share = torch.sigmoid(nn.functional.avg_pool2d(logits.detach(), 2)).reshape(-1, GRID * GRID, 1)
        under = torch.matmul(x.detach().reshape(-1, x.shape[1], GRID * GRID), share.to(x.dtype))[:, :, 0]
        under = under / (share.sum(dim=1) + 1.0)
        quality = torch.sigmoid(self.quality(torch.cat([summary.detach(), under.to(x.dtype)], dim=1)).float())
        return logits, quality


class PromptNetwork(nn.Module):
    """Encoder and decoder trained together: pictures in, embeddings out; the decoder travels along for the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = PromptEncoder()
        self.decoder = PromptDecoder()

    def forward(self, image: Tensor) -> Tensor:
        """The embeddings."""
        embedding: Tensor = self.encoder(image)
        return embedding


class DecoderGraph(nn.Module):
    """The decoder with the inputs and outputs of SAM's export."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, embedding: Tensor, coords: Tensor, labels: Tensor, mask: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Expected overlap [1, 1] and logits [1, 1, 128, 128]."""
        logits, quality = self.decoder(embedding, coords + PIXEL_CENTRE, labels, mask, has_mask.reshape(1, 1))
        return quality, logits
