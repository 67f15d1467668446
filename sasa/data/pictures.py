"""Encoded images as a source: decoded and brought to one size as they are read."""

import struct
from collections.abc import Iterator, Sequence
from typing import IO, Any

import torch
from PIL import Image
from torch import Tensor

from sasa.data.samples import Batch
from sasa.data.transforms import View

BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)  # what Pillow raises


class Encoded:
    """Images by index, one of which cannot always be read. A kind of storage gives each of them a `name` for messages."""

    def name(self, index: int) -> str:
        """The file, or the place in its set."""
        raise NotImplementedError

    def decode(self, index: int) -> Any:
        """One picture; any of BROKEN says that it cannot be read."""
        raise NotImplementedError

    def readable(self, indices: Sequence[int], broken: list[tuple[str, str]]) -> Iterator[tuple[int, int, Any]]:
        """(place among the indices, index, picture) of those that can be decoded; the others' names go to `broken`."""
        for place, index in enumerate(indices):
            try:
                picture = self.decode(index)
            except BROKEN as error:
                broken.append((self.name(index), f"{type(error).__name__}: {error}"))
                continue
            yield place, index, picture


class Pictures(Encoded):
    """Images of classes. A kind of storage says how to `open` one of them."""

    def __init__(self, labels: Sequence[int], classes: list[str], view: View) -> None:
        self.labels, self.classes, self.view = labels, classes, view

    def open(self, index: int) -> IO[bytes] | Image.Image:
        """A file to decode, or a picture."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, indices: Sequence[int], seeds: Sequence[int] | None) -> Batch:
        """Decode, and augment by one seed an image; the generator of the process is as it was afterwards."""
        images: list[Tensor] = []
        labels: list[int] = []
        broken: list[tuple[str, str]] = []
        with torch.random.fork_rng(devices=[]):
            for place, index, picture in self.readable(indices, broken):
                images.append(self.view(picture, seeds[place] if seeds else None))
                labels.append(int(self.labels[index]))
        return Batch(stack(images, self.view.size), torch.tensor(labels, dtype=torch.int64), broken)

    def decode(self, index: int) -> Image.Image:
        """One picture in RGB."""
        opened = self.open(index)
        if isinstance(opened, Image.Image):
            return opened.convert("RGB")
        with opened, Image.open(opened) as picture:
            return picture.convert("RGB")


def stack(images: list[Tensor], size: int) -> Tensor:
    """Views of some images, or of none, as uint8 (B, 3, size, size)."""
    return torch.stack(images) if images else torch.empty(0, 3, size, size, dtype=torch.uint8)
