"""`batch_norm`: with a shortcut's sum and ReLU one operation where batch_norm.cpp can run, and else PyTorch's three."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from sasa.ops import build
from sasa.ops.backends import eager


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_variance: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    batch: bool,
    momentum: float,
    eps: float,
    *,
    relu: bool = False,
    shortcut: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """`F.batch_norm`, plus the shortcut if there is one, then ReLU if asked for or if there is a shortcut.

    x, shortcut: (B, C, H, W). batch: normalise by the batch's statistics, and move the running ones, where there are some,
    by momentum; else by the running ones. backend: one of local attention's; "auto" and "cpu" take the C++ operation where
    it can run: maps on a CPU, channels_last, float32 or bfloat16, with float32 parameters. What is compiled, exported, traced or
    transformed by torch.func has PyTorch's operations, and so has what does not fit together, which these refuse.
    """
    maps = [x] if shortcut is None else [x, shortcut]
    vectors = [y for y in (weight, bias, running_mean, running_variance) if y is not None]
    if (
        backend in ("auto", "cpu")
        and weight is not None
        and bias is not None
        and (running_mean is None) == (running_variance is None)
        and (batch or running_mean is not None)
        and eager(*maps, *vectors)
        and all(y.shape == x.shape and y.dtype == x.dtype for y in maps)
        and x.ndim == 4
        and x.numel()
        and all(y.shape == x.shape[1:2] and y.dtype == torch.float32 for y in vectors)
        and all(y.device == x.device and y.is_contiguous() for y in vectors)
        and build.unavailable("batch_norm", x.device.type, x.dtype) is None
        and all(y.is_contiguous(memory_format=torch.channels_last) for y in maps)
        and not (batch and x.numel() == x.shape[1])  # which PyTorch refuses
    ):
        given = running_mean, running_variance, batch, momentum, eps, relu or shortcut is not None
        return Fused.apply(x, weight, bias, shortcut, *given)
    y = F.batch_norm(x, running_mean, running_variance, weight, bias, batch, momentum, eps)
    y = y if shortcut is None else y + shortcut
    return y.relu_() if relu or shortcut is not None else y


class Fused(torch.autograd.Function):
    """The C++ operation and its gradient, which has none itself."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        shortcut: Tensor | None,
        running_mean: Tensor | None,
        running_variance: Tensor | None,
        batch: bool,
        momentum: float,
        eps: float,
        relu: bool,
    ) -> Tensor:
        y, mean, inverse = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        running = running_mean, running_variance
        torch.ops.sasa_batch_norm.forward(
            x, weight, bias, shortcut, *running, batch, momentum, eps, relu, mean, inverse, y
        )
        ctx.save_for_backward(x, None if shortcut is None else y, weight, bias, mean, inverse)
        ctx.rest = batch, relu
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, weight, bias, mean, inverse = ctx.saved_tensors
        d_x, d_weight, d_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)
        d_shortcut = None if y is None else torch.empty_like(x)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        torch.ops.sasa_batch_norm.backward(
            gradient, x, y, weight, bias, mean, inverse, *ctx.rest, d_x, d_weight, d_bias, d_shortcut
        )
        return d_x, d_weight, d_bias, d_shortcut, None, None, None, None, None, None
