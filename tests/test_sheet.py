"""The contact sheet shows the images as they were, and the right and wrong predictions."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sasa.train.sheet import GAP, RIGHT, TILE, WRONG, sheet

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


def colours(page: np.ndarray) -> set[str]:
    return {f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in np.unique(page.reshape(-1, 3), axis=0)}


def test_a_sheet_shows_images_classes_and_predictions(tmp_path: Path) -> None:
    plain = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.0, 1.0], [0.2, 0.4, 0.6]]).view(3, 3, 1, 1).expand(3, 3, 32, 32)
    images = (plain - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    path = tmp_path / "new" / "sheet.png"
    names = ["cat", "a class with a name that is much too long for the width of a picture"]
    sheet(images, torch.tensor([0, 1, 1]), [0, 0, 1], names, path, mean=MEAN, std=STD, columns=2)
    page = np.array(Image.open(path))
    assert page[GAP + TILE // 2, GAP + TILE // 2].tolist() == [255, 128, 0]
    assert page[GAP + TILE // 2, 2 * GAP + 3 * TILE // 2].tolist() == [0, 0, 255]
    half = page.shape[0] // 2
    assert page.shape[1] == GAP + 2 * (TILE + GAP)
    left, right = page[GAP + TILE : half, : GAP + TILE], page[GAP + TILE : half, GAP + TILE + 1 :]
    assert RIGHT in colours(left)
    assert WRONG not in colours(left)
    assert WRONG in colours(right)
    assert RIGHT not in colours(right)
    assert (page[:, -GAP // 2 :] == 255).all()  # long names end within their column


def test_one_large_image(tmp_path: Path) -> None:
    sheet(torch.zeros(1, 3, 224, 224), [0], [0], ["a"], tmp_path / "one.png", mean=MEAN, std=STD)
    assert Image.open(tmp_path / "one.png").size[0] == TILE + 2 * GAP
