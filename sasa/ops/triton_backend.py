"""The Triton backend: chooses tiles and launches triton_kernels. Imports Triton only where it is used."""

import functools
import importlib.util
import math
import os
from typing import Any

import torch
from torch import Tensor

from sasa.ops.arguments import Arguments, contiguous_channels

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LOG2E = 1.4426950408889634
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # the kernels run on the CPU, for tests


variant = 0  # which of `variants` the kernels have, or the last one: tests and benchmarks try the others


def unavailable(device: str, dtype: torch.dtype) -> str | None:
    """Why this backend cannot run on a type of device and of data; None where it can."""
    if device != "cuda" and not INTERPRETED:
        return f"it computes on an NVIDIA GPU, not on {device}"
    if dtype not in DTYPES:
        return f"it computes in float32, bfloat16 and float16, not in {str(dtype).removeprefix('torch.')}"
    return missing()


@functools.cache
def missing() -> str | None:
    return None if importlib.util.find_spec("triton") else "the package triton is not installed"


def variants(extent: int, dim: int, size: int) -> list[dict[str, int]]:
    """The block sizes that the kernels may have for elements of `size` bytes; the first ones are used, until a GPU says more.

    Tiles of 64 pixels, or 32 where registers would run out, of a width that leaves a row of the halo little short of a
    power of two. Where registers allow it, also tiles half as high, and two rows of the halo at once.
    """
    wide = 4 if extent in (11, 13) else 8
    pixels = 64 if dim * size <= 128 else 32
    fixed = {"HALO": power_of_two(wide + extent - 1), "OFFSETS": power_of_two(extent), "CHANNELS": power_of_two(dim)}
    tall = pixels // wide
    shapes = [(tall, 1)]
    if pixels == 64 and dim * size <= 64:
        shapes += [(tall // 2, 1), (tall, 2), (tall // 2, 2)]
    return [{"TALL": tall, "WIDE": wide, "ROWS": rows, **fixed} for tall, rows in shapes]


def power_of_two(size: int) -> int:
    """The power of two that holds size, at least 16 as matrix products need."""
    return max(16, 1 << math.ceil(math.log2(size)))


def warps(dim: int, size: int) -> int:
    """Warps of a program, for head size and bytes of an element: as many as keep its matrices in registers."""
    return 4 if dim <= 64 and size == 2 else 8


class Launch:
    """How the kernels see the arguments: sizes, flags, and one program for each head, tile and image."""

    def __init__(self, given: Arguments) -> None:
        query = given.query
        self.given, (self.batch, height, width, channels) = given, query.shape
        self.dim, self.size = channels // given.heads, query.element_size()
        some = variants(given.extent, self.dim, self.size)
        self.blocks = some[min(variant, len(some) - 1)]
        self.tiles = math.ceil(height / self.blocks["TALL"]) * math.ceil(width / self.blocks["WIDE"])
        self.qkv = [contiguous_channels(query if x is None else x) for x in given[:3]]
        self.embeddings = [query if x is None else x.contiguous() for x in (given.row, given.column)]

    def __call__(self, kernel: Any, before: list[Tensor], after: list[Tensor]) -> None:
        """Start a kernel, with the tensors that it has before and after query, key, value and embeddings."""
        given, (height, width) = self.given, self.given.query.shape[1:3]
        flags = {"CONTENT": given.key is not None, "POSITION": given.row is not None, "ZERO": given.border == "zero"}
        strides = [x.stride(axis) for x in self.qkv for axis in range(3)]
        upcast = INTERPRETED and given.query.dtype == torch.bfloat16  # which the interpreter computes wrongly
        kernel[self.tiles * given.heads, self.batch](
            *before, *self.qkv, *self.embeddings, *after, given.scale * LOG2E, height, width, given.heads, *strides,
            **flags, EXTENT=given.extent, DIM=self.dim, **self.blocks, UPCAST=upcast,
            num_warps=warps(self.dim, self.size), num_stages=2,
        )  # fmt: skip


def forward(given: Arguments) -> tuple[Tensor, Tensor]:
    """Output (B, H, W, C) and the log of the softmax's sum (B, H, W, heads) in float32."""
    from sasa.ops.triton_kernels import forward_kernel  # imports Triton

    query = given.query
    output = query.new_empty(query.shape)
    total = query.new_empty((*query.shape[:-1], given.heads), dtype=torch.float32)
    Launch(given)(forward_kernel, [], [output, total])
    return output, total


def backward(given: Arguments, gradient: Tensor, output: Tensor, total: Tensor) -> list[Tensor | None]:
    """Gradients of query, key, value, row and column."""
    from sasa.ops.triton_kernels import backward_key_kernel, backward_query_kernel  # imports Triton

    query, row, launch = given.query, given.row, Launch(given)
    count = launch.tiles if row is not None else 0
    shares = query.new_empty((launch.batch, count, given.heads, 2, given.extent, launch.dim // 2), dtype=torch.float32)
    d_query, d_key, d_value = (query.new_empty(query.shape) for _ in range(3))
    gradient, total, means = gradient.contiguous(), total.contiguous(), torch.empty_like(total)
    launch(backward_query_kernel, [gradient], [output.contiguous(), total, d_query, means, shares])
    launch(backward_key_kernel, [gradient], [total, means, d_key, d_value])
    gradients: list[Tensor | None] = [d_query, d_key if given.key is not None else None, d_value]
    if row is None:
        return [*gradients, None, None]
    return [*gradients, *(x.sum((0, 1)).to(query.dtype) for x in shares.unbind(3))]
