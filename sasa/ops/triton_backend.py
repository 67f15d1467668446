"""The Triton backend: chooses tiles and launches triton_kernels. Imports Triton only where it is used."""

import functools
import importlib.util
import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from sasa.ops.arguments import Arguments, contiguous_channels

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LOG2E = 1.4426950408889634
Result = TypeVar("Result")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # the kernels run on the CPU, for tests

# Which of `variants` the kernels have (of fewer the last one); None for the fastest, which the interpreter cannot tell.
variant: int | None = 0 if INTERPRETED else None


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


def variants(extent: int, dim: int, size: int, heads: int) -> list[dict[str, int]]:
    """The block sizes that the kernels may have for elements of `size` bytes.

    Tiles of 64 pixels, or 32 where registers would run out, of a width that leaves a row of the halo little short of a
    power of two. Where registers allow it, also tiles half as high, and two rows of the halo at once; and half a tile of two
    heads where their channels fit what one is padded to.
    """
    wide = 4 if extent in (11, 13) else 8
    pixels = 64 if dim * size <= 128 else 32
    tall = pixels // wide
    shapes = [(tall, 1, 1)]
    if pixels == 64 and dim * size <= 64:
        shapes += [(tall // 2, 1, 1), (tall, 2, 1), (tall // 2, 2, 1)]
    if 2 * dim <= power_of_two(dim) and heads % 2 == 0:
        shapes += [(tall // 2, 1, 2), (tall // 2, 2, 2)]
    fixed = {"WIDE": wide, "HALO": power_of_two(wide + extent - 1), "OFFSETS": power_of_two(extent)}
    fixed["CHANNELS"] = power_of_two(dim)
    return [{"TALL": tall, "ROWS": rows, "HEADS": several, **fixed} for tall, rows, several in shapes]


def named(blocks: dict[str, int]) -> str:
    """A variant in words: "4x8, 2 rows"."""
    more = [f"{blocks[x]} {x.lower()}" for x in ("ROWS", "HEADS") if blocks[x] > 1]
    return ", ".join([f"{blocks['TALL']}x{blocks['WIDE']}", *more])


def power_of_two(size: int) -> int:
    """The power of two that holds size, at least 16 as matrix products need."""
    return max(16, 1 << math.ceil(math.log2(size)))


def warps(dim: int, size: int) -> int:
    """Warps of a program, for head size and bytes of an element: as many as keep its matrices in registers."""
    return 4 if dim <= 64 and size == 2 else 8


class Launch:
    """How the kernels see the arguments: sizes, flags, and one program for each tile, image and so many heads."""

    def __init__(self, given: Arguments, blocks: dict[str, int]) -> None:
        query = given.query
        self.given, self.blocks, (self.batch, height, width, channels) = given, blocks, query.shape
        self.dim, self.size = channels // given.heads, query.element_size()
        self.tiles = math.ceil(height / blocks["TALL"]) * math.ceil(width / blocks["WIDE"])
        self.qkv = [contiguous_channels(query if x is None else x) for x in given[:3]]
        self.embeddings = [query if x is None else x.contiguous() for x in (given.row, given.column)]

    def __call__(self, kernel: Any, before: list[Tensor], after: list[Tensor]) -> None:
        """Start a kernel, with the tensors that it has before and after query, key, value and embeddings."""
        given, (height, width) = self.given, self.given.query.shape[1:3]
        flags = {"CONTENT": given.key is not None, "POSITION": given.row is not None, "ZERO": given.border == "zero"}
        strides = [x.stride(axis) for x in self.qkv for axis in range(3)]
        upcast = INTERPRETED and given.query.dtype == torch.bfloat16  # which the interpreter computes wrongly
        kernel[self.tiles * given.heads // self.blocks["HEADS"], self.batch](
            *before, *self.qkv, *self.embeddings, *after, given.scale * LOG2E, height, width, given.heads, *strides,
            **flags, EXTENT=given.extent, DIM=self.dim, **self.blocks, UPCAST=upcast,
            num_warps=warps(self.dim, self.size), num_stages=2,
        )  # fmt: skip


def tuned(name: str, given: Arguments, run: Callable[[dict[str, int]], Result]) -> Result:
    """Run a kernel in the variant that was chosen, or in the fastest one.

    Variants differ in their last bits: where PyTorch is to be deterministic, it is the first one on any machine.
    """
    query, (batch, *shape) = given.query, given.query.shape
    some = variants(given.extent, shape[-1] // given.heads, query.element_size(), given.heads)
    if variant is None and len(some) > 1 and not torch.are_deterministic_algorithms_enabled():
        from sasa.ops.triton_tuning import fastest  # imports Triton

        images = 1 << (batch - 1).bit_length()  # a last batch that is smaller is like the others
        kind = [given.heads, given.extent, query.dtype, given.border, given.key is None, given.row is None]
        calls = {named(x): partial(run, x) for x in some}
        return calls[fastest((name, images, *shape, *kind), calls, query.device)]()
    return run(some[min(variant or 0, len(some) - 1)])


def forward(given: Arguments) -> tuple[Tensor, Tensor]:
    """Output (B, H, W, C) and the log of the softmax's sum (B, H, W, heads) in float32."""
    from sasa.ops.triton_kernels import forward_kernel  # imports Triton

    def run(blocks: dict[str, int]) -> tuple[Tensor, Tensor]:
        query = given.query
        output = query.new_empty(query.shape)
        total = query.new_empty((*query.shape[:-1], given.heads), dtype=torch.float32)
        Launch(given, blocks)(forward_kernel, [], [output, total])
        return output, total

    return tuned("forward", given, run)


def backward(given: Arguments, gradient: Tensor, output: Tensor, total: Tensor) -> list[Tensor | None]:
    """Gradients of query, key, value, row and column."""
    from sasa.ops.triton_kernels import backward_key_kernel, backward_query_kernel  # imports Triton

    query, row = given.query, given.row
    gradient, output, total = gradient.contiguous(), output.contiguous(), total.contiguous()

    def of_query(blocks: dict[str, int]) -> list[Tensor]:
        launch, d_query, means = Launch(given, blocks), query.new_empty(query.shape), torch.empty_like(total)
        count = launch.tiles if row is not None else 0
        shape = (launch.batch, count, given.heads, 2, given.extent, launch.dim // 2)
        shares = query.new_empty(shape, dtype=torch.float32)
        launch(backward_query_kernel, [gradient], [output, total, d_query, means, shares])
        return [d_query, means, *(x.sum((0, 1)).to(query.dtype) for x in shares.unbind(3))]

    d_query, means, d_row, d_column = tuned("d query", given, of_query)

    def of_key(blocks: dict[str, int]) -> list[Tensor]:
        d_key, d_value = (query.new_empty(query.shape) for _ in range(2))
        Launch(given, blocks)(backward_key_kernel, [gradient], [total, means, d_key, d_value])
        return [d_key, d_value]

    d_key, d_value = tuned("d key", given, of_key)
    positions = [None, None] if row is None else [d_row, d_column]
    return [d_query, d_key if given.key is not None else None, d_value, *positions]
