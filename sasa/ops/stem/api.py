"""`stem_attention`: one interface to every backend, registered with torch.library."""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sasa.errors import InputError
from sasa.ops.backends import resolve, transforming, unrounded
from sasa.ops.stem import cpu, reference, tiled, triton_backend
from sasa.ops.stem.arguments import BLOCK, OFFSETS, PLACES, Arguments

# forward and backward of the registered operation
BACKENDS: dict[str, ModuleType] = {"tiled": tiled, "cpu": cpu, "triton": triton_backend}


def stem_attention(
    pixels: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    heads: int,
    row: Tensor,
    column: Tensor,
    mixture: Tensor | None = None,
    scale: float = 1.0,
    backend: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention inside 4x4 blocks of an image (Section 3.2): each block's maximum, and the statistics of all pixels.

    y of a pixel is for each head `softmax(scale * (query . key + query . r)) value` over the pixels of its block, with q
    and k the pixels' projections. What follows y in a stem, batch norm, ReLU and a 4x4 max pool, needs of it no more than
    its mean, its variance and its largest value in each block, so y itself is never written.

    pixels: (B, H, W, in), H and W of any size: blocks at the right and lower border may be smaller.
    query, key: (C, in), the projections' weights; C = heads * head_dim, the channels of a head adjacent.
    value: (mixtures, C, in, side, side): convolutions over the image, zero outside it, that (side - 1) // 2 pixels lie
        before; with side 1 pointwise projections.
    mixture: (16, mixtures), the share of each of them at each place of a block, row by row; None with a single one.
    row, column: (heads, 7, head_dim / 2), the embedding of each row and column offset from -3 on.
    Returns the largest y of each block (B, H / 4, W / 4, C), sides rounded up, in the pixels' dtype; and mean and variance
    (divided by the number of pixels) of y over all images and pixels, (C) each, in float32 at least, as all sums are.
    Raises InputError for shapes that do not fit.
    """
    given = Arguments(pixels, query, key, value, mixture, row, column, heads, scale)
    check(given)
    name = resolve(backend, pixels.device, pixels.dtype, BACKENDS)
    # The oracle is it for gradients too: autograd itself goes back through the equations, and so do torch.func's transforms.
    if name == "reference" or transforming():
        with unrounded(pixels.device):
            largest, _, mean, variance = reference.forward(given)
    else:
        largest, _, mean, variance = torch.ops.sasa.stem_attention(*given, name)
    return largest, mean, variance


def check(given: Arguments) -> None:
    pixels, query, key, value, mixture, row, column, heads, _ = given
    if pixels.ndim != 4 or 0 in pixels.shape:
        raise InputError(f"pixels have shape {tuple(pixels.shape)}: expected (batch, height, width, channels), none 0")
    channels = query.shape[0]
    projection = (channels, pixels.shape[-1])
    if tuple(query.shape) != projection or tuple(key.shape) != projection:
        raise InputError(
            f"query and key have shapes {tuple(query.shape)} and {tuple(key.shape)}: expected {projection}"
        )
    if heads < 1 or channels % (2 * heads):
        raise InputError(f"{heads} heads do not divide {channels} channels, in two halves each")
    if value.ndim != 5 or tuple(value.shape[1:3]) != projection or value.shape[3] != value.shape[4]:
        raise InputError(
            f"value has shape {tuple(value.shape)}: expected (mixtures, {channels}, {projection[1]}, side, side)"
        )
    shares = (PLACES, value.shape[0])
    if (mixture is None and len(value) != 1) or (mixture is not None and tuple(mixture.shape) != shares):
        got = None if mixture is None else tuple(mixture.shape)
        raise InputError(f"mixture {got}: expected {shares}, or None for a single value")
    expected = (heads, OFFSETS, channels // heads // 2)
    if tuple(row.shape) != expected or tuple(column.shape) != expected:
        raise InputError(
            f"row and column have shapes {tuple(row.shape)} and {tuple(column.shape)}: expected {expected}"
        )


@torch.library.custom_op("sasa::stem_attention", mutates_args=())
def forward(
    pixels: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixture: Tensor | None,
    row: Tensor,
    column: Tensor,
    heads: int,
    scale: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Maxima (B, H / 4, W / 4, C), the place of each in its block as bytes, means and variances (C)."""
    given = Arguments(pixels, query, key, value, mixture, row, column, heads, scale)
    with unrounded(pixels.device):
        return BACKENDS[backend].forward(given)


@forward.register_fake
def _(pixels: Tensor, query: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape = (len(pixels), *(-(-side // BLOCK) for side in pixels.shape[1:3]), query.shape[0])
    statistics = pixels.new_empty(query.shape[0], dtype=torch.promote_types(pixels.dtype, torch.float32))
    return pixels.new_empty(shape), pixels.new_empty(shape, dtype=torch.uint8), statistics, statistics.clone()


@torch.library.custom_op("sasa::stem_attention_backward", mutates_args=())
def backward(
    d_largest: Tensor,
    d_mean: Tensor,
    d_variance: Tensor,
    pixels: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixture: Tensor | None,
    row: Tensor,
    column: Tensor,
    place: Tensor,
    mean: Tensor,
    heads: int,
    scale: float,
    backend: str,
    of_pixels: bool,
) -> list[Tensor]:
    """Gradients of the pixels (if asked), query, key, value, mixture (if given), row and column.

    Those of the pixels come from `tiled` whatever the backend: a network that trains asks for none.
    """
    given = Arguments(pixels, query, key, value, mixture, row, column, heads, scale)
    module = tiled if of_pixels else BACKENDS[backend]
    with unrounded(pixels.device):
        gradients = module.backward(given, d_largest, d_mean, d_variance, place, mean, of_pixels)
    return [x.contiguous() for x in gradients if x is not None]


@backward.register_fake
def _(d_largest: Any, d_mean: Any, d_variance: Any, *rest: Any) -> list[Tensor]:
    tensors = rest[:7] if rest[-1] else rest[1:7]
    return [x.new_empty(x.shape) for x in tensors if x is not None]


def setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, heads, scale, backend = inputs
    ctx.rest = heads, scale, backend
    ctx.save_for_backward(*tensors, output[1], output[2])


def differentiate(ctx: Any, d_largest: Tensor, _: Any, d_mean: Tensor, d_variance: Tensor) -> tuple[Tensor | None, ...]:
    tensors, of_pixels = ctx.saved_tensors, ctx.needs_input_grad[0]
    gradients = iter(
        torch.ops.sasa.stem_attention_backward(
            d_largest.contiguous(), d_mean, d_variance, *tensors, *ctx.rest, of_pixels
        )
    )
    given = [None if x is None else next(gradients) for x in (tensors[:7] if of_pixels else tensors[1:7])]
    return *(given if of_pixels else [None, *given]), None, None, None


forward.register_autograd(differentiate, setup_context=setup)


def products(pixels: tuple[int, ...], value: tuple[int, ...], mixture: object) -> int:
    """FLOPs of the paper's products (a multiply-add is 2): the projections, the mixture, and q.k, q.r and weights.v."""
    batch, height, width, channels = pixels
    mixtures, out, _, side, _ = value
    count = batch * height * width
    pairs = batch * keys(height) * keys(width)  # of a pixel and one that it attends to
    projections = count * 2 * out * channels * (2 + mixtures * side * side)
    return projections + (mixture is not None) * count * 2 * mixtures * out + 3 * pairs * 2 * out


def keys(size: int) -> int:
    """Pairs of pixels of one block, along a side of the image."""
    return size // BLOCK * BLOCK**2 + (size % BLOCK) ** 2


@register_flop_formula(torch.ops.sasa.stem_attention)
def forward_flops(pixels: Any, query: Any, key: Any, value: Any, mixture: Any, *_: Any, **__: Any) -> int:
    return products(pixels, value, mixture)


@register_flop_formula(torch.ops.sasa.stem_attention_backward)
def backward_flops(*arguments: Any, **__: Any) -> int:
    _, _, _, pixels, _, _, value, mixture, *_ = arguments
    return 2 * products(pixels, value, mixture)
