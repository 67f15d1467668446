"""The bottleneck block of Section 3.2, with a convolution or attention in the middle."""

import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from sasa.nn.attention import AttentionOptions, LocalAttention
from sasa.nn.norm import BatchNorm, normalise

EXPANSION = 4


class Pointwise(nn.Conv2d):
    """A 1x1 convolution. On a CPU, where channels are adjacent in memory, a matrix product: the same sums, in less time."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, bias: bool = False) -> None:
        super().__init__(in_channels, out_channels, 1, stride=stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.stride(1) != 1 or x.device.type != "cpu":
            return super().forward(x)
        down, right = self.stride
        x = x[:, :, ::down, ::right].permute(0, 2, 3, 1)
        return F.linear(x, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def spatial(primitive: str, in_channels: int, out_channels: int, stride: int, options: AttentionOptions) -> nn.Module:
    """The layer that sees space: a 3x3 convolution, or attention and, where the convolution strides, a 2x2 average pool."""
    if primitive == "convolution":
        return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
    attention = LocalAttention(in_channels, out_channels, options)
    if stride == 1:
        return attention
    return nn.Sequential(attention, nn.AvgPool2d(stride, stride, ceil_mode=True))


class Bottleneck(nn.Module):
    """1x1, BN, ReLU, 3x3 convolution or local attention, BN, ReLU, 1x1, BN, and the shortcut; then ReLU."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        primitive: str,
        options: AttentionOptions,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        out_channels = width * EXPANSION
        self.conv1 = Pointwise(in_channels, width)
        self.bn1 = BatchNorm(width, options.backend)
        self.conv2 = spatial(primitive, width, width, stride, options)
        self.bn2 = BatchNorm(width, options.backend)
        self.conv3 = Pointwise(width, out_channels)
        self.bn3 = BatchNorm(out_channels, options.backend)
        self.drop_path = DropPath(drop_path) if drop_path else None
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            norm = BatchNorm(out_channels, options.backend)
            self.downsample = nn.Sequential(Pointwise(in_channels, out_channels, stride), norm)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = normalise(self.bn1, self.conv1(x))
        x = self.conv3(normalise(self.bn2, self.conv2(x)))
        if self.drop_path is None:
            return normalise(self.bn3, x, shortcut)
        return (self.drop_path(self.bn3(x)) + shortcut).relu()
