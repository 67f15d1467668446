"""How far a run has come, and how long it still takes."""

import heapq
import json
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sasa.records.result import Run

TAIL = 8192  # bytes at the end of metrics.jsonl, where its last line is


@dataclass(frozen=True)
class Progress:
    """Steps that are done, of how many; seconds that are left, None where the present process has noted none yet."""

    step: int
    steps: int
    left: float | None

    @property
    def share(self) -> float:
        return self.step / self.steps


def progress(folder: Path, run: Run) -> Progress | None:
    """What metrics.jsonl of a run's folder says; None of a run that has not begun."""
    steps = (run.epochs or 0) * (run.steps_per_epoch or 0)
    step, noted = last_step(folder / "metrics.jsonl")
    if not steps or noted is None:
        return Progress(0, steps, None) if steps else None
    since = step - (run.steps_before or 0)
    with suppress(ValueError):  # of a time that is none
        took = noted - datetime.fromisoformat(run.started).timestamp()
        if since > 0 and took > 0:
            return Progress(step, steps, max(0.0, took / since * (steps - step) - (time.time() - noted)))
    return Progress(step, steps, None)


def last_step(path: Path) -> tuple[int, float | None]:
    """The step of the last whole line of a metrics.jsonl, and when the file was written; (0, None) without one."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL))
        for line in reversed(file.read().splitlines()):
            with suppress(ValueError, KeyError, TypeError):
                return int(json.loads(line)["step"]), path.stat().st_mtime
    return 0, None


def by_the_clock(seconds: Iterable[float], places: int, begun: Iterable[float] = ()) -> float:
    """Seconds until the last of some runs ends, where each place takes the longest that is left; `begun` have places."""
    ends = list(begun)
    ends += [0.0] * (places - len(ends))
    heapq.heapify(ends)
    for one in sorted(seconds, reverse=True):
        heapq.heappush(ends, heapq.heappop(ends) + one)
    return max(ends)
