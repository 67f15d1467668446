"""How large the maps of a network's layer groups are, and whether spatial extents differ on them."""

from collections.abc import Iterable

from sasa.records.result import Run

STRIDES = (4, 8, 16, 32)  # of the four layer groups; every stem leaves a quarter of the image


def sides(run: Run) -> tuple[int, ...]:
    """The side of the map that each layer group makes, in pixels; empty where the images' size is not recorded.

    The first block of groups 2 to 4 attends before it halves its map, so to one twice as large.
    """
    size = (run.config.get("data") or {}).get("size")
    return tuple(-(-size // stride) for stride in STRIDES) if isinstance(size, int) else ()


def too_small(runs: Iterable[Run], few: int, many: int) -> str:
    """Why runs cannot tell the two extents apart, in words; empty where they can, or where the size is not known.

    On a map of (few + 1) / 2 pixels and less both are the same layer: each sees the whole map from every pixel. Three layer
    groups of four have to be larger.
    """
    maps = next(filter(None, map(sides, runs)), ())
    same = (few + 1) // 2
    if sum(side > same for side in maps) >= 3 or not maps:
        return ""
    listed = f"{', '.join(map(str, maps[:-1]))} and {maps[-1]}"
    return f"maps of {listed} pixels cannot tell k = {few} from {many}: on {same} and less both see everything"
