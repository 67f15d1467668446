"""Generated images as a source: nothing to download, any number of them."""

from collections.abc import Sequence

import numpy as np
import torch

from sasa.data.render import render
from sasa.data.samples import Batch
from sasa.data.scene import DIRECTIONS, FAR, View, scenes
from sasa.errors import InputError

MEMORY = 2**30  # bytes of drawn images that are kept; larger sets are drawn again in every epoch


class Shapes:
    """The first `images` scenes of a split (0 train, 1 test): images are drawn when they are first asked for."""

    def __init__(self, split: int, images: int, size: int, classes: int, view: View = FAR) -> None:
        if size < 32:
            raise InputError(f"data.size={size}: generated images need at least 32 pixels for their parts to be seen")
        if not 2 <= classes <= len(DIRECTIONS):
            raise InputError(f"data.classes={classes}: generated images have 2 to {len(DIRECTIONS)} classes")
        self.split, self.images, self.size, self.view = split, images, size, view
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
        return render(scenes(self.split, indices, self.size, len(self.classes), self.view))
