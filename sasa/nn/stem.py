"""The stems of Section 3.2 and Table 7: (B, 3, H, W) -> (B, channels, H / 4, W / 4), rounded up."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sasa.nn.attention import AttentionOptions, check_heads, relative_embeddings
from sasa.ops import block_attention

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
        self.backend = options.backend
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
        pixels, values = x.permute(0, 2, 3, 1), self.value(x)
        bands = [
            joined(
                [self.attend(pixels[:, rows, columns], values[:, rows, columns]) for columns in parts(x.shape[3])], 2
            )
            for rows in parts(x.shape[2])
        ]
        return self.maxpool(self.relu(self.bn(joined(bands, 1).permute(0, 3, 1, 2))))

    def attend(self, pixels: Tensor, values: Tensor) -> Tensor:
        """Attention in the blocks of (B, H, W, in_channels) with values (B, H, W, channels), H and W multiples of a block."""
        tall, wide = min(BLOCK, pixels.shape[1]), min(BLOCK, pixels.shape[2])
        down, right = pixels.shape[1] // tall, pixels.shape[2] // wide
        pixels, values = (
            x.unflatten(1, (down, tall)).unflatten(3, (right, wide)).transpose(2, 3).flatten(0, 2)
            for x in (pixels, values)
        )
        output = block_attention(
            self.query(pixels),
            self.key(pixels),
            values,
            heads=self.heads,
            row=self.row,
            column=self.column,
            scale=self.scale,
            backend=self.backend,
        )
        return output.unflatten(0, (-1, down, right)).transpose(2, 3).flatten(3, 4).flatten(1, 2)


def parts(size: int) -> list[slice]:
    """The whole blocks along a side of the image, and what is left of one, if any."""
    whole = size - size % BLOCK
    return [part for part in (slice(0, whole), slice(whole, size)) if part.start < part.stop]


def joined(tensors: list[Tensor], dim: int) -> Tensor:
    """The tensors along a dimension; one alone is not copied."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim)


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

    (B, in_channels, H, W) -> (B, H, W, channels).
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
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % BLOCK, 0, -height % BLOCK))
        pixels = x.unflatten(2, (-1, BLOCK)).unflatten(4, (-1, BLOCK)).permute(3, 5, 0, 2, 4, 1)  # a b B down right in
        weights = self.project.weight.unflatten(0, (self.mixtures, -1)).transpose(1, 2)  # m in c
        projected = pixels.reshape(BLOCK * BLOCK, 1, -1, pixels.shape[-1]) @ weights  # ab m n c
        mixture = ((self.row[:, None] + self.column) @ self.nu.T).softmax(-1).flatten(0, 1)  # ab m
        values = (mixture[:, None].to(projected.dtype) @ projected.flatten(2)).view(
            *pixels.shape[:-1], weights.shape[-1]
        )
        return values.permute(2, 3, 0, 4, 1, 5).flatten(3, 4).flatten(1, 2)[:, :height, :width]


def build_stem(kind: str, in_channels: int, channels: int, mixtures: int, options: AttentionOptions) -> nn.Module:
    """The stem of a kind: conv, attention, attention_conv_values or attention_spatial_values."""
    if kind == "conv":
        return ConvStem(in_channels, channels)
    return AttentionStem(kind, in_channels, channels, mixtures, options)
