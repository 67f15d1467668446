"""Parts of a benchmark, each a process with a limit: one that fails, dies or hangs leaves the others and its own rows so far."""

import faulthandler
import json
import math
import multiprocessing
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Tell = Callable[[Row], None]

# Parts are forks of a process that has loaded what takes seconds to load, and has not touched the GPU.
PRELOADED = ["sasa.bench.gpu.parts"]
GRACE = 1.0  # seconds after its limit in which a part ends itself, and says where it stood
FRAME = re.compile(r'File "(?P<file>.+)", line (?P<line>\d+) in (?P<function>.+)')


@dataclass(frozen=True)
class Part:
    """Some work that tells rows, and the seconds that it may take."""

    name: str
    work: Callable[[Tell], None]
    limit: float


@dataclass(frozen=True)
class Outcome:
    """How a part ended: done, out of time or failed; its seconds; what it said last, and all that it said."""

    name: str
    state: str
    seconds: float
    limit: float
    said: str = ""
    log: str = ""


class Running:
    """A part's process, its rows and what it prints."""

    def __init__(self, part: Part, folder: Path) -> None:
        self.part = part
        self.rows, self.log = (folder / f"{part.name}.{kind}" for kind in ("jsonl", "log"))
        for file in (self.rows, self.log):
            file.touch()
        self.read = 0
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self.began = time.monotonic()
        self.process = context.Process(target=work, args=(part, self.rows, self.log))
        self.process.start()

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.began

    def new_rows(self) -> list[Row]:
        """What it has told since the last call; a line that is not whole stays for the next."""
        content = self.rows.read_bytes()[self.read :]
        whole = content[: content.rfind(b"\n") + 1]
        self.read += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def ended(self) -> bool:
        """Whether it has come to its end, which the limit puts to it."""
        if self.seconds > self.part.limit + GRACE:
            self.kill()
        return not self.process.is_alive()

    def kill(self) -> None:
        """End it, with all that it has started."""
        assert self.process.pid
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()  # before it leads a group
        self.process.join()

    def outcome(self) -> Outcome:
        """How it ended."""
        log, code = self.log.read_text(errors="replace"), self.process.exitcode or 0
        said = next((line for line in reversed(log.splitlines()) if line.strip()), "")
        state = "failed" if code else "done"
        if code and self.seconds >= self.part.limit:
            state, frame = "out of time", FRAME.search(log.rpartition("(most recent call first)")[2])
            said = f"it stood in {frame['function']}, {Path(frame['file']).name}:{frame['line']}" if frame else said
        elif code < 0:
            said = f"{signal.Signals(-code).name} {said}".strip()
        if self.rows.read_bytes()[self.read :]:
            said = f"its last row is cut. {said}".strip()
        return Outcome(
            self.part.name, state, round(self.seconds, 1), self.part.limit, said if code else "", log[-5000:]
        )


def work(part: Part, rows: Path, log: Path) -> None:
    """Be a part: a row a line to one file, what is printed to another; at the limit say where it stands, and end."""
    os.setsid()  # what it starts ends with it
    with log.open("ab", buffering=0) as printed, rows.open("ab", buffering=0) as file:
        for stream in (1, 2):
            os.dup2(printed.fileno(), stream)
        faulthandler.dump_traceback_later(part.limit, exit=True, file=printed)
        part.work(partial(print_row, file.write))
        faulthandler.cancel_dump_traceback_later()


def print_row(write: Callable[[bytes], object], row: Row) -> None:
    """A line of JSON in one go, with null for what is no number."""
    finite = {x: None if isinstance(y, float) and not math.isfinite(y) else y for x, y in row.items()}
    write(json.dumps(finite).encode() + b"\n")


def side_by_side(parts: Sequence[Part], tell: Callable[[str, list[Row]], None], end: Callable[[Outcome], None]) -> None:
    """Run parts at the same time: tell(name, rows) as rows come, end(outcome) as parts end."""
    with tempfile.TemporaryDirectory() as folder:
        running: list[Running] = []
        try:
            for part in parts:
                running.append(Running(part, Path(folder)))
            while running:
                wait([one.process.sentinel for one in running], timeout=0.2)
                for one in list(running):
                    ended = one.ended()
                    if rows := one.new_rows():
                        tell(one.part.name, rows)
                    if ended:
                        running.remove(one)
                        one.kill()  # what it may have left
                        end(one.outcome())
        finally:
            for one in running:
                one.kill()
