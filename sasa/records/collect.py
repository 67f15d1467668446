"""The runs of an output folder or an archive, from their config.json and result.json. What is broken becomes a warning."""

import os
import socket
from collections.abc import Collection as Names
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile
from zipfile import Path as ZipPath
from zlib import error as BrokenData

from sasa.records.files import Place, alive, load_json, now, seconds_between
from sasa.records.result import HEARD, Run, parse

SILENCE = 1800  # seconds: reading many images, compiling and evaluating may take minutes each
RECORD = ("config.json", "result.json")
HIDDEN = "hidden"  # a file of this name takes the run in its folder out of tables and pages, until it is removed
SHIPPED = "shipped"  # the variant of runs that came with the project, so that they never mix with one's own


@dataclass(frozen=True)
class Collection:
    """All runs of an output folder, by folder name, one warning for each file that could not be used, and their places."""

    runs: tuple[Run, ...]
    warnings: tuple[str, ...]
    places: Mapping[str, Place] = field(default_factory=dict)  # of a run's files, by its folder's name
    hidden: tuple[Run, ...] = ()  # which their owner wants in no table and on no page

    @property
    def known(self) -> tuple[Run, ...]:
        """All runs that are recorded, the hidden ones too: what has been trained is not trained again."""
        return (*self.runs, *self.hidden)


def collect(output: Path) -> Collection:
    """Read every run under `output`, a folder or an archive; one that does not exist has none."""
    try:
        return gathered(archived(output) if output.is_file() else unpacked(output))
    except (OSError, BadZipFile) as error:
        return Collection((), (f"{output}: cannot be read: {error}",))


def shipped(output: Path) -> list[Path]:
    """The archives that came with the project: those in the folder results/ beside `output`."""
    return sorted((output.absolute().parent / "results").glob("*.zip"))


def shipped_variant(variant: str) -> str:
    """The variant that runs of one have as shipped ones."""
    return ", ".join(filter(None, (SHIPPED, variant)))


def collect_with_shipped(output: Path) -> Collection:
    """Read the runs under `output`, and those that came with the project, as a variant of their own."""
    own = collect(output)
    runs, warnings, places = [*own.runs], own.warnings, {**own.places}
    for path in shipped(output):
        part = collect(path)
        warnings += part.warnings
        for run in part.runs:
            folder = f"{path.name}/{run.folder}"  # a run of one's own may have the same name
            runs.append(replace(run, folder=folder, variant=shipped_variant(run.variant)))
            places[folder] = part.places[run.folder]
    return Collection(tuple(runs), warnings, places, own.hidden)


def unpacked(output: Path) -> Iterator[tuple[str, Place, Names[str]]]:
    """Every folder with a record: its name below `output`, itself, and its files."""
    for folder, subfolders, files in os.walk(output):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        if not set(RECORD).isdisjoint(files):
            yield Path(folder).relative_to(output).as_posix(), Path(folder), files


def archived(path: Path) -> Iterator[tuple[str, Place, Names[str]]]:
    """The same of an archive."""
    root = ZipPath(path)
    folders: dict[str, list[str]] = {}
    for name in root.root.namelist():
        parts = PurePosixPath(name)
        if parts.name in RECORD and name != parts.name:
            folders.setdefault(parts.parent.as_posix(), []).append(parts.name)
    for folder, files in sorted(folders.items()):
        yield folder, root.joinpath(folder), files


def gathered(folders: Iterable[tuple[str, Place, Names[str]]]) -> Collection:
    runs: list[Run] = []
    hidden: list[Run] = []
    warnings: list[str] = []
    places: dict[str, Place] = {}
    for name, folder, files in folders:
        run = read_run(folder, name, files, warnings)
        if run is not None:
            (hidden if HIDDEN in files else runs).append(run)
            places[name] = folder
    return Collection(tuple(runs), tuple(warnings), places, tuple(hidden))


def read_run(folder: Place, name: str, files: Names[str], warnings: list[str]) -> Run | None:
    config, result = (read(folder / file, warnings) if file in files else {} for file in RECORD)
    if not config and not result:
        return None
    if result.get("status") == "running" and "heartbeat.json" in files:
        beat = read(folder / "heartbeat.json", warnings)
        if str(beat.get("heard") or "") > str(result.get("started")):  # else it is of an earlier process
            result = result | {name: beat.get(name) for name in HEARD}
    try:
        run = parse(name, config | result)
    except ValueError as error:
        warnings.append(f"{folder}: not the record of a run, left out: {error}")
        return None
    if not result:
        return replace(run, status="interrupted", reason="it left no readable result.json")
    reason = lost(run)
    return replace(run, status="interrupted", reason=reason) if reason else run


def lost(run: Run) -> str | None:
    """Why a run that is recorded as running is none: its process is gone, or is out of sight and has long been silent."""
    if run.status != "running":
        return None
    if not alive(run.pid, run.host):
        return "its process is gone"
    last = max(run.started, run.heard)
    if run.host == socket.gethostname() or (seconds_between(last, now()) or 0) < SILENCE:
        return None
    return f"not heard of since {last}, on {run.host}"


def read(path: Place, warnings: list[str]) -> dict[str, Any]:
    try:
        return load_json(path)
    except (OSError, ValueError, RuntimeError, BadZipFile, BrokenData) as error:  # nested too deep, or encrypted
        warnings.append(f"{path}: cannot be read: {error}")
        return {}
