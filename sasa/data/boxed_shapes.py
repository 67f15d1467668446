"""Generated images for detection: the scenes of sasa.data.shapes with a box around each part."""

import numpy as np
from torch import Tensor

from sasa.config.data import Data
from sasa.data.boxes import Annotations, Boxed, BoxView
from sasa.data.scene import CLOSE, DIRECTIONS, KINDS, scenes
from sasa.data.shapes import Shapes
from sasa.errors import InputError


class BoxedShapes(Boxed):
    """The same scenes, seen from closer, with a box around each part; the classes are the kinds of parts."""

    def __init__(self, data: Data, split: int, images: int) -> None:
        if data.classes != len(KINDS):
            raise InputError(
                f"data.classes={data.classes}: generated images have parts of {len(KINDS)} kinds, "
                f"so set data.classes={len(KINDS)}"
            )
        self.shapes, self.split = Shapes(split, images, data.size, len(DIRECTIONS), CLOSE), split
        drawn = scenes(split, np.arange(images), data.size, len(DIRECTIONS), CLOSE)
        parts = [drawn.parts(scene) for scene in range(images)]
        corners = np.array([part.box for image in parts for part in image], np.float64)
        sides = corners[:, 2:] - corners[:, :2]
        annotations = Annotations(
            sizes=np.full((images, 2), data.size),
            starts=np.cumsum([0, *map(len, parts)]),
            boxes=np.concatenate([corners[:, :2], sides], 1),
            labels=np.array([KINDS.index(part.kind) for image in parts for part in image]),
            areas=sides.prod(1),
            crowd=np.zeros(len(corners), bool),
        )
        super().__init__(annotations, list(KINDS), BoxView(data.size, data.jitter, data.augment))

    def open(self, index: int) -> Tensor:
        return self.shapes.load([index], None).images[0]

    def name(self, index: int) -> str:
        return f"shapes[{index}]"
