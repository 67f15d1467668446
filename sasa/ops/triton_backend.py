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


def tiles(extent: int, dim: int, size: int) -> dict[str, int]:
    """The kernels' block sizes, for elements of `size` bytes: tiles of 64 pixels, or 32 where registers would run out,
    of a width that leaves a row of the halo little short of a power of two."""
    wide = 4 if extent in (11, 13) else 8
    pixels = 64 if dim * size <= 128 else 32
    sizes = {"TALL": pixels // wide, "WIDE": wide, "HALO": power_of_two(wide + extent - 1)}
    return {**sizes, "OFFSETS": power_of_two(extent), "CHANNELS": power_of_two(dim)}


def power_of_two(size: int) -> int:
    """The power of two that holds size, at least 16 as matrix products need."""
    return max(16, 1 << math.ceil(math.log2(size)))


def warps(dim: int, size: int) -> int:
    """Warps of a program, for head size and bytes of an element: as many as keep its matrices in registers."""
    return 4 if dim <= 64 and size == 2 else 8


def launch(kernel: Any, tensors: list[Tensor], qkv: list[Tensor], given: Arguments) -> None:
    """Start a kernel with one program for each head, tile and image."""
    batch, height, width, channels = qkv[0].shape
    heads, dim = given.heads, channels // given.heads
    flags = {"CONTENT": given.key is not None, "POSITION": given.row is not None, "ZERO": given.border == "zero"}
    sizes = tiles(given.extent, dim, qkv[0].element_size())
    across = math.ceil(width / sizes["WIDE"])
    grid = (math.ceil(height / sizes["TALL"]) * across * heads, batch)
    strides = [x.stride(axis) for x in qkv for axis in range(3)]
    upcast = INTERPRETED and qkv[0].dtype == torch.bfloat16  # which the interpreter computes wrongly
    kernel[grid](
        *tensors, given.scale * LOG2E, height, width, heads, across, *strides,
        **flags, EXTENT=given.extent, DIM=dim, **sizes, UPCAST=upcast, num_warps=warps(dim, qkv[0].element_size()), num_stages=2,
    )  # fmt: skip


def forward(given: Arguments) -> tuple[Tensor, Tensor]:
    """Output (B, H, W, C) and the log of the softmax's sum (B, H, W, heads) in float32."""
    from sasa.ops.triton_kernels import forward_kernel  # imports Triton

    query, row = given.query, given.row
    q, k, v = (contiguous_channels(query if x is None else x) for x in given[:3])
    rows, columns = (query if x is None else x.contiguous() for x in (row, given.column))
    output = query.new_empty(query.shape)
    total = query.new_empty((*query.shape[:-1], given.heads), dtype=torch.float32)
    launch(forward_kernel, [q, k, v, rows, columns, output, total], [q, k, v], given)
    return output, total


def backward(given: Arguments, gradient: Tensor, output: Tensor, total: Tensor) -> list[Tensor | None]:
    """Gradients of query, key, value, row and column."""
    from sasa.ops.triton_kernels import backward_key_kernel, backward_query_kernel  # imports Triton

    query, row = given.query, given.row
    q, k, v = (contiguous_channels(query if x is None else x) for x in given[:3])
    rows, columns = (query if x is None else x.contiguous() for x in (row, given.column))
    batch, height, width, channels = query.shape
    heads, extent = given.heads, given.extent
    sizes = tiles(extent, channels // heads, query.element_size())
    count = math.ceil(height / sizes["TALL"]) * math.ceil(width / sizes["WIDE"]) if row is not None else 0
    shares = query.new_empty((batch, count, heads, 2, extent, channels // heads // 2), dtype=torch.float32)
    d_query, d_key, d_value = (query.new_empty(query.shape) for _ in range(3))
    means = torch.empty_like(total)
    inputs = [gradient.contiguous(), q, k, v, rows, columns]
    tensors = [*inputs, output.contiguous(), total.contiguous(), d_query, means, shares]
    launch(backward_query_kernel, tensors, [q, k, v], given)
    tensors = [*inputs, total.contiguous(), means, d_key, d_value]
    launch(backward_key_kernel, tensors, [q, k, v], given)
    gradients: list[Tensor | None] = [d_query, d_key if given.key is not None else None, d_value]
    if row is None:
        return [*gradients, None, None]
    return [*gradients, *(x.sum((0, 1)).to(query.dtype) for x in shares.unbind(3))]
