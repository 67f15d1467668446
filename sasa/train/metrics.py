"""Means over images, summed up where the model computes."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Meter:
    """Sums of some measures over images; they stay on the device until they are asked for."""

    def __init__(self, measures: Sequence[str], device: torch.device) -> None:
        self.measures = measures
        self.sums = torch.zeros(1 + len(measures), dtype=torch.float64, device=device)  # images, then each measure

    def add(self, sums: Tensor) -> None:
        """A batch: how many images it has, and the sum of each measure over them."""
        self.sums += sums

    def means(self) -> dict[str, float]:
        """The mean of each measure."""
        images, *sums = self.sums.tolist()
        return {name: value / images for name, value in zip(self.measures, sums, strict=True)}


def hits(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """The images of a batch, and sums over them of the loss (given as a mean), top-1 and top-5 hits in percent.

    logits (B, classes), labels (B,); float64 (4,), for a Meter.
    """
    images = loss.detach().new_full((), len(labels), dtype=torch.float64)
    best = logits.detach().topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    return torch.stack([images, loss.detach() * images, 100.0 * best[:, :1].sum(), 100.0 * best.sum()])
