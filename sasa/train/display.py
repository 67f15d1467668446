"""What a run shows while it trains: one line of progress on a terminal, plain lines elsewhere."""

import time
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

PLAIN_SECONDS = 10  # between two plain lines
BAR = 10  # columns of the terminal
BETWEEN = 6  # spaces between the parts of the line
LEFT = len("1:59:59 left, all 9:59:59")  # what stands beside any name


class Display:
    """Which row of a sweep, its bar, the time left, epoch, measures, images per second and step, as far as there is room.

    `place` is (row, rows) in a sweep: then the time that all rows take is told, too, as if each took as long as this one.
    """

    def __init__(self, console: Console, title: str, steps: int, done: int, place: tuple[int, int] | None) -> None:
        self.console, self.title, self.steps, self.begun, self.place = console, title, steps, done, place
        self.head = f"{place[0]}/{place[1]} {title}" if place else title
        self.progress = Progress(
            TextColumn("{task.fields[head]}", style="bold", markup=False),
            BarColumn(BAR),
            TextColumn("{task.fields[state]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        room = max(console.width // 3, console.width - BAR - BETWEEN - LEFT)
        head = self.head if len(self.head) <= room else self.head[: room - 1] + "…"
        self.task = self.progress.add_task(title, total=steps, completed=done, head=head, state="starting")
        self.room = console.width - len(head) - BAR - BETWEEN
        self.started = self.last_line = time.monotonic()

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def step(self, done: int, epoch: str, measures: str, speed: float, hungry: float = 0.0) -> None:
        """After some steps; `hungry` is the share of their time that went into waiting for images, where it is much."""
        said = measures.split("  ")[::-1]  # the accuracy is worth more than the loss
        waiting = [f"{hungry:.0%} waiting for images"] if hungry else []
        parts = [
            self.left(done),
            *waiting,
            f"epoch {epoch}",
            *said,
            f"{speed:.0f} images/s",
            f"step {done}/{self.steps}",
        ]
        whole = "  ".join(parts)
        while len("  ".join(parts)) > self.room and len(parts) > 1:
            parts.pop()
        self.progress.update(self.task, completed=done, state="  ".join(parts))
        if not self.console.is_terminal and time.monotonic() - self.last_line > PLAIN_SECONDS:
            self.line(whole)

    def left(self, done: int) -> str:
        """The time until the end of the run, and of the sweep."""
        a_step = (time.monotonic() - self.started) / max(1, done - self.begun)
        left = a_step * (self.steps - done)
        if self.place is None or self.place[0] == self.place[1]:
            return f"{clock(left)} left"
        return f"{clock(left)} left, all {clock(left + a_step * self.steps * (self.place[1] - self.place[0]))}"

    def line(self, text: str) -> None:
        """A line that stays; where it may stand among those of other runs, it says whose it is."""
        self.console.print(text if self.console.is_terminal else f"{self.title}  {text}", markup=False)
        self.last_line = time.monotonic()


def clock(seconds: float) -> str:
    """4:59, 3:00:00 or 2 days, 3:00:00."""
    text = str(timedelta(seconds=round(seconds)))
    return text.removeprefix("0:").removeprefix("0") if seconds < 3600 else text
