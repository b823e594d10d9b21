"""U-Net with a MobileNetV2 encoder, in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, repeats and stride of the seven stages (Sandler et al. 2018, table 2)."""


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU (ReLU6 only matters to low-bit arithmetic, and trains slower on a CPU)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project without activation; a shortcut where the shape allows it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [conv_bn(inputs, hidden, 1)] if expansion != 1 else []
        layers += [conv_bn(hidden, hidden, 3, stride, groups=hidden)]
        layers += [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.body = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Maps of unchanged size, or half of it."""
        return x + self.body(x) if self.shortcut else self.body(x)


class MobileNetV2Encoder(nn.Module):
    """The feature extractor of MobileNetV2 (width 1), giving the maps at strides 2, 4, 8, 16 and 32."""

    channels = (16, 24, 32, 96, 320)

    def __init__(self, inputs: int = 1) -> None:
        super().__init__()
        self.stem = conv_bn(inputs, 32, 3, stride=2)
        self.levels = nn.ModuleList()
        level: list[nn.Module] = []
        previous = 32
        for expansion, outputs, repeats, stride in STAGES:
            if stride == 2:  # a new resolution begins: close the level before it
                self.levels.append(nn.Sequential(*level))
                level = []
            for index in range(repeats):
                level.append(InvertedResidual(previous, outputs, stride if index == 0 else 1, expansion))
                previous = outputs
        self.levels.append(nn.Sequential(*level))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps at strides 2, 4, 8, 16 and 32."""
        x = self.stem(x)
        maps = []
        for level in self.levels:
            x = level(x)
            maps.append(x)
        return maps


class DecoderLevel(nn.Module):
    """Upsample by two, join the encoder's map of that resolution, two 3x3 convolutions."""

    def __init__(self, deep: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(deep, outputs, 1, bias=False)
        self.join = nn.Sequential(conv_bn(outputs + skip, outputs), conv_bn(outputs, outputs))

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """The joined map, at the size of `skip`."""
        raised = nn.functional.interpolate(self.reduce(deep), scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.join(torch.cat([raised, skip], dim=1))


class MobileUNet(nn.Module):
    """U-Net with a MobileNetV2 encoder: uint8 [N, 1, H, W] (multiples of 32) to logits [N, classes, H, W].

    Logits are computed at half the input's resolution and upsampled, which keeps the decoder cheap; the outline
    is smooth, so its position between samples comes from the slope of the logits.
    """

    def __init__(self, inputs: int = 1, classes: int = 1, widths: tuple[int, ...] = (128, 64, 48, 32)) -> None:
        super().__init__()
        self.encoder = MobileNetV2Encoder(inputs)
        skips = self.encoder.channels
        self.decoder = nn.ModuleList()
        deep = skips[-1]
        for skip, width in zip(skips[-2::-1], widths, strict=True):
            self.decoder.append(DecoderLevel(deep, skip, width))
            deep = width
        self.head = nn.Conv2d(deep, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """See the class; in training the logits stay at half resolution."""
        maps = self.encoder((image.to(torch.float32) - 45.0) / 55.0)
        x = maps.pop()
        for level in self.decoder:
            x = level(x, maps.pop())
        logits = self.head(x).to(torch.float32)
        if self.training:  # the loss pools its target: cheaper than upsampling the logits
            return logits
        return nn.functional.interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=False)
