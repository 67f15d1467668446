"""The stems of Section 3.2 and Table 7: (B, 3, H, W) -> (B, channels, H / 4, W / 4), rounded up."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sasa.nn.attention import AttentionOptions, check_heads, relative_embeddings

BLOCK = 4  # side of the stem's blocks, and of its max pool


class ConvStem(nn.Sequential):
    """7x7 convolution stride 2, BN, ReLU, 3x3 max pool stride 2."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)


class AttentionStem(nn.Module):
    """Attention inside non-overlapping 4x4 blocks of the image, BN, ReLU, 4x4 max pool stride 4.

    kind says how the values are made: `attention` by a pointwise projection, `attention_conv_values` by a 4x4
    convolution, `attention_spatial_values` by a mixture of projections that depends on the place in the block.
    """

    def __init__(self, kind: str, in_channels: int, channels: int, mixtures: int, options: AttentionOptions) -> None:
        super().__init__()
        self.heads = options.stem_heads
        check_heads(channels, self.heads, "relative")
        head_channels = channels // self.heads
        self.scale = head_channels**-0.5 if options.scaled else 1.0
        self.query = nn.Linear(in_channels, channels, bias=False)
        self.key = nn.Linear(in_channels, channels, bias=False)
        self.value = {
            "attention": PointwiseValues,
            "attention_conv_values": ConvValues,
            "attention_spatial_values": SpatialValues,
        }[kind](in_channels, channels, mixtures)
        self.row, self.column = relative_embeddings(self.heads, 2 * BLOCK - 1, head_channels)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(BLOCK, stride=BLOCK, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % BLOCK, 0, -height % BLOCK))
        down, right = x.shape[2] // BLOCK, x.shape[3] // BLOCK
        pixels = x.permute(0, 2, 3, 1)
        q, k, v = (self._blocks(y) for y in (self.query(pixels) * self.scale, self.key(pixels), self.value(x)))
        logits = q @ k.transpose(-1, -2) + torch.einsum("nhqd,hqkd->nhqk", q, self._relative().to(q.dtype))
        if down * BLOCK > height or right * BLOCK > width:  # the padding is no part of a neighbourhood
            inside = x.new_ones(1, 1, height, width)
            inside = F.pad(inside, (0, -width % BLOCK, 0, -height % BLOCK)).permute(0, 2, 3, 1)
            inside = inside.expand(len(x), -1, -1, self.heads)
            logits = logits.masked_fill(self._blocks(inside).transpose(-1, -2) == 0, float("-inf"))
        output = logits.softmax(-1).to(v.dtype) @ v  # b*blocks heads 16 d
        output = output.unflatten(0, (-1, down, right)).unflatten(4, (BLOCK, BLOCK))
        output = output.permute(0, 1, 4, 2, 5, 3, 6).flatten(5).flatten(3, 4).flatten(1, 2)[:, :height, :width]
        return self.maxpool(self.relu(self.bn(output.permute(0, 3, 1, 2))))

    def _blocks(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B * blocks, heads, 16, d)."""
        x = x.unflatten(1, (-1, BLOCK)).unflatten(3, (-1, BLOCK)).unflatten(5, (self.heads, -1))
        return x.permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 5).flatten(0, 2)

    def _relative(self) -> Tensor:
        """r of each pair of pixels of a block: (heads, 16 queries, 16 keys, d)."""
        pixel = torch.arange(BLOCK * BLOCK, device=self.row.device)
        rows, columns = pixel // BLOCK, pixel % BLOCK
        by_row = self.row[:, rows[None, :] - rows[:, None] + BLOCK - 1]
        by_column = self.column[:, columns[None, :] - columns[:, None] + BLOCK - 1]
        return torch.cat([by_row, by_column], dim=-1)


class PointwiseValues(nn.Module):
    """v = W_V x: (B, in_channels, H, W) -> (B, H, W, channels)."""

    def __init__(self, in_channels: int, channels: int, mixtures: int) -> None:
        super().__init__()
        self.project = nn.Linear(in_channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x.permute(0, 2, 3, 1))


class ConvValues(nn.Module):
    """Values by a 4x4 convolution: (B, in_channels, H, W) -> (B, H, W, channels)."""

    def __init__(self, in_channels: int, channels: int, mixtures: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, BLOCK, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        before = (BLOCK - 1) // 2
        x = F.pad(x, (before, BLOCK - 1 - before, before, BLOCK - 1 - before))
        return self.conv(x).permute(0, 2, 3, 1)


class SpatialValues(nn.Module):
    """v_ab = (sum_m p(a, b, m) W_V^m) x_ab, p(a, b, m) = softmax_m (emb_row(a) + emb_col(b)) . nu_m, a and b in the block.

    (B, in_channels, H, W) -> (B, H, W, channels), H and W multiples of the block's side.
    """

    def __init__(self, in_channels: int, channels: int, mixtures: int) -> None:
        super().__init__()
        self.mixtures = mixtures
        self.project = nn.Linear(in_channels, mixtures * channels, bias=False)
        self.row = nn.Parameter(torch.empty(BLOCK, channels))
        self.column = nn.Parameter(torch.empty(BLOCK, channels))
        self.nu = nn.Parameter(torch.empty(mixtures, channels))
        for parameter in (self.row, self.column, self.nu):
            nn.init.normal_(parameter, std=math.sqrt(1 / math.sqrt(channels)))  # logits of p start with deviation ~1

    def forward(self, x: Tensor) -> Tensor:
        logits = (self.row[:, None] + self.column) @ self.nu.T
        mixture = logits.softmax(-1).flatten(0, 1)  # 16 m
        values = self.project(x.permute(0, 2, 3, 1))
        values = values.unflatten(1, (-1, BLOCK)).unflatten(3, (-1, BLOCK)).unflatten(5, (self.mixtures, -1))
        values = values.permute(0, 1, 3, 2, 4, 5, 6).flatten(3, 4)  # b down right 16 m c
        values = torch.einsum("bijpmc,pm->bijpc", values, mixture.to(values.dtype))
        return values.unflatten(3, (BLOCK, BLOCK)).transpose(2, 3).flatten(3, 4).flatten(1, 2)


def build_stem(kind: str, in_channels: int, channels: int, mixtures: int, options: AttentionOptions) -> nn.Module:
    """The stem of a kind: conv, attention, attention_conv_values or attention_spatial_values."""
    if kind == "conv":
        return ConvStem(in_channels, channels)
    return AttentionStem(kind, in_channels, channels, mixtures, options)
