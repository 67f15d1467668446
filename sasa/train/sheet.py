"""A contact sheet: samples as a picture, with what they are and what a network took them for."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sasa.train.detections import Detections

TILE = 160  # side of a picture on the sheet, pixels
LARGE = 320  # side of a picture on a sheet with boxes
GAP = 12
COMPRESSION = 4  # of 9, which saves 2 to 10 % of the file and takes a second more
TEXT = 18  # size of the first line below a picture, in pixels
RIGHT, WRONG, INK, QUIET, PAPER = "#15803d", "#c81e1e", "#18181b", "#71717a", "#ffffff"
COLOURS = ("#c2410c", "#15803d", "#1d4ed8", "#a21caf", "#b91c1c", "#0f766e", "#854d0e", "#4338ca")  # of found boxes


def sheet(
    images: Tensor,
    labels: Sequence[int] | Tensor,
    predictions: Sequence[int] | Tensor,
    classes: Sequence[str],
    path: str | Path,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    columns: int = 8,
) -> None:
    """Save normalised images (N, 3, S, S) as a PNG: below each its class, and the prediction in green or red."""
    pictures = denormalise(images, mean, std)
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    below = 3 * TEXT
    page = Image.new("RGB", (GAP + columns * (TILE + GAP), GAP + rows * (TILE + below + GAP)), PAPER)
    draw = ImageDraw.Draw(page)
    for number, (picture, label, prediction) in enumerate(zip(pictures, labels, predictions, strict=True)):
        x = GAP + number % columns * (TILE + GAP)
        y = GAP + number // columns * (TILE + below + GAP)
        right = int(label) == int(prediction)
        page.paste(enlarge(picture), (x, y))
        line(draw, x, y + TILE + 5, classes[int(label)], INK)
        mark(draw, x, y + TILE + 5 + TEXT + 4, right)
        line(draw, x + TEXT, y + TILE + 5 + TEXT + 4, classes[int(prediction)], RIGHT if right else WRONG)
    save(page, path)


def box_sheet(
    pictures: Sequence[Tensor],
    true: Sequence[NDArray[np.floating]],
    detected: Sequence[Detections],
    classes: Sequence[str],
    path: str | Path,
    *,
    columns: int = 4,
) -> None:
    """Save pictures uint8 (3, H, W) as a PNG, with true boxes white and found ones in colour, named and scored."""
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    page = Image.new("RGB", (GAP + columns * (LARGE + GAP), GAP + rows * (LARGE + GAP) + TEXT), PAPER)
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(11)
    for number, (picture, boxes, detections) in enumerate(zip(pictures, true, detected, strict=True)):
        x = GAP + number % columns * (LARGE + GAP)
        y = GAP + number // columns * (LARGE + GAP)
        scale = LARGE / max(picture.shape[1:])
        size = (max(1, round(picture.shape[2] * scale)), max(1, round(picture.shape[1] * scale)))
        image = Image.fromarray(picture.permute(1, 2, 0).numpy())
        page.paste(image.resize(size, Image.Resampling.BICUBIC), (x, y))
        for box in boxes:
            draw.rectangle(
                [(x + box[0] * scale, y + box[1] * scale), (x + box[2] * scale, y + box[3] * scale)], None, PAPER
            )
        best_last = detections[np.argsort(detections.scores)]
        for box, label, score in zip(best_last.boxes, best_last.labels, best_last.scores, strict=True):
            colour = COLOURS[int(label) % len(COLOURS)]
            left, top = x + box[0] * scale, y + box[1] * scale
            draw.rectangle([(left, top), (x + box[2] * scale, y + box[3] * scale)], None, colour, 2)
            text = f"{classes[int(label)]} {score:.2f}"
            place = (min(left, x + LARGE - draw.textlength(text, font)), max(top - 13, y))
            draw.rectangle(draw.textbbox(place, text, font), colour)
            draw.text(place, text, fill=PAPER, font=font)
    draw.text(
        (GAP, page.height - TEXT - 4), "white: true boxes; coloured: found, with their scores", fill=QUIET, font=font
    )
    save(page, path)


def save(page: Image.Image, path: str | Path) -> None:
    """As a PNG, in a folder that is made where it is missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    page.save(path, format="PNG", compress_level=COMPRESSION)


def denormalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> list[Image.Image]:
    """Pictures from normalised images (N, 3, S, S)."""
    scale, shift = (torch.tensor(values).view(3, 1, 1) for values in (std, mean))
    pixels = (images.detach().float().cpu() * scale + shift).clamp(0, 1) * 255
    return [Image.fromarray(picture) for picture in pixels.round().permute(0, 2, 3, 1).numpy().astype(np.uint8)]


def enlarge(picture: Image.Image) -> Image.Image:
    """TILE x TILE pixels; tiny pictures in two steps, which keeps their edges without a staircase."""
    side = picture.width * max(1, round(TILE / picture.width / 2))
    return picture.resize((side, side), Image.Resampling.NEAREST).resize((TILE, TILE), Image.Resampling.BICUBIC)


def mark(draw: ImageDraw.ImageDraw, x: int, y: int, right: bool) -> None:
    """A tick or a cross, drawn: the font may not have them, and colour alone does not reach everyone."""
    if right:
        draw.line([(x, y + 9), (x + 4, y + 13), (x + 12, y + 3)], fill=RIGHT, width=3, joint="curve")
    else:
        draw.line([(x + 1, y + 4), (x + 10, y + 13)], fill=WRONG, width=3)
        draw.line([(x + 10, y + 4), (x + 1, y + 13)], fill=WRONG, width=3)


def line(draw: ImageDraw.ImageDraw, x: int, y: int, text: str, colour: str) -> None:
    """One line of text in what is left of the tile's width, smaller or shortened where it is long."""
    width = TILE - x % (TILE + GAP) + GAP
    for size in range(TEXT - 2, 10, -1):
        font = ImageFont.load_default(size)
        if draw.textlength(text, font) <= width:
            break
    while draw.textlength(text, font) > width:
        text = text.removesuffix("…")[:-1] + "…"
    draw.text((x, y), text, fill=colour, font=font)
