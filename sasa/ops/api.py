"""`local_attention`: one interface to every backend, registered with torch.library."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sasa.errors import InputError
from sasa.ops import backends, cpu, reference, tiled, triton_backend
from sasa.ops.arguments import Arguments

# forward and backward of the registered operation
BACKENDS: dict[str, ModuleType] = {"tiled": tiled, "cpu": cpu, "triton": triton_backend}
BORDERS = ("mask", "zero")


def resolve(backend: str, device: torch.device | str, dtype: torch.dtype = torch.float32) -> str:
    """The backend that `backend` means for local attention on a device, as in `backends.resolve`."""
    return backends.resolve(backend, device, dtype, BACKENDS)


def local_attention(
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
    """Local self-attention with relative positions (Section 3.1).

    Each pixel attends to the extent x extent pixels around it; for each head
    `softmax(scale * (query . key + query . r)) value`, with r the concatenation of a row's and a column's embedding.

    query, key, value: (B, H, W, C), C = heads * head_dim, the channels of a head adjacent; H and W of any size.
        key None leaves q.r alone (Table 6).
    row, column: (heads, extent, head_dim / 2), the embedding of each row and column offset, or None for no position.
    border: "mask" leaves pixels outside the image out of the softmax; "zero" gives them key = value = 0.
    Returns (B, H, W, C) in query's dtype; sums are in float32 at least. Raises InputError for shapes that do not fit.
    """
    given = Arguments(query, key, value, row, column, heads, extent, scale, border)
    check(given)
    if row is not None and column is not None:  # under autocast the parameters stay in float32
        given = given._replace(row=row.to(query.dtype), column=column.to(query.dtype))
    name = resolve(backend, query.device, query.dtype)
    if name == "reference":  # the oracle for gradients too: autograd itself goes back through the equation
        with backends.unrounded(query.device):
            return reference.forward(given)[0]
    registered = Transformable.apply if backends.transforming() else torch.ops.sasa.local_attention
    return registered(*given, name)[0]


def check(given: Arguments) -> None:
    query, key, value, row, column, heads, extent, _, border = given
    if query.ndim != 4 or value.shape != query.shape or (key is not None and key.shape != query.shape):
        shapes = [tuple(x.shape) for x in (query, key, value) if x is not None]
        raise InputError(
            f"query, key and value have shapes {shapes}: expected one shape (batch, height, width, channels)"
        )
    if extent < 1 or extent % 2 == 0:
        raise InputError(f"extent {extent}: the spatial extent is odd and at least 1")
    channels = query.shape[-1]
    if heads < 1 or channels % heads:
        raise InputError(f"{heads} heads do not divide {channels} channels")
    if border not in BORDERS:
        raise InputError(f"border {border!r}: expected one of {', '.join(BORDERS)}")
    if (row is None) != (column is None) or (key is None and row is None):
        raise InputError("row and column come together, and at least one of key and row must be given")
    if row is not None and column is not None:
        expected = (heads, extent, channels // heads // 2)
        if channels // heads % 2:
            raise InputError(f"a head has {channels // heads} channels: relative positions need an even number")
        if tuple(row.shape) != expected or tuple(column.shape) != expected:
            raise InputError(
                f"row and column have shapes {tuple(row.shape)} and {tuple(column.shape)}: expected {expected}"
            )


@torch.library.custom_op("sasa::local_attention", mutates_args=())
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
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Output (B, H, W, C) and log-sum-exp of the logits (B, H, W, heads), which the backward pass reads."""
    given = Arguments(query, key, value, row, column, heads, extent, scale, border)
    with backends.unrounded(query.device):
        output, total = BACKENDS[backend].forward(given)
    return output.contiguous(), total.contiguous()


@forward.register_fake
def _(query: Tensor, key: Any, value: Any, row: Any, column: Any, heads: int, *_: Any) -> tuple[Tensor, Tensor]:
    compute = torch.promote_types(query.dtype, torch.float32)
    return query.new_empty(query.shape), query.new_empty((*query.shape[:-1], heads), dtype=compute)


@torch.library.custom_op("sasa::local_attention_backward", mutates_args=())
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
    backend: str,
) -> list[Tensor]:
    """Gradients of query, key, value, row and column; those that were not given are left out."""
    given = Arguments(query, key, value, row, column, heads, extent, scale, border)
    with backends.unrounded(query.device):
        gradients = BACKENDS[backend].backward(given, gradient, output, total)
    return [x.contiguous() for x in gradients if x is not None]


@backward.register_fake
def _(
    gradient: Tensor,
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row: Tensor | None,
    column: Tensor | None,
    *_: Any,
) -> list[Tensor]:
    return [x.new_empty(x.shape) for x in (query, key, value, row, column) if x is not None]


def setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, row, column, *ctx.rest = inputs
    ctx.save_for_backward(query, key, value, row, column, *output)


def differentiate(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    tensors = ctx.saved_tensors
    registered = Gradient.apply if backends.transforming() else torch.ops.sasa.local_attention_backward
    gradients = iter(registered(gradient.contiguous(), *tensors, *ctx.rest))
    return *(None if x is None else next(gradients) for x in tensors[:5]), *(None for _ in ctx.rest)


forward.register_autograd(differentiate, setup_context=setup)


class Transformable(torch.autograd.Function):
    """The operation for the transforms of torch.func, with the same gradient."""

    generate_vmap_rule = True
    forward = torch.ops.sasa.local_attention
    setup_context = staticmethod(setup)
    backward = staticmethod(differentiate)


class Gradient(torch.autograd.Function):
    """Its gradient, which has none itself."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> tuple[Tensor, ...]:
        return tuple(torch.ops.sasa.local_attention_backward(*given))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None: ...

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> NoReturn:
        raise InputError("local attention has no second derivative but with backend=reference")


def along_heads(info: Any, dims: Sequence[int | None], given: Sequence[Any], tensors: int) -> list[Any]:
    """The arguments with vmap's dimension folded into the heads: `tensors` of them, then heads and what stays."""
    size = info.batch_size
    folded: list[Any] = []
    for x, dim in zip(given[:tensors], dims, strict=False):
        if x is None:
            folded.append(None)
            continue
        x = x.movedim(dim, 0) if dim is not None else x.expand(size, *x.shape)
        # An embedding is (heads, offsets, channels), all else (B, H, W, heads * channels).
        folded.append(x.flatten(0, 1) if x.ndim == 4 else x.movedim(0, -2).flatten(-2))
    return [*folded, size * given[tensors], *given[tensors + 1 :]]


def from_heads(x: Tensor, size: int) -> Tensor:
    """A result of the operation on folded arguments with vmap's dimension in front."""
    return x.unflatten(0, (size, -1)) if x.ndim == 3 else x.unflatten(-1, (size, -1)).movedim(-2, 0)


@forward.register_vmap
def _(info: Any, dims: Sequence[int | None], *given: Any) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    output, total = torch.ops.sasa.local_attention(*along_heads(info, dims, given, 5))
    return (from_heads(output, info.batch_size), from_heads(total, info.batch_size)), (0, 0)


@backward.register_vmap
def _(info: Any, dims: Sequence[int | None], *given: Any) -> tuple[list[Tensor], list[int]]:
    gradients = torch.ops.sasa.local_attention_backward(*along_heads(info, dims, given, 8))
    return [from_heads(x, info.batch_size) for x in gradients], [0] * len(gradients)


def products(query: tuple[int, ...], key: object, row: object, extent: int) -> int:
    """FLOPs of q.k, q.r and weights.v, each 2 extent^2 per pixel and channel (a multiply-add is 2)."""
    batch, height, width, channels = query
    return (1 + (key is not None) + (row is not None)) * 2 * extent**2 * batch * height * width * channels


@register_flop_formula(torch.ops.sasa.local_attention)
def forward_flops(
    query: Any, key: Any, value: Any, row: Any, column: Any, heads: int, extent: int, *_: Any, **__: Any
) -> int:
    return products(query, key, row, extent)


@register_flop_formula(torch.ops.sasa.local_attention_backward)
def backward_flops(gradient: Any, *arguments: Any, **__: Any) -> int:
    query, key, _, row, _, _, _, _, extent, *_ = arguments
    return 2 * products(query, key, row, extent)
