"""What each head looks at: the attention weights of a few pixels of test images, by the equation, as numbers and a picture."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from sasa.nn.attention import LocalAttention
from sasa.ops import reference
from sasa.train.sheet import denormalise

POINTS = ((0.5, 0.5), (0.28, 0.34), (0.7, 0.62))  # (row, column) of the pixels looked from, as fractions of the image
UNIT = 10_000  # a weight of 1 in attention.json
SIDE = 128  # of the images kept in attention.json, at most
TILE, GAP, LINE = 104, 6, 18
INK, QUIET, PAPER, MARK = "#18181b", "#71717a", "#ffffff", "#00e5ff"


@dataclass(frozen=True)
class Map:
    """Weights (images, points, heads, k, k) of one layer, whose map is height x width, from `pixels` (row, column)."""

    name: str
    extent: int
    height: int
    width: int
    pixels: list[tuple[int, int]]
    weights: Tensor


@dataclass(frozen=True)
class Drawn:
    """The content of attention.json, and attention.png."""

    record: dict[str, Any]
    picture: Image.Image


@torch.no_grad()
def attention_maps(model: nn.Module, images: Tensor) -> list[Map]:
    """The last attention layer of each layer group, looked into while the network classifies `images` (B, 3, H, W)."""
    last = {name.split(".")[0]: name for name, module in model.named_modules() if isinstance(module, LocalAttention)}
    inputs: dict[str, Tensor] = {}
    handles = [
        model.get_submodule(name).register_forward_pre_hook(lambda _, args, name=name: inputs.update({name: args[0]}))
        for name in last.values()
    ]
    try:
        model.eval()(images)
    finally:
        for handle in handles:
            handle.remove()
    return [look(name, model.get_submodule(name), inputs[name]) for name in last.values()]


def look(name: str, layer: nn.Module, x: Tensor) -> Map:
    """The weights of one layer, given its input (B, C, H, W)."""
    assert isinstance(layer, LocalAttention)
    height, width = x.shape[2:]
    pixels = [(int(row * height), int(column * width)) for row, column in POINTS]
    rows, columns = (list(places) for places in zip(*pixels, strict=True))
    extent = layer.options.extent
    weights = reference.weights_and_sums(layer.arguments(x))[0][:, rows, columns].unflatten(-1, (extent, extent))
    return Map(name, extent, height, width, pixels, weights.cpu())


def draw(
    maps: Sequence[Map], images: Tensor, titles: Sequence[str], mean: Sequence[float], std: Sequence[float]
) -> Drawn:
    """The maps of normalised images as a record for the dashboard and as one picture: a line a pixel and layer."""
    pictures = denormalise(images, mean, std)
    layers = [
        {
            "name": seen.name,
            "extent": seen.extent,
            "height": seen.height,
            "width": seen.width,
            "pixels": seen.pixels,
            "weights": (seen.weights.flatten(3) * UNIT).round().int().tolist(),
        }
        for seen in maps
    ]
    kept = [{"title": title, "png": encoded(picture)} for title, picture in zip(titles, pictures, strict=True)]
    return Drawn({"unit": UNIT, "images": kept, "layers": layers}, page(maps, pictures, titles))


def encoded(picture: Image.Image) -> str:
    """A PNG in base64, of SIDE pixels at most."""
    small = picture if picture.width <= SIDE else picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def page(maps: Sequence[Map], pictures: Sequence[Image.Image], titles: Sequence[str]) -> Image.Image:
    """A band an image and a line a layer; for each point the image with the pixel marked, then a tile a head."""
    heads = max(seen.weights.shape[2] for seen in maps)
    step, left = TILE + GAP, 90 + GAP
    group = (heads + 1) * step + 2 * GAP  # width of a point
    band = LINE + len(maps) * step + GAP
    sheet = Image.new("RGB", (left + len(POINTS) * group, GAP + len(pictures) * band), PAPER)
    brush, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for index, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        top = GAP + index * band
        heading = f"{title}: for {len(POINTS)} pixels, what each of {heads} heads looks at"
        brush.text((GAP, top), heading, fill=INK, font=font)
        for line, seen in enumerate(maps):
            y = top + LINE + line * step
            layer = ".".join(seen.name.split(".")[:2])
            brush.text((GAP, y), f"{layer}\n{seen.height}x{seen.width}, k={seen.extent}", fill=QUIET, font=font)
            for point, head in product(range(len(POINTS)), range(-1, seen.weights.shape[2])):
                tile = overlay(picture, seen, index, point, head)
                sheet.paste(tile, (left + point * group + (head + 1) * step, y))
    return sheet


def overlay(picture: Image.Image, seen: Map, image: int, point: int, head: int) -> Image.Image:
    """The image in grey under one head's weights (head -1: in colour, without any), the pixel in a frame."""
    row, column = seen.pixels[point]
    if head < 0:
        tile = picture.resize((TILE, TILE), Image.Resampling.BICUBIC)
    else:
        pad = seen.extent // 2
        heat = np.zeros((seen.height + 2 * pad, seen.width + 2 * pad), np.float32)
        heat[row : row + seen.extent, column : column + seen.extent] = seen.weights[image, point, head].numpy()
        heat = heat[pad : pad + seen.height, pad : pad + seen.width]
        share = Image.fromarray((heat / max(heat.max(), 1e-9) * 235).astype(np.uint8))
        grey = picture.convert("L").point(lambda value: value * 0.45).convert("RGB").resize((TILE, TILE))
        tile = Image.composite(
            Image.new("RGB", (TILE, TILE), "#ffb000"), grey, share.resize((TILE, TILE), Image.Resampling.NEAREST)
        )
    frame = (column / seen.width, row / seen.height, (column + 1) / seen.width, (row + 1) / seen.height)
    left, upper, right, lower = (value * TILE for value in frame)
    ImageDraw.Draw(tile).rectangle((left, upper, max(left, right - 1), max(upper, lower - 1)), outline=MARK)
    return tile
