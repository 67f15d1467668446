"""The bottleneck block of Section 3.2, with a convolution or attention in the middle."""

from timm.layers import DropPath
from torch import Tensor, nn

from sasa.nn.attention import AttentionOptions, LocalAttention

EXPANSION = 4


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
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = spatial(primitive, width, width, stride, options)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.drop_path(self.bn3(self.conv3(x))) + shortcut)
