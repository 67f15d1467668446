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
    """Steps that are done, of how many; seconds that are left, None where no process has told its speed."""

    step: int
    steps: int
    left: float | None

    @property
    def share(self) -> float:
        return self.step / self.steps


def progress(folder: Path, run: Run) -> Progress | None:
    """What a run's heartbeat and its metrics.jsonl say; None of a run that has not begun."""
    steps = (run.epochs or 0) * (run.steps_per_epoch or 0)
    if not steps:
        return None
    step = max(run.step or 0, last_step(folder / "metrics.jsonl"))
    if run.status != "running" or not run.seconds_a_step:
        return Progress(step, steps, None)
    silent = time.time() - datetime.fromisoformat(run.heard).timestamp() if run.heard else 0.0
    return Progress(step, steps, max(0.0, run.seconds_a_step * (steps - step) - silent))


def last_step(path: Path) -> int:
    """The step of the last whole line of a metrics.jsonl; 0 without one."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL))
        for line in reversed(file.read().splitlines()):
            with suppress(ValueError, KeyError, TypeError):
                return int(json.loads(line)["step"])
    return 0


def by_the_clock(seconds: Iterable[float], places: int, begun: Iterable[float] = ()) -> float:
    """Seconds until the last of some runs ends, where each place takes the longest that is left; `begun` have places."""
    ends = list(begun)
    ends += [0.0] * (places - len(ends))
    heapq.heapify(ends)
    for one in sorted(seconds, reverse=True):
        heapq.heappush(ends, heapq.heappop(ends) + one)
    return max(ends)
