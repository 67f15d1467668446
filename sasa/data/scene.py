"""Scenes of generated parts: what is where. Two of the parts make the class, by their arrangement alone.

Every scene has one red ring and one green cross, and one or two distractors (disc, square, triangle)
in other hues. The class is the direction from the ring to the cross, which lie apart by more than a stem sees at once.
The middle between them, and the kinds, colours, sizes and textures of all parts do not depend on the class: a bag of
parts says nothing about it. (Each of the two lies a little to its side on average, as any direction must have it.)
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
DIRECTIONS = {  # class name -> degrees from north, clockwise; the first classes are the furthest apart
    "north": 0.0,
    "south": 180.0,
    "east": 90.0,
    "west": 270.0,
    "north-east": 45.0,
    "south-west": 225.0,
    "south-east": 135.0,
    "north-west": 315.0,
}
WOBBLE = 8.0  # degrees either way about the direction; neighbouring classes are 45 apart
HUES = {
    "ring": (-0.04, 0.06),
    "cross": (0.55, 0.65),
}  # red, green; distractors are blue or yellow
DISTRACTOR_HUES = ((0.25, 0.40), (0.75, 0.85))  # by slot
DISC = 0.92  # radius of a disc over that of its part
OUTLINES = {  # corners on the unit disc, for boxes
    "square": [(0.8, 0.8), (-0.8, 0.8), (0.8, -0.8), (-0.8, -0.8)],
    "triangle": [(0.0, 1.0), (0.866, -0.5), (-0.866, -0.5)],
    "cross": [(x * a, y * b) for a, b in ((1.0, 0.34), (0.34, 1.0)) for x in (-1, 1) for y in (-1, 1)],
}


@dataclass(frozen=True)
class View:
    """How large the parts are and how far apart; lengths over the side of the image."""

    radius: tuple[float, float]  # of a part
    distractor: float  # radius of a distractor over that of ring and cross
    distance: tuple[float, float]  # from ring to cross
    middle: float  # the middle between them keeps this far from the border: no part is ever cut off


# To tell the arrangement: ring and cross lie further apart than the 11 pixels that the stem sees of 64. Distractors as
# large as they hide the arrangement from a network that has not learned the kinds yet: a small one then stays at chance
# for hundreds of steps.
FAR = View(radius=(0.078, 0.095), distractor=0.5, distance=(0.20, 0.27), middle=0.25)
# To find the parts: all of them are as large as the anchors.
CLOSE = View(radius=(0.133, 0.162), distractor=1.0, distance=(0.34, 0.46), middle=0.42)


@dataclass
class Part:
    """One part of a scene: box is (x0, y0, x1, y1) in pixels."""

    kind: str
    box: tuple[float, float, float, float]


@dataclass
class Scenes:
    """B scenes of SLOTS parts, in the order of drawing. Lengths are in pixels, angles in radians."""

    size: int
    view: View
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
        size, view = arrays.pop("size"), arrays.pop("view")
        return Scenes(size=size, view=view, **{name: array[which] for name, array in arrays.items()})

    def parts(self, scene: int) -> list[Part]:
        """The parts of one scene, for detection and for people."""
        return [self.part(scene, slot) for slot in range(SLOTS) if self.present[scene, slot]]

    def part(self, scene: int, slot: int) -> Part:
        """One part with the tight box around its outline."""
        kind = KINDS[self.kind[scene, slot]]
        centre, radius, turn = self.centre[scene, slot], self.radius[scene, slot], self.turn[scene, slot]
        reach = np.full(2, DISC if kind == "disc" else 1.0)
        low, high = -reach, reach
        if kind in OUTLINES:
            cos, sin = np.cos(turn), np.sin(turn)
            corners = np.array(OUTLINES[kind]) @ np.array([[cos, sin], [-sin, cos]])
            low, high = corners.min(0), corners.max(0)
        x0, y0, x1, y1 = (float(edge) for edge in (*(centre + radius * low), *(centre + radius * high)))
        return Part(kind, (x0, y0, x1, y1))


def scenes(split: int, indices: NDArray[np.int64], size: int, classes: int, view: View = FAR) -> Scenes:
    """The scenes of a split (0 train, 1 test) by index: a function of these numbers, so any order and part of it."""
    indices = np.asarray(indices, np.int64)
    labels = indices % classes

    def draw(name: int, slots: int = SLOTS) -> Floats:
        return uniform(split, indices[:, None], name, np.arange(slots))  # (B, slots) in [0, 1)

    kind = (draw(0) * 3).astype(np.int64)
    kind[:, DISTRACTORS:] = KINDS.index("ring"), KINDS.index("cross")
    present = np.ones((len(indices), SLOTS), bool)
    present[:, 0] = draw(1)[:, 0] < 0.5
    radius = size * (view.radius[0] + (view.radius[1] - view.radius[0]) * draw(6))
    radius[:, :DISTRACTORS] *= view.distractor
    margin = size * (view.radius[1] + 0.02)
    centre = margin + np.stack([draw(2), draw(3)], -1) * (size - 2 * margin)
    centre[:, DISTRACTORS:] = size * arrange(np.array([*DIRECTIONS.values()])[labels], draw(4), view)
    hues = np.array([*DISTRACTOR_HUES, HUES["ring"], HUES["cross"]])
    return Scenes(
        size=size,
        view=view,
        identity=np.stack([np.full_like(indices, split), indices], -1),
        labels=labels,
        present=present,
        kind=kind,
        texture=(draw(5) * len(TEXTURES)).astype(np.int64),
        centre=centre,
        radius=radius,
        turn=2 * np.pi * draw(7),
        hue=(hues[:, 0] + (hues[:, 1] - hues[:, 0]) * draw(8)) % 1,
    )


def arrange(direction: Floats, random: Floats, view: View) -> Floats:
    """Centres (B, 2 parts, x and y) of ring and cross over the side of the image, the cross in the direction (B,)."""
    angle = np.deg2rad(direction + WOBBLE * (2 * random[:, 0] - 1))
    apart = np.stack([np.sin(angle), -np.cos(angle)], -1)  # y points down
    apart *= (view.distance[0] + (view.distance[1] - view.distance[0]) * random[:, 1])[:, None]
    middle = view.middle + (1 - 2 * view.middle) * random[:, 2:]
    return np.stack([middle - apart / 2, middle + apart / 2], 1)


def colours(hue: Floats) -> Floats:
    """Bright colours (..., 3) in 0..1 for hues in 0..1."""
    return 0.58 + 0.40 * np.cos(2 * np.pi * (np.asarray(hue)[..., None] + np.array([0.0, 1 / 3, 2 / 3])))
