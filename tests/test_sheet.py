"""The contact sheet shows the images as they were, and the right and wrong predictions."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sasa.train.detections import Detections
from sasa.train.sheet import COLOURS, GAP, LARGE, PAPER, RIGHT, TILE, WRONG, box_sheet, sheet

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


def test_boxes_stand_where_they_are_true_ones_white_and_found_ones_in_colour(tmp_path: Path) -> None:
    """In pictures of 160x80 and of 80x160 pixels, each seen twice as large; the second one has no true box."""
    black = [torch.zeros(3, 80, 160, dtype=torch.uint8), torch.zeros(3, 160, 80, dtype=torch.uint8)]
    true = [np.array([[20.0, 10, 60, 70]]), np.empty((0, 4))]
    found = [
        Detections(np.array([[90.0, 30, 150, 60], [100, 40, 140, 76]]), np.array([1, 0]), np.array([0.9, 0.8])),
        Detections(np.array([[10.0, 30, 70, 150]]), np.array([1]), np.array([0.7])),
    ]
    box_sheet(black, true, found, ["a", "b"], tmp_path / "boxes.png", columns=2)
    page = np.array(Image.open(tmp_path / "boxes.png"))
    assert LARGE == 320

    def at(column: int, x: float, y: float) -> str:
        return "#" + bytes(page[GAP + round(2 * y), GAP + column * (LARGE + GAP) + round(2 * x)]).hex()

    edges = [(20, 10), (60, 10), (20, 70), (60, 70), (40, 10), (40, 70), (20, 40), (60, 40)]
    assert {at(0, *place) for place in edges} == {PAPER}
    first, second = COLOURS[:2]
    assert {at(0, *place) for place in ((90, 45), (150, 45), (130, 30), (100, 60), (120, 60))} == {
        second
    }  # above the other
    assert {at(0, *place) for place in ((100, 65), (140, 65), (120, 76))} == {first}
    assert {at(1, *place) for place in ((10, 90), (70, 90), (40, 150), (69, 30))} == {second}
    inside = [(0, 40, 40), (0, 125, 50), (0, 0, 0), (0, 159, 79), (1, 40, 90), (1, 79, 159), (1, 0, 0)]
    assert {at(*place) for place in inside} == {"#000000"}
    assert {at(*place) for place in ((0, 80, 81), (1, 81, 80), (0, 161, 40))} == {PAPER}
