"""Samples: some of the images of a source, read a batch at a time."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sasa.data.seeds import hash64
from sasa.errors import InputError

Key = tuple[int, int, int]  # seed of the run, epoch, position in the samples


class Batch(NamedTuple):
    """What a worker sends: images uint8 (B, 3, S, S), labels int64 (B,), and the images left out as (name, reason)."""

    images: Tensor
    labels: Tensor
    broken: list[tuple[str, str]]


class Source(Protocol):
    """Images by index, with the names of their classes."""

    classes: list[str]

    def __len__(self) -> int: ...

    def load(self, indices: Sequence[int], seeds: Sequence[int] | None) -> Batch:
        """Read images; seeds (one an image) ask for augmentation, None for the evaluation view."""
        ...


class Samples(Dataset[tuple[Tensor, int]]):
    """The images `indices` of a source, S x S pixels.

    samples[i] is the evaluation view of one image, normalised float32 (3, S, S), and its label. `skipped` collects
    the names of broken images that loaders came across, each once.
    """

    def __init__(self, source: Source, indices: NDArray[np.int64], mean: list[float], std: list[float]) -> None:
        self.source = source
        self.indices = indices
        self.mean, self.std = mean, std
        self.skipped: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        if not 0 <= position < len(self):
            raise IndexError(position)
        batch = self.source.load([int(self.indices[position])], None)
        if batch.broken:
            raise InputError(unreadable(*batch.broken[0]))
        return self.normalise(batch.images)[0], int(batch.labels[0])

    def __getitems__(self, keys: Sequence[Key | int]) -> Batch:
        """A batch for the DataLoader: keys of training (augmented by their seeds), or positions of evaluation."""
        if isinstance(keys[0], int):
            return self.source.load(self.indices[list(keys)].tolist(), None)
        seeds, epochs, positions = np.array(keys, np.int64).T
        indices = self.indices[positions]
        return self.source.load(indices.tolist(), hash64(seeds, epochs, indices).tolist())

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, S, S) in 0..255 -> float32 of about zero mean and unit variance."""
        mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (self.mean, self.std))
        return images.float().mul_(1 / (255 * std)).sub_(mean / std)


def unreadable(name: str, reason: str) -> str:
    """The message about one broken image."""
    return (
        f"{name} cannot be read as an image ({reason}): repair or remove the file, "
        "or set data.skip_broken=true to leave such images out"
    )


def none_readable(count: int, skipped: Iterable[str]) -> InputError:
    """What is raised where broken images leave nothing."""
    return InputError(
        f"none of {count} images can be read, such as {next(iter(skipped))}: data.skip_broken=true "
        "leaves nothing of them, so repair the files or correct data.root"
    )
