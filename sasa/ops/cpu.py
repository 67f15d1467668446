"""The C++ backend: local_attention.cpp."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sasa.ops import build
from sasa.ops.arguments import Arguments, contiguous_channels


def unavailable(device: str, dtype: torch.dtype) -> str | None:
    """Why this backend cannot run on a type of device and of data; None where it can. Compiles at the first call."""
    return build.unavailable("local_attention", device, dtype)


def forward(given: Arguments) -> tuple[Tensor, Tensor]:
    """Output (B, H, W, C) and the log of the softmax's sum (B, H, W, heads) in float32."""
    query, key, value, row, column, heads, extent, scale, border = given
    output = query.new_empty(query.shape)
    total = query.new_empty((*query.shape[:-1], heads), dtype=torch.float32)
    inputs = [x if x is None else contiguous_channels(x) for x in (query, key, value)]
    embeddings = [None if x is None else x.contiguous() for x in (row, column)]
    torch.ops.sasa_cpu.forward(*inputs, *embeddings, heads, extent, scale, border == "zero", output, total)
    return output, total


def backward(given: Arguments, gradient: Tensor, output: Tensor, total: Tensor) -> list[Tensor | None]:
    """Gradients of query, key, value, row and column."""
    gradients = [None if x is None else x.new_empty(x.shape) for x in given[:5]]
    backward_into(gradients, given, gradient, total)
    return gradients


def backward_into(gradients: Sequence[Tensor | None], given: Arguments, gradient: Tensor, total: Tensor) -> None:
    """The same, written into tensors, of which those of maps may have any strides but of their channels."""
    query, key, value, row, column, heads, extent, scale, border = given
    inputs = [x if x is None else contiguous_channels(x) for x in (gradient, query, key, value)]
    embeddings = [None if x is None else x.contiguous() for x in (row, column)]
    torch.ops.sasa_cpu.backward(
        *inputs, *embeddings, total.contiguous(), heads, extent, scale, border == "zero", *gradients
    )
