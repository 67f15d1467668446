"""What every backend of `stem_attention` computes from, and its matrices multiplied out."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 4  # side of the stem's blocks, and of its max pool
PLACES = BLOCK * BLOCK
OFFSETS = 2 * BLOCK - 1  # row offsets in a block, and column offsets


class Arguments(NamedTuple):
    """The arguments of `stem_attention`, checked."""

    pixels: Tensor  # (B, H, W, in)
    query: Tensor  # (C, in), like key
    key: Tensor
    value: Tensor  # (mixtures, C, in, side, side)
    mixture: Tensor | None  # (16, mixtures): each place's shares of the values; None with one alone
    row: Tensor  # (heads, 7, C / heads / 2), like column
    column: Tensor
    heads: int
    scale: float = 1.0

    @property
    def compute(self) -> torch.dtype:
        """The dtype of logits and sums: float32, or float64 where the pixels are."""
        return torch.promote_types(self.pixels.dtype, torch.float32)

    def wide(self) -> "Arguments":
        """The same in the dtype of the sums."""
        wide: dict[str, Any] = {name: x.to(self.compute) for name, x in self._asdict().items() if isinstance(x, Tensor)}
        return self._replace(**wide)


class Folded(NamedTuple):
    """The matrices between pixels, which have few channels: logits x_i' content x_j + x_i' (row + column), values M z_j.

    q . k = x_i' (W_Q' W_K) x_j, and q . r likewise, so that a logit costs `in` products and not a head's channels.
    A pixel's sources z are itself, or the side x side window around it.
    """

    content: Tensor  # (heads, in, in)
    rows: Tensor  # (heads, 7, in), like columns
    columns: Tensor
    values: Tensor  # (1 or 16 places, C, sources), sources = in * side * side

    def contiguous(self) -> "Folded":
        """The same in the order that kernels read."""
        return Folded(*(x.contiguous() for x in self))


def folded(given: Arguments) -> Folded:
    """Multiply the projections out."""
    _, query, key, value, mixture, row, column, heads, scale = given.wide()
    q, k = (x.unflatten(0, (heads, -1)) for x in (query * scale, key))  # heads d in
    half = row.shape[-1]
    matrices = value.flatten(2)
    if mixture is not None:
        matrices = (mixture @ matrices.flatten(1)).unflatten(1, matrices.shape[1:])
    return Folded(q.mT @ k, row @ q[:, :half], column @ q[:, half:], matrices)


def unfolded(given: Arguments, gradient: Folded) -> list[Tensor | None]:
    """Gradients of query, key, value, mixture, row and column, from those of the folded matrices."""
    _, query, key, value, mixture, row, column, heads, scale = given.wide()
    q, k = (x.unflatten(0, (heads, -1)) for x in (query * scale, key))
    half = row.shape[-1]
    d_query = (k @ gradient.content.mT) * scale
    d_query[:, :half] += (row.mT @ gradient.rows) * scale
    d_query[:, half:] += (column.mT @ gradient.columns) * scale
    d_key = q @ gradient.content
    d_row, d_column = gradient.rows @ q[:, :half].mT, gradient.columns @ q[:, half:].mT
    d_value, d_mixture = gradient.values.flatten(1), None
    if mixture is not None:
        d_mixture = d_value @ value.flatten(1).T
        d_value = mixture.T @ d_value
    found = [d_query.flatten(0, 1), d_key.flatten(0, 1), d_value.view(value.shape), d_mixture, d_row, d_column]
    return [x if x is None else x.to(like.dtype) for x, like in zip(found, given[1:7], strict=True)]  # type: ignore[union-attr]


def offsets(device: torch.device) -> list[Tensor]:
    """The row offset of each query and key of a block, and the column offset: (16, 16), from 0 on."""
    place = torch.arange(PLACES, device=device)
    return [x[None, :] - x[:, None] + BLOCK - 1 for x in (place // BLOCK, place % BLOCK)]


def relative(matrices: Folded) -> Tensor:
    """What a pixel's product with makes its q . r, by query and key: (heads, 16, 16, in)."""
    row, column = offsets(matrices.rows.device)
    return matrices.rows[:, row] + matrices.columns[:, column]


def by_offset(d_relative: Tensor) -> list[Tensor]:
    """Gradients of rows and columns, from that of `relative`."""
    chosen = [F.one_hot(x.flatten(), OFFSETS).to(d_relative.dtype) for x in offsets(d_relative.device)]
    return [x.T @ d_relative.flatten(1, 2) for x in chosen]


def joined(counts: Tensor, means: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over parts (parts, channels) with their counts, means and squared deviations: in float64."""
    each, weight = means.double(), counts.double()
    total = weight.sum(0)
    mean = (weight * each).sum(0) / total
    return mean, (squares.sum(0) + (weight * (each - mean).square()).sum(0)) / total


def slopes(d_mean: Tensor, d_variance: Tensor, mean: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """a and b of the gradient a + b y that mean and variance over `count` pixels send back to each y."""
    slope = 2 * d_variance / count
    return d_mean / count - slope * mean, slope
