"""The stand-alone attention layer of Section 3.1, in the place of a spatial convolution."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sasa.errors import InputError
from sasa.nn.position import sinusoids
from sasa.ops import local_attention, projected_attention
from sasa.ops.arguments import Arguments


@dataclass(frozen=True)
class AttentionOptions:
    """What all attention layers of a network share; the defaults are the paper's."""

    extent: int = 7
    heads: int = 8
    stem_heads: int = 4
    position: str = "relative"  # none, absolute or relative (Table 5)
    logits: str = "content_position"  # or position: q.r alone (Table 6)
    border: str = "mask"  # or zero
    scaled: bool = False  # logits over sqrt(head size)
    backend: str = "auto"


def check_heads(channels: int, heads: int, position: str, change: str = "backbone.width") -> None:
    """Raise InputError unless `heads` heads fit `channels` channels; change: what makes another number of channels."""
    parts = heads * 2 if position == "relative" else heads
    if channels % parts:
        halves = ", in two halves each for the relative position" if position == "relative" else ""
        raise InputError(
            f"{heads} attention heads do not divide a layer of {channels} channels{halves}: "
            f"the width must be a multiple of {parts}; change {change} or the number of heads"
        )


class LocalAttention(nn.Module):
    """Local self-attention, (B, in_channels, H, W) -> (B, out_channels, H, W): pointwise q, k, v without bias."""

    def __init__(self, in_channels: int, out_channels: int, options: AttentionOptions) -> None:
        super().__init__()
        relative = options.position == "relative"
        if options.logits == "position" and not relative:
            raise InputError(
                f"logits=position leaves q.r alone, and position={options.position} has no r: choose position=relative"
            )
        check_heads(out_channels, options.heads, options.position)
        self.options = options
        head_channels = out_channels // options.heads
        self.scale = head_channels**-0.5 if options.scaled else 1.0
        self.query = nn.Linear(in_channels, out_channels, bias=False)
        self.key = None if options.logits == "position" else nn.Linear(in_channels, out_channels, bias=False)
        self.value = nn.Linear(in_channels, out_channels, bias=False)
        self.row: nn.Parameter | None = None
        self.column: nn.Parameter | None = None
        if relative:
            self.row, self.column = relative_embeddings(options.heads, options.extent, head_channels)

    def pixels(self, x: Tensor) -> Tensor:
        """What is projected of a map (B, in_channels, H, W): (B, H, W, in_channels), with absolute positions added."""
        if self.options.position == "absolute":
            x = x + sinusoids(x.shape[2], x.shape[3], x.shape[1], like=x)
        return x.permute(0, 2, 3, 1)  # the memory of channels_last, so no copy

    def of(self, query: Tensor, key: Tensor | None, value: Tensor) -> Arguments:
        """The operation's arguments, with the embeddings and options of this layer."""
        options = self.options
        return Arguments(
            query, key, value, self.row, self.column, options.heads, options.extent, self.scale, options.border
        )

    def arguments(self, x: Tensor) -> Arguments:
        """What local attention computes from, for a map (B, in_channels, H, W)."""
        x = self.pixels(x)
        return self.of(self.query(x), None if self.key is None else self.key(x), self.value(x))

    def forward(self, x: Tensor) -> Tensor:
        backend = self.options.backend
        if all(map(plain, (self.query, self.key, self.value))):
            key = None if self.key is None else self.key.weight
            y = projected_attention(self.pixels(x), self.of(self.query.weight, key, self.value.weight), backend)
        else:
            y = local_attention(**self.arguments(x)._asdict(), backend=backend)
        return y.permute(0, 3, 1, 2)


def plain(projection: nn.Module | None) -> bool:
    """Whether a projection is its weight alone: nobody has put another layer in its place, such as LoRA's, or a hook on it."""
    return projection is None or (
        type(projection) is nn.Linear
        and projection.bias is None
        and not (projection._forward_hooks or projection._forward_pre_hooks or projection._backward_hooks)
    )


def relative_embeddings(heads: int, offsets: int, head_channels: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Embeddings of the row and of the column offsets, (heads, offsets, head_channels / 2) each, from N(0, 1)."""
    shape = (heads, offsets, head_channels // 2)
    row, column = nn.Parameter(torch.empty(shape)), nn.Parameter(torch.empty(shape))
    nn.init.normal_(row)
    nn.init.normal_(column)
    return row, column
