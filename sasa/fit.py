"""`python -m sasa.fit ROW OVERRIDES`: what a row's training step takes of the device's memory, by micro-batch.

Batch norm sees the images of a micro-batch together, so its size is part of what a run is: it is looked for here, and
chosen by the user, not by the training.
"""

import argparse
import gc
import os
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from rich.console import Console

from sasa.bench.detectors import objects
from sasa.bench.measure import peak_bytes, resident
from sasa.config import compose
from sasa.config.choices import TaskKind
from sasa.config.identity import Identity
from sasa.config.schema import Config
from sasa.data.build import Splits
from sasa.data.samples import Samples
from sasa.data.shapes import Shapes
from sasa.errors import InputError
from sasa.models.build import network
from sasa.records.folder import Record
from sasa.train.classification import Classification
from sasa.train.detection import Detection
from sasa.train.loop import Trainer


def fit(config: Config, device: torch.device, console: Console) -> int:
    """Try the micro-batches that divide train.batch, smallest first; returns the largest that fits, 0 if none does."""
    whole = capacity(device)
    console.print(f"of {whole / 2**30:.1f} GiB on {device}:")
    known: list[tuple[int, int]] = []
    for size in config.micro_batches():
        taken = used(config, device, size) if beyond(known, size) < whole else None
        said = f"{taken / 2**30:6.1f} GiB" if taken else "does not fit"
        console.print(f"  train.micro_batch={size:<6d} {said}", highlight=False)
        if taken is None:
            break
        known.append((size, taken))
    return known[-1][0] if known else 0


def used(config: Config, device: torch.device, size: int) -> int | None:
    """Bytes at the peak of a step of training, with all that it holds; None where they do not fit.

    All images of the step are there, as in training, but one micro-batch alone is computed: the next would take no more.
    """
    torch.compiler.reset()
    gc.collect()  # the network before this one
    data, detection = config.data, config.task.kind is TaskKind.detection
    config = replace(config, train=replace(config.train, micro_batch=size))
    try:
        trainer = trainer_of(config, device)
        images = [torch.randn(size, 3, data.size, data.size, device=device) for _ in range(trainer.accumulate)]
        labels = torch.randint(data.classes, (size,), device=device)
        if detection:
            boxes = [objects(data.size, data.classes, device) for _ in range(size)]
            labels = torch.stack([torch.cat([one["boxes"], one["labels"][:, None].float()], 1) for one in boxes])
        step = partial(trainer.train_step, [(images[0], labels)])
        step()  # kernels are chosen, and momentum begins
        peak_bytes([step], device)
    except torch.OutOfMemoryError:
        return None
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident("VmHWM")


def trainer_of(config: Config, device: torch.device) -> Trainer:
    """What trains a configuration, without its images and its folder."""
    train, data = config.train, replace(config.data, root=None)
    plain = replace(config, data=data, backbone=replace(config.backbone, weights=None))
    never_read = Samples(Shapes(0, train.batch, 32, 2), np.arange(train.batch), data.mean, data.std)
    parts = Splits(never_read, never_read, never_read, never_read.source.classes)
    task = Detection(config, parts) if config.task.kind is TaskKind.detection else Classification(config, parts)
    return Trainer(network(config), task, config, device, Record(plain, Identity(None, None, (), "")))


def capacity(device: torch.device) -> int:
    """The bytes that there are."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def beyond(known: list[tuple[int, int]], size: int) -> float:
    """Bytes that a micro-batch would take by a line through the last two: without a GPU the system kills what is too large."""
    if len(known) < 2:
        return 0
    (a, low), (b, high) = known[-2:]
    return high + (size - b) * (high - low) / (b - a)


def main() -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m sasa.fit", description=__doc__, allow_abbrev=False)
    parser.add_argument("words", nargs="+", metavar="ROW", help="as for run.py: table1=full_50 scale=imagenet")
    try:
        compose.register()
        config = compose.compose_row([*parser.parse_args().words, "train.micro_batch=${train.batch}"])
        device = torch.device("cuda" if torch.cuda.is_available() and config.device != "cpu" else "cpu")
        largest = fit(config, device, Console())
    except (InputError, *compose.ERRORS) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        return 130
    print(f"the largest that fits: train.micro_batch={largest}" if largest else "no micro-batch fits")
    return 0 if largest else 1


if __name__ == "__main__":
    sys.exit(main())
