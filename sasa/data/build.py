"""From the data part of a configuration to training, validation and test samples, and their loaders."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sasa.config.choices import Augment
from sasa.config.data import Data
from sasa.data.loader import EvalOrder, Loader, TrainOrder, batches_per_epoch
from sasa.data.samples import Samples, Source
from sasa.data.seeds import hash64
from sasa.data.shapes import Shapes
from sasa.errors import InputError

SPLIT_SEED = 1906_05909  # held-out images are a property of the data, so that every run is compared on the same ones


@dataclass
class Splits:
    """The three parts of a data set (validation may be empty); classes are names in the order of the labels."""

    train: Samples
    validation: Samples
    test: Samples
    classes: list[str]


def splits(data: Data, boxes: bool = False) -> Splits:
    """Open the data set, for detection with its boxes; InputError says what is missing or does not fit."""
    if data.train_split == data.test_split and data.train_annotations == data.test_annotations:
        raise InputError(
            f"data.train_split and data.test_split are both {data.test_split}: test images must not be trained on, "
            "so give two splits"
        )
    train, test = open_source(data, "train", boxes), open_source(data, "test", boxes)
    check_classes(data, train, test)
    pool = choose(len(train), data.train_images, "train_images")
    if len(pool) < 2 and data.validation:
        raise InputError(
            f"data.root={data.root}: {data.train_split} has {len(pool)} image: at least 2 are needed, "
            "one to train on and one that is held out (data.validation), so add images"
        )
    held_out = min(max(1, round(len(pool) * data.validation)), len(pool) - 1) if data.validation else 0
    return Splits(
        train=samples(data, train, pool[held_out:]),
        validation=samples(data, train, pool[:held_out]),
        test=samples(data, test, choose(len(test), data.test_images, "test_images")),
        classes=train.classes,
    )


def open_test(data: Data, boxes: bool = False) -> Samples:
    """The test images alone, as `splits` opens them; InputError where they do not have the configuration's classes."""
    test = open_source(data, "test", boxes)
    check_classes(data, test, test)
    return samples(data, test, choose(len(test), data.test_images, "test_images"))


def train_loader(
    splits: Splits,
    data: Data,
    *,
    seed: int,
    epoch: int,
    batch: int,
    numbers: Sequence[int] | None = None,
    device: torch.device | str,
) -> Loader:
    """Batches of one epoch of training, shuffled and augmented by (seed, epoch, index) alone.

    numbers: which of them, all by default. An incomplete last batch is dropped.
    """
    images = len(splits.train)
    numbers = range(batches_per_epoch(images, batch)) if numbers is None else numbers
    return Loader(splits.train, TrainOrder(images, seed=seed, epoch=epoch, batch=batch, numbers=numbers), data, device)


def eval_loader(
    dataset: Samples, data: Data, *, batch: int, device: torch.device | str, rank: int = 0, ranks: int = 1
) -> Loader:
    """Batches of every sample once, in order, without augmentation; of several ranks, each takes a batch in turn."""
    return Loader(dataset, EvalOrder(len(dataset), batch=batch, rank=rank, ranks=ranks), data, device)


def open_source(data: Data, part: str, boxes: bool) -> Source:
    """The images to train on, or those to test."""
    split = data.train_split if part == "train" else data.test_split
    if data.reader == "coco":
        from sasa.data.coco import open_coco  # torchvision takes a second to import

        return open_coco(data, split, f"{part}_annotations")
    if data.reader == "shapes":
        images = (data.train_images if part == "train" else data.test_images) or 0
        if boxes:
            from sasa.data.boxed_shapes import BoxedShapes  # torchvision takes a second to import

            return BoxedShapes(data, int(part != "train"), images)
        if data.augment is not Augment.none:
            raise InputError(
                f"data.augment={data.augment} with data.reader=shapes: mirroring or cropping a generated image "
                "changes its class, so set data.augment=none"
            )
        return Shapes(int(part != "train"), images, data.size, data.classes)
    from sasa.data.readers import open_images  # timm takes seconds to import

    return open_images(data, split)


def check_classes(data: Data, train: Source, test: Source) -> None:
    """Both splits have the classes of the configuration."""
    if train.classes != test.classes and data.reader == "coco":
        raise InputError(
            f"{data.train_annotations} and {data.test_annotations} differ in their categories "
            f"({', '.join(train.classes[:5])} and {', '.join(test.classes[:5])}): give both files the same, with the same ids"
        )
    if train.classes != test.classes:
        missing = sorted(set(train.classes) ^ set(test.classes))
        raise InputError(
            f"data.root={data.root}: {data.train_split} has {len(train.classes)} classes and {data.test_split} "
            f"has {len(test.classes)}; only one of them has {', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}: "
            "both splits need images of each class"
        )
    if len(train.classes) != data.classes:
        raise InputError(
            f"data.classes={data.classes}, but data.reader={data.reader} with data.root={data.root} "
            f"has {len(train.classes)} classes: set data.classes={len(train.classes)}"
        )


def choose(available: int, wanted: int | None, name: str) -> np.ndarray:
    """Indices of the wanted number of images (None: all), in a random order that is always the same."""
    if wanted is not None and wanted > available:
        raise InputError(
            f"data.{name}={wanted}, but there are {available}: lower it, or set data.{name}=null to take all"
        )
    return np.argsort(hash64(SPLIT_SEED, np.arange(available)))[:wanted]


def samples(data: Data, source: Source, indices: np.ndarray) -> Samples:
    """Samples in the order of the source."""
    return Samples(source, np.sort(indices), data.mean, data.std)
