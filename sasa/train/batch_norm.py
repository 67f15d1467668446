"""Batch norm's running statistics, which move once a step however many micro-batches it has."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Running:
    """The running statistics of a network in the steps of its training.

    Each micro-batch starts from those before the step, and they end at the mean of where each would have led. As in
    the loss, micro-batches weigh the same, however many images broken ones leave them.
    """

    def __init__(self, model: nn.Module) -> None:
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self.values = [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]
        self.counts = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
        self.before: list[Tensor] = []

    def begin(self) -> None:
        """Begin a step."""
        self.before = [value.clone() for value in (*self.values, *self.counts)]

    def go_back(self) -> None:
        """Back to where the step began, after a micro-batch."""
        if self.before:  # there are networks without batch norm
            torch._foreach_copy_([*self.values, *self.counts], self.before)

    def end(self, means: Sequence[Tensor]) -> None:
        """End a step at the means over its micro-batches."""
        if means:
            torch._foreach_copy_(self.values, list(means))
        for count in self.counts:
            count.add_(1)
