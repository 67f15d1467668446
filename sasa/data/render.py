"""Pictures of scenes, many at once: a soft background, shaded and textured parts, grain."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from sasa.data.scene import DISC, KINDS, SLOTS, TEXTURES, Floats, Scenes, colours
from sasa.data.seeds import uniform

GRID = 5  # the background interpolates GRID x GRID random colours
GRAIN = 0.04  # standard deviation of the noise, of a range of 0..1
GRAIN_SIDE = 64  # grain is cut from one sheet, larger than the image by this many pixels


CHUNK = 32  # images drawn at a time: what fits the processor's cache


def render(scenes: Scenes) -> NDArray[np.uint8]:
    """Images (B, size, size, 3)."""
    images = np.empty((len(scenes.labels), scenes.size, scenes.size, 3), np.uint8)
    for start in range(0, len(images), CHUNK):
        piece = scenes[start : start + CHUNK]
        canvas = background(piece)
        for slot in range(SLOTS):
            paint(canvas, piece, np.flatnonzero(piece.present[:, slot]), slot)
        canvas += grain(piece)
        images[start : start + CHUNK] = np.clip(canvas * 255 + 0.5, 0, 255)
    return images


def background(scenes: Scenes) -> NDArray[np.float32]:
    """Muted clouds (B, size, size, 3)."""
    split, index = scenes.identity.T
    split, index = split[:, None], index[:, None]
    tone = uniform(split, index, 20, np.arange(4))[:, None, None]
    spread = uniform(split, index, 21, np.arange(GRID * GRID * 4)).reshape(-1, GRID, GRID, 4) - 0.5
    light = 0.30 + 0.30 * tone[..., 3:] + 0.34 * spread[..., 3:]  # of all three colours alike
    clouds = (light + 0.16 * (tone[..., :3] - 0.5) + 0.16 * spread[..., :3]).astype(np.float32)
    weights = blend(scenes.size)
    wide = np.einsum("xg,bhgc->bhxc", weights, clouds)
    return np.einsum("yg,bgxc->byxc", weights, wide)


def blend(size: int) -> NDArray[np.float32]:
    """Smooth interpolation (size, GRID) from GRID points to size pixels."""
    distance = np.abs(np.linspace(0, GRID - 1, size)[:, None] - np.arange(GRID))
    return np.where(distance < 1, 0.5 + 0.5 * np.cos(np.pi * distance), 0).astype(np.float32)


def grain(scenes: Scenes) -> NDArray[np.float32]:
    """Noise (B, size, size, 3): pieces of one sheet, each from its own corner."""
    split, index = scenes.identity.T
    size = scenes.size
    corner = (uniform(split[:, None], index[:, None], 22, np.arange(2)) * GRAIN_SIDE).astype(np.int64)
    views = np.lib.stride_tricks.sliding_window_view(
        grain_sheet(size + GRAIN_SIDE), (size, size), axis=(0, 1)
    )  # y x c size size
    return views[corner[:, 1], corner[:, 0]].transpose(0, 2, 3, 1)


@cache
def grain_sheet(side: int) -> NDArray[np.float32]:
    """Independent noise (side, side, 3)."""
    triangular = uniform(99, np.arange(2 * side * side * 3)).reshape(2, side, side, 3).sum(0) - 1
    return (triangular * (GRAIN * np.sqrt(6))).astype(np.float32)


def paint(canvas: NDArray[np.float32], scenes: Scenes, rows: NDArray[np.int64], slot: int) -> None:
    """Draw one part into each of the images `rows`, over what is there, with a soft shadow."""
    size = scenes.size
    centre, radius, turn = (
        values[rows, slot].astype(np.float32) for values in (scenes.centre, scenes.radius, scenes.turn)
    )
    side = int(np.ceil(2 * size * scenes.view.radius[1] + 0.12 * size))  # of the patch that part and shadow fit in
    corner = np.clip(np.round(centre - side / 2), 0, size - side).astype(np.int64)
    x = corner[:, 0, None, None] + np.arange(side)  # (R, 1, side)
    y = corner[:, 1, None, None] + np.arange(side)[:, None]  # (R, side, 1)
    centre_x, centre_y, radius, cos, sin = (
        values[:, None, None] for values in (centre[:, 0], centre[:, 1], radius, np.cos(turn), np.sin(turn))
    )
    right, down = (x + np.float32(0.5) - centre_x) / radius, (y + np.float32(0.5) - centre_y) / radius
    u, v = cos * right + sin * down, cos * down - sin * right  # the part's own axes; its radius is 1
    outside, light = np.empty_like(u), np.empty_like(u)
    for number, kind in enumerate(KINDS):
        chosen = scenes.kind[rows, slot] == number
        outside[chosen] = distance(kind, u[chosen], v[chosen])
    for number, texture in enumerate(TEXTURES):
        chosen = scenes.texture[rows, slot] == number
        light[chosen] = shade(texture, u[chosen], v[chosen])
    outside *= radius  # in pixels from here on
    shadow = 1 - 0.45 * np.clip(1 - outside / (0.05 * size), 0, 1) ** 2
    cover = np.clip(0.5 - outside, 0, 1)
    edge = 0.45 + 0.55 * np.clip(0.5 - outside - 0.014 * size, 0, 1)  # a thin dark line inside the outline
    shine = 0.05 * (1 - u - v)
    colour = colours(scenes.hue[rows, slot]).astype(np.float32)[:, None, None]
    paint = colour * (edge * (0.35 + 0.65 * light))[..., None] + (edge * (0.08 * (1 - light) + shine))[..., None]
    image = rows[:, None, None]
    below = canvas[image, y, x] * shadow[..., None]
    canvas[image, y, x] = below + (paint - below) * cover[..., None]


def distance(kind: str, u: Floats, v: Floats) -> Floats:
    """Signed distance to the outline, below 0 inside; the part's radius is 1."""
    if kind == "disc":
        return np.hypot(u, v) - DISC
    if kind == "square":
        return np.maximum(np.abs(u), np.abs(v)) - 0.8
    if kind == "triangle":
        return np.maximum(0.866 * np.abs(u) + 0.5 * v, -v) - 0.5
    if kind == "ring":
        return np.abs(np.hypot(u, v) - 0.73) - 0.27
    u, v = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(u - 1, v - 0.34), np.maximum(u - 0.34, v - 1))


def shade(texture: str, u: Floats, v: Floats) -> Floats:
    """Mixture in 0..1 of a part's second and first colour."""
    if texture == "plain":
        return np.ones_like(u)
    if texture == "gradient":
        return np.clip(0.55 + 0.55 * u, 0, 1)
    if texture == "stripes":
        return np.clip(0.6 + 1.2 * np.sin(6.0 * u), 0, 1)
    if texture == "dots":
        return np.clip(0.9 - 1.6 * np.cos(5.0 * u) * np.cos(5.0 * v), 0, 1)
    return np.clip(0.55 + 2.0 * np.sin(4.5 * u) * np.sin(4.5 * v), 0, 1)
