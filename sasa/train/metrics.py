"""Loss and accuracy, summed up where the model computes."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Meter:
    """Sums of loss, top-1 and top-5 hits over images; they stay on the device until they are asked for."""

    def __init__(self, device: torch.device, sums: list[float] | None = None) -> None:
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)  # images, loss, top-1, top-5
        if sums is not None:
            self.sums += torch.tensor(sums, dtype=torch.float64, device=device)

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """A batch: its mean loss, logits (B, classes) and labels (B,)."""
        best = logits.detach().topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        count = torch.full((), len(labels), dtype=torch.float64, device=labels.device)
        self.sums += torch.stack([count, loss.detach().double() * len(labels), best[:, :1].sum(), best.sum()])

    def images(self) -> int:
        """How many images were added."""
        return int(self.sums[0])

    def means(self) -> dict[str, float]:
        """Mean loss, top-1 and top-5 in percent."""
        images, loss, top1, top5 = self.sums.tolist()
        return {"loss": loss / images, "top1": 100 * top1 / images, "top5": 100 * top5 / images}


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device, amp: bool
) -> dict[str, float]:
    """Mean cross-entropy, top-1 and top-5 (percent) of a model in evaluation mode."""
    model.eval()
    meter = Meter(device)
    for images, labels in batches:
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            logits = model(images).float()
        meter.add(F.cross_entropy(logits, labels), logits, labels)
    return meter.means()
