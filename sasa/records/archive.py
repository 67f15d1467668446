"""Records that travel: a zip file of finished runs, a few KB each, and how it becomes folders below outputs/ again."""

import json
import os
import shlex
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo
from zlib import error as BrokenData

from sasa.config.identity import MACHINE, SEMANTICS, is_machine
from sasa.errors import InputError
from sasa.records.collect import Collection, collect
from sasa.records.files import Place
from sasa.records.metrics import lines_by_split
from sasa.records.result import Run
from sasa.records.weights import WEIGHTS

COPIED = ("classes.json", "costs.json", "by_class.csv")


def once(runs: Iterable[Run]) -> list[Run]:
    """The finished runs, one a key: of several in as many folders the one that was trained there."""
    by_key: dict[str, Run] = {}
    for run in runs:
        if run.status == "finished" and (run.key not in by_key or (by_key[run.key].same_as and not run.same_as)):
            by_key[run.key] = run
    return list(by_key.values())


def write_archive(path: Path, runs: Iterable[Run], places: Mapping[str, Place], weights: bool = False) -> None:
    """Write the records of runs, and on request their weights. What tells of the machine alone, such as paths, stays behind.

    The same records make the same bytes. Raises OSError where the file cannot be written, or weights are not there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with ZipFile(temporary, "w", ZIP_DEFLATED, compresslevel=9) as archive:
            for run in sorted(runs, key=lambda run: run.folder):
                for name, content in files_of(run, places[run.folder], weights):
                    member = ZipInfo(f"{run.folder}/{name}")  # dated 1980, as long as none is given
                    member.compress_type = ZIP_STORED if name == WEIGHTS else ZIP_DEFLATED
                    archive.writestr(member, content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def files_of(run: Run, place: Place, weights: bool) -> Iterable[tuple[str, bytes]]:
    """What travels of a run, as file names with their content."""
    travels = replace(
        run,
        command=command_anywhere(run.command),
        config=without_machine(run.config),
        pid=None,
        host="",
        same_as=None,
        tracker_url="",
    )
    yield "config.json", json.dumps(travels.configured()).encode()
    yield "result.json", json.dumps(travels.result()).encode()
    metrics = place / "metrics.jsonl"
    if metrics.is_file():
        lines = [line for split in lines_by_split(metrics.read_bytes()).values() for line in split]
        yield "metrics.jsonl", b"".join(line + b"\n" for line in lines)
    for name in COPIED:
        if (place / name).is_file():
            yield name, (place / name).read_bytes()
    if weights:
        yield WEIGHTS, (place / WEIGHTS).read_bytes()


def command_anywhere(command: str) -> str:
    """A command without the settings of the machine; nothing of one that no shell would take."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    return shlex.join(word for word in words if not is_machine(word.partition("=")[0]))


def without_machine(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the settings of the machine."""
    left = {name: dict(value) if isinstance(value, dict) else value for name, value in config.items()}
    for name in MACHINE:
        group, _, field = name.partition(".")
        if field:
            left.get(group, {}).pop(field, None)
        else:
            left.pop(group, None)
    return left


def merge(paths: Iterable[Path], output: Path) -> tuple[list[Run], list[Run], list[Run]]:
    """Make the runs of archives folders below `output`; returns those that came, that are finished there, and left out ones.

    A run that is there without weights takes those of the same one in an archive. Runs of another version of sasa, whose
    numbers do not compare, are left out. InputError for a file that is no archive of runs, before anything is written. Raises
    OSError where `output` cannot be.
    """
    parts = [(path, opened(path)) for path in paths]
    known = {run.key: run for run in once(collect(output).known)}
    came: list[Run] = []
    had: list[Run] = []
    other: list[Run] = []
    for path, part in parts:
        with ZipFile(path) as archive:
            for run in once(part.runs):
                if run.semantics != SEMANTICS:
                    other.append(run)
                elif run.key in known:
                    had.append(run)
                    there = known[run.key]  # another training of the same key may have other weights
                    if there.started == run.started and not (output / there.folder / WEIGHTS).exists():
                        copy(archive, run, output / there.folder, [WEIGHTS])
                else:
                    came.append(run)
                    known[run.key] = replace(run, folder=str(unpack(archive, run, output).relative_to(output)))
    return came, had, other


def opened(path: Path) -> Collection:
    """The runs of an archive. InputError where there are none, or where one would lie elsewhere than below outputs/."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; expected an archive that python -m sasa.report archive wrote")
    part = collect(path)
    if not part.warnings and (damaged := first_damaged(path)):
        raise InputError(f"{path} is damaged at {damaged}: copy it again")
    if part.warnings or not part.runs:
        raise InputError(f"{path} is no archive of runs: {next(iter(part.warnings), 'it holds none')}")
    for run in part.runs:
        parts = PurePosixPath(run.folder).parts
        if (
            any(name.startswith(".") or set(name) & set("\\:") for name in parts)
            or PurePosixPath(run.folder).is_absolute()
        ):
            raise InputError(
                f"{path}: a run in it would lie in {run.folder}, which is no place for runs in an output folder"
            )
    return part


def first_damaged(path: Path) -> str | None:
    """A file of an archive that cannot be read as it was written."""
    with ZipFile(path) as archive:
        for name in archive.namelist():
            try:
                archive.read(name)
            except (BadZipFile, BrokenData, RuntimeError):  # the last for one that is encrypted
                return name
    return None


def unpack(archive: ZipFile, run: Run, output: Path) -> Path:
    """Make a run's folder, whole or not at all; another one than the run's own where that is taken by another run."""
    folder = output / run.folder
    if folder.exists():
        folder = folder.with_name(f"{folder.name},key={run.key}")
    temporary = folder.with_name(f".{folder.name[:200]}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    try:
        copy(archive, run, temporary, ("config.json", "result.json", "metrics.jsonl", *COPIED, WEIGHTS))
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def copy(archive: ZipFile, run: Run, folder: Path, names: Iterable[str]) -> None:
    """Write those of a run's files that an archive has into a folder, each whole or not at all."""
    for name in names:
        member = f"{run.folder}/{name}"
        if member in archive.NameToInfo:
            temporary = folder / f".{name}.{os.getpid()}.tmp"
            with archive.open(member) as source, temporary.open("wb") as target:
                shutil.copyfileobj(source, target)
            temporary.replace(folder / name)
