"""Generated images as a source: nothing to download, any number of them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sasa.config.schema import Data
from sasa.data.boxes import Annotations, Boxed, BoxView
from sasa.data.render import render
from sasa.data.samples import Batch
from sasa.data.scene import DIRECTIONS, KINDS, scenes
from sasa.errors import InputError

MEMORY = 2**30  # bytes of drawn images that are kept; larger sets are drawn again in every epoch


class Shapes:
    """The first `images` scenes of a split (0 train, 1 test): images are drawn when they are first asked for."""

    def __init__(self, split: int, images: int, size: int, classes: int) -> None:
        if size < 32:
            raise InputError(f"data.size={size}: generated images need at least 32 pixels for their parts to be seen")
        if not 2 <= classes <= len(DIRECTIONS):
            raise InputError(f"data.classes={classes}: generated images have 2 to {len(DIRECTIONS)} classes")
        self.split, self.images, self.size = split, images, size
        self.classes = list(DIRECTIONS)[:classes]
        self.drawn = np.zeros(images, bool)
        keep = images * size * size * 3 <= MEMORY
        self.memory = np.empty((images, size, size, 3), np.uint8) if keep else None

    def __len__(self) -> int:
        return self.images

    def load(self, indices: Sequence[int], seeds: Sequence[int] | None) -> Batch:
        """Images by index; there is no augmentation, so seeds are not used."""
        wanted = np.asarray(indices, np.int64)
        labels = torch.from_numpy(wanted % len(self.classes))
        if self.memory is None:
            pixels = self.draw(wanted)
        else:
            new = wanted[~self.drawn[wanted]]
            self.memory[new] = self.draw(new)
            self.drawn[new] = True
            pixels = self.memory[wanted]
        return Batch(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), labels, [])

    def draw(self, indices: np.ndarray) -> np.ndarray:
        """Pixels uint8 (B, size, size, 3)."""
        return render(scenes(self.split, indices, self.size, len(self.classes)))


class BoxedShapes(Boxed):
    """The same scenes with a box around each part; the classes are the kinds of parts."""

    def __init__(self, config: Data, split: int, images: int) -> None:
        if config.classes != len(KINDS):
            raise InputError(
                f"data.classes={config.classes}: generated images have parts of {len(KINDS)} kinds, "
                f"so set data.classes={len(KINDS)}"
            )
        self.shapes, self.split = Shapes(split, images, config.size, len(DIRECTIONS)), split
        drawn = scenes(split, np.arange(images), config.size, len(DIRECTIONS))
        parts = [drawn.parts(scene) for scene in range(images)]
        corners = np.array([part.box for found in parts for part in found], np.float64)
        sides = corners[:, 2:] - corners[:, :2]
        annotations = Annotations(
            sizes=np.full((images, 2), config.size),
            starts=np.cumsum([0, *map(len, parts)]),
            boxes=np.concatenate([corners[:, :2], sides], 1),
            labels=np.array([KINDS.index(part.kind) for found in parts for part in found]),
            areas=sides.prod(1),
            crowd=np.zeros(len(corners), bool),
        )
        super().__init__(annotations, list(KINDS), BoxView(config.size, config.jitter, config.augment))

    def open(self, index: int) -> Tensor:
        return self.shapes.load([index], None).images[0]

    def name(self, index: int) -> str:
        return f"shapes[{index}]"
