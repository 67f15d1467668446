"""Images with boxes as a source, whatever they are kept in; and the views of them: augmented, or whole for evaluation."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from sasa.config.choices import Augment
from sasa.data.pictures import Encoded, stack
from sasa.data.samples import Batch

PADDING = -1  # the class in the rows that fill up a batch of boxes
SMALLEST = 1.0  # pixels a side that a crop must leave of an object
FILL = 114  # grey beside images that do not fill the square


@dataclass
class Annotations:
    """Boxes of all images of a set, by image: those of image i are starts[i] to starts[i + 1]."""

    sizes: NDArray[np.int64]  # (I, 2): height and width of each image
    starts: NDArray[np.int64]  # (I + 1,)
    boxes: NDArray[np.float64]  # (M, 4): x, y, width, height in pixels, as COCO has them
    labels: NDArray[np.int64]  # (M,)
    areas: NDArray[np.float64]  # (M,): COCO's areas are those of the outlines
    crowd: NDArray[np.bool_]  # (M,)

    def __len__(self) -> int:
        return len(self.sizes)

    def of(self, index: int) -> slice:
        """The boxes of one image."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))

    def objects(self, index: int) -> tuple[Tensor, Tensor]:
        """Boxes (N, 4) as x0, y0, x1, y1 inside the image and labels (N,) to train on: no crowds, nothing without area."""
        height, width = self.sizes[index]
        corners = self.boxes[self.of(index)].copy()
        corners[:, 2:] += corners[:, :2]
        corners[:, 0::2] = corners[:, 0::2].clip(0, width)
        corners[:, 1::2] = corners[:, 1::2].clip(0, height)
        use = (corners[:, 2:] > corners[:, :2]).all(1) & ~self.crowd[self.of(index)]
        return torch.from_numpy(corners[use]).float(), torch.from_numpy(self.labels[self.of(index)][use])

    def truth(self, indices: NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any]:
        """Some of the images in COCO's format, for its evaluation: image i is number i + 1, class c is category c + 1."""
        images, annotations = [], []
        for index in indices.tolist():
            height, width = self.sizes[index].tolist()
            images.append({"id": index + 1, "height": height, "width": width})
            for row in range(*self.of(index).indices(len(self.boxes))):
                annotations.append(
                    {
                        "id": row + 1,
                        "image_id": index + 1,
                        "category_id": int(self.labels[row]) + 1,
                        "bbox": self.boxes[row].tolist(),
                        "area": float(self.areas[row]),
                        "iscrowd": int(self.crowd[row]),
                    }
                )
        categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
        return {"images": images, "annotations": annotations, "categories": categories}


class BoxView:
    """uint8 (3, S, S): the whole image, its longer side S, in the top left corner; in training a jittered random crop."""

    def __init__(self, size: int, jitter: float, augment: Augment) -> None:
        self.size, self.augment, self.smallest_scale = size, augment, 1 - jitter
        self.flip = v2.RandomHorizontalFlip()
        self.crop = v2.Compose(
            [
                v2.ScaleJitter((size, size), (1 - jitter, 1 + jitter), antialias=True),
                v2.RandomCrop(size, pad_if_needed=True, fill=FILL),
            ]
        )
        self.sanitize = v2.SanitizeBoundingBoxes(min_size=SMALLEST)

    def whole_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of a whole image in its view."""
        longer = max(height, width)
        return max(1, round(height * self.size / longer)), max(1, round(width * self.size / longer))

    def whole(self, picture: Tensor) -> Tensor:
        """The view of evaluation."""
        height, width = self.whole_size(*picture.shape[1:])
        picture = functional.resize(picture, [height, width], antialias=True)
        return functional.pad(picture, [0, 0, self.size - width, self.size - height], fill=[FILL])

    def random(self, picture: Tensor, boxes: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """The view of training, and its objects (N, 5): box and class. The generator is seeded, for the caller to restore."""
        torch.default_generator.manual_seed(seed)
        canvas = tuple(picture.shape[1:])
        objects = {"boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=canvas), "labels": labels}
        image = tv_tensors.Image(picture)
        vanishes = min(canvas) * self.size * self.smallest_scale < max(canvas)  # a side, of a long and narrow image
        if self.augment is Augment.crop_flip and not vanishes:
            image, objects = self.crop(image, objects)
        else:
            height, width = self.whole_size(*canvas)
            scale = torch.tensor([width / canvas[1], height / canvas[0]]).repeat(2)
            boxes = tv_tensors.BoundingBoxes(boxes * scale, format="XYXY", canvas_size=(self.size, self.size))
            image, objects = tv_tensors.Image(self.whole(picture)), {"boxes": boxes, "labels": labels}
        if self.augment is not Augment.none:
            image, objects = self.flip(image, objects)
        image, objects = self.sanitize(image, objects)
        rows = torch.cat([objects["boxes"].as_subclass(Tensor), objects["labels"][:, None].float()], 1)
        return image.as_subclass(Tensor), rows


class Boxed(Encoded):
    """Images with boxes. A kind of storage says how to `open` one of them.

    In training the labels of a batch are its objects (B, N, 5), box in pixels of the view and class, filled up with rows
    of class PADDING; in evaluation they are the numbers of the images (B,).
    """

    def __init__(self, annotations: Annotations, classes: list[str], view: BoxView) -> None:
        self.annotations, self.classes, self.view = annotations, classes, view

    def open(self, index: int) -> Tensor | Image.Image:
        """Pixels uint8 (3, H, W), or a picture."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.annotations)

    def load(self, indices: Sequence[int], seeds: Sequence[int] | None) -> Batch:
        """Decode, and augment by one seed an image; the generator of the process is as it was afterwards."""
        images: list[Tensor] = []
        objects: list[Tensor] = []
        read: list[int] = []
        broken: list[tuple[str, str]] = []
        with torch.random.fork_rng(devices=[]), one_thread():
            for place, index, picture in self.readable(indices, broken):
                read.append(index)
                if seeds is None:
                    images.append(self.view.whole(picture))
                else:
                    image, rows = self.view.random(picture, *self.annotations.objects(index), seeds[place])
                    images.append(image)
                    objects.append(rows)
        return Batch(stack(images, self.view.size), torch.tensor(read) if seeds is None else fill_up(objects), broken)

    def decode(self, index: int) -> Tensor:
        """Pixels uint8 (3, H, W) of the size that the annotations give."""
        opened = self.open(index)
        if isinstance(opened, Image.Image):
            with opened:
                opened = functional.pil_to_tensor(opened.convert("RGB"))
        expected = tuple(self.annotations.sizes[index].tolist())
        if tuple(opened.shape[1:]) != expected:
            raise ValueError(
                f"it has {opened.shape[2]}x{opened.shape[1]} pixels, and its annotations say {expected[1]}x{expected[0]}"
            )
        return opened


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch: sharing out the work on a single image costs more than it saves."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def fill_up(objects: list[Tensor]) -> Tensor:
    """Objects of several images, (N, 5) each, as one tensor (B, most of them, 5)."""
    if not objects:
        return torch.empty(0, 0, 5)
    return torch.nn.utils.rnn.pad_sequence(objects, batch_first=True, padding_value=PADDING)
