"""The equations of Section 3.2, transcribed. The oracle for every other backend."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sasa.ops.stem.arguments import BLOCK, Arguments


def blocks(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, H / 4, W / 4, 16, C), filled up with zeros to whole blocks."""
    x = F.pad(x, (0, 0, 0, -x.shape[2] % BLOCK, 0, -x.shape[1] % BLOCK))
    return x.unflatten(2, (-1, BLOCK)).unflatten(1, (-1, BLOCK)).transpose(2, 3).flatten(3, 4)


def values(given: Arguments) -> Tensor:
    """v_ab = (sum_m p(a, b, m) W_V^m) x_ab, or W_V^m times the window around it: (B, H, W, C)."""
    pixels, value, mixture = given.pixels, given.value, given.mixture
    side = value.shape[-1]
    before, after = (side - 1) // 2, side - 1 - (side - 1) // 2
    windows = F.pad(pixels, (0, 0, before, after, before, after)).unfold(1, side, 1).unfold(2, side, 1)
    each = torch.einsum("bhwief,mcief->bhwmc", windows, value)
    if mixture is None:
        return each[:, :, :, 0]
    height, width = pixels.shape[1:3]
    rows, columns = (torch.arange(x, device=pixels.device) % BLOCK for x in (height, width))
    return torch.einsum("hwm,bhwmc->bhwc", mixture[rows[:, None] * BLOCK + columns], each)


def attended(given: Arguments) -> Tensor:
    """The attention in each block, softmax(scale * (q . k + q . r)) v: (B, H / 4, W / 4, 16, C)."""
    given = given.wide()
    pixels, query, key, _, _, row, column, heads, scale = given
    q, k, v = (
        blocks(x).unflatten(-1, (heads, -1)) for x in (pixels @ query.T * scale, pixels @ key.T, values(given))
    )  # b down right 16 heads d
    place = torch.arange(BLOCK * BLOCK, device=pixels.device)
    offset = [(x[None, :] - x[:, None] + BLOCK - 1) for x in (place // BLOCK, place % BLOCK)]  # query, key
    relative = torch.cat([row[:, offset[0]], column[:, offset[1]]], -1)  # heads query key d
    logits = torch.einsum("bxyqnd,bxyknd->bxynqk", q, k) + torch.einsum("bxyqnd,nqkd->bxynqk", q, relative)
    logits = logits.masked_fill(~inside(pixels)[..., None, None, :], float("-inf"))
    return torch.einsum("bxynqk,bxyknd->bxyqnd", logits.softmax(-1), v).flatten(-2)


def inside(pixels: Tensor) -> Tensor:
    """Which pixels of each block lie in the image: (1, H / 4, W / 4, 16)."""
    return blocks(torch.ones_like(pixels[:1, :, :, :1]))[..., 0] > 0


def forward(given: Arguments) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Maxima over blocks (B, H / 4, W / 4, C), their places, and the means and variances (C) over all pixels."""
    y, taken = attended(given), inside(given.pixels)[..., None]
    largest, place = y.masked_fill(~taken, float("-inf")).max(3)
    batch, height, width, _ = given.pixels.shape
    count = batch * height * width
    mean = (y * taken).sum((0, 1, 2, 3)) / count
    variance = ((y - mean).square() * taken).sum((0, 1, 2, 3)) / count
    return largest.to(given.pixels.dtype), place.to(torch.uint8), mean, variance
