"""Other right forms of local attention with the relative term, as public code writes them; masked border."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sasa.ops import local_attention, triton_backend

FLEX_DIM = 16  # the narrowest head that FlexAttention takes on a GPU
Contender = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""(query, key, value: (B, H, W, C); row, column: (heads, extent, head_dim / 2)) -> (B, H, W, C)"""


def embeddings(row: Tensor, column: Tensor) -> Tensor:
    """r of every offset: (heads, extent, extent, head_dim)."""
    k = row.shape[1]
    return torch.cat([row[:, :, None].expand(-1, -1, k, -1), column[:, None].expand(-1, k, -1, -1)], dim=-1)


def inside(height: int, width: int, extent: int, device: torch.device) -> Tensor:
    """Which neighbours lie in the image: (H, W, extent, extent)."""
    offset = torch.arange(extent, device=device) - extent // 2
    rows = torch.arange(height, device=device)[:, None] + offset
    columns = torch.arange(width, device=device)[:, None] + offset
    rows, columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    return rows[:, None, :, None] & columns[None, :, None, :]


def unfold(query: Tensor, key: Tensor, value: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Copy the extent^2 neighbours of each pixel, as public code does."""
    heads, extent, _ = row.shape
    pad = extent // 2

    def neighbours(x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, pad, pad, pad, pad)).unfold(1, extent, 1).unfold(2, extent, 1)
        return x.unflatten(3, (heads, -1))  # b h w heads d k k

    q = query.unflatten(-1, (heads, -1))
    r = embeddings(row, column).permute(0, 3, 1, 2)  # heads d k k
    logits = ((neighbours(key) + r) * q[..., None, None]).sum(4)  # b h w heads k k
    taken = inside(query.shape[1], query.shape[2], extent, query.device)[None, :, :, None]
    weights = logits.masked_fill(~taken, float("-inf")).flatten(-2).softmax(-1)
    return (neighbours(value).flatten(-2) * weights[:, :, :, :, None]).sum(-1).flatten(-2)


def shifted(query: Tensor, key: Tensor, value: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """A loop over the extent^2 shifted views of key and value."""
    heads, extent, _ = row.shape
    pad = extent // 2
    _, height, width, _ = query.shape
    q = query.unflatten(-1, (heads, -1))
    key, value = (F.pad(x, (0, 0, pad, pad, pad, pad)).unflatten(-1, (heads, -1)) for x in (key, value))
    views = [(a, b) for a in range(extent) for b in range(extent)]
    by_row = torch.einsum("bhwnd,nkd->bhwnk", q[..., : row.shape[2]], row)
    by_column = torch.einsum("bhwnd,nkd->bhwnk", q[..., row.shape[2] :], column)
    content = [(q * key[:, a : a + height, b : b + width]).sum(-1) for a, b in views]
    logits = torch.stack(content, dim=-1) + (by_row[..., :, None] + by_column[..., None, :]).flatten(-2)
    taken = inside(height, width, extent, query.device).flatten(-2)[None, :, :, None]
    weights = logits.masked_fill(~taken, float("-inf")).softmax(-1)
    output = torch.zeros_like(q)
    for i, (a, b) in enumerate(views):
        output = output + weights[..., i : i + 1] * value[:, a : a + height, b : b + width]
    return output.flatten(-2)


def ours(backend: str, variant: int | None = None) -> Contender:
    """One backend of this package; the Triton kernels in one of their variants or in the fastest, from then on."""

    def attention(query: Tensor, key: Tensor, value: Tensor, row: Tensor, column: Tensor) -> Tensor:
        heads, extent, _ = row.shape
        triton_backend.variant = variant  # also of the backward pass, in whatever thread
        return local_attention(query, key, value, heads=heads, extent=extent, row=row, column=column, backend=backend)

    return attention


def flex() -> Contender:
    """FlexAttention with a 2-D window as mask and the relative term read by score_mod; forward only on the CPU.

    Narrow heads are filled up with zeros to the 16 channels that it wants, and the relative term is in float32: its
    gradient is added by atomics, which not all GPUs have for bfloat16.
    """
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention  # a second

    compiled = torch.compile(flex_attention, dynamic=False)
    masks: dict[tuple[int, int, int], Any] = {}

    def attention(query: Tensor, key: Tensor, value: Tensor, row: Tensor, column: Tensor) -> Tensor:
        heads, extent, _ = row.shape
        pad = extent // 2
        _, height, width, _ = query.shape

        def window(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            near_row = (i // width - j // width).abs() <= pad
            return near_row & ((i % width - j % width).abs() <= pad)

        shape = (height, width, extent)
        if shape not in masks:
            pixels = height * width
            masks[shape] = create_block_mask(window, None, None, pixels, pixels, device=query.device.type)
        q, k, v = (x.unflatten(-1, (heads, -1)).flatten(1, 2).transpose(1, 2) for x in (query, key, value))
        by_row = (q[..., : row.shape[2]] @ row.transpose(1, 2)).float()  # b heads pixels extent
        by_column = (q[..., row.shape[2] :] @ column.transpose(1, 2)).float()
        dim = q.shape[-1]
        q, k, v = (F.pad(x, (0, max(0, FLEX_DIM - dim))) for x in (q, k, v))

        def relative(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            a = (j // width - i // width + pad).clamp(0, extent - 1)
            c = (j % width - i % width + pad).clamp(0, extent - 1)
            return score + by_row[b, h, i, a] + by_column[b, h, i, c]

        output = compiled(q, k, v, score_mod=relative, block_mask=masks[shape], scale=1.0)
        return output[..., :dim].transpose(1, 2).flatten(2).unflatten(1, (height, width))

    return attention


def natten(query: Tensor, key: Tensor, value: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """NATTEN's neighbourhood attention, where it is installed: no relative term, and windows moved inside at borders."""
    from natten import na2d  # not everywhere

    heads, extent, _ = row.shape
    q, k, v = (x.unflatten(-1, (heads, -1)) for x in (query, key, value))
    used = 0 * (row.sum() + column.sum())  # so that all five inputs have a gradient
    return na2d(q, k, v, kernel_size=(extent, extent), scale=1.0).flatten(-2) + used
