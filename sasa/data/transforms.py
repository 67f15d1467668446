"""From a decoded picture to S x S pixels: the evaluation view, or a random one."""

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from sasa.config.choices import Augment

BICUBIC = v2.InterpolationMode.BICUBIC


class View:
    """Pictures as uint8 (3, S, S): shorter side resized to S / crop and centre crop; with a seed, augmented first."""

    def __init__(self, size: int, crop: float, augment: Augment, area: float) -> None:
        self.size, self.augment = size, augment
        self.centre = v2.Compose([v2.Resize(round(size / crop), BICUBIC), v2.CenterCrop(size)])
        self.crop = v2.RandomResizedCrop(size, (area, 1.0), interpolation=BICUBIC)

    def __call__(self, picture: Image.Image, seed: int | None) -> Tensor:
        if seed is None or self.augment is Augment.none:
            return functional.pil_to_tensor(self.centre(picture))
        torch.default_generator.manual_seed(seed)  # what torchvision's transforms draw from; restored by the caller
        mirror = bool(torch.rand(()) < 0.5)
        pixels = functional.pil_to_tensor((self.centre if self.augment is Augment.flip else self.crop)(picture))
        return pixels.flip(-1) if mirror else pixels
