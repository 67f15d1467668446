"""Tiles of queries with their halo of keys, in ordinary PyTorch operations: any device, no copy of extent^2 neighbours."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 8  # side of a tile of queries: larger tiles copy less halo and compute more logits that are masked away


@dataclass
class Axis:
    """One axis of the map, cut into equal tiles of at most TILE queries, each with a halo of extent // 2 keys."""

    size: int
    extent: int
    device: torch.device

    def __post_init__(self) -> None:
        self.tiles = math.ceil(self.size / TILE)
        self.tile = math.ceil(self.size / self.tiles)
        self.pad = self.extent // 2
        self.extra = self.tiles * self.tile - self.size  # queries of the last tile that lie outside the image
        self.halo = self.tile + 2 * self.pad
        query = torch.arange(self.tile, device=self.device)
        key = torch.arange(self.halo, device=self.device)
        offset = key[None, :] - query[:, None]
        self.window = (offset >= 0) & (offset < self.extent)  # tile, halo
        self.offset = offset.clamp(0, self.extent - 1)  # tile, halo: which relative embedding
        first = torch.arange(self.tiles, device=self.device)[:, None] * self.tile
        position = first - self.pad + key
        self.key_inside = (position >= 0) & (position < self.size)  # tiles, halo
        self.query_inside = first + query < self.size  # tiles, tile


@dataclass
class Tiling:
    """Both axes, and the moves between the map (B, H, W, C) and its tiles (B, down, right, heads, pixels, head_dim)."""

    rows: Axis
    columns: Axis
    heads: int

    def queries(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, down, right, heads, tile_h * tile_w, d)."""
        x = F.pad(x, (0, 0, 0, self.columns.extra, 0, self.rows.extra))
        x = x.reshape(len(x), self.rows.tiles, self.rows.tile, self.columns.tiles, self.columns.tile, self.heads, -1)
        return x.permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 5)

    def whole(self, x: Tensor) -> Tensor:
        """The inverse of `queries`: (B, down, right, heads, tile_h * tile_w, d) -> (B, H, W, heads * d)."""
        x = x.unflatten(4, (self.rows.tile, self.columns.tile)).permute(0, 1, 4, 2, 5, 3, 6)
        return x.flatten(5).flatten(3, 4).flatten(1, 2)[:, : self.rows.size, : self.columns.size]

    def keys(self, x: Tensor) -> Tensor:
        """Each tile's keys: (B, H, W, C) -> (B, down, right, heads, halo_h * halo_w, d), zero outside the image."""
        h, w = self.rows, self.columns
        x = F.pad(x, (0, 0, w.pad, w.pad + w.extra, h.pad, h.pad + h.extra))
        x = x.unfold(1, h.halo, h.tile).unfold(2, w.halo, w.tile)
        return x.unflatten(3, (self.heads, -1)).permute(0, 1, 2, 3, 5, 6, 4).flatten(4, 5)

    def fold(self, x: Tensor) -> Tensor:
        """The transpose of `keys`: overlapping halos are added up."""
        h, w = self.rows, self.columns
        x = x.unflatten(4, (h.halo, w.halo)).permute(0, 1, 4, 2, 5, 3, 6).flatten(5)  # b down a right b c
        total = x.new_zeros(len(x), h.tiles * h.tile + 2 * h.pad, w.tiles, w.halo, x.shape[-1])
        for tile in range(h.tiles):
            total[:, tile * h.tile : tile * h.tile + h.halo] += x[:, tile]
        folded = x.new_zeros(len(x), total.shape[1], w.tiles * w.tile + 2 * w.pad, x.shape[-1])
        for tile in range(w.tiles):
            folded[:, :, tile * w.tile : tile * w.tile + w.halo] += total[:, :, tile]
        return folded[:, h.pad : h.pad + h.size, w.pad : w.pad + w.size]

    def outside(self, border: str) -> Tensor:
        """Logits that take no weight: (down, right, 1, queries, keys)."""
        h, w = self.rows, self.columns
        window = h.window[:, None, :, None] & w.window[None, :, None, :]  # i j a b
        if border == "zero":
            return ~window.flatten(2).flatten(0, 1)[None, None, None]
        keys = h.key_inside[:, None, :, None] & w.key_inside[None, :, None, :]  # down right a b
        # A query outside the image is cut away below; it keeps its window, since a row of -inf alone would give NaN.
        queries = h.query_inside[:, None, :, None] & w.query_inside[None, :, None, :]  # down right i j
        taken = window & (keys[:, :, None, None] | ~queries[..., None, None])  # down right i j a b
        return ~taken.flatten(4).flatten(2, 3)[:, :, None]

    def spread(self, by_row: Tensor, by_column: Tensor) -> Tensor:
        """q.r of every key from q.r of every row and column offset: (..., queries, extent) twice -> (..., queries, keys)."""
        h, w = self.rows, self.columns
        rows = by_row.gather(-1, h.offset.repeat_interleave(w.tile, 0).expand(*by_row.shape[:-1], -1))
        columns = by_column.gather(-1, w.offset.repeat(h.tile, 1).expand(*by_column.shape[:-1], -1))
        return (rows[..., :, None] + columns[..., None, :]).flatten(-2)

    def gather(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The transpose of `spread`: (..., queries, keys) -> (..., queries, extent) twice."""
        h, w = self.rows, self.columns
        logits = logits.unflatten(-1, (h.halo, w.halo))
        rows, columns = logits.sum(-1), logits.sum(-2)
        by_row = [rows[..., first : first + h.extent] for first in range(h.tile)]
        by_column = [columns[..., first : first + w.extent] for first in range(w.tile)]
        by_row = [x.unflatten(-2, (h.tile, w.tile))[..., i, :, :] for i, x in enumerate(by_row)]
        by_column = [x.unflatten(-2, (h.tile, w.tile))[..., j, :] for j, x in enumerate(by_column)]
        return torch.stack(by_row, dim=-3).flatten(-3, -2), torch.stack(by_column, dim=-2).flatten(-3, -2)


def tiling(x: Tensor, heads: int, extent: int) -> Tiling:
    """The tiling of a map (B, H, W, C)."""
    return Tiling(Axis(x.shape[1], extent, x.device), Axis(x.shape[2], extent, x.device), heads)


def logits_of(
    tiles: Tiling, q: Tensor, k: Tensor | None, row: Tensor | None, column: Tensor | None, border: str
) -> Tensor:
    """Logits of tiles (B, down, right, heads, queries, keys), -inf where no weight goes."""
    if row is not None and column is not None:
        half = row.shape[-1]
        by_row, by_column = q[..., :half] @ row.transpose(1, 2), q[..., half:] @ column.transpose(1, 2)
        logits = tiles.spread(by_row, by_column)
        if k is not None:
            logits = logits + q @ k.transpose(-1, -2)
    else:
        assert k is not None
        logits = q @ k.transpose(-1, -2)
    return logits.masked_fill(tiles.outside(border), float("-inf"))


def forward(
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row: Tensor | None,
    column: Tensor | None,
    heads: int,
    extent: int,
    scale: float,
    border: str,
) -> tuple[Tensor, Tensor]:
    """Output (B, H, W, C) and the log of the softmax's sum (B, H, W, heads), accumulated in float32 at least."""
    dtype = query.dtype
    query, key, value, row, column = at_least_float32(query, key, value, row, column)
    tiles = tiling(query, heads, extent)
    k = None if key is None else tiles.keys(key)
    logits = logits_of(tiles, tiles.queries(query) * scale, k, row, column, border)
    total = logits.logsumexp(-1, keepdim=True)
    output = torch.exp(logits - total) @ tiles.keys(value)
    return tiles.whole(output).to(dtype), tiles.whole(total)


def backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row: Tensor | None,
    column: Tensor | None,
    output: Tensor,
    total: Tensor,
    heads: int,
    extent: int,
    scale: float,
    border: str,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None, Tensor | None]:
    """Gradients of query, key, value, row and column; the weights are computed again from the log-sum-exp."""
    dtype = query.dtype
    query, key, value, row, column = at_least_float32(query, key, value, row, column)
    gradient, output = gradient.to(query.dtype), output.to(query.dtype)
    tiles = tiling(query, heads, extent)
    q, d_output = tiles.queries(query) * scale, tiles.queries(gradient)
    k = None if key is None else tiles.keys(key)
    weights = torch.exp(logits_of(tiles, q, k, row, column, border) - tiles.queries(total))
    d_value = tiles.fold(weights.transpose(-1, -2) @ d_output)
    # d softmax: weights * (d weights - their mean under the weights), and that mean is output . gradient.
    mean = tiles.queries((output * gradient).unflatten(-1, (heads, -1)).sum(-1))
    d_logits = weights * (d_output @ tiles.keys(value).transpose(-1, -2) - mean)
    d_query = torch.zeros_like(q)
    d_key = d_row = d_column = None
    if k is not None:
        d_query += d_logits @ k
        d_key = tiles.fold(d_logits.transpose(-1, -2) @ q).to(dtype)
    if row is not None and column is not None:
        half = row.shape[-1]
        by_row, by_column = tiles.gather(d_logits)
        d_query += torch.cat([by_row @ row, by_column @ column], dim=-1)
        d_row = (by_row.transpose(-1, -2) @ q[..., :half]).sum((0, 1, 2)).to(dtype)
        d_column = (by_column.transpose(-1, -2) @ q[..., half:]).sum((0, 1, 2)).to(dtype)
    return tiles.whole(d_query * scale).to(dtype), d_key, d_value.to(dtype), d_row, d_column


def at_least_float32(*tensors: Tensor | None) -> list[Any]:
    """The tensors in float32, or in float64 where they are."""
    return [x if x is None else x.to(torch.promote_types(x.dtype, torch.float32)) for x in tensors]
