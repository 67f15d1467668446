"""A run's metrics.jsonl as curves of a size to draw, read without parsing what is not drawn."""

import json
import math
import re
from pathlib import Path
from typing import Any

POINTS = 48  # of a curve, at most
SPLIT = re.compile(rb'\{"split": ?"(\w+)"')

Curves = dict[str, dict[str, list[float | None]]]  # {"train": {"x": epochs, "loss": [...], ...}, "validation": ...}


def read_curves(path: Path) -> Curves:
    """The curves by split; {} without a readable file. A line that is broken, or half written, is left out."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return {}
    splits: dict[str, list[bytes]] = {}
    for line in lines:
        if (found := SPLIT.match(line)) and line.endswith(b"}"):
            splits.setdefault(found[1].decode(), []).append(line)
    records = {split: parsed(thinned(found)) for split, found in splits.items()}
    per_epoch = next((r["step"] / r["epoch"] for r in records.get("validation", []) if r["step"] and r["epoch"]), None)
    per_epoch = per_epoch or recorded_steps(path.with_name("result.json"))
    return {split: columns(found, per_epoch) for split, found in records.items() if found}


def recorded_steps(path: Path) -> float | None:
    """The steps of an epoch by the record of a run: no epoch has ended that would show them."""
    try:
        steps = json.loads(path.read_bytes()).get("steps_per_epoch")
    except (OSError, ValueError, AttributeError):
        return None
    return steps if isinstance(steps, int) and steps > 0 else None


def thinned(lines: list[bytes]) -> list[bytes]:
    """At most POINTS of the lines, evenly spread, the last one among them."""
    if len(lines) <= POINTS:
        return lines
    return [lines[round((index + 1) * len(lines) / POINTS) - 1] for index in range(POINTS)]


def parsed(lines: list[bytes]) -> list[dict[str, Any]]:
    """The records in lines, those that say where in the run they stand."""
    try:
        found = json.loads(b"[" + b",".join(lines) + b"]")
    except ValueError:
        found = [record for line in lines if (record := readable(line))]
    return [record for record in found if placed(record)]


def readable(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def placed(record: dict[str, Any]) -> bool:
    return short(record.get("epoch")) is not None and short(record.get("step")) is not None


def columns(records: list[dict[str, Any]], per_epoch: float | None) -> dict[str, list[float | None]]:
    """Records as lists by name; "x" is the time in epochs. `per_epoch`: steps, if they are known."""
    names = dict.fromkeys(name for record in records for name in record if name not in ("split", "epoch", "step"))
    last = max(record["step"] for record in records) + 1
    xs = [
        record["step"] / per_epoch if per_epoch else record["epoch"] - 1 + record["step"] / last for record in records
    ]
    return {"x": [short(x) for x in xs], **{name: [short(r.get(name)) for r in records] for name in names}}


def short(value: object) -> float | None:
    """A finite number to three digits and more, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return round(value, 3) if abs(value) >= 0.1 else float(f"{value:.3g}")
