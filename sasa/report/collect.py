"""The runs under outputs/, read from their config.json and result.json. Whatever is broken there becomes a warning."""

import json
import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

STATUSES = ("finished", "running", "failed", "interrupted")


@dataclass(frozen=True)
class Run:
    """One run's record. FLOPs and parameters are plain counts; accuracy is {split: {measure: percent}}."""

    folder: str
    key: str
    table: str | None
    row: str | None
    scale: str
    variant: str
    seed: int
    status: str
    reason: str | None
    same_as: str | None
    overrides: tuple[str, ...]
    command: str
    config: dict[str, Any]
    data: str
    epochs: int | None
    epochs_done: int | None
    accuracy: dict[str, dict[str, float]]
    flops: float | None
    params: float | None
    paper_flops: float | None
    paper_params: float | None
    backend: str
    device: str
    versions: dict[str, str]
    seconds: float | None
    images_per_second: float | None
    skipped_images: int | None
    pid: int | None
    host: str
    started: str

    @property
    def began(self) -> bool:
        """False of a run that failed before it could begin."""
        return self.status != "failed" or self.epochs is not None


@dataclass(frozen=True)
class Collection:
    """All runs of an output folder, by folder name, and one warning for each file that could not be used."""

    runs: tuple[Run, ...]
    warnings: tuple[str, ...]


def alive(run: Run) -> bool:
    """Whether the run's process still exists. A run on another host cannot be seen from here and is believed."""
    if run.host != socket.gethostname():
        return True
    if run.pid is None or run.pid <= 0:
        return False
    try:
        os.kill(run.pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def collect(output: Path) -> Collection:
    """Reads every run under `output`; a folder that does not exist has none."""
    runs: list[Run] = []
    warnings: list[str] = []
    for folder, subfolders, files in os.walk(output):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        if "result.json" in files or "config.json" in files:
            run = _read_run(Path(folder), Path(folder).relative_to(output).as_posix(), files, warnings)
            if run is not None:
                runs.append(run)
    return Collection(tuple(runs), tuple(warnings))


def _read_run(folder: Path, name: str, files: list[str], warnings: list[str]) -> Run | None:
    config = _read_json(folder / "config.json", warnings) if "config.json" in files else {}
    result = _read_json(folder / "result.json", warnings) if "result.json" in files else {}
    if not config and not result:
        return None
    if not result:
        result = {"status": "interrupted", "reason": "it left no readable result.json"}
    try:
        run = _parse(name, config | result)
    except ValueError as error:
        warnings.append(f"{folder}: not the record of a run, left out: {error}")
        return None
    if run.status == "running" and not alive(run):
        return replace(run, status="interrupted", reason="its process is gone")
    return run


def _read_json(path: Path, warnings: list[str]) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        warnings.append(f"{path}: cannot be read: {error}")
        return {}
    if not isinstance(value, dict):
        warnings.append(f"{path}: cannot be used: it holds a {type(value).__name__}, not an object")
        return {}
    return value


def _parse(folder: str, record: dict[str, Any]) -> Run:
    """The record as a Run. Raises ValueError unless it says which run it is; other oddities become None or ""."""
    if record.get("status") not in STATUSES:
        raise ValueError(f"'status' is {record.get('status')!r}, expected one of {', '.join(STATUSES)}")
    for field in ("scale", "variant"):
        if not isinstance(record.get(field), str):
            raise ValueError(f"{field!r} is {record.get(field)!r}, expected text")
    seed = _count(record.get("seed"))
    if seed is None:
        raise ValueError(f"'seed' is {record.get('seed')!r}, expected a whole number")
    costs, paper_costs = _dict(record.get("costs")), _dict(record.get("paper_costs"))
    overrides = record.get("overrides")
    return Run(
        folder=folder,
        key=_text(record.get("key")),
        table=_text(record.get("table")) or None,
        row=_text(record.get("row")) or None,
        scale=record["scale"],
        variant=record["variant"],
        seed=seed,
        status=record["status"],
        reason=_text(record.get("reason")) or None,
        same_as=_text(record.get("same_as")) or None,
        overrides=tuple(map(str, overrides)) if isinstance(overrides, list) else (),
        command=_text(record.get("command")),
        config=_dict(record.get("config")),
        data=_text(record.get("data")),
        epochs=_count(record.get("epochs")),
        epochs_done=_count(record.get("epochs_done")),
        accuracy={split: _numbers(measures) for split, measures in _dict(record.get("accuracy")).items()},
        flops=_number(costs.get("flops")),
        params=_number(costs.get("params")),
        paper_flops=_number(paper_costs.get("flops")),
        paper_params=_number(paper_costs.get("params")),
        backend=_text(record.get("backend")),
        device=_text(record.get("device")),
        versions={name: str(version) for name, version in _dict(record.get("versions")).items()},
        seconds=_number(record.get("seconds")),
        images_per_second=_number(record.get("images_per_second")),
        skipped_images=_count(record.get("skipped_images")),
        pid=_count(record.get("pid")),
        host=_text(record.get("host")),
        started=_text(record.get("started")),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    """A finite number of a size that can be reckoned with; JSON also yields NaN, infinities and endless integers."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e18:
        return None
    return float(value)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and _number(value) is not None else None


def _numbers(value: object) -> dict[str, float]:
    pairs = ((name, _number(item)) for name, item in _dict(value).items())
    return {name: number for name, number in pairs if number is not None}
