"""The stems of Section 3.2 and Table 7: (B, 3, H, W) -> (B, channels, H / 4, W / 4), rounded up."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sasa.nn.attention import AttentionOptions, check_heads, relative_embeddings
from sasa.nn.norm import BatchNorm, normalise
from sasa.ops import stem_attention
from sasa.ops.stem.arguments import BLOCK, OFFSETS


class ConvStem(nn.Module):
    """7x7 convolution stride 2, BN, ReLU, 3x3 max pool stride 2."""

    def __init__(self, in_channels: int, channels: int, backend: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = BatchNorm(channels, backend)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.maxpool(normalise(self.bn1, self.conv1(x)))


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
        self.value = VALUES[kind](in_channels, channels, mixtures)
        self.row, self.column = relative_embeddings(self.heads, OFFSETS, head_channels)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        # A channel's batch norm rises or falls, so its largest output in a block comes from the largest or the smallest y.
        sign = torch.where(self.bn.weight.detach() < 0, -1.0, 1.0).to(self.bn.weight.dtype)
        value, mixture = self.value.weights()
        largest, mean, variance = stem_attention(
            x.permute(0, 2, 3, 1),
            self.query.weight,
            self.key.weight,
            value * sign[:, None, None, None],
            mixture=mixture,
            heads=self.heads,
            row=self.row,
            column=self.column,
            scale=self.scale,
            backend=self.backend,
        )
        pixels = x.shape[0] * x.shape[2] * x.shape[3]
        return normalised(largest, sign, mean, variance, pixels, self.bn).relu_().to(x.dtype).permute(0, 3, 1, 2)


def normalised(
    largest: Tensor, sign: Tensor, mean: Tensor, variance: Tensor, pixels: int, bn: nn.BatchNorm2d
) -> Tensor:
    """Batch norm of the maxima (..., C) of sign * y, by y's mean and variance over `pixels` pixels, or the running ones.

    mean and variance are those of sign * y. As in nn.BatchNorm2d the running statistics move in training.
    """
    running_mean, running_variance = bn.running_mean, bn.running_var
    if bn.training or running_mean is None or running_variance is None:
        if running_mean is not None and running_variance is not None and bn.num_batches_tracked is not None:
            bn.num_batches_tracked.add_(1)
            momentum = 1 / float(bn.num_batches_tracked) if bn.momentum is None else bn.momentum
            with torch.no_grad():
                unbiased = variance * (pixels / max(1, pixels - 1))
                running_mean.lerp_((sign * mean).to(running_mean.dtype), momentum)
                running_variance.lerp_(unbiased.to(running_variance.dtype), momentum)
    else:
        mean, variance = sign * running_mean, running_variance
    factor = bn.weight * sign * torch.rsqrt(variance + bn.eps)
    return (largest - mean) * factor + bn.bias


class PointwiseValues(nn.Module):
    """v = W_V x. weights() has those of `stem_attention`, and no mixture."""

    def __init__(self, in_channels: int, channels: int, mixtures: int) -> None:
        super().__init__()
        self.project = nn.Linear(in_channels, channels, bias=False)

    def weights(self) -> tuple[Tensor, None]:
        return self.project.weight[None, :, :, None, None], None


class ConvValues(nn.Module):
    """Values by a 4x4 convolution over the image. weights() has those of `stem_attention`, and no mixture."""

    def __init__(self, in_channels: int, channels: int, mixtures: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, BLOCK, bias=False)

    def weights(self) -> tuple[Tensor, None]:
        return self.conv.weight[None], None


class SpatialValues(nn.Module):
    """v_ab = (sum_m p(a, b, m) W_V^m) x_ab, p(a, b, m) = softmax_m (emb_row(a) + emb_col(b)) . nu_m, a and b in the block.

    weights() has those of `stem_attention`, and the mixture p.
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

    def weights(self) -> tuple[Tensor, Tensor]:
        mixture = ((self.row[:, None] + self.column) @ self.nu.T).softmax(-1).flatten(0, 1)
        return self.project.weight.unflatten(0, (self.mixtures, -1))[..., None, None], mixture


Values = PointwiseValues | ConvValues | SpatialValues
VALUES: dict[str, Callable[[int, int, int], Values]] = {
    "attention": PointwiseValues,
    "attention_conv_values": ConvValues,
    "attention_spatial_values": SpatialValues,
}


def build_stem(kind: str, in_channels: int, channels: int, mixtures: int, options: AttentionOptions) -> nn.Module:
    """The stem of a kind: conv, attention, attention_conv_values or attention_spatial_values."""
    if kind == "conv":
        return ConvStem(in_channels, channels, options.backend)
    return AttentionStem(kind, in_channels, channels, mixtures, options)
