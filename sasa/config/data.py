"""The data group of the configuration."""

from dataclasses import dataclass
from math import inf, isfinite

from omegaconf import MISSING

from sasa.config.choices import Augment
from sasa.errors import check


@dataclass
class Data:
    """The images, and what reads them. reader is shapes (generated) or one of timm.data.create_dataset's: folder, tar, wds,
    hfds/..., torch/cifar10.

    For detection it is shapes or coco, the only one to read annotation files.
    """

    name: str = MISSING
    reader: str = MISSING
    root: str | None = MISSING
    train_split: str = MISSING
    test_split: str = MISSING
    download: bool = MISSING
    size: int = MISSING  # side of the square input in pixels
    classes: int = MISSING
    train_images: int | None = MISSING  # shapes: how many to generate; other readers: null takes all
    test_images: int | None = MISSING
    validation: float = MISSING  # fraction of the training images that is held out; 0 trains on all (the paper: 0.04)
    augment: Augment = MISSING
    area: float = MISSING  # classification: the least share of a picture that a random crop takes (the largest is 1)
    crop: float = MISSING  # evaluation: side of the centre crop over the resized shorter side
    mean: list[float] = MISSING
    std: list[float] = MISSING
    skip_broken: bool = MISSING
    workers: int = MISSING
    train_annotations: str | None = None  # detection: files in COCO's format, below root
    test_annotations: str | None = None
    jitter: float = 0.0  # detection: images are resized by 1 - jitter to 1 + jitter before the random crop

    def __post_init__(self) -> None:
        check(self.size >= 16, f"data.size={self.size}: images of at least 16 pixels are needed")
        check(self.classes >= 2, f"data.classes={self.classes}: expected at least 2")
        check(
            0 <= self.validation < 1,
            f"data.validation={self.validation}: expected a fraction in [0, 1), such as 0.04, or 0 to hold out nothing",
        )
        check(0 < self.area <= 1, f"data.area={self.area}: expected a fraction in (0, 1], such as 0.08")
        check(0 < self.crop <= 1, f"data.crop={self.crop}: expected a fraction in (0, 1], such as 0.875")
        check(0 <= self.jitter < 1, f"data.jitter={self.jitter}: expected a number in [0, 1), such as 0.2")
        check(self.workers >= 0, f"data.workers={self.workers}: expected 0 or more processes")
        check(
            len(self.mean) == 3 and len(self.std) == 3,
            "data.mean and data.std take three numbers each, for red, green, blue",
        )
        check(all(isfinite(value) for value in self.mean), f"data.mean={self.mean}: expected three numbers")
        check(all(0 < value < inf for value in self.std), f"data.std={self.std}: expected three numbers above 0")
        if self.reader == "shapes":
            check(
                bool(self.train_images) and bool(self.test_images),
                "data.train_images and data.test_images must be given for generated images",
            )
        for name in ("train_images", "test_images"):
            count = getattr(self, name)
            check(count is None or count >= 1, f"data.{name}={count}: expected at least 1")
