"""What detection brings to the loop: losses, evaluation and pictures (Section 4.2)."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sasa.config.schema import Config
from sasa.data.boxes import PADDING, Boxed
from sasa.data.build import Splits, eval_loader
from sasa.data.samples import Samples, none_readable
from sasa.train import ranks
from sasa.train.average_precision import Numbers, average_precision
from sasa.train.detections import Detections
from sasa.train.sheet import box_sheet

SHEET_IMAGES = 16
SHOWN = 0.4  # score from which a detection is drawn


class Detection:
    """Focal loss and smooth L1, and COCO's average precision."""

    measures = ("loss", "class_loss", "box_loss")
    result = "ap"  # by which one epoch is better than another
    draws_each_epoch = True

    def __init__(self, config: Config, splits: Splits) -> None:
        self.config, self.splits = config, splits
        self.by_class: dict[str, Numbers] = {}  # of the last evaluation

    def compiled(self, model: nn.Module) -> Callable[..., Any]:
        """What to call in the place of the model: matching boxes has other shapes at each step, so it is left as it is."""
        model.get_submodule("backbone").compile()
        model.get_submodule("head").compile()
        return model

    def loss(self, forward: Callable[..., Any], images: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and what a Meter adds up of it."""
        targets = []
        for rows in objects:
            rows = rows[rows[:, 4] != PADDING]
            targets.append({"boxes": rows[:, :4], "labels": rows[:, 4].long()})
        losses = forward(list(images), targets)
        parts = torch.stack([losses["classification"], losses["bbox_regression"]])
        means = torch.cat([parts.new_ones(1), parts.sum(0, keepdim=True), parts])
        return parts.sum(), means.detach().double() * len(images)

    @torch.no_grad()
    def evaluate(self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], samples: Samples) -> Numbers:
        """COCO's AP (percent) of a model in evaluation mode; images that cannot be read are left out."""
        batches_read: list[tuple[list[int], np.ndarray]] = []
        for images, numbers in batches:
            rows = [np.empty((0, 7))]
            detected = self.detect(model, images, numbers, samples) if len(images) else []
            for number, detections in zip(numbers.tolist(), detected, strict=True):
                corners = detections.boxes
                sides = corners[:, 2:] - corners[:, :2]
                image = np.full(len(corners), number + 1)
                rows.append(np.column_stack([image, corners[:, :2], sides, detections.scores, detections.labels + 1]))
            batches_read.append((numbers.tolist(), np.concatenate(rows)))
        everything = ranks.in_turn(batches_read)
        read = [number for numbers, _ in everything for number in numbers]
        if not read:
            raise none_readable(len(samples), samples.skipped)
        numbers_and_classes = None
        if ranks.rank() == 0:  # it takes seconds
            truth = source(samples).annotations.truth(np.array(read), self.splits.classes)
            numbers_and_classes = average_precision(truth, np.concatenate([rows for _, rows in everything]))
        means, self.by_class = ranks.from_first(numbers_and_classes)
        return means

    def detect(self, model: nn.Module, images: Tensor, numbers: Tensor, samples: Samples) -> list[Detections]:
        """What a model finds in whole images, in pixels of the pictures as they are kept."""
        boxed = source(samples)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.config.train.amp):
            predictions = model.eval()(list(images))
        detections = []
        for number, prediction in zip(numbers.tolist(), predictions, strict=True):
            height, width = boxed.annotations.sizes[number].tolist()
            seen_height, seen_width = boxed.view.whole_size(height, width)
            boxes, scores, labels = (prediction[name].cpu().double().numpy() for name in ("boxes", "scores", "labels"))
            boxes = boxes * np.tile([width / seen_width, height / seen_height], 2)
            boxes = boxes.clip(0, np.tile([width, height], 2))
            use = (boxes[:, 2:] > boxes[:, :2]).all(1)  # what lies beside the picture has no area left
            detections.append(Detections(boxes, labels.astype(np.int64), scores)[use])
        return detections

    @torch.no_grad()
    def picture(self, model: nn.Module, samples: Samples, path: Path, device: torch.device) -> None:
        """Save the first images with the true boxes and those detections; by_class.csv beside it has the APs of the classes."""
        data, boxed = self.config.data, source(samples)
        batches = eval_loader(samples, data, batch=SHEET_IMAGES, device=device)
        images, numbers = next(batch for batch in batches if len(batch[0]))
        shown = [item[item.scores >= SHOWN] for item in self.detect(model, images, numbers, samples)]
        true = [boxed.annotations.objects(number)[0].numpy() for number in numbers.tolist()]
        pictures = [boxed.decode(number) for number in numbers.tolist()]
        box_sheet(pictures, true, shown, self.splits.classes, path)
        with path.with_name("by_class.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["class", "ap", "ap50", "ap75"])
            for name, numbers_of_class in self.by_class.items():
                writer.writerow([name, *(f"{numbers_of_class[measure]:.2f}" for measure in ("ap", "ap50", "ap75"))])

    def summary(self, means: dict[str, Any]) -> str:
        """The measures that people look at."""
        if "loss" in means:
            return f"loss {means['loss']:.3f}"
        return "  ".join(f"{name} {0.0 if means[key] is None else means[key]:.1f}" for name, key in SHORT.items())


SHORT = {"AP": "ap", "AP50": "ap50", "AP75": "ap75"}


def source(samples: Samples) -> Boxed:
    """The images with boxes behind samples."""
    assert isinstance(samples.source, Boxed)
    return samples.source
