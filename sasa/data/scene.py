"""Scenes of generated parts: what is where. Two of the parts make the class, by their arrangement alone.

Every scene has one ring and one cross, and one or two distractors (disc, square, triangle). The class is the bearing
of the line through ring and cross. The ring's centre is uniform on a disc about the middle of the image; the cross is
half a chord away from it, along the chord through the ring that has the class's bearing. Half a chord modulo the
chord only permutes the points of the disc, so the cross is uniform on the disc too, whatever the class. Kinds,
colours, sizes, textures and distractors do not depend on the class at all: each part alone says nothing about it.
(A direction, such as north against south, could not have this property: it would show in the mean position of a part.)
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sasa.data.seeds import uniform

Floats = NDArray[np.float64]

KINDS = ("disc", "square", "triangle", "ring", "cross")
TEXTURES = ("plain", "gradient", "stripes", "dots", "checks")
DISTRACTORS = 2  # slots 0 and 1, drawn first; slot 2 is the ring, slot 3 the cross
SLOTS = DISTRACTORS + 2
BEARINGS = {  # class name -> degrees from north, clockwise; the first classes are the furthest apart
    "north": 0.0,
    "east": 90.0,
    "north-east": 45.0,
    "south-east": 135.0,
    "north-north-east": 22.5,
    "east-north-east": 67.5,
    "east-south-east": 112.5,
    "south-south-east": 157.5,
}
WOBBLE = 4.0  # degrees either way about the bearing; neighbouring classes are 22.5 apart
RADIUS = (0.062, 0.080)  # of a part, over the side of the image
REACH = 0.5 - RADIUS[1] - 0.02  # of the disc of centres: a part is never cut off by the border
OUTLINES = {  # corners on the unit disc, for boxes
    "square": [(0.8, 0.8), (-0.8, 0.8), (0.8, -0.8), (-0.8, -0.8)],
    "triangle": [(0.0, 1.0), (0.866, -0.5), (-0.866, -0.5)],
    "cross": [(x * a, y * b) for a, b in ((1.0, 0.34), (0.34, 1.0)) for x in (-1, 1) for y in (-1, 1)],
}


@dataclass
class Part:
    """One part of a scene: box is (x0, y0, x1, y1) in pixels, colour is (red, green, blue) in 0..1."""

    kind: str
    box: tuple[float, float, float, float]
    colour: tuple[float, float, float]
    texture: str


@dataclass
class Scenes:
    """B scenes of SLOTS parts, in the order of drawing. Lengths are in pixels, angles in radians."""

    size: int
    identity: NDArray[np.int64]  # (B, 2): split, index
    labels: NDArray[np.int64]  # (B,)
    present: NDArray[np.bool_]  # (B, SLOTS)
    kind: NDArray[np.int64]  # (B, SLOTS), in KINDS
    texture: NDArray[np.int64]  # (B, SLOTS), in TEXTURES
    centre: Floats  # (B, SLOTS, 2): x, y
    radius: Floats  # (B, SLOTS)
    turn: Floats  # (B, SLOTS)
    hue: Floats  # (B, SLOTS) in 0..1

    def __getitem__(self, which: slice) -> "Scenes":
        """Some of the scenes."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        size = arrays.pop("size")
        return Scenes(size=size, **{name: array[which] for name, array in arrays.items()})

    def parts(self, scene: int) -> list[Part]:
        """The parts of one scene, for detection and for people."""
        return [self.part(scene, slot) for slot in range(SLOTS) if self.present[scene, slot]]

    def part(self, scene: int, slot: int) -> Part:
        """One part with the tight box around its outline."""
        kind = KINDS[self.kind[scene, slot]]
        centre, radius, turn = self.centre[scene, slot], self.radius[scene, slot], self.turn[scene, slot]
        reach = np.ones(2)
        low, high = -reach, reach
        if kind in OUTLINES:
            cos, sin = np.cos(turn), np.sin(turn)
            corners = np.array(OUTLINES[kind]) @ np.array([[cos, sin], [-sin, cos]])
            low, high = corners.min(0), corners.max(0)
        x0, y0, x1, y1 = (float(edge) for edge in (*(centre + radius * low), *(centre + radius * high)))
        red, green, blue = (float(value) for value in colours(self.hue[scene, slot]))
        return Part(kind, (x0, y0, x1, y1), (red, green, blue), TEXTURES[self.texture[scene, slot]])


def scenes(split: int, indices: NDArray[np.int64], size: int, classes: int) -> Scenes:
    """The scenes of a split (0 train, 1 test) by index: a function of these numbers, so any order and part of it."""
    indices = np.asarray(indices, np.int64)
    labels = indices % classes

    def draw(name: int, slots: int = SLOTS) -> Floats:
        return uniform(split, indices[:, None], name, np.arange(slots))  # (B, slots) in [0, 1)

    kind = (draw(0) * 3).astype(np.int64)
    kind[:, 2:] = KINDS.index("ring"), KINDS.index("cross")
    present = np.ones((len(indices), SLOTS), bool)
    present[:, 0] = draw(1)[:, 0] < 0.5
    margin = size * (0.5 - REACH)
    centre = margin + np.stack([draw(2), draw(3)], -1) * (size - 2 * margin)
    pair = arrange(np.array([*BEARINGS.values()])[labels], draw(4, 3))
    centre[:, 2:] = size / 2 + size * REACH * pair
    return Scenes(
        size=size,
        identity=np.stack([np.full_like(indices, split), indices], -1),
        labels=labels,
        present=present,
        kind=kind,
        texture=(draw(5) * len(TEXTURES)).astype(np.int64),
        centre=centre,
        radius=size * (RADIUS[0] + (RADIUS[1] - RADIUS[0]) * draw(6)),
        turn=2 * np.pi * draw(7),
        hue=draw(8),
    )


def arrange(bearing: Floats, random: Floats) -> Floats:
    """Centres (B, 2 parts, x and y) on the unit disc: the second half a chord of the bearing (B,) from the first."""
    angle = np.deg2rad(bearing + WOBBLE * (2 * random[:, 0] - 1))
    along = np.stack([np.sin(angle), -np.cos(angle)], -1)  # y points down
    distance, direction = np.sqrt(random[:, 1]), 2 * np.pi * random[:, 2]
    first = np.stack([distance * np.cos(direction), distance * np.sin(direction)], -1)
    position = (first * along).sum(-1)  # on the chord, from its middle
    half = np.sqrt(1 - distance**2 + position**2)
    second = first - np.copysign(half, position)[:, None] * along
    return np.stack([first, second], 1)


def colours(hue: Floats) -> Floats:
    """Bright colours (..., 3) in 0..1 for hues in 0..1."""
    return 0.58 + 0.40 * np.cos(2 * np.pi * (np.asarray(hue)[..., None] + np.array([0.0, 1 / 3, 2 / 3])))
