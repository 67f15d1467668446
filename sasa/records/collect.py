"""The runs under outputs/, read from their config.json and result.json. Whatever is broken there becomes a warning."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sasa.records.files import alive, load_json
from sasa.records.result import Run, parse


@dataclass(frozen=True)
class Collection:
    """All runs of an output folder, by folder name, and one warning for each file that could not be used."""

    runs: tuple[Run, ...]
    warnings: tuple[str, ...]


def collect(output: Path) -> Collection:
    """Read every run under `output`; a folder that does not exist has none."""
    runs: list[Run] = []
    warnings: list[str] = []
    for folder, subfolders, files in os.walk(output):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        if "result.json" in files or "config.json" in files:
            run = read_run(Path(folder), Path(folder).relative_to(output).as_posix(), files, warnings)
            if run is not None:
                runs.append(run)
    return Collection(tuple(runs), tuple(warnings))


def read_run(folder: Path, name: str, files: list[str], warnings: list[str]) -> Run | None:
    config, result = (read(folder / file, warnings) if file in files else {} for file in ("config.json", "result.json"))
    if not config and not result:
        return None
    try:
        run = parse(name, config | result)
    except ValueError as error:
        warnings.append(f"{folder}: not the record of a run, left out: {error}")
        return None
    if not result:
        return replace(run, status="interrupted", reason="it left no readable result.json")
    if run.status == "running" and not alive(run.pid, run.host):
        return replace(run, status="interrupted", reason="its process is gone")
    return run


def read(path: Path, warnings: list[str]) -> dict[str, Any]:
    try:
        return load_json(path)
    except (OSError, ValueError, RecursionError) as error:
        warnings.append(f"{path}: cannot be read: {error}")
        return {}
