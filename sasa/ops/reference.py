"""The equation of Section 3.1, transcribed. The oracle for every other backend; memory grows with extent^2."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sasa.ops.arguments import Arguments


def neighbourhood(x: Tensor, extent: int) -> Tensor:
    """The extent x extent neighbours of each pixel, zero outside the image: (B, H, W, C) -> (B, H, W, C, extent^2)."""
    pad = extent // 2
    x = F.pad(x, (0, 0, pad, pad, pad, pad))
    return x.unfold(1, extent, 1).unfold(2, extent, 1).flatten(-2)


def relative(row: Tensor, column: Tensor) -> Tensor:
    """r of every offset: rows and columns, each (heads, k, d/2) -> (heads, d, k^2), rows in the first half."""
    k = row.shape[1]
    rows = row[:, :, None, :].expand(-1, -1, k, -1)
    columns = column[:, None, :, :].expand(-1, k, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(1, 2).transpose(1, 2)


def weights_and_sums(given: Arguments) -> tuple[Tensor, Tensor]:
    """The softmax's weights (B, H, W, heads, extent^2) and the log of its sum (B, H, W, heads), in float32 at least."""
    query, key, _, row, column, heads, extent, scale, border = given.at_least_float32()
    q = query.unflatten(-1, (heads, -1)) * scale  # b h w heads d
    logits = q.new_zeros(*q.shape[:-1], extent * extent)
    if key is not None:
        k = neighbourhood(key, extent).unflatten(-2, (heads, -1))
        logits = logits + torch.einsum("bhwnd,bhwndk->bhwnk", q, k)
    if row is not None and column is not None:
        logits = logits + torch.einsum("bhwnd,ndk->bhwnk", q, relative(row, column))
    if border == "mask":
        inside = neighbourhood(torch.ones_like(q[:1, :, :, 0, :1]), extent)[:, :, :, None, 0] > 0  # 1 h w 1 k*k
        logits = logits.masked_fill(~inside, float("-inf"))
    return logits.softmax(-1), logits.logsumexp(-1)


def forward(given: Arguments) -> tuple[Tensor, Tensor]:
    """Output (B, H, W, C) and the log of the softmax's sum (B, H, W, heads), summed in float32 at least."""
    weights, sums = weights_and_sums(given)
    value = neighbourhood(given.value.to(weights.dtype), given.extent).unflatten(
        -2, (given.heads, -1)
    )  # b h w heads d k*k
    output = torch.einsum("bhwnk,bhwndk->bhwnd", weights, value)
    return output.flatten(-2).to(given.query.dtype), sums
