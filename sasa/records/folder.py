"""A run's folder: its key, its lock, and the files in it, of which it alone writes config.json and result.json."""

import json
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from sasa.config.choices import TrackerKind
from sasa.config.identity import SEMANTICS, Identity, changes, differences, folder_name, key_of
from sasa.config.schema import Config
from sasa.errors import InputError
from sasa.records.contents import contents
from sasa.records.files import alive, now, read_json, write_atomically
from sasa.records.jobs import job_of, own_job, queued
from sasa.records.result import CONFIGURED, Run

ORPHAN_SECONDS = 60  # how long the data workers of a killed run may hold its lock; they notice in five
POLL_SECONDS = 0.2
SLURM_SECONDS = 10  # between two questions to Slurm
BEAT_SECONDS = 5  # between two beats of a run, at least


class Busy(InputError):
    """Another process trains this very run."""


class Record:
    """The folder of one run, what it is called, and what is known of it so far (`run`)."""

    def __init__(self, config: Config, identity: Identity) -> None:
        reads = contents(config)
        # Sets of one's own are told apart by what is in them, wherever they lie.
        own = (f"images={reads.images[:8]}",) if reads.images else ()
        self.identity = replace(identity, variant=tuple(sorted({*identity.variant, *own})))
        self.config = config
        self.key = key_of(config, reads.images, reads.weights)
        self.output = Path(config.output).expanduser().absolute()
        parts = (identity.table, identity.row) if identity.table and identity.row else ("run",)
        self.folder = self.output.joinpath(*parts, folder_name(config.scale.name, config.seed, self.identity.variant))
        self.run = self._unwritten()
        self._first: tuple[int, float] | None = None  # step and time of this process' first line of metrics
        self._last_beat = -math.inf
        self.place: tuple[int, int] | None = None  # which row of a sweep it is, and of how many
        self.writes = True  # False: the files are another process' to write, which trains the same run

    def path(self, name: str) -> Path:
        """A file of this run."""
        return self.folder / name

    def for_others(self) -> "Record":
        """The same for the other processes that train the run: they write no files, and track nothing."""
        other = copy(self)
        other.config = replace(self.config, tracker=replace(self.config.tracker, kind=TrackerKind.none))
        other.writes = False
        return other

    def prepare(self) -> None:
        """Make the folder; InputError where nothing can be written, or where another configuration's run lies in it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path(".writable"), b"")
            self.path(".writable").unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        other = read_json(self.path("config.json")) or read_json(self.path("result.json"))
        if other and other.get("key") != self.key:
            before, changes = other.get("config"), "an earlier version of sasa"
            if isinstance(before, dict) and other.get("semantics") == SEMANTICS:
                changes = ", ".join(differences(before, asdict(self.config)))
            raise InputError(
                f"{self.folder} holds a run of another configuration ({changes}). "
                "Remove that folder, or give another one with output=<folder>"
            )

    def tidy(self) -> None:
        """Remove what a process left that was killed while it wrote: for the one that holds the key, since others write now."""
        for left in self.folder.glob(".*.tmp"):
            if not left.name.startswith(".writable."):
                left.unlink(missing_ok=True)

    def withdraw(self) -> None:
        """Remove the folder, and those above it, as far as nothing is in them."""
        with suppress(OSError):
            for folder in (self.folder, *self.folder.parents):
                if folder == self.output:
                    break
                folder.rmdir()

    @contextmanager
    def held(self, wait: bool = False) -> Iterator[None]:
        """Hold this run's key, so that no other process trains it; Busy says who does, unless that one is waited for."""
        locks = self.output / ".locks"
        while (state := self.in_slurm()) is not None:
            if not wait:
                raise Busy(f"{self.identity.title} is {state}. Wait for it, or end it with scancel first")
            time.sleep(SLURM_SECONDS)
        try:
            locks.mkdir(parents=True, exist_ok=True)
            lock = FileLock(locks / f"{self.key}.lock")
            self._acquire(lock, wait)
            mine = {"pid": os.getpid(), "host": socket.gethostname(), "started": now(), "folder": str(self.folder)}
            write_atomically(self._holder, json.dumps(mine | {"job": own_job()}).encode())
        except Timeout:
            raise Busy(
                f"{self.identity.title} is being trained by {self.held_by()}, in {self._holder_says('folder')}. "
                "Wait for it, or stop it first"
            ) from None
        except OSError as error:
            raise unwritable(self.output, error) from error
        try:
            yield
        finally:
            with suppress(OSError):
                self._holder.unlink()
            lock.release()

    def in_slurm(self) -> str | None:
        """The other job of Slurm that waits or runs with this key, in words."""
        job = job_of(self.output, self.key)
        if job is None or job == own_job():
            return None
        state = (queued([job]) or {}).get(job)
        return f"job {job} of Slurm, {state}" if state else None

    def _acquire(self, lock: BaseFileLock, wait: bool) -> None:
        """Timeout where a living process holds the lock, and is not to be waited for; what a killed one left ends soon."""
        given_up = math.inf if wait else time.monotonic() + ORPHAN_SECONDS
        while True:
            try:
                lock.acquire(timeout=0)
                return
            except Timeout:
                holder = read_json(self._holder)
                soft = isinstance(lock, SoftFileLock) or hasattr(lock, "pid")  # as filelock says it to 4.2, and since
                if soft and holder and holder.get("job") == own_job() is not None:
                    # Without flock a lock outlives its holder. A job runs once at a time, so that was this one, elsewhere.
                    Path(lock.lock_file).unlink(missing_ok=True)
                    self._holder.unlink(missing_ok=True)
                    continue
                living = holder and alive(holder.get("pid"), holder.get("host"))
                if time.monotonic() > given_up or (living and not wait):
                    raise
            time.sleep(POLL_SECONDS)

    @property
    def _holder(self) -> Path:
        """Where the process that holds this run's key says who it is."""
        return self.output / ".locks" / f"{self.key}.json"

    def held_by(self) -> str:
        """Which process holds this run's key, in words."""
        pid, host, started, job = map(self._holder_says, ("pid", "host", "started", "job"))
        return f"{f'job {job} of Slurm' if job not in (None, '?') else f'process {pid}'} on {host} since {started}"

    def busy(self) -> str | None:
        """Who trains this run, or will when Slurm starts it, in words."""
        try:
            with self.held():
                return None
        except Busy:
            return self.in_slurm() or self.held_by()

    def _holder_says(self, name: str) -> Any:
        return (read_json(self._holder) or {}).get(name, "?")

    def others(self) -> Iterator[Path]:
        """Other folders below outputs/ with a run of the same key."""
        for path in sorted(self.output.glob("**/config.json")):
            if path.parent != self.folder and (read_json(path) or {}).get("key") == self.key:
                yield path.parent

    def elsewhere(self) -> Path | None:
        """Another run of this name whose images lay in the same place, and were others."""
        if not any(part.startswith("images=") for part in self.identity.variant):
            return None
        pattern = f"*scale={self.config.scale.name},seed={self.config.seed}*"
        for folder in sorted(self.folder.parent.glob(pattern)):
            saved = read_json(folder / "config.json") if folder != self.folder else None
            before = dict(saved["config"]) if saved and isinstance(saved.get("config"), dict) else {}
            same = before and not differences(before, asdict(self.config))
            if same and before["data"].get("root") == self.config.data.root:
                return folder
        return None

    def write_config(self) -> None:
        """config.json: the resolved configuration, the defaults that it departs from, and what the run is called."""
        self._write("config.json", json.dumps(self.run.configured(), indent=2))

    def write_result(self, status: str, **fields: Any) -> None:
        """result.json: what has become of the run; fields stay until they are given anew."""
        now_it_is = {
            "status": status,
            "reason": None,
            "same_as": None,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "job": own_job(),
        }
        self.run = replace(self.run, **now_it_is | fields)
        self._write("result.json", json.dumps(self.run.result(), indent=2))
        if status != "running":
            self.path("heartbeat.json").unlink(missing_ok=True)

    def copy_result(self, other: Run, source: str) -> None:
        """Record this run as the one in `source`, which is finished."""
        own = {name: getattr(self.run, name) for name in ("table", "row", "rows", "scale", "variant", *CONFIGURED)}
        self.run = replace(other, **own)
        self.write_result("finished", same_as=source)

    def write_metrics(self, history: list[dict[str, Any]]) -> None:
        """metrics.jsonl from its beginning, as it was at a checkpoint."""
        self._write("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in history))

    def add_metrics(self, line: dict[str, Any]) -> None:
        """One more line of metrics.jsonl."""
        self._append("metrics.jsonl", json.dumps(line))
        self._beat(line["step"], time.monotonic())

    def _beat(self, step: int, clock: float) -> None:
        """heartbeat.json, now and then: that the run goes on, how far it is, and how fast."""
        self._first = self._first or (step, clock)
        if clock - self._last_beat > BEAT_SECONDS:
            steps, seconds = step - self._first[0], clock - self._first[1]
            beat = {"heard": now(), "step": step, "seconds_a_step": seconds / steps if steps else None}
            self.write_json("heartbeat.json", beat)
            self._last_beat = clock

    def write_json(self, name: str, content: Any) -> None:
        """A file of the run beside the three that every run has."""
        self._write(name, json.dumps(content))

    def log(self, text: str) -> None:
        """One more line of run.log, with the time."""
        self._append("run.log", f"{now()} {text}")

    def _write(self, name: str, content: str) -> None:
        if self.writes:
            write_atomically(self.path(name), content.encode())

    def _append(self, name: str, line: str) -> None:
        if self.writes:
            with self.path(name).open("a") as file:
                file.write(f"{line}\n")

    def _unwritten(self) -> Run:
        config, identity = asdict(self.config), self.identity
        return Run(
            key=self.key,
            semantics=SEMANTICS,
            table=identity.table,
            row=identity.row,
            rows=[list(row) for row in identity.rows],
            scale=self.config.scale.name,
            seed=self.config.seed,
            variant=",".join(identity.variant),
            command=identity.command,
            config=config,
            defaults={name: default for name, default, _ in changes(identity.defaults or config, config)},
        )


def unwritable(path: Path, error: OSError) -> InputError:
    """What is said of a folder that cannot be written to."""
    return InputError(
        f"cannot write to {path}: {error.strerror}. Make it writable, or give another folder with output=<folder>"
    )
