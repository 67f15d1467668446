"""What a run shows while it trains: one progress display on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 10  # between two plain lines


class Display:
    """Epoch, step, loss and other measures, images per second and the time left."""

    def __init__(self, console: Console, title: str, steps: int, done: int) -> None:
        self.console, self.title, self.steps = console, title, steps
        self.progress = Progress(
            TextColumn(f"[bold]{title}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task(title, total=steps, completed=done, state="starting")
        self.last_line = time.monotonic()

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def step(self, done: int, epoch: str, measures: str, speed: float) -> None:
        """After some steps."""
        state = f"epoch {epoch}  step {done}/{self.steps}  {measures}  {speed:.0f} images/s"
        self.progress.update(self.task, completed=done, state=state)
        if not self.console.is_terminal and time.monotonic() - self.last_line > PLAIN_SECONDS:
            self.line(state)

    def line(self, text: str) -> None:
        """A line that stays; where it may stand among those of other runs, it says whose it is."""
        self.console.print(text if self.console.is_terminal else f"{self.title}  {text}", markup=False)
        self.last_line = time.monotonic()
