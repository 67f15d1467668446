"""The Triton backend: launches triton_kernels. Imports Triton only where it is used. In float32 whatever the pixels' dtype."""

import math
from typing import Any

import torch
from torch import Tensor

from sasa.ops.stem import tiled
from sasa.ops.stem.arguments import (
    BLOCK,
    PLACES,
    Arguments,
    Folded,
    by_offset,
    folded,
    joined,
    relative,
    slopes,
    unfolded,
)
from sasa.ops.triton_backend import LOG2E, power_of_two, unavailable

__all__ = ["backward", "forward", "unavailable"]

PROGRAMS = 4096  # at most, so that what each adds up stays small beside the images; at least LENGTH blocks each
LENGTH = 16


class Launch:
    """How the kernels see the arguments: sizes, matrices, and the strips of blocks that programs take."""

    def __init__(self, given: Arguments) -> None:
        self.given, self.matrices = given, folded(given)
        self.batch, self.height, self.width, self.channels = given.pixels.shape
        self.down, self.right = -(-self.height // BLOCK), -(-self.width // BLOCK)
        self.blocks = self.batch * self.down * self.right
        self.length = max(LENGTH, math.ceil(self.blocks * given.heads / PROGRAMS))
        self.strips = math.ceil(self.blocks / self.length)
        self.dim, self.side = given.query.shape[0] // given.heads, given.value.shape[-1]

    def __call__(self, kernel: Any, *tensors: Tensor) -> None:
        """Start a kernel with one program for each head and strip."""
        content, _, _, values = self.matrices
        inputs = [self.given.pixels, content * LOG2E, relative(self.matrices).movedim(-1, 1) * LOG2E, values]
        place = values.stride(0) if len(values) > 1 else 0
        sizes = self.channels, self.dim, self.side
        kernel[self.strips * self.given.heads,](
            inputs[0], *(x.contiguous() for x in inputs[1:]), *tensors, place, self.given.heads, self.blocks, self.length,
            self.down, self.right, self.height, self.width, *self.given.pixels.stride(),
            *sizes, **padded(*sizes), num_warps=warps(*sizes),
        )  # fmt: skip


def padded(channels: int, dim: int, side: int) -> dict[str, int]:
    """The kernels' extents of a pixel's channels, a head's and the sources of its values: powers of two."""
    inputs = 1 << math.ceil(math.log2(channels))
    return {"INPUTS": inputs, "CHANNELS": power_of_two(dim), "SOURCES": power_of_two(channels * side**2)}


def warps(channels: int, dim: int, side: int) -> int:
    """Warps of a program: two for the stems' own sizes, more where its matrices would not fit the registers."""
    inputs, wide, sources = padded(channels, dim, side).values()
    return min(8, max(2, max(inputs * 16, sources * (side > 1)) * wide // 512))


def left_to_tiled(given: Arguments) -> bool:
    """Whether values are mixtures of convolutions, which no stem has."""
    return given.mixture is not None and given.value.shape[-1] > 1


def forward(given: Arguments) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Maxima over blocks (B, H / 4, W / 4, C), their places, and the means and variances (C) over all pixels."""
    if left_to_tiled(given):
        return tiled.forward(given)
    from sasa.ops.stem.triton_kernels import forward_kernel  # imports Triton

    launch, channels = Launch(given), given.query.shape[0]
    largest = given.pixels.new_empty(launch.batch, launch.down, launch.right, channels)
    place = torch.empty_like(largest, dtype=torch.uint8)
    counts, means, squares = (given.pixels.new_empty(launch.strips, channels, dtype=torch.float32) for _ in range(3))
    launch(forward_kernel, largest, place, counts, means, squares)
    mean, variance = joined(counts, means, squares)
    return largest, place, mean.float(), variance.float()


def backward(
    given: Arguments, d_largest: Tensor, d_mean: Tensor, d_variance: Tensor, place: Tensor, mean: Tensor, pixels: bool
) -> list[Tensor | None]:
    """Gradients of query, key, value, mixture, row and column; those of the pixels are left to `tiled`."""
    assert not pixels
    if left_to_tiled(given):
        return tiled.backward(given, d_largest, d_mean, d_variance, place, mean, pixels)
    from sasa.ops.stem.triton_kernels import backward_kernel  # imports Triton

    launch, channels = Launch(given), given.pixels.shape[-1]
    constant, slope = slopes(d_mean, d_variance, mean, launch.batch * launch.height * launch.width)
    sources = (channels, PLACES) if launch.side == 1 else (channels * launch.side**2,)
    shapes = [(channels, channels), (channels, PLACES, PLACES), (*sources, launch.dim)]
    shares = [given.pixels.new_empty(launch.strips, given.heads, *x, dtype=torch.float32) for x in shapes]
    inputs = [d_largest, place, constant.float(), slope.float()]
    launch(backward_kernel, *(x.contiguous() for x in inputs), *shares)
    content, relatives, values = (x.sum(0, dtype=torch.float64).float() for x in shares)
    rows, columns = by_offset(relatives.movedim(1, -1))
    if launch.side == 1:  # heads in places d
        values = values.permute(2, 0, 3, 1).flatten(1, 2)
        values = values if len(launch.matrices.values) > 1 else values.sum(0, keepdim=True)
    else:
        values = values.mT.flatten(0, 1)[None]
    return unfolded(given, Folded(content, rows, columns, values))
