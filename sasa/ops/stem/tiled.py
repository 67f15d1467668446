"""A row of blocks of some images at a time, in ordinary PyTorch operations: any device and dtype."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from sasa.ops.stem.arguments import (
    BLOCK,
    PLACES,
    Arguments,
    Folded,
    by_offset,
    folded,
    joined,
    relative,
    slopes,
    unfolded,
)

CHUNK = {"cpu": 2**20}  # logits worked on at once, so that they stay in a CPU's cache
LARGEST = 2**26  # elsewhere


class Blocks:
    """The blocks of the pixels, a band (a row of blocks of some images) at a time: n blocks of 16 pixels."""

    def __init__(self, given: Arguments) -> None:
        self.matrices, self.heads = folded(given), given.heads
        self.dim = given.query.shape[0] // given.heads
        self.side = given.value.shape[-1]
        self.before = (self.side - 1) // 2
        pixels = given.pixels.to(given.compute)
        self.batch, self.height, self.width, self.channels = pixels.shape
        self.down, self.right = -(-self.height // BLOCK), -(-self.width // BLOCK)
        after = self.side - 1 - self.before
        missing = [-size % BLOCK + after for size in (self.height, self.width)]
        self.padded = F.pad(pixels, (0, 0, self.before, missing[1], self.before, missing[0]))
        logits = self.right * given.heads * PLACES * PLACES  # of one image's band
        self.images = max(1, CHUNK.get(pixels.device.type, LARGEST) // logits)
        self.relative = relative(self.matrices)

    def bands(self) -> Iterator[tuple[slice, int]]:
        """Some images and the index of a row of blocks."""
        for first in range(0, self.batch, self.images):
            for down in range(self.down):
                yield slice(first, first + self.images), down

    def cut(self, x: Tensor) -> Tensor:
        """(b, 4, W, C) -> (b * right, 16, C)."""
        return x.unflatten(2, (-1, BLOCK)).transpose(1, 2).flatten(2, 3).flatten(0, 1)

    def pixels(self, images: slice, down: int) -> Tensor:
        """(n, 16, in)."""
        rows = slice(down * BLOCK + self.before, down * BLOCK + self.before + BLOCK)
        return self.cut(self.padded[images, rows, self.before : self.before + self.right * BLOCK])

    def sources(self, images: slice, down: int) -> Tensor:
        """What the values are made of: (n, 16, in * side * side)."""
        band = self.padded[images, down * BLOCK : down * BLOCK + BLOCK + self.side - 1]
        return self.cut(band.unfold(1, self.side, 1).unfold(2, self.side, 1).flatten(3))

    def inside(self, images: int, down: int) -> Tensor:
        """Which pixels of a band lie in the image: (n, 16)."""
        rows = torch.arange(down * BLOCK, down * BLOCK + BLOCK, device=self.padded.device) < self.height
        columns = torch.arange(self.right * BLOCK, device=self.padded.device) < self.width
        return self.cut((rows[:, None] & columns).expand(images, -1, -1)[..., None])[..., 0]

    def split(self, x: Tensor) -> Tensor:
        """(n, 16, C) -> (n, heads, 16, d)."""
        return x.unflatten(2, (self.heads, self.dim)).transpose(1, 2)

    def values(self, z: Tensor) -> Tensor:
        """(n, heads, 16, d)."""
        matrices = self.matrices.values  # 1 or 16, C, sources
        if len(matrices) == 1:
            return self.split(z @ matrices[0].T)
        return self.split((z.transpose(0, 1) @ matrices.mT).transpose(0, 1))

    def weights(self, x: Tensor, taken: Tensor) -> Tensor:
        """The softmax's (n, heads, 16, 16)."""
        content = (x[:, None] @ self.matrices.content) @ x[:, None].mT
        logits = content + torch.einsum("nqi,hqki->nhqk", x, self.relative)
        return logits.masked_fill_(~taken[:, None, None], float("-inf")).softmax(-1)

    def whole(self, x: Tensor) -> Tensor:
        """(n, C) -> (b, right, C)."""
        return x.unflatten(0, (-1, self.right))


def forward(given: Arguments) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Maxima over blocks (B, H / 4, W / 4, C), their places, and the means and variances (C) over all pixels."""
    cut, channels = Blocks(given), given.query.shape[0]
    largest = cut.padded.new_empty(cut.batch, cut.down, cut.right, channels)
    place = torch.empty_like(largest, dtype=torch.uint8)
    counts, means, squares = [], [], []
    for images, down in cut.bands():
        x = cut.pixels(images, down)
        taken = cut.inside(len(x) // cut.right, down)
        y = (cut.weights(x, taken) @ cut.values(cut.sources(images, down))).transpose(1, 2).flatten(2)  # n 16 C
        most, where = y.masked_fill(~taken[..., None], float("-inf")).max(1)
        largest[images, down], place[images, down] = cut.whole(most), cut.whole(where.to(torch.uint8))
        count = taken.sum()
        mean = (y * taken[..., None]).sum((0, 1)) / count
        counts.append(count)
        means.append(mean)
        squares.append(((y - mean).square() * taken[..., None]).sum((0, 1)))
    mean, variance = joined(torch.stack(counts)[:, None], torch.stack(means), torch.stack(squares))
    return largest.to(given.pixels.dtype), place, mean.to(given.compute), variance.to(given.compute)


def backward(
    given: Arguments, d_largest: Tensor, d_mean: Tensor, d_variance: Tensor, place: Tensor, mean: Tensor, pixels: bool
) -> list[Tensor | None]:
    """Gradients of query, key, value, mixture, row and column, and with `pixels` theirs before them."""
    cut = Blocks(given)
    constant, slope = slopes(d_mean, d_variance, mean, cut.batch * cut.height * cut.width)
    d = Folded(*(torch.zeros_like(x) for x in cut.matrices))
    d_relative, d_padded = torch.zeros_like(cut.relative), torch.zeros_like(cut.padded) if pixels else None
    for images, down in cut.bands():
        x, z = cut.pixels(images, down), cut.sources(images, down)
        taken = cut.inside(len(x) // cut.right, down)
        w, v = cut.weights(x, taken), cut.values(z)
        y = (w @ v).transpose(1, 2).flatten(2)
        gradient = torch.addcmul(constant, slope, y) * taken[..., None]
        at = place[images, down].flatten(0, 1)[:, None].long()
        gradient.scatter_add_(1, at, d_largest[images, down].flatten(0, 1)[:, None].to(gradient.dtype))
        gradient = cut.split(gradient)  # n heads 16 d
        apart = gradient @ v.mT
        for _ in range(2):  # less their mean, and what is left of it since weights do not sum to 1 exactly
            apart -= (w * apart).sum(-1, keepdim=True)
        d_logits = w * apart
        d_values = (w.mT @ gradient).transpose(1, 2).flatten(2)  # n 16 C
        if len(d.values) == 1:
            d.values[0] += d_values.flatten(0, 1).T @ z.flatten(0, 1)
        else:
            d.values.add_(d_values.permute(1, 2, 0) @ z.transpose(0, 1))
        seen = d_logits @ x[:, None]  # n heads 16 in
        d.content.add_(torch.einsum("nqi,nhqj->hij", x, seen))
        d_relative += torch.einsum("nhqk,nqi->hqki", d_logits, x)
        if d_padded is None:
            continue
        d_x = torch.einsum("nhqj,hij->nqi", seen, cut.matrices.content)
        d_x += torch.einsum("nhqk,hqki->nqi", d_logits, cut.relative)
        d_x += torch.einsum("nhqk,nqi,hij->nkj", d_logits, x, cut.matrices.content)
        d_z = torch.einsum("npc,pcs->nps", d_values, cut.matrices.values.expand(PLACES, -1, -1))
        add_sources(cut, d_padded, images, down, d_x, d_z)
    d_rows, d_columns = by_offset(d_relative)
    gradients = unfolded(given, d._replace(rows=d_rows, columns=d_columns))
    if d_padded is None:
        return gradients
    rows, columns = (slice(cut.before, cut.before + size) for size in (cut.height, cut.width))
    return [d_padded[:, rows, columns].to(given.pixels.dtype), *gradients]


def add_sources(cut: Blocks, d_padded: Tensor, images: slice, down: int, d_x: Tensor, d_z: Tensor) -> None:
    """Add the gradients of a band's pixels (n, 16, in) and sources (n, 16, in * side * side) to those of the padded image."""
    b, side, wide = cut.right, cut.side, cut.right * BLOCK

    def bands(x: Tensor) -> Tensor:
        """(b * right, 16, c) -> (b, 4, W, c)."""
        return x.unflatten(1, (BLOCK, BLOCK)).unflatten(0, (-1, b)).transpose(1, 2).flatten(2, 3)

    top, left = down * BLOCK, cut.before
    d_padded[images, top + left : top + left + BLOCK, left : left + wide] += bands(d_x)
    d_sources = bands(d_z).unflatten(3, (-1, side, side))
    for e in range(side):
        for f in range(side):
            d_padded[images, top + e : top + e + BLOCK, f : f + wide] += d_sources[..., e, f]
