"""Loaders: the batches of one epoch, from this process or from workers, always the same ones."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sasa.config.data import Data
from sasa.data.samples import Key, Samples, unreadable
from sasa.data.seeds import hash64
from sasa.errors import InputError
from sasa.records.files import cores


def batches_per_epoch(images: int, batch: int) -> int:
    """Full batches of an epoch of training, or one incomplete batch where there are fewer images than that."""
    return max(1, images // batch)


class TrainOrder:
    """Keys of some of an epoch's batches, by their numbers; the order of the images is a function of seed and epoch."""

    def __init__(self, images: int, *, seed: int, epoch: int, batch: int, numbers: Sequence[int]) -> None:
        self.images, self.seed, self.epoch, self.batch = images, seed, epoch, batch
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.argsort(hash64(self.seed, self.epoch, np.arange(self.images)))
        for number in self.numbers:
            positions = order[number * self.batch : (number + 1) * self.batch].tolist()
            yield [(self.seed, self.epoch, position) for position in positions]


class EvalOrder:
    """Positions of every image once, in order; the last batch may be incomplete. Of several ranks, each takes a batch in turn."""

    def __init__(self, images: int, *, batch: int, rank: int = 0, ranks: int = 1) -> None:
        self.images, self.batch = images, batch
        self.starts = range(rank * batch, images, ranks * batch)

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[list[int]]:
        for start in self.starts:
            yield list(range(start, min(start + self.batch, self.images)))


class Loader:
    """Iterable of (images float32 (B, 3, S, S), labels int64 (B,)), normalised, on the device.

    Broken images are an InputError, or with data.skip_broken left out of their batch and named in the samples' `skipped`:
    a batch may have no image left.
    """

    def __init__(self, samples: Samples, order: TrainOrder | EvalOrder, data: Data, device: torch.device | str) -> None:
        self.samples, self.order, self.data = samples, order, data
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.workers():
            if batch.broken and not self.data.skip_broken:
                raise InputError(unreadable(*batch.broken[0]))
            self.samples.skipped.update((name, None) for name, _ in batch.broken)
            images = batch.images.to(self.device, non_blocking=True)
            yield self.samples.normalise(images), batch.labels.to(self.device, non_blocking=True)

    def workers(self) -> DataLoader:
        """torch's loader over raw batches: uint8 pixels, a quarter of the memory to move between processes."""
        count = min(self.data.workers, len(self.order), most_workers())  # batches do not depend on it
        return DataLoader(
            self.samples,
            batch_sampler=self.order,
            num_workers=count,
            collate_fn=as_it_is,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=leave_signals_to_parent,
            prefetch_factor=4 if count else None,
            generator=torch.Generator(),  # the loader draws a number for its workers: not from the run's generator
        )


def most_workers() -> int:
    """Workers that would not crowd each other: the cores of this process, and no more than Slurm gives a task."""
    may = cores()
    return min(may, int(os.environ.get("SLURM_CPUS_PER_TASK", may)))


def as_it_is(batch: Any) -> Any:
    """Samples come as a batch already."""
    return batch


def leave_signals_to_parent(worker: int) -> None:
    """Ctrl-C reaches a whole process group, and a scheduler's signals every process of a job, and the main process may
    still need its workers for a last checkpoint. They end with their loader, or with their parent."""
    with suppress(AttributeError):  # Windows has none
        os.setpgid(0, 0)
    if hasattr(signal, "sigwaitinfo"):  # which macOS and Windows lack, as they do Slurm
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=end_when_told, args=(os.getppid(),), daemon=True).start()


def end_when_told(parent: int) -> None:
    """End this process at a SIGTERM of its parent's, and at no other one."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
