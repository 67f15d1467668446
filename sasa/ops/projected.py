"""`projected_attention`: local attention with its projections, in one matrix product where the C++ backend computes."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from sasa.ops import cpu
from sasa.ops.api import check, local_attention, resolve
from sasa.ops.arguments import Arguments
from sasa.ops.backends import eager


def projected_attention(
    x: Tensor,
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    *,
    heads: int,
    extent: int,
    row: Tensor | None = None,
    column: Tensor | None = None,
    scale: float = 1.0,
    border: str = "mask",
    backend: str = "auto",
) -> Tensor:
    """`local_attention` of a map's projections by the weights query, key and value, (C, in) each.

    x: (B, H, W, in). On a CPU in float32 the projections are one product, and so are the gradients of the map and of the
    weights; else they are three.
    """
    options = {"heads": heads, "extent": extent, "scale": scale, "border": border}
    weights = [weight for weight in (query, key, value) if weight is not None]
    given = [x, *weights, *(y for y in (row, column) if y is not None)]
    if (
        x.device.type == "cpu"
        and eager(*given)
        and all(y.dtype == torch.float32 for y in given)
        and all(y.shape == query.shape for y in weights)
        and not torch.is_autocast_enabled("cpu")
        and x.numel()
        and resolve(backend, x.device, x.dtype) == "cpu"
    ):
        return Fused.apply(x, row, column, options, key is not None, *weights)
    projected = [None if weight is None else F.linear(x, weight) for weight in (query, key, value)]
    return local_attention(*projected, row=row, column=column, **options, backend=backend)  # type: ignore[arg-type]


class Fused(torch.autograd.Function):
    """Projections and attention by the C++ backend, and the gradient, which has none itself."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        row: Tensor | None,
        column: Tensor | None,
        options: dict[str, Any],
        content: bool,
        *weights: Tensor,
    ) -> Tensor:
        weight = torch.cat(weights)
        projected = F.linear(x, weight)
        given = arguments(projected, row, column, content, options)
        check(given)
        output, total = cpu.forward(given)
        ctx.save_for_backward(x, row, column, weight, projected, total)
        ctx.rest = options, content
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, row, column, weight, projected, total = ctx.saved_tensors
        options, content = ctx.rest
        given = arguments(projected, row, column, content, options)
        into = torch.empty_like(projected)
        d_row, d_column = (None if y is None else torch.empty_like(y) for y in (row, column))
        gradients = arguments(into, d_row, d_column, content, options)
        cpu.backward_into(gradients[:5], given, gradient, total)
        by_pixel = into.flatten(0, 2)
        d_x = (by_pixel @ weight).view(x.shape) if ctx.needs_input_grad[0] else None
        d_weights = (by_pixel.T @ x.reshape(-1, x.shape[-1])).chunk(2 + content)
        return d_x, gradients.row, gradients.column, None, None, *d_weights


def arguments(
    projected: Tensor, row: Tensor | None, column: Tensor | None, content: bool, options: dict[str, Any]
) -> Arguments:
    """What local attention computes from, with the parts of one projection."""
    parts = projected.chunk(2 + content, dim=-1)
    return Arguments(parts[0], parts[1] if content else None, parts[-1], row, column, **options)
