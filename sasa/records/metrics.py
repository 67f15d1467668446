"""The lines of metrics.jsonl by split, as many of them as a curve needs."""

import re

POINTS = 48  # of a curve, at most
SPLIT = re.compile(rb'\{"split": ?"(\w+)"')


def lines_by_split(content: bytes) -> dict[str, list[bytes]]:
    """The whole lines of each split, thinned; one that is broken, or half written, is left out."""
    splits: dict[str, list[bytes]] = {}
    for line in content.splitlines():
        if (matched := SPLIT.match(line)) and line.endswith(b"}"):
            splits.setdefault(matched[1].decode(), []).append(line)
    return {split: thinned(lines) for split, lines in splits.items()}


def thinned(lines: list[bytes]) -> list[bytes]:
    """At most POINTS of the lines, evenly spread, the last one among them."""
    if len(lines) <= POINTS:
        return lines
    return [lines[round((index + 1) * len(lines) / POINTS) - 1] for index in range(POINTS)]
