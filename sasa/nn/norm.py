"""Batch norm with what follows it in the networks: a shortcut's sum, and ReLU."""

from torch import Tensor, nn

from sasa.ops import batch_norm


class BatchNorm(nn.BatchNorm2d):
    """nn.BatchNorm2d, then ReLU if asked for; forward's shortcut is added before. On a CPU one operation (sasa/ops)."""

    def __init__(self, channels: int, relu: bool = False, backend: str = "auto") -> None:
        super().__init__(channels)
        self.relu, self.backend = relu, backend

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
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
            relu=self.relu,
            shortcut=shortcut,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        return super().extra_repr() + f", relu={self.relu}"
