"""What classification brings to the loop: loss, evaluation and pictures."""

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sasa.config.schema import Config
from sasa.data.build import Splits, eval_loader
from sasa.data.samples import Samples, none_readable
from sasa.records.files import write_atomically
from sasa.train import ranks
from sasa.train.attention_maps import attention_maps, draw
from sasa.train.metrics import hits
from sasa.train.optim import mixing
from sasa.train.sheet import save, sheet

SHEET_IMAGES = 32
ATTENTION_IMAGES = 2


class Classification:
    """Cross-entropy, top-1 and top-5."""

    measures = ("loss", "top1", "top5")
    result = "top1"  # by which one epoch is better than another
    draws_each_epoch = False  # detection does

    def __init__(self, config: Config, splits: Splits) -> None:
        train = config.train
        self.config, self.splits = config, splits
        self.mixing = mixing(train, config.data.classes)
        self.cross_entropy = nn.CrossEntropyLoss(label_smoothing=0.0 if self.mixing else train.label_smoothing)

    def compiled(self, model: nn.Module) -> Callable[..., Any]:
        """What to call in the place of the model."""
        return torch.compile(model)

    def loss(self, forward: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and what a Meter adds up of it.

        Mixing, which smooths the labels too, wants pairs: a batch that broken images, or too few of all, made odd has neither.
        """
        targets = labels
        if self.mixing and len(images) % 2 == 0:
            images, targets = self.mixing(images, labels)
        logits = forward(images)
        loss = self.cross_entropy(logits.float(), targets)
        return loss, hits(loss, logits, labels)

    @torch.no_grad()
    def evaluate(
        self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], samples: Samples
    ) -> dict[str, float]:
        """Mean cross-entropy, top-1 and top-5 (percent) of a model in evaluation mode."""
        model.eval()
        rows = []
        for images, labels in batches:
            if len(images):
                images = images.contiguous(memory_format=torch.channels_last)
                with torch.autocast(images.device.type, torch.bfloat16, enabled=self.config.train.amp):
                    logits = model(images).float()
                rows.append(hits(F.cross_entropy(logits, labels), logits, labels))
            else:  # all of them are broken
                rows.append(torch.zeros(1 + len(self.measures), dtype=torch.float64, device=images.device))
        each = ranks.in_turn(torch.stack(rows).tolist() if rows else [])
        count, *totals = (math.fsum(column) for column in zip(*each, strict=True))
        if not count:
            raise none_readable(len(samples), samples.skipped)
        return {name: total / count for name, total in zip(self.measures, totals, strict=True)}

    @torch.no_grad()
    def picture(self, model: nn.Module, samples: Samples, path: Path, device: torch.device) -> None:
        """Save the first images with their classes and the predicted ones; beside it, what attention looks at."""
        data = self.config.data
        batches = eval_loader(samples, data, batch=SHEET_IMAGES, device=device)
        images, labels = next(batch for batch in batches if len(batch[0]))
        predicted = model.eval()(images).argmax(1)
        names, labels, predicted = self.splits.classes, labels.cpu(), predicted.cpu()
        sheet(images.cpu(), labels, predicted, names, path, mean=data.mean, std=data.std)
        maps = attention_maps(model, images[:ATTENTION_IMAGES])
        if maps:
            titles = [f"{names[int(a)]}, taken for {names[int(b)]}" for a, b in zip(labels, predicted, strict=True)]
            kept = images[:ATTENTION_IMAGES].cpu()
            drawn = draw(maps, kept, titles[:ATTENTION_IMAGES], data.mean, data.std)
            write_atomically(path.with_name("attention.json"), json.dumps(drawn.record).encode())
            save(drawn.picture, path.with_name("attention.png"))

    def summary(self, means: dict[str, float]) -> str:
        """The measures that people look at."""
        return f"loss {means['loss']:.3f}  top-1 {means['top1']:.1f} %"
