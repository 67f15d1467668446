"""`python -m sasa.fit ROW OVERRIDES`: what a row's training step takes of the device's memory, by micro-batch.

Batch norm sees the images of a micro-batch together, so its size is part of what a run is: it is looked for here, and
chosen by the user, not by the training.
"""

import argparse
import copy
import os
import sys

import torch
from rich.console import Console

from sasa.bench import detectors, models
from sasa.bench.measure import peak_bytes, resident
from sasa.config import compose
from sasa.config.choices import TaskKind
from sasa.config.schema import Config
from sasa.errors import InputError
from sasa.models.build import network


def fit(config: Config, device: torch.device, console: Console) -> int:
    """Try the micro-batches that divide train.batch, smallest first; returns the largest that fits, 0 if none does."""
    least = 1 if config.task.kind is TaskKind.detection else 2  # a classifier's batch norm wants more than one image
    sizes = [size for size in range(least, config.train.batch + 1) if config.train.batch % size == 0]
    whole = capacity(device)
    console.print(f"of {whole / 2**30:.1f} GiB on {device}:")
    known: list[tuple[int, int]] = []
    for size in sizes:
        taken = used(config, device, size) if beyond(known, size) < whole else None
        said = f"{taken / 2**30:6.1f} GiB" if taken else "does not fit"
        console.print(f"  train.micro_batch={size:<6d} {said}", highlight=False)
        if taken is None:
            break
        known.append((size, taken))
    return known[-1][0] if known else 0


def used(config: Config, device: torch.device, size: int) -> int | None:
    """Bytes at the peak of a step with its network, averages and momentum; None where they do not fit."""
    data, train = config.data, config.train
    dtype = torch.bfloat16 if train.amp else torch.float32
    try:
        model = network(config)
        held = [copy.deepcopy(model).to(device)] if train.ema_decay else []
        if config.task.kind is TaskKind.detection:
            step = detectors.training_step(model, device, dtype, size, data.size, data.classes)
        else:
            step = models.training_step(model, device, dtype, size, train.compile, data.size, data.classes)
        step()  # kernels are chosen, and momentum begins
        peak_bytes([step], device)
        held.clear()
    except torch.OutOfMemoryError:
        return None
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident("VmHWM")


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
        config = compose.compose_row([*parser.parse_args().words, "train.micro_batch=1"])
        device = torch.device("cuda" if torch.cuda.is_available() and config.device != "cpu" else "cpu")
        largest = fit(config, device, Console())
    except (InputError, *compose.ERRORS) as error:
        parser.error(str(error))
    print(f"the largest that fits: train.micro_batch={largest}" if largest else "no micro-batch fits")
    return 0 if largest else 1


if __name__ == "__main__":
    sys.exit(main())
