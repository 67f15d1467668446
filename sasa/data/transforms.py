"""From a decoded picture to S x S pixels: the evaluation view, or a random one."""

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from sasa.config.choices import Augment

BICUBIC = v2.InterpolationMode.BICUBIC
AREA = (0.08, 1.0)  # of a random crop, over the picture's area: the ResNet recipe
# A picture smaller than the network's input, such as CIFAR-10's 32 x 32 at 64, would be cropped to as little as 9 x 9
# real pixels: there, no less than two fifths are kept.
AREA_OF_SMALL = (0.4, 1.0)


class View:
    """Pictures as uint8 (3, S, S): shorter side resized to S / crop and centre crop; with a seed, augmented first."""

    def __init__(self, size: int, crop: float, augment: Augment) -> None:
        self.size, self.augment = size, augment
        self.centre = v2.Compose([v2.Resize(round(size / crop), BICUBIC), v2.CenterCrop(size)])
        self.crop = v2.RandomResizedCrop(size, AREA, interpolation=BICUBIC)
        self.crop_of_small = v2.RandomResizedCrop(size, AREA_OF_SMALL, interpolation=BICUBIC)

    def __call__(self, picture: Image.Image, seed: int | None) -> Tensor:
        if seed is None or self.augment is Augment.none:
            return functional.pil_to_tensor(self.centre(picture))
        torch.default_generator.manual_seed(seed)  # what torchvision's transforms draw from; restored by the caller
        mirror = bool(torch.rand(()) < 0.5)
        if self.augment is Augment.flip:
            view = self.centre(picture)
        else:
            view = (self.crop if min(picture.size) >= self.size else self.crop_of_small)(picture)
        pixels = functional.pil_to_tensor(view)
        return pixels.flip(-1) if mirror else pixels
