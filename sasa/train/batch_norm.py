"""Batch norm's running statistics, which move once a step however many micro-batches it has."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Running:
    """The running statistics of a network in one step.

    Each micro-batch starts from those before the step, and they end at the mean of where each would have led. As in
    the loss, micro-batches weigh the same, however many images broken ones leave them.
    """

    def __init__(self, model: nn.Module) -> None:
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self.values = [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]
        self.counts = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
        self.before = [value.clone() for value in self.values]
        self.counted = [count.clone() for count in self.counts]

    def moved(self) -> list[Tensor]:
        """Where the micro-batch that has just gone through the network leads; the next one starts anew."""
        moved = [value.clone() for value in self.values]
        if moved:  # there are networks without batch norm
            torch._foreach_copy_(self.values, self.before)
        return moved

    def move(self, means: Sequence[Tensor]) -> None:
        """End the step at the means over its micro-batches."""
        for value, mean in zip(self.values, means, strict=True):
            value.copy_(mean)
        for count, before in zip(self.counts, self.counted, strict=True):
            count.copy_(before + 1)
