"""What ends a run early, and the hint that goes with an unknown name. An InputError is what people see: one message."""

import signal
from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Something the user gave cannot work. The message says what was given, what was expected and what to change."""


class Diverged(RuntimeError):
    """The loss or the weights are not finite."""


class RunFailed(Exception):
    """A run that failed, in one line; its record tells more."""


class RankLost(RuntimeError):
    """Another process of the same run has ended without a word, or cannot be reached."""


class Interrupted(KeyboardInterrupt):
    """The user or the system asked the run to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Stopped(Interrupted):
    """The same at the end of a step, with the checkpoint written: on all ranks of the run at once."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint: the closest valid names, or all of them."""
    names = list(valid)
    close = get_close_matches(name, names, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else f"Expected one of {', '.join(names)}"


def unknown(kind: str, name: str, valid: Iterable[str]) -> InputError:
    """What is raised for a name that there is none of."""
    return InputError(f"unknown {kind} {name!r}. {nearest(name, valid)}")


def check(condition: bool, message: str) -> None:
    """Raise InputError(message) unless the condition holds."""
    if not condition:
        raise InputError(message)
