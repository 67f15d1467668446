"""`block_attention`: attention inside non-overlapping blocks, as the stems of Section 3.2 have it."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from sasa.ops.api import local_attention, resolve


def block_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    heads: int,
    row: Tensor,
    column: Tensor,
    scale: float = 1.0,
    backend: str = "auto",
) -> Tensor:
    """Each pixel attends to all pixels of its block: for each head `softmax(scale * (query . key + query . r)) value`.

    query, key, value: (N, H, W, C), N blocks of H x W pixels, C = heads * head_dim, the channels of a head adjacent.
    row, column: (heads, extent, head_dim / 2), the embedding of each row and column offset from -(extent // 2) on, which
        reaches from each pixel of a block to each other.
    Returns (N, H, W, C). On the CPU it is local attention on N small maps, which its kernel works on side by side; else
    the blocks' logits are held, which are few. Logits, softmax and sums are in float32 at least.
    """
    extent = row.shape[1]
    if resolve(backend, query.device, query.dtype) == "cpu":
        return local_attention(
            query, key, value, heads=heads, extent=extent, row=row, column=column, scale=scale, backend="cpu"
        )
    height, width = query.shape[1:3]
    compute = torch.promote_types(query.dtype, torch.float32)
    with unrounded(query.device):
        q, k, v = (  # n heads pixels d
            x.to(compute).flatten(1, 2).unflatten(2, (heads, -1)).transpose(1, 2) for x in (query * scale, key, value)
        )
        by_row = row[:, offsets(height, extent, row.device)].repeat_interleave(width, 1).repeat_interleave(width, 2)
        by_column = column[:, offsets(width, extent, row.device)].repeat(1, height, height, 1)
        relative = torch.cat([by_row, by_column], dim=-1).to(compute)  # heads queries keys d
        logits = q @ k.transpose(-1, -2) + torch.einsum("nhqd,hqkd->nhqk", q, relative)
        output = (logits.softmax(-1) @ v).to(value.dtype)
    return output.transpose(1, 2).flatten(2).unflatten(1, (height, width))


def unrounded(device: torch.device) -> AbstractContextManager[object]:
    """No autocast, which would round logits and sums to bfloat16; the meta device has none."""
    known = torch.amp.autocast_mode.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def offsets(size: int, extent: int, device: torch.device) -> Tensor:
    """Index of the embedding of each offset, [query, key], along a side of a block."""
    place = torch.arange(size, device=device)
    return place[None, :] - place[:, None] + extent // 2
