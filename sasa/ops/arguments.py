"""What every backend computes from."""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Arguments(NamedTuple):
    """The arguments of `local_attention`, checked: key, or row and column, may be missing."""

    query: Tensor  # (B, H, W, C), like key and value
    key: Tensor | None
    value: Tensor
    row: Tensor | None  # (heads, extent, head_dim / 2), like column
    column: Tensor | None
    heads: int
    extent: int
    scale: float = 1.0
    border: str = "mask"

    def at_least_float32(self) -> "Arguments":
        """The same in float32, or in float64 where they are."""
        wide: dict[str, Any] = {
            x: y.to(torch.promote_types(y.dtype, torch.float32))
            for x, y in self._asdict().items()
            if isinstance(y, Tensor)
        }
        return self._replace(**wide)


def contiguous_channels(x: Tensor) -> Tensor:
    """The tensor with its channels adjacent in memory, as kernels read them; any other strides may stay."""
    return x if x.stride(-1) == 1 else x.contiguous()
