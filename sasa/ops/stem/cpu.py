"""The C++ backend: ../stem_attention.cpp, in float32 whatever the pixels' dtype."""

import torch
from torch import Tensor

from sasa.ops import build
from sasa.ops.stem.arguments import BLOCK, Arguments, Folded, folded, slopes, unfolded


def unavailable(device: str, dtype: torch.dtype) -> str | None:
    """Why this backend cannot run on a type of device and of data; None where it can. Compiles at the first call."""
    return build.unavailable("stem_attention", device, dtype)


def forward(given: Arguments) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Maxima over blocks (B, H / 4, W / 4, C), their places, and the means and variances (C) over all pixels."""
    pixels, channels = given.pixels, given.query.shape[0]
    shape = (pixels.shape[0], -(-pixels.shape[1] // BLOCK), -(-pixels.shape[2] // BLOCK), channels)
    largest = pixels.new_empty(shape, dtype=torch.float32)
    place = pixels.new_empty(shape, dtype=torch.uint8)
    mean, variance = (pixels.new_empty(channels, dtype=torch.float32) for _ in range(2))
    matrices, side = folded(given).contiguous(), given.value.shape[-1]
    torch.ops.sasa_stem.forward(pixels.float(), *matrices, given.heads, side, largest, place, mean, variance)
    return largest.to(pixels.dtype), place, mean, variance


def backward(
    given: Arguments, d_largest: Tensor, d_mean: Tensor, d_variance: Tensor, place: Tensor, mean: Tensor, pixels: bool
) -> list[Tensor | None]:
    """Gradients of query, key, value, mixture, row and column; those of the pixels are left to `tiled`."""
    assert not pixels
    count = given.pixels.shape[0] * given.pixels.shape[1] * given.pixels.shape[2]
    tensors = [d_largest.to(torch.float32).contiguous(), place.contiguous()]
    tensors += [x.contiguous() for x in slopes(d_mean, d_variance, mean, count)]
    matrices, side = folded(given).contiguous(), given.value.shape[-1]
    gradient = Folded(*(torch.empty_like(x) for x in matrices))
    torch.ops.sasa_stem.backward(given.pixels.float(), *matrices, given.heads, side, *tensors, *gradient)
    return unfolded(given, gradient)
