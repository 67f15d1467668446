"""Ctrl-C and SIGTERM: finish the step, then stop."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from sasa.errors import Interrupted


def stop_at_once(number: int, frame: FrameType | None) -> None:
    """A handler of SIGTERM where there is no step to finish: what Python does at Ctrl-C."""
    raise Interrupted(number)


class Interrupt:
    """Within it, the first SIGINT or SIGTERM is only noted; a second one acts at once."""

    number: int | None = None

    def __enter__(self) -> Self:
        self.before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
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
