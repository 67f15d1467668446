"""Batch norm with what follows it in the networks: a shortcut's sum, and ReLU."""

from torch import Tensor, nn

from sasa.ops import batch_norm


def normalise(norm: nn.Module, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
    """norm(x), plus the shortcut if there is one, then ReLU; norm may be what stands in BatchNorm's place."""
    if isinstance(norm, BatchNorm):
        return norm(x, shortcut, relu=True)
    return (norm(x) if shortcut is None else norm(x) + shortcut).relu()


class BatchNorm(nn.BatchNorm2d):
    """nn.BatchNorm2d; forward adds a shortcut, if given, and takes ReLU after it, or if asked for: on a CPU one operation."""

    def __init__(self, channels: int, backend: str = "auto") -> None:
        super().__init__(channels)
        self.backend = backend

    def forward(self, x: Tensor, shortcut: Tensor | None = None, relu: bool = False) -> Tensor:
        momentum = self.momentum or 0.0
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the mean over all batches
                momentum = 1 / float(self.num_batches_tracked)
        kept = not self.training or self.track_running_stats
        return batch_norm(
            x,
            self.running_mean if kept else None,
            self.running_var if kept else None,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            momentum,
            self.eps,
            relu=relu,
            shortcut=shortcut,
            backend=self.backend,
        )
