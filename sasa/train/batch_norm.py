"""Batch norm's running statistics, which move once a step however many micro-batches it has."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Batch = TypeVar("Batch")


def moved_once(model: nn.Module, batches: Sequence[Batch]) -> Iterator[Batch]:
    """The micro-batches of a step; after the last, the running statistics have moved by the mean over them.

    Each starts from the statistics before the step, and they end at the mean of where each would have led. As in the
    loss, micro-batches weigh the same, however many images broken ones leave them.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    running = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var) if buffer is not None]
    if not running:  # a network without batch norm
        yield from batches
        return
    before = [buffer.clone() for buffer in running]
    sums = [torch.zeros_like(buffer) for buffer in running]
    for batch in batches:
        torch._foreach_copy_(running, before)
        yield batch
        torch._foreach_add_(sums, running)
    torch._foreach_copy_(running, torch._foreach_div(sums, len(batches)))
