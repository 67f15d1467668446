"""Encoded images as a source: decoded and brought to one size as they are read."""

import io
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO, Any

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torch import Tensor

from sasa.data.samples import Batch
from sasa.data.transforms import View

BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)  # what Pillow raises

JPEG = b"\xff\xd8"  # how one begins
LARGEST = 2**26  # pixels; what Pillow thinks of larger ones, it shall say


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

    def decode(self, index: int) -> Tensor:
        """One picture as uint8 (3, H, W)."""
        opened = self.open(index)
        if isinstance(opened, Image.Image):
            return pixels_of(opened)
        with opened:
            return decoded(opened.read())


def decoded(encoded: bytes) -> Tensor:
    """The pixels of an encoded picture, uint8 (3, H, W), channels last in memory; any of BROKEN says that there are none.

    Of a JPEG they are Pillow's, which takes twice the time to find them.
    """
    if encoded.startswith(JPEG):
        with suppress(
            ValueError
        ):  # of a kind that Pillow alone knows, or broken, which it says in the words people know
            height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded)
            if colours != "CMYK" and height * width <= LARGEST:
                return torch.from_numpy(simplejpeg.decode_jpeg(encoded, "RGB")).permute(2, 0, 1)
    with Image.open(io.BytesIO(encoded)) as picture:
        return pixels_of(picture)


def pixels_of(picture: Image.Image) -> Tensor:
    """A picture of Pillow's as uint8 (3, H, W), channels last in memory."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def stack(images: list[Tensor], size: int) -> Tensor:
    """Views of some images, or of none, as uint8 (B, 3, size, size)."""
    return torch.stack(images) if images else torch.empty(0, 3, size, size, dtype=torch.uint8)
