"""The YOLOv8 architecture, described in plain PyTorch, and the pieces of it that our detector shares.

Written from the published description (layer tables, head, output layout); no code of its authors is used.
`YoloV8(classes=80)` is the nano model (3 157 200 parameters), with `masks=32` the nano segmenter (3 409 968).
Boxes are predicted as distances from an anchor point to the four sides, each a distribution over 16 bins.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

BINS = 16
STRIDES = (8, 16, 32)


class ConvUnit(nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, C, H, W]."""
        return self.act(self.norm(self.conv(x)))


class Bottleneck(nn.Module):
    """Two 3x3 convolutions, with a shortcut in the backbone and without one in the neck."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvUnit(channels, channels, 3), ConvUnit(channels, channels, 3))
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Maps of unchanged shape."""
        return x + self.body(x) if self.shortcut else self.body(x)


class C2f(nn.Module):
    """Cross-stage block: half of the channels pass a chain of bottlenecks, and every link's output is joined."""

    def __init__(self, inputs: int, outputs: int, repeats: int, *, shortcut: bool = False) -> None:
        super().__init__()
        self.half = outputs // 2
        self.enter = ConvUnit(inputs, 2 * self.half)
        self.chain = nn.ModuleList(Bottleneck(self.half, shortcut) for _ in range(repeats))
        self.leave = ConvUnit((2 + repeats) * self.half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of unchanged size."""
        first, last = self.enter(x).chunk(2, dim=1)
        links = [first, last]
        for block in self.chain:
            links.append(block(links[-1]))
        return self.leave(torch.cat(links, dim=1))


class Sppf(nn.Module):
    """Spatial pyramid pooling: the same 5x5 maximum applied one, two and three times, joined."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = ConvUnit(channels, channels // 2)
        self.leave = ConvUnit(channels // 2 * 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of unchanged shape."""
        pools = [self.enter(x)]
        for _ in range(3):
            pools.append(nn.functional.max_pool2d(pools[-1], 5, stride=1, padding=2))
        return self.leave(torch.cat(pools, dim=1))


class Backbone(nn.Module):
    """Five strided convolutions, each followed (from the second on) by a C2f; gives strides 8, 16 and 32."""

    def __init__(self, inputs: int, channels: Sequence[int], repeats: Sequence[int]) -> None:
        super().__init__()
        self.stem = ConvUnit(inputs, channels[0], 3, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(ConvUnit(before, after, 3, 2), C2f(after, after, n, shortcut=True))
            for before, after, n in zip(channels, channels[1:], repeats, strict=False)
        )
        self.pool = Sppf(channels[-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps at strides 8, 16 and 32."""
        maps = []
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [maps[-3], maps[-2], self.pool(maps[-1])]


class Neck(nn.Module):
    """Path aggregation: coarse maps go up to the fine ones, then the fine ones come down again."""

    def __init__(self, inputs: Sequence[int], widths: Sequence[int], repeats: int) -> None:
        super().__init__()
        (fine, middle, coarse), (a, b, c) = inputs, widths
        self.up_middle = C2f(coarse + middle, b, repeats)
        self.up_fine = C2f(b + fine, a, repeats)
        self.down_fine = ConvUnit(a, a, 3, 2)
        self.down_middle = C2f(a + b, b, repeats)
        self.down_coarse = ConvUnit(b, b, 3, 2)
        self.last = C2f(b + coarse, c, repeats)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Three maps in, three maps of the same sizes out."""
        fine, middle, coarse = maps
        raised = self.up_middle(torch.cat([_double(coarse), middle], dim=1))
        first = self.up_fine(torch.cat([_double(raised), fine], dim=1))
        second = self.down_middle(torch.cat([self.down_fine(first), raised], dim=1))
        return [first, second, self.last(torch.cat([self.down_coarse(second), coarse], dim=1))]


def _double(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


class Branch(nn.Sequential):
    """Two 3x3 convolutions and a plain 1x1: one prediction of the head at one stride."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__(ConvUnit(inputs, hidden, 3), ConvUnit(hidden, hidden, 3), nn.Conv2d(hidden, outputs, 1))


class BinMean(nn.Module):
    """Expected distance of each side under the softmax over its bins: [N, 4 * BINS, A] to [N, 4, A], in strides."""

    def __init__(self) -> None:
        super().__init__()
        # A fixed 1x1 convolution, as published: it counts among the parameters and stays 0, 1, 2 ...
        self.conv = nn.Conv2d(BINS, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data[:] = torch.arange(BINS, dtype=torch.float32).view(1, BINS, 1, 1)

    def forward(self, raw: Tensor) -> Tensor:
        """Expected distances, in strides."""
        share = raw.view(raw.shape[0], 4, BINS, -1).transpose(1, 2).softmax(dim=1)
        return self.conv(share).squeeze(1)


class Head(nn.Module):
    """Separate branches for boxes, classes and (with `masks`) mask coefficients at each stride."""

    def __init__(self, widths: Sequence[int], classes: int, masks: int = 0) -> None:
        super().__init__()
        box, score, mask = (
            max(16, widths[0] // 4, 4 * BINS),
            max(widths[0], min(classes, 100)),
            max(widths[0] // 4, masks),
        )
        self.boxes = nn.ModuleList(Branch(w, box, 4 * BINS) for w in widths)
        self.scores = nn.ModuleList(Branch(w, score, classes) for w in widths)
        self.masks = nn.ModuleList(Branch(w, mask, masks) for w in widths) if masks else nn.ModuleList()
        self.mean = BinMean()
        for branch in self.scores:  # rare objects: start from a low score everywhere
            nn.init.constant_(branch[2].bias, -4.5)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Raw box bins [N, 64, A], class logits [N, classes, A], coefficients [N, masks, A] or None."""
        bins = torch.cat([b(m).flatten(2) for b, m in zip(self.boxes, maps, strict=True)], dim=2)
        scores = torch.cat([s(m).flatten(2) for s, m in zip(self.scores, maps, strict=True)], dim=2)
        if not len(self.masks):
            return bins, scores, None
        return bins, scores, torch.cat([c(m).flatten(2) for c, m in zip(self.masks, maps, strict=True)], dim=2)


class Prototypes(nn.Module):
    """Mask prototypes at a quarter of the input's size, from the finest map."""

    def __init__(self, inputs: int, hidden: int, masks: int) -> None:
        super().__init__()
        self.enter = ConvUnit(inputs, hidden, 3)
        self.raise_ = nn.ConvTranspose2d(hidden, hidden, 2, 2)
        self.body = nn.Sequential(ConvUnit(hidden, hidden, 3), ConvUnit(hidden, masks))

    def forward(self, x: Tensor) -> Tensor:
        """Prototypes [N, masks, 2H, 2W] of the finest map."""
        return self.body(self.raise_(self.enter(x)))


def anchor_points(size_px: tuple[int, int], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Centres [2, A] (x, y, input pixels) and strides [A] of all cells of an input of (height, width)."""
    points, strides = [], []
    for stride in STRIDES:
        rows, columns = size_px[0] // stride, size_px[1] // stride
        y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
        points.append(torch.stack([x.flatten(), y.flatten()]) * stride)
        strides.append(torch.full((rows * columns,), float(stride)))
    return torch.cat(points, dim=1).to(device), torch.cat(strides).to(device)


def boxes_xywh(sides: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Distances [N, 4, A] to left, top, right, bottom (in strides) as centre and size in input pixels."""
    near, far = points - sides[:, :2] * strides, points + sides[:, 2:] * strides
    return torch.cat([(near + far) / 2, far - near], dim=1)


class YoloV8(nn.Module):
    """Detector, or with `masks` instance segmenter.

    Takes float [N, 3, H, W] in 0..1, or uint8 which it scales itself. In evaluation gives [N, 4 + classes + masks, A]:
    centre and size in input pixels, scores after the sigmoid, coefficients; with `masks` also the prototypes
    [N, masks, H/4, W/4]. In training gives [N, 64 + classes, A], raw.
    """

    def __init__(
        self,
        classes: int = 80,
        masks: int = 0,
        inputs: int = 3,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        repeats: Sequence[int] = (1, 2, 2, 1),
        backbone: nn.Module | None = None,
        backbone_channels: Sequence[int] | None = None,
    ) -> None:
        """`channels` and `repeats` are those of the nano model; another `backbone` must give strides 8, 16, 32."""
        super().__init__()
        self.backbone = backbone or Backbone(inputs, channels, repeats)
        widths = channels[-3:]
        self.neck = Neck(backbone_channels or widths, widths, repeats[0])
        self.head = Head(widths, classes, masks)
        self.prototypes = Prototypes(widths[0], channels[2], masks) if masks else None

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """See the class."""
        if image.dtype == torch.uint8:
            image = image.to(torch.float32) / 255.0
        maps = self.neck(self.backbone(image))
        bins, scores, coefficients = self.head(maps)
        if self.training:
            return torch.cat([bins, scores], dim=1)
        points, strides = anchor_points((image.shape[2], image.shape[3]), image.device)
        sides = self.head.mean(bins.float())
        table = [boxes_xywh(sides, points, strides), torch.sigmoid(scores.float())]
        if self.prototypes is None or coefficients is None:
            return torch.cat(table, dim=1)
        return torch.cat([*table, coefficients.float()], dim=1), self.prototypes(maps[0])
