"""The rows of a sweep, which Hydra's launchers may run in other processes: each leaves word in the sweep's folder.

The folder is outputs/.sweep/<time>-<process>. What became of each row is read there after the last one; rows that
another sweep holds are waited for, and what a dead one left unfinished is finished here.
"""

import json
import os
import shlex
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from sasa import job
from sasa.config import PROGRAM, compose, own_option, tables
from sasa.config.identity import Identity, load, variant_of
from sasa.config.overrides import Typed, chosen, output_of, quoted, swept
from sasa.config.rows import words_of
from sasa.errors import InputError, RunFailed
from sasa.records.collect import collect
from sasa.records.files import cores, write_atomically
from sasa.records.folder import Busy, Record, unwritable
from sasa.records.result import Run, called
from sasa.records.sweeps import Listed, Sweep, answered, begun, missing, read_sweep, sweeps
from sasa.report.tables.terminal import print_line, print_table
from sasa.train.interrupt import listen

FOUND = "optimization_results.yaml"  # what a sweeper such as Optuna's leaves in the sweep's folder
# What its sweeper is told for results that are to be large, one trial after the other, of which a failed one is left out.
OPTUNA = {
    "hydra.sweeper.n_trials": "20",
    "hydra.sweeper.direction": "maximize",
    "hydra.sweeper.n_jobs": "1",
    "hydra.sweeper.max_failure_rate": "1",
}
STOP = "stop"  # a file in the sweep's folder: its rows save their state and end
POLL_SECONDS = 0.2
PLAIN: dict[str, Any] = {"highlight": False, "soft_wrap": True, "emoji": False}  # what runs print may be of any length


def run(task: Callable[[DictConfig], float | None], typed: Typed, waits: bool) -> int:
    """Let Hydra run all rows, wait for those of others if it waits, print their tables; returns the exit status."""
    settings = []
    if chosen(typed.overrides, "hydra/sweeper", "basic") == "optuna":
        settings = [f"{key}={chosen(typed.overrides, key, value)}" for key, value in OPTUNA.items()]
        trials = settings[0].partition("=")[2]
        if not (trials.isdecimal() and int(trials)):
            raise InputError(f"{settings[0]}: expected a whole number above 0")
        rows = [Listed()] * int(trials)
    else:
        rows = [listed(given) for given in words_of(typed.overrides)]
    if not rows:
        raise InputError(f"{' '.join(typed.overrides)}: no run, for a list or range is empty")
    output = output_of(typed.overrides)
    folder = output / ".sweep" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise unwritable(output, error) from error
    sweep = Sweep(swept(typed.overrides), rows, os.getpid(), socket.gethostname(), os.environ.get("OMP_NUM_THREADS"))
    write_atomically(folder / "sweep.json", json.dumps(asdict(sweep)).encode())
    place = f"hydra.sweep.dir={quoted(folder)}"
    launcher = chosen(typed.overrides, "hydra/launcher", "basic")
    crash, number = "", 0
    try:
        with nullcontext() if launcher == "basic" else stopping(folder):
            compose.launch(task, Typed((*typed.overrides, *settings, place), typed.options))
    except KeyboardInterrupt as stop:
        number = getattr(stop, "number", signal.SIGINT)
    except (*compose.ERRORS, InputError):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except Exception as error:  # of a launcher, one of whose processes was killed
        crash = f"{type(error).__name__}: {error}".splitlines()[0]
    with suppress(OSError):
        number = int((folder / STOP).read_text())
    status = conclude(folder, f"{PROGRAM} -m {shlex.join([*typed.overrides, *own_option()])}", crash, number, waits)
    tidy(output, folder)
    return status


def listed(given: Mapping[str, str]) -> Listed:
    """A row by its words."""
    values = {key: word.partition("=")[2] for key, word in given.items()}
    table = next((name for name in tables() if name in given), None)
    row, scale, seed = values.get(table or ""), values.get("scale", "demo"), values.get("seed", "0")
    name = called(table, row, scale, seed, ",".join(variant_of(given, table)))
    return Listed(name, shlex.join([*PROGRAM.split(), *given.values(), *own_option()]))


def tidy(output: Path, mine: Path) -> None:
    """Remove the folders of sweeps that have served: this one's and those that have ended, unless rows of them are missing."""
    known = answered(collect(output).known)
    for folder, sweep in sweeps(output):
        if (folder == mine or not sweep.living) and not missing(folder, sweep, known):
            shutil.rmtree(folder, ignore_errors=True)


def conclude(folder: Path, command: str, crash: str, number: int, waits: bool) -> int:
    """After the last row, or a signal of that number: wait for rows of others, print the tables and what failed."""
    console, complaints = Console(**PLAIN), Console(stderr=True, **PLAIN)
    words = [Word(**{**word, "path": folder / f"{number}.json"}) for number, word in begun(folder).items()]
    try:
        for word in words:
            if word.status == "held" and waits and not number:
                train(word, console, complaints, wait=True)
    except KeyboardInterrupt as stop:
        number = getattr(stop, "number", signal.SIGINT)
    for word in words:
        if word.status == "running" and not number:
            word.leave("failed", f"its process ended without a word{f' ({crash})' if crash else ''}")
    for table, scale, variant, output in dict.fromkeys(tuple(word.table) for word in words if word.table):
        print_table(table, scale, variant, output, Console(), failures=False)
    if (folder / FOUND).exists():
        best = load(folder / FOUND)  # of one objective
        found = " ".join(f"{name}={value}" for name, value in best["best_params"].items())
        console.print(f"best of {len(words)}: {best['best_value']:.2f} % with {escape(found)}")
    failed = [word for word in words if word.status == "failed"]
    for word in failed:
        complaints.print(f"[red]failed[/]  {escape(word.label)}: {escape(word.reason)}")
    if crash and not failed:
        complaints.print(f"[red]failed[/]  {escape(crash)}")
    if number:
        console.print(f"[yellow]Stopped.[/] The same command goes on with what is left:\n  {escape(command)}")
        return 128 + number
    return 1 if failed or crash else 0


@dataclass
class Word:
    """What a row leaves in its file of the sweep's folder."""

    path: Path
    label: str = "run"
    status: str = "running"  # or held by another sweep, finished, failed, interrupted
    reason: str = ""
    table: Sequence[str] = ()  # that it is a row of: name, scale, variant and outputs folder
    place: Sequence[int] = ()  # (row, rows) of the sweep, where that is for people to see
    config: dict[str, Any] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)

    def leave(self, status: str, reason: str = "") -> None:
        """Write it."""
        self.status, self.reason = status, reason
        write_atomically(self.path, json.dumps(asdict(self), default=str).encode())


def train_row(cfg: DictConfig) -> float | None:
    """Hydra's present job: one row, wherever its launcher runs it. Returns its result on the held-out images, if it has one."""
    folder, number, launcher = compose.job()
    sweep = read_sweep(folder)
    assert sweep
    word = Word(folder / f"{number}.json", label=compose.label(sweep.keys) or "run")
    if (folder / STOP).exists():
        return None
    if not sweep.here and sweep.threads is None:
        os.environ["OMP_NUM_THREADS"] = str(threads(launcher, len(sweep.rows)))
    console, complaints = Console(**PLAIN), Console(stderr=True, **PLAIN)
    if not sweep.here:
        console = Console(force_terminal=False, **PLAIN)  # several progress bars on one terminal overwrite each other
    word.leave("running")
    try:
        config = compose.checked(cfg)
        identity = compose.identity(PROGRAM)
        word.label = compose.label(sweep.keys) or identity.title
        word.place = (number + 1, len(sweep.rows)) if sweep.here else ()
        word.config, word.identity = asdict(config), asdict(identity)
        if sweep.here and threading.current_thread() is threading.main_thread():
            # Ctrl-C is this row's, whatever launcher it runs under.
            listen(signal.SIGINT)
        with nullcontext() if sweep.here else stopped_by(folder, sweep):
            run = train(word, console, complaints)
            return next(iter(results(run)), None) if run else None
    except InputError as error:
        fail(word, error, complaints)
    except KeyboardInterrupt:
        word.leave("interrupted")
        if sweep.here:
            raise
    return None


def results(run: Run) -> list[float]:
    """The measure on the held-out images that a run's table begins with."""
    held_out = run.measured("validation")
    return [held_out[name] for name in ("top1", "ap") if name in held_out]


def train(word: Word, console: Console, complaints: Console, wait: bool = False) -> Run | None:
    """Train the row, or leave word of who does; waiting for that one is for after the last row. Returns a finished run."""
    known = word.identity
    rows = tuple((table, row) for table, row in known["rows"])
    identity = Identity(**{**known, "rows": rows, "variant": tuple(known["variant"])})
    try:
        record = Record(compose.checked(word.config), identity)
        if word.place:
            record.place = (word.place[0], word.place[1])
        if identity.table:
            word.table = (identity.table, record.run.scale, record.run.variant, record.config.output)
        word.leave("running")
        try:
            run, _ = job.run(record, console)
        except Busy:
            line = f"{escape(word.label)} is being trained by {escape(record.held_by())}: "
            console.print(line + ("waiting for it" if wait else "this sweep goes on with the others"))
            if not wait:
                word.leave("held")
                return None
            run, _ = job.run(record, console, wait=True)
    except (InputError, RunFailed) as error:
        fail(word, error, complaints)
        return None
    word.leave("finished")
    print_line(word.label, run, console)
    return run


def fail(word: Word, error: Exception, complaints: Console) -> None:
    """Leave word of a failed row."""
    word.leave("failed", str(error))
    complaints.print(f"[red]{escape(word.label)}: {escape(str(error))}[/]")


def threads(launcher: Mapping[str, Any], rows: int) -> int:
    """CPU threads of each row, so that those that a launcher runs at once on this machine share its cores."""
    kind = str(launcher["_target_"]).rpartition(".")[2]
    if kind == "JoblibLauncher":
        jobs = int(launcher["n_jobs"])
        rows = min(rows, jobs if jobs > 0 else max(1, cores() + 1 + jobs))
    return max(1, cores() // rows)


@contextmanager
def stopping(folder: Path) -> Iterator[None]:
    """Within it, the first Ctrl-C or SIGTERM tells the rows in other processes to stop, and waits for them."""

    def stop(number: int, frame: FrameType | None) -> None:
        restore()
        (folder / STOP).write_text(str(number))
        Console(**PLAIN).print("stopping: the rows in progress save their state first")

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        restore()


@contextmanager
def stopped_by(folder: Path, parent: Sweep) -> Iterator[None]:
    """Within it, this process is interrupted when the sweep's folder says stop or its own process is gone, and by no Ctrl-C.

    That one reaches the processes of some launchers and not those of others, and a second signal would not let them save.
    """
    with suppress(OSError, AttributeError):  # Windows has none
        os.setpgid(0, 0)
    if threading.current_thread() is threading.main_thread():
        listen(signal.SIGINT)
        with suppress(AttributeError):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ray's workers begin with it blocked
    done = threading.Event()

    def watch() -> None:
        while not done.wait(POLL_SECONDS):
            if (folder / STOP).exists() or not parent.living:
                return os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()
