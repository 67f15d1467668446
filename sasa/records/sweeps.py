"""What a sweep leaves in its folder, outputs/.sweep/<time>-<process>: sweep.json, and of each row that is begun a word."""

import os
import re
import socket
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from sasa.records.files import alive, read_json
from sasa.records.result import IMAGES, Run

UNDER_WAY = ("running", "held")  # a word's status while the row has not ended; held: by another process


@dataclass(frozen=True)
class Listed:
    """A row as it was typed; one that a sweeper has yet to choose has neither."""

    name: str = ""  # one of Run.names
    command: str = ""  # that runs it alone

    @property
    def placed(self) -> str:
        """Its name with the data.root that it is given."""
        return at_root(self.name, self.command)

    def among(self, known: Container[str]) -> bool:
        """Whether it is one of those that are answered."""
        return self.name in known or self.placed in known


@dataclass(frozen=True)
class Sweep:
    """What is known of a sweep before its first row, in sweep.json of its folder."""

    keys: list[str]  # that the sweep varies
    rows: list[Listed]
    pid: int
    host: str
    threads: str | None  # OMP_NUM_THREADS as the user gave it

    @property
    def here(self) -> bool:
        """Whether this process is the sweep's own."""
        return (self.pid, self.host) == (os.getpid(), socket.gethostname())

    @property
    def living(self) -> bool:
        """Whether its process goes on."""
        return alive(self.pid, self.host)


_SWEEP = TypeAdapter(Sweep)


def read_sweep(folder: Path) -> Sweep | None:
    """The sweep of a folder, None where nothing of one can be read."""
    try:
        return _SWEEP.validate_python(read_json(folder / "sweep.json"))
    except ValidationError:
        return None


def sweeps(output: Path) -> Iterator[tuple[Path, Sweep]]:
    """Every sweep below outputs/ with its folder."""
    for path in sorted((output / ".sweep").glob("*/sweep.json")):
        if sweep := read_sweep(path.parent):
            yield path.parent, sweep


def begun(folder: Path) -> dict[int, dict[str, Any]]:
    """The word of each row that was begun, by its number."""
    numbers = sorted(int(path.stem) for path in folder.glob("*.json") if path.stem.isdecimal())
    return {number: read_json(folder / f"{number}.json") or {} for number in numbers}


def answered(runs: Iterable[Run]) -> set[str]:
    """The names of the rows that these runs are: where the images are one's own, which no name tells, with their data.root."""
    return {at_root(name, run.command) if IMAGES.search(run.variant) else name for run in runs for name in run.names}


def at_root(name: str, command: str) -> str:
    """A name with the data.root that a command gives."""
    return " ".join([name, *re.findall(r"\bdata\.root=[^'\s]*", command)[-1:]])


def waiting(folder: Path, sweep: Sweep, finished: Container[str]) -> list[Listed]:
    """The rows of a living sweep that it has not begun, without those that are finished."""
    words = begun(folder)
    return [row for number, row in enumerate(sweep.rows) if number not in words and not row.among(finished)]


def missing(folder: Path, sweep: Sweep, known: Container[str]) -> list[Listed]:
    """The rows that a sweep which has ended did not come to, without those that are recorded, by this sweep or another."""
    ended = {number for number, word in begun(folder).items() if word.get("status") not in UNDER_WAY}
    left = [row for number, row in enumerate(sweep.rows) if number not in ended]
    return [row for row in left if row.name and not row.among(known)]
