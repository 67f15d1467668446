"""A run's files: config.json, metrics.jsonl, result.json, run.log, checkpoint.pt and samples.png; its key, and its lock."""

import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sasa.config.choices import Primitive, StemKind, TaskKind
from sasa.config.schema import Config
from sasa.errors import InputError
from sasa.weights import find_weights, fingerprint

SEMANTICS = 1  # raise it when a change of the code changes the numbers of a configuration
ORPHAN_SECONDS = 15  # how long the data workers of a killed run may hold its lock
MACHINE = ("device", "output", "kernel", "tracker", "data.workers", "data.download", "train.checkpoint_minutes")


@dataclass(frozen=True)
class Identity:
    """What a run is called: the row that it is of, and the overrides beside it."""

    table: str | None
    row: str | None
    variant: tuple[str, ...]  # overrides other than the table, the scale, the seed and those of the machine
    command: str
    like: tuple[str, str] | None = None  # the row of the paper with the same network
    defaults: dict[str, Any] = field(default_factory=dict)  # the configuration of a plain run at the same scale

    @property
    def title(self) -> str:
        """What people read: "table4=k3"."""
        return f"{self.table}={self.row}" if self.table else "run"


def is_machine(key: str) -> bool:
    """Does an override name a setting of the machine, which cannot change a run's numbers?"""
    return any(key == name or key.startswith(f"{name}.") for name in MACHINE)


def folder_name(scale: str, seed: int, variant: tuple[str, ...]) -> str:
    """The last part of a run's folder, such as "scale=demo,seed=0,train.epochs=2"; odd and long ones end in a hash."""
    name = ",".join((f"scale={scale}", f"seed={seed}", *variant))
    plain = (
        re.sub(r"[^\w.,=+\[\]-]", "_", name).encode(errors="replace")[:180].decode(errors="ignore")
    )  # a name has 255 bytes
    return (
        plain if plain == name else f"{plain}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:8]}"
    )


def key_of(config: Config) -> str:
    """Hash of all of a configuration that can change the run's numbers; 16 hexadecimal digits."""
    plain = asdict(config)
    for name in MACHINE:
        group, _, field = name.partition(".")
        if field:
            del plain[group][field]
        else:
            del plain[group]
    for group in ("data", "train", "scale"):
        del plain[group]["name"]
    plain["backbone"]["width"] *= plain["scale"].pop("width")
    if config.task.kind is TaskKind.classification:  # what only detection reads
        del plain["task"], plain["heads"], plain["backbone"]["weights"]
        for field in ("train_annotations", "test_annotations", "jitter"):
            del plain["data"][field]
    elif config.backbone.weights is not None:
        plain["backbone"]["weights"] = fingerprint(find_weights(config))
    if "heads" in plain and not attention_heads(config):
        del plain["heads"]["attention_heads"]
    stem = config.stem.kind
    if stem != StemKind.attention_spatial_values:
        del plain["stem"]["mixtures"]
    if stem == StemKind.conv:
        del plain["attention"]["stem_heads"]
    if "attention" not in config.layers.groups and not attention_heads(config):
        for group in ("extent", "position", "logits"):
            del plain[group]
        for field in ("heads", "border"):
            del plain["attention"][field]
        if stem == StemKind.conv:
            del plain["attention"]
    text = json.dumps([SEMANTICS, plain], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def attention_heads(config: Config) -> bool:
    """Are FPN and detection heads of attention?"""
    return config.task.kind is TaskKind.detection and config.heads.primitive is Primitive.attention


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file, or None where there is none that can be read."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file beside the path, flush it to the disk, and rename it: a reader sees the old file or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


class Record:
    """The folder of one run."""

    def __init__(self, config: Config, identity: Identity) -> None:
        self.config, self.identity = config, identity
        self.key = key_of(config)
        self.output = Path(config.output).expanduser().absolute()
        parts = (identity.table, identity.row) if identity.table and identity.row else ("run",)
        self.folder = self.output.joinpath(*parts, folder_name(config.scale.name, config.seed, identity.variant))
        self.result: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The folder relative to outputs/."""
        return self.folder.relative_to(self.output).as_posix()

    def path(self, name: str) -> Path:
        """A file of this run."""
        return self.folder / name

    def prepare(self) -> None:
        """Make the folder; InputError where nothing can be written, or where another configuration's run lies in it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path(".writable"), b"")
            self.path(".writable").unlink()
            for left in self.folder.glob(".*.tmp"):  # by a process that was killed while it wrote
                left.unlink()
        except OSError as error:
            raise InputError(
                f"cannot write to {self.folder}: {error.strerror}. "
                "Make it writable, or give another folder with output=<folder>"
            ) from error
        other = read_json(self.path("config.json")) or read_json(self.path("result.json"))
        if other and other.get("key") != self.key:
            before = other.get("config")
            changes = ", ".join(differences(before, asdict(self.config))) if isinstance(before, dict) else ""
            raise InputError(
                f"{self.folder} holds a run of another configuration ({changes or 'an earlier version of sasa'}). "
                "Remove that folder, or give another one with output=<folder>"
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold this run's key, so that no other process trains it; InputError says who does."""
        locks = self.output / ".locks"
        try:
            locks.mkdir(parents=True, exist_ok=True)
            lock = FileLock(locks / f"{self.key}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                holder = read_json(locks / f"{self.key}.json") or {}
                if not gone(holder):
                    raise
                lock.acquire(timeout=ORPHAN_SECONDS)
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "started": now(), "folder": str(self.folder)}
            write_atomically(locks / f"{self.key}.json", json.dumps(holder).encode())
        except Timeout:
            raise InputError(
                f"{self.identity.title} is being trained by process {holder.get('pid', '?')} on {holder.get('host', '?')} "
                f"since {holder.get('started', '?')}, in {holder.get('folder', '?')}. Wait for it, or stop it first"
            ) from None
        except OSError as error:
            raise InputError(
                f"cannot write to {self.output}: {error.strerror}. "
                "Make it writable, or give another folder with output=<folder>"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def others(self) -> Iterator[Path]:
        """Other folders below outputs/ with a run of the same key."""
        for path in sorted(self.output.glob("**/config.json")):
            if path.parent != self.folder and (read_json(path) or {}).get("key") == self.key:
                yield path.parent

    def write_config(self) -> None:
        """config.json: the resolved configuration, the defaults that it departs from, and what the run is called."""
        content = {
            **self._names(),
            "variant": ",".join(self.identity.variant),
            "command": self.identity.command,
            "config": asdict(self.config),
            "defaults": changed(self.identity.defaults, asdict(self.config)),
        }
        write_atomically(self.path("config.json"), json.dumps(content, indent=2).encode())

    def write_result(self, status: str, **fields: Any) -> None:
        """result.json: what has become of the run; fields stay until they are given anew."""
        self.result |= {
            "status": status,
            **self._names(),
            "variant": ",".join(self.identity.variant),
            "reason": None,
            "same_as": None,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            **fields,
        }
        write_atomically(self.path("result.json"), json.dumps(self.result, indent=2).encode())

    def write_metrics(self, history: list[dict[str, Any]]) -> None:
        """metrics.jsonl from its beginning, as it was at a checkpoint."""
        write_atomically(self.path("metrics.jsonl"), "".join(json.dumps(line) + "\n" for line in history).encode())

    def add_metrics(self, line: dict[str, Any]) -> None:
        """One more line of metrics.jsonl."""
        with self.path("metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def write_json(self, name: str, content: Any) -> None:
        """A file of the run beside the three that every run has."""
        write_atomically(self.path(name), json.dumps(content).encode())

    def log(self, text: str) -> None:
        """One more line of run.log, with the time."""
        with self.path("run.log").open("a") as file:
            file.write(f"{now()} {text}\n")

    def _names(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "table": self.identity.table,
            "row": self.identity.row,
            "scale": self.config.scale.name,
            "seed": self.config.seed,
        }


def differences(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """What changed between two configurations, as "train.lr: 0.1, now 0.2"; settings of the machine are left out."""
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if is_machine(prefix + name):
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            yield from differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}: {old}, now {new}"


def changed(defaults: dict[str, Any], config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The defaults that a configuration departs from, by dotted name; settings of the machine are left out."""
    found: dict[str, Any] = {}
    for name, default in defaults.items():
        value = config.get(name)
        if isinstance(default, dict) and isinstance(value, dict):
            found |= changed(default, value, f"{prefix}{name}.")
        elif default != value and not is_machine(prefix + name):
            found[prefix + name] = default
    return found


def gone(holder: dict[str, Any]) -> bool:
    """Is the process that a lock's holder names one of this machine, and dead?"""
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def now() -> str:
    """The local time to the second, in ISO 8601."""
    return datetime.fromtimestamp(time.time()).astimezone().isoformat(timespec="seconds")
