"""Tiles of queries with their halo of keys, in ordinary PyTorch operations: any device, no extent^2 copies of keys."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sasa.ops.arguments import Arguments

CHUNK = {"cpu": 2**20}  # logits worked on at once, so that they stay in a CPU's cache
LARGEST = 2**26  # elsewhere


def side(extent: int) -> int:
    """Side of a tile of queries: larger tiles copy less halo and compute more logits that are masked away."""
    return max(4, extent // 2)


class Axis:
    """One axis of the map, cut into equal tiles of queries, each with a halo of extent // 2 keys."""

    def __init__(self, size: int, extent: int, border: str, like: Tensor) -> None:
        self.size, self.extent, self.pad = size, extent, extent // 2
        self.tiles = math.ceil(size / side(extent))
        self.tile = math.ceil(size / self.tiles)
        self.extra = self.tiles * self.tile - size  # queries of the last tile that lie outside the image
        self.halo = self.tile + 2 * self.pad
        query = torch.arange(self.tile, device=like.device)
        key = torch.arange(self.halo, device=like.device)
        offset = key[None, :] - query[:, None]
        self.offset = offset.clamp(0, extent - 1)  # tile, halo: which relative embedding
        self.key = query[:, None] + torch.arange(extent, device=like.device)  # tile, extent: which key of the halo
        taken = ((offset >= 0) & (offset < extent)).expand(self.tiles, -1, -1)
        if border == "mask":
            first = torch.arange(self.tiles, device=like.device)[:, None] * self.tile
            position = first - self.pad + key
            key_inside = (position >= 0) & (position < size)  # tiles, halo
            query_inside = first + query < size  # tiles, tile
            # A query outside is cut away below; it keeps its window, since a row of -inf alone would give NaN.
            taken = taken & (key_inside[:, None] | ~query_inside[:, :, None])
        self.bias = like.new_zeros(taken.shape).masked_fill_(~taken, float("-inf"))  # tiles, tile, halo


@dataclass
class Tiling:
    """The tiles of a map (B, H, W, C), a row of tiles of some images at a time: (b, right, heads, pixels, head_dim)."""

    rows: Axis
    columns: Axis
    heads: int
    images: int  # at once

    def chunks(self, batch: int) -> Iterator[tuple[slice, int]]:
        """Some images and the index of a row of tiles."""
        for first in range(0, batch, self.images):
            for down in range(self.rows.tiles):
                yield slice(first, first + self.images), down

    def pad_queries(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to whole tiles."""
        return F.pad(x, (0, 0, 0, self.columns.extra, 0, self.rows.extra))

    def pad_keys(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to whole tiles with their halo."""
        h, w = self.rows, self.columns
        return F.pad(x, (0, 0, w.pad, w.pad + w.extra, h.pad, h.pad + h.extra))

    def band(self, down: int) -> slice:
        """The queries of a row of tiles."""
        return slice(down * self.rows.tile, (down + 1) * self.rows.tile)

    def halo(self, down: int) -> slice:
        """The keys of a row of tiles, in the padded map."""
        return slice(down * self.rows.tile, down * self.rows.tile + self.rows.halo)

    def queries(self, x: Tensor) -> Tensor:
        """(b, tile_h, W, C) -> (b, right, heads, tile_h * tile_w, d)."""
        x = x.reshape(*x.shape[:2], self.columns.tiles, self.columns.tile, self.heads, -1)
        return x.permute(0, 2, 4, 1, 3, 5).flatten(3, 4)

    def whole(self, x: Tensor) -> Tensor:
        """The inverse of `queries`: (b, right, heads, tile_h * tile_w, d) -> (b, tile_h, W, heads * d)."""
        return x.unflatten(3, (self.rows.tile, -1)).permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)

    def keys(self, x: Tensor) -> Tensor:
        """Each tile's keys: (b, halo_h, W, C) -> (b, right, heads, halo_h * halo_w, d)."""
        x = x.unfold(2, self.columns.halo, self.columns.tile).unflatten(3, (self.heads, -1))
        return x.permute(0, 2, 3, 1, 5, 4).flatten(3, 4)

    def fold(self, x: Tensor, into: Tensor) -> None:
        """The transpose of `keys`, added to `into`: overlapping halos are added up."""
        x = x.unflatten(3, (self.rows.halo, -1)).permute(0, 1, 3, 4, 2, 5).flatten(4)  # b right a b c
        for tile in range(self.columns.tiles):
            into[:, :, tile * self.columns.tile : tile * self.columns.tile + self.columns.halo] += x[:, tile]

    def whole_map(self, padded: Tensor) -> Tensor:
        """A map of queries without its padding."""
        return padded[:, : self.rows.size, : self.columns.size]

    def whole_keys(self, padded: Tensor) -> Tensor:
        """A map of keys without its padding."""
        h, w = self.rows, self.columns
        return padded[:, h.pad : h.pad + h.size, w.pad : w.pad + w.size]

    def logits(self, q: Tensor, k: Tensor | None, row: Tensor | None, column: Tensor | None, down: int) -> Tensor:
        """(b, right, heads, queries, keys), -inf where no weight goes: window and border, like r, split into axes."""
        h, w = self.rows, self.columns
        rows = h.bias[down].repeat_interleave(w.tile, 0)  # queries halo_h
        columns = w.bias.repeat(1, h.tile, 1)[:, None]  # right 1 queries halo_w
        if row is not None and column is not None:
            half = row.shape[-1]
            by_row, by_column = q[..., :half] @ row.transpose(1, 2), q[..., half:] @ column.transpose(1, 2)
            rows = rows + by_row.gather(-1, h.offset.repeat_interleave(w.tile, 0).expand(*by_row.shape[:-1], -1))
            columns = columns + by_column.gather(-1, w.offset.repeat(h.tile, 1).expand(*by_column.shape[:-1], -1))
        logits = (rows[..., :, None] + columns[..., None, :]).flatten(-2)
        if k is None:
            return logits
        logits = logits.expand(*q.shape[:3], -1, -1).flatten(0, 2)
        return torch.baddbmm(logits, q.flatten(0, 2), k.flatten(0, 2).mT).unflatten(0, q.shape[:3])

    def by_offset(self, d_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of (..., queries, keys) over the keys of a row offset, and of a column offset: (..., queries, extent)."""
        h, w = self.rows, self.columns
        d_logits = d_logits.unflatten(-1, (h.halo, w.halo))
        rows, columns = d_logits.sum(-1), d_logits.sum(-2)
        by_row = rows.gather(-1, h.key.repeat_interleave(w.tile, 0).expand(*rows.shape[:-1], -1))
        return by_row, columns.gather(-1, w.key.repeat(h.tile, 1).expand(*columns.shape[:-1], -1))


def tiling(x: Tensor, heads: int, extent: int, border: str) -> Tiling:
    """The tiling of a map (B, H, W, C), with as many images at once as the size of their logits allows."""
    rows, columns = Axis(x.shape[1], extent, border, x), Axis(x.shape[2], extent, border, x)
    logits = columns.tiles * heads * rows.tile * columns.tile * rows.halo * columns.halo  # of one image's row of tiles
    return Tiling(rows, columns, heads, max(1, CHUNK.get(x.device.type, LARGEST) // logits))


def forward(given: Arguments) -> tuple[Tensor, Tensor]:
    """Output (B, H, W, C) and the log of the softmax's sum (B, H, W, heads), accumulated in float32 at least."""
    dtype = given.query.dtype
    query, key, value, row, column, heads, extent, scale, border = given.at_least_float32()
    tiles = tiling(query, heads, extent, border)
    queries, values = tiles.pad_queries(query * scale), tiles.pad_keys(value)
    keys = None if key is None else tiles.pad_keys(key)
    output, total = torch.empty_like(queries), queries.new_empty(*queries.shape[:-1], heads)
    for images, down in tiles.chunks(len(query)):
        band, halo = tiles.band(down), tiles.halo(down)
        k = None if keys is None else tiles.keys(keys[images, halo])
        weights = tiles.logits(tiles.queries(queries[images, band]), k, row, column, down)
        most = weights.amax(-1, keepdim=True)
        weights = weights.sub_(most).exp_()
        sums = weights.sum(-1, keepdim=True)
        output[images, band] = tiles.whole((weights @ tiles.keys(values[images, halo])).div_(sums))
        total[images, band] = tiles.whole(most + sums.log())
    return tiles.whole_map(output).to(dtype), tiles.whole_map(total)


def backward(given: Arguments, gradient: Tensor, output: Tensor, total: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of query, key, value, row and column; the weights are computed again from the log-sum-exp."""
    dtype = given.query.dtype
    query, key, value, row, column, heads, extent, scale, border = given.at_least_float32()
    gradient, output = gradient.to(query.dtype), output.to(query.dtype)
    # d softmax: weights * (d weights - their mean under the weights), and that mean is output . gradient.
    mean = (output * gradient).unflatten(-1, (heads, -1)).sum(-1)
    tiles = tiling(query, heads, extent, border)
    queries, gradients = tiles.pad_queries(query * scale), tiles.pad_queries(gradient)
    means, totals = tiles.pad_queries(mean), tiles.pad_queries(total)
    keys, values = None if key is None else tiles.pad_keys(key), tiles.pad_keys(value)
    d_queries, d_values = torch.empty_like(queries), torch.zeros_like(values)
    d_keys = None if keys is None else torch.zeros_like(keys)
    d_row, d_column = (None if x is None else torch.zeros_like(x) for x in (row, column))
    for images, down in tiles.chunks(len(query)):
        band, halo = tiles.band(down), tiles.halo(down)
        q, d_output = tiles.queries(queries[images, band]), tiles.queries(gradients[images, band])
        k = None if keys is None else tiles.keys(keys[images, halo])
        weights = tiles.logits(q, k, row, column, down).sub_(tiles.queries(totals[images, band])).exp_()
        tiles.fold(weights.mT @ d_output, d_values[images, halo])
        d_logits = d_output @ tiles.keys(values[images, halo]).mT
        d_logits = d_logits.sub_(tiles.queries(means[images, band])).mul_(weights)
        d_query = torch.zeros_like(q)
        if k is not None and d_keys is not None:
            d_query += d_logits @ k
            tiles.fold(d_logits.mT @ q, d_keys[images, halo])
        if row is not None and column is not None and d_row is not None and d_column is not None:
            half = row.shape[-1]
            by_row, by_column = tiles.by_offset(d_logits)
            d_query += torch.cat([by_row @ row, by_column @ column], dim=-1)
            d_row += (by_row.mT @ q[..., :half]).sum((0, 1))
            d_column += (by_column.mT @ q[..., half:]).sum((0, 1))
        d_queries[images, band] = tiles.whole(d_query)
    return (
        tiles.whole_map(d_queries * scale).to(dtype),
        None if d_keys is None else tiles.whole_keys(d_keys).to(dtype),
        tiles.whole_keys(d_values).to(dtype),
        None if d_row is None else d_row.to(dtype),
        None if d_column is None else d_column.to(dtype),
    )
