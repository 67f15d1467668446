"""From the pixels of a picture to S x S of them: the evaluation view, or a random one."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from sasa.config.choices import Augment


class View:
    """Pixels uint8 (3, H, W) as (3, S, S): shorter side resized to S / crop and centre crop; with a seed, augmented first."""

    def __init__(self, size: int, crop: float, augment: Augment, area: float) -> None:
        self.size, self.augment, self.shorter = size, augment, round(size / crop)
        self.crop = v2.RandomResizedCrop(size, (area, 1.0))

    def __call__(self, picture: Tensor, seed: int | None) -> Tensor:
        if seed is None or self.augment is Augment.none:
            return self.centre(picture)
        torch.default_generator.manual_seed(seed)  # what torchvision's transforms draw from; restored by the caller
        mirror = bool(torch.rand(()) < 0.5)
        pixels = self.centre(picture) if self.augment is Augment.flip else self.random(picture)
        return pixels.flip(-1) if mirror else pixels

    def centre(self, picture: Tensor) -> Tensor:
        """The middle of the whole picture."""
        height, width = picture.shape[1:]
        sides = (max(1, self.shorter * side // min(height, width)) for side in (height, width))
        return functional.center_crop(resized(picture, tuple(sides)), [self.size, self.size])

    def random(self, picture: Tensor) -> Tensor:
        """A part of it, of random size and shape."""
        box = self.crop.make_params([picture])
        rows, columns = (slice(box[a], box[a] + box[b]) for a, b in (("top", "height"), ("left", "width")))
        return resized(picture[:, rows, columns], (self.size, self.size))


def resized(pixels: Tensor, size: Sequence[int]) -> Tensor:
    """uint8 (3, H, W) at another size: bicubic over all pixels, in whole numbers, so with the same bits on any processor."""
    return F.interpolate(pixels[None], list(size), mode="bicubic", antialias=True)[0]
