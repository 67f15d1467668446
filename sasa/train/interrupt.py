"""Ctrl-C and SIGTERM: finish the step, then stop; before the first step and after the last one, stop at once."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from sasa.errors import Interrupted

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


class Interrupt:
    """Within it, the first SIGINT or SIGTERM is only noted; a second one acts at once."""

    number: int | None = None

    def __enter__(self) -> Self:
        self.before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
            self.number = unheard[0] if unheard else None
        return self

    def obey(self) -> None:
        """Raise Interrupted if a signal was noted."""
        if self.number is not None:
            raise Interrupted(self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
