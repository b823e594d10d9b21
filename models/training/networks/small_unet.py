"""Small networks for the bundled models, in plain PyTorch."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


def conv_unit(inputs: int, outputs: int) -> nn.Sequential:
    """One 3x3 convolution with batch norm: what the costly top level can afford."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class ConvBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, and a shortcut: the residual unit of every level."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = conv_unit(inputs, outputs)
        self.second = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, padding=dilation, dilation=dilation, bias=False), nn.BatchNorm2d(outputs)
        )
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Both convolutions, added to the shortcut."""
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


class SceneGate(nn.Module):
    """Scales channels by a summary of the whole picture, so that scene decides what a dark disc is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // 2)
        self.excite = nn.Linear(channels // 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        """The channels, weighted by what the whole picture is."""
        weights = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean(dim=(2, 3))))))
        return x * weights[:, :, None, None]


class SmallUNet(nn.Module):
    """U-Net that works at half resolution and below: about a million parameters, one gigaflop at 256x256.

    Takes uint8 [N, C, H, W] (H and W multiples of 32) and gives float logits [N, classes, H, W];
    the scaling of the input is part of the graph. Logits are computed at half the input's resolution and
    upsampled: edges are blurred over more than a pixel anyway, and it quarters the cost.
    """

    def __init__(self, channels: tuple[int, ...] = (16, 32, 48, 96, 128), inputs: int = 1, classes: int = 1) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(inputs, channels[0], 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(inplace=True),
        )
        self.down = nn.ModuleList([conv_unit(channels[0], channels[0])])
        for shallow, deep in pairwise(channels):
            self.down.append(ConvBlock(shallow, deep))
        self.bottom = nn.Sequential(ConvBlock(channels[-1], channels[-1], dilation=2), SceneGate(channels[-1]))
        self.up = nn.ModuleList()
        self.join = nn.ModuleList()
        for shallow, deep in zip(channels[-2::-1], channels[:0:-1], strict=True):
            self.up.append(nn.Conv2d(deep, shallow, 1, bias=False))
            top = shallow == channels[0]
            self.join.append(conv_unit(2 * shallow, shallow) if top else ConvBlock(2 * shallow, shallow))
        self.head = nn.Conv2d(channels[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits; at half the input's resolution while training."""
        # The image is scaled here so that callers hand over raw bytes.
        x = self.stem((image.to(torch.float32) - 40.0) / 55.0)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool2d(x, 2))
            skips.append(x)
        x = self.bottom(skips.pop())
        for up, join in zip(self.up, self.join, strict=True):
            x = nn.functional.interpolate(up(x), scale_factor=2.0, mode="nearest")
            x = join(torch.cat([x, skips.pop()], dim=1))
        logits: Tensor = self.head(x).to(torch.float32)
        if self.training:  # the loss pools its target: cheaper than upsampling the logits
            return logits
        return nn.functional.interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=False)
