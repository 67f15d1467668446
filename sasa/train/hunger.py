"""How much of the time of training goes into waiting for images, and what helps."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from sasa.config.data import Data
from sasa.data.loader import most_workers

Batch = TypeVar("Batch")
MUCH = 0.3  # of the time, from which on it is worth a word
SECONDS = 5  # of waiting at least


class Hunger:
    """The time that a loader lets training wait. The first batch of an epoch, for which its workers start, does not count."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.waited = 0.0  # since the last question
        self.all_waited = self.all_passed = 0.0
        self.told = False

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches."""
        source, first = iter(batches), True
        while True:
            began = time.monotonic()
            try:
                batch = next(source)
            except StopIteration:
                return
            self.waited += 0.0 if first else time.monotonic() - began
            first = False
            yield batch

    def share(self, passed: float) -> float:
        """Which share of the seconds since the last question was spent waiting, where it is much; else 0."""
        share = self.waited / passed
        self.all_waited, self.all_passed, self.waited = self.all_waited + self.waited, self.all_passed + passed, 0.0
        return share if share > MUCH else 0.0

    def advice(self) -> str:
        """Once, where much of all the time was spent waiting: how much, and what to change; else nothing."""
        if self.told or self.all_waited < SECONDS or self.all_waited < MUCH * self.all_passed:
            return ""
        self.told = True
        workers, most = min(self.data.workers, most_workers()), most_workers()
        helps = [f"data.workers={most}, where it is {workers} now" if workers < most else f"more than {most} cores"]
        helps += ["a copy of the images on a disk of this machine"] if self.data.root else []
        share = self.all_waited / self.all_passed
        return f"{share:.0%} of the time goes into waiting for images. What helps and stays the same run: {', or '.join(helps)}"
