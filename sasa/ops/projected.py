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


def projected_attention(x: Tensor, weights: Arguments, backend: str = "auto") -> Tensor:
    """`local_attention` of a map's projections: its arguments, with the weights (C, in) for query, key and value.

    x: (B, H, W, in). On a CPU in float32 the projections are one product, and so are the gradients of the map and of the
    weights; else they are three.
    """
    projections = [y for y in weights[:3] if y is not None]
    given = [x, *(y for y in weights[:5] if y is not None)]
    if (
        x.device.type == "cpu"
        and eager(*given)
        and all(y.dtype == torch.float32 for y in given)
        and all(y.shape == weights.query.shape for y in projections)
        and not torch.is_autocast_enabled("cpu")
        and x.numel()
        and resolve(backend, x.device, x.dtype) == "cpu"
    ):
        return Fused.apply(x, weights.row, weights.column, weights[5:], weights.key is not None, *projections)
    query, key, value = (None if y is None else F.linear(x, y) for y in weights[:3])
    return local_attention(**weights._replace(query=query, key=key, value=value)._asdict(), backend=backend)  # type: ignore[arg-type]


class Fused(torch.autograd.Function):
    """Projections and attention by the C++ backend, and the gradient, which has none itself."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        row: Tensor | None,
        column: Tensor | None,
        options: tuple[Any, ...],
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
    projected: Tensor, row: Tensor | None, column: Tensor | None, content: bool, options: tuple[Any, ...]
) -> Arguments:
    """What local attention computes from, with the parts of one projection; options: heads, extent, scale, border."""
    parts = projected.chunk(2 + content, dim=-1)
    return Arguments(parts[0], parts[1] if content else None, parts[-1], row, column, *options)
