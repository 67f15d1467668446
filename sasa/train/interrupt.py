"""Signals: finish the step, then stop; before the first step and after the last one, stop at once.

They are Ctrl-C, SIGTERM, and SIGUSR2, by which Slurm tells a job that its time is nearly over.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from sasa.errors import Interrupted
from sasa.records.jobs import own_job

STOPS = [signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGUSR2") if name in signal.Signals.__members__]
unheard: list[int] = []  # signals whose exception may have been lost, as Python drops what a destructor raises


def listen(*numbers: int) -> None:
    """From now on these signals raise Interrupted; where that is lost, the next step is the last one."""
    unheard.clear()
    for number in numbers:
        signal.signal(number, stop_at_once)


def stop_at_once(number: int, frame: FrameType | None) -> None:
    """The handler where there is no step to finish."""
    unheard.append(number)
    raise Interrupted(number)


def goes_on(number: int) -> bool:
    """Whether a run that has saved its state does not stop at this signal."""
    return number == signal.SIGTERM and own_job() is not None


class Interrupt:
    """Within it, the first signal is only noted; a second one acts at once.

    A job of Slurm saves at SIGTERM and goes on: it may come before SIGUSR2, or before a preemption that Slurm follows by
    running the job again, which it does not do for one that ends by itself.
    """

    number: int | None = None

    def __enter__(self) -> Self:
        self.before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._note) for number in STOPS}
            self.number = unheard[0] if unheard else None
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        if not goes_on(number):
            self._restore()

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
        if kind is None and self.number is not None and not goes_on(self.number):  # noted after the last step
            raise Interrupted(self.number)
