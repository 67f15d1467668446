"""Encoded images as a source: decoded and brought to one size as they are read."""

import struct
from collections.abc import Sequence
from typing import IO

import torch
from PIL import Image
from torch import Tensor

from sasa.data.samples import Batch
from sasa.data.transforms import View

BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)  # what Pillow raises


class Pictures:
    """Images by index. A kind of storage says how to `open` one of them, and its `name` for messages."""

    def __init__(self, labels: Sequence[int], classes: list[str], view: View) -> None:
        self.labels, self.classes, self.view = labels, classes, view

    def open(self, index: int) -> IO[bytes] | Image.Image:
        """A file to decode, or a picture."""
        raise NotImplementedError

    def name(self, index: int) -> str:
        """The file, or the place in its set."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, indices: Sequence[int], seeds: Sequence[int] | None) -> Batch:
        """Decode, and augment by one seed an image; the generator of the process is as it was afterwards."""
        images: list[Tensor] = []
        labels: list[int] = []
        broken: list[tuple[str, str]] = []
        with torch.random.fork_rng(devices=[]):
            for number, index in enumerate(indices):
                try:
                    picture = self.decode(index)
                except BROKEN as error:
                    broken.append((self.name(index), f"{type(error).__name__}: {error}"))
                    continue
                images.append(self.view(picture, seeds[number] if seeds else None))
                labels.append(int(self.labels[index]))
        size = self.view.size
        stack = torch.stack(images) if images else torch.empty(0, 3, size, size, dtype=torch.uint8)
        return Batch(stack, torch.tensor(labels, dtype=torch.int64), broken)

    def decode(self, index: int) -> Image.Image:
        """One picture in RGB."""
        opened = self.open(index)
        if isinstance(opened, Image.Image):
            return opened.convert("RGB")
        with opened, Image.open(opened) as picture:
            return picture.convert("RGB")
