"""What ends a run early. An InputError is what people see: one message, no traceback."""

import signal
from collections.abc import Sequence
from difflib import get_close_matches


class InputError(ValueError):
    """Something the user gave cannot work. The message says what was given, what was expected and what to change."""


class Diverged(RuntimeError):
    """The loss or the weights are not finite."""


class Interrupted(KeyboardInterrupt):
    """The user or the system asked the run to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def nearest(name: str, valid: Sequence[str]) -> str:
    """A hint: the closest valid names, or all of them."""
    close = get_close_matches(name, valid, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else f"Expected one of {', '.join(valid)}"


def check(condition: bool, message: str) -> None:
    """Raise InputError(message) unless the condition holds."""
    if not condition:
        raise InputError(message)
