"""What a detector finds in an image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class Detections:
    """Detections in one image: boxes (N, 4) as x0, y0, x1, y1 in pixels, classes (N,) and scores (N,)."""

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "Detections":
        """Some of the detections, by a mask or by their places."""
        return Detections(self.boxes[which], self.labels[which], self.scores[which])
