"""The rows of a sweep as jobs of Slurm: its different runs, submitted once each. They go on when this process ends.

It waits for them, and for those that were submitted or begun before, and prints the tables. It trains nothing itself.
"""

import os
import shlex
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from filelock import FileLock
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from sasa import job
from sasa.config import compose, own_option
from sasa.config.overrides import Typed
from sasa.config.rows import launcher_of, rows_of
from sasa.errors import InputError, Interrupted
from sasa.lead import led
from sasa.records import jobs
from sasa.records.folder import Record
from sasa.records.result import Run, read_result
from sasa.report.tables.terminal import print_line, print_table
from sasa.train.interrupt import listen

NAMES = ("slurm", "submitit_slurm")  # the launchers that are run here
SETTINGS = ("submitit_folder", "max_num_timeout", "_target_")  # of a launcher, which sbatch is not told
BASE = (
    "timeout_min",
    "cpus_per_task",
    "gpus_per_node",
    "tasks_per_node",
    "mem_gb",
    "nodes",
    "name",
    "stderr_to_stdout",
)
POLL_SECONDS = 1
SLURM_SECONDS = 10  # between two questions to Slurm
FIRST_PORT, PORTS = 20_000, 12_000  # where the ranks of a row meet
PLAIN: dict[str, Any] = {"highlight": False, "soft_wrap": True, "emoji": False}


@dataclass(frozen=True)
class Job:
    """What a job does: one run, as `python run.py` with these words does it. submitit pickles it, and Slurm runs it again."""

    task: Callable[[DictConfig], None]
    words: tuple[str, ...]

    def __call__(self) -> None:
        """Train; told that the time is nearly over, save and let submitit ask Slurm to run this job again."""
        run_again: Any = signal.getsignal(signal.SIGUSR2)
        listen(signal.SIGUSR2)
        cores, tasks = os.environ.get("SLURM_CPUS_PER_TASK", "1"), int(os.environ.get("SLURM_NTASKS", "1"))
        os.environ.setdefault("OMP_NUM_THREADS", cores)
        os.environ["HYDRA_FULL_ERROR"] = "1"
        if tasks > 1:
            introduce_ranks()
        try:
            if code := led(self.work):
                sys.exit(code)
        except Interrupted as stop:
            if stop.number == signal.SIGUSR2:
                run_again(stop.number, None)
            sys.exit(128 + stop.number)

    def work(self) -> int:
        """Train; of several tasks the first does, and the others are its ranks."""
        compose.register()
        compose.launch(self.task, Typed(self.words, ()))
        return 0

    def checkpoint(self) -> Any:
        """What is to run next time: the same, since a run goes on from its own checkpoint."""
        from submitit.helpers import DelayedSubmission  # of the extra slurm

        return DelayedSubmission(self)


def introduce_ranks() -> None:
    """Tell the tasks of a job what torchrun tells ranks: who each is, and where they meet."""
    from submitit.helpers import TorchDistributedEnvironment  # of the extra slurm

    TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
    # Of each job a port of its own, below those that the system gives to whoever asks for any.
    os.environ["MASTER_PORT"] = str(FIRST_PORT + int(os.environ["SLURM_JOB_ID"]) % PORTS)
    try:
        socket.getaddrinfo(os.environ["MASTER_ADDR"], None)
    except OSError:  # a node's name that Slurm alone knows: srun runs on the first node, and says where that is
        os.environ["MASTER_ADDR"] = os.environ["SLURM_LAUNCH_NODE_IPADDR"]


@dataclass
class Row:
    """A row of the sweep, and why it has failed, if it has."""

    label: str
    words: tuple[str, ...]
    record: Record
    reason: str = ""

    @property
    def finished(self) -> bool:
        """Whether its own folder, or another one, holds the finished run."""
        folders = (self.record.folder, *self.record.others())
        return any(job.complete(folder, self.record.key) for folder in folders)


def run(task: Callable[[DictConfig], None], typed: Typed, program: str) -> int:
    """Submit what nobody trains, wait for all of it, print the tables; returns the exit status."""
    console, complaints = Console(**PLAIN), Console(stderr=True, **PLAIN)
    settings = launcher_of(typed.overrides)
    composed = rows_of(typed.overrides, program)
    rows = [Row(one.label or one.identity.title, one.words, Record(one.config, one.identity)) for one in composed]
    if not rows:
        raise InputError(f"{' '.join(typed.overrides)}: no run, for a list or range is empty")
    runs: dict[str, list[Row]] = {}  # by key: rows that are one run
    for row in rows:
        row.record.prepare()
        runs.setdefault(row.record.key, []).append(row)
    output = rows[0].record.output
    waiting: dict[str, str | None] = {}  # key to job; None: another process has it
    try:
        (output / ".locks").mkdir(parents=True, exist_ok=True)
        with FileLock(output / ".locks" / "slurm.lock"):  # so that two sweeps do not submit the same
            todo = []
            for key, (first, *_) in runs.items():
                if first.finished:
                    continue
                if (held := first.record.busy()) is not None:
                    console.print(f"{escape(first.label)} is with {escape(held)}: waiting for it", style="dim")
                    waiting[key] = jobs.job_of(output, key) if first.record.in_slurm() else None
                else:
                    todo.append(first)
            submitted = submit(task, todo, settings, output)
            waiting |= submitted
        done = len(runs) - len(waiting)
        names = ", ".join(dict.fromkeys(name.split("_")[0] for name in submitted.values()))
        console.print(
            f"rows: {len(rows)}, different runs: {len(runs)}; {done} finished, {len(waiting) - len(submitted)} under way, "
            f"{len(submitted)} submitted{f' as job {names}' if names else ''}"
        )
        if submitted:
            console.print(f"[dim]what they print is in {escape(str(output / '.slurm'))}[/]")
        wait(runs, waiting, console, complaints)
    except KeyboardInterrupt as stop:
        left = ", ".join(dict.fromkeys(name.split("_")[0] for name in waiting.values() if name))
        console.print(
            f"The jobs go on{f' ({left}; scancel ends them)' if left else ''}. The same command waits for them:"
        )
        console.print(f"  {program} -m {escape(shlex.join([*typed.overrides, *own_option()]))}")
        return 128 + getattr(stop, "number", signal.SIGINT)
    return conclude(rows, console, complaints)


def submit(
    task: Callable[[DictConfig], None], rows: list[Row], settings: dict[str, Any], output: Path
) -> dict[str, str]:
    """Give the rows to Slurm as one array; returns the job of each key."""
    if not rows:
        return {}
    try:
        import submitit  # of the extra slurm
    except ImportError as error:
        raise InputError("hydra/launcher=slurm needs submitit: pip install -e '.[slurm]'") from error
    gpus, tasks = settings["gpus_per_node"] or None, settings["tasks_per_node"] or 1
    told = {name: value for name, value in settings.items() if name not in SETTINGS}
    told |= {"gpus_per_node": gpus, "tasks_per_node": tasks}
    folder = Path(settings["submitit_folder"]).expanduser().absolute()
    try:
        executor = submitit.AutoExecutor(
            folder=folder, cluster="slurm", slurm_max_num_timeout=settings["max_num_timeout"]
        )
        executor.update_parameters(
            **{name if name in BASE else f"slurm_{name}": value for name, value in told.items() if value is not None}
        )
        with redirect_stderr(StringIO()):  # where submitit repeats what sbatch says
            given = executor.submit_array([Job(task, row.words) for row in rows])
    except Exception as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("sbatch: error: ")
        raise InputError(f"Slurm does not take the jobs: {reason}. Correct hydra.launcher's settings") from None
    names = {row.record.key: one.job_id for row, one in zip(rows, given, strict=True)}
    for row in rows:
        key = row.record.key
        jobs.note_job(output, key, names[key], row.label, row.record.identity.command)
    return names


def wait(runs: dict[str, list[Row]], waiting: dict[str, str | None], console: Console, complaints: Console) -> None:
    """Until no run is under way; each that ends is told of, and taken out of `waiting`."""
    asked, told = 0.0, ""
    gone: set[str] = set()  # keys whose job was over when Slurm was asked before: files may come late over a network
    while waiting:
        left: set[str] | None = None  # of the jobs, where Slurm was asked just now
        if time.monotonic() - asked > SLURM_SECONDS:
            states = jobs.queued(name for name in waiting.values() if name)
            left, asked = (None if states is None else set(states)), time.monotonic()
            if states and (said := summary(states.values())) != told:
                console.print(f"[dim]{time.strftime('%H:%M:%S')}  {escape(said)}[/]")
                told = said
        for key, name in list(waiting.items()):
            first = runs[key][0]
            known = job.complete(first.record.folder, key)
            over = (left is not None and name not in left) if name else first.record.busy() is None
            if known:
                print_line(first.label, known, console)
            elif not over or (key not in gone and not first.finished):
                gone |= {key} if over else set()
                continue
            elif not first.finished:
                fail(runs[key], reason_of(first, name), complaints)
            del waiting[key]
            with suppress(FileNotFoundError):
                jobs.job_file(first.record.output, key).unlink()
        time.sleep(POLL_SECONDS)


def summary(states: Iterable[jobs.State]) -> str:
    """How many jobs are in which state, and why they wait: "3 running, 2 pending (Resources)"."""
    counts = Counter(
        f"{one.name.lower()}{f' ({one.reason})' if one.reason not in ('', 'None') else ''}" for one in states
    )
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items(), reverse=True))


def reason_of(row: Row, name: str | None) -> str:
    """Why a run is not finished, though nobody trains it any more."""
    known: Run | None = read_result(row.record.folder)
    if known and known.status == "failed" and known.reason:
        return known.reason
    if name is None:
        return "the process that trained it has ended before it was finished: the same command submits it"
    state = jobs.ending(name)
    said = f"its job {name} ended before it was finished{f' ({state})' if state else ''}"
    return f"{said}: the same command goes on with it. What it printed is in {row.record.output / '.slurm'}"


def fail(twins: list[Row], reason: str, complaints: Console) -> None:
    """Note and tell why a run has failed."""
    for row in twins:
        row.reason = reason
    complaints.print(f"[red]{escape(twins[0].label)}: {escape(reason)}[/]")


def conclude(rows: list[Row], console: Console, complaints: Console) -> int:
    """Give each row its own record, print the tables, and what failed; returns the exit status."""
    tables: dict[tuple[str, str, str, str], None] = {}
    for row in rows:
        record = row.record
        if not row.reason and not job.complete(record.folder, record.key):
            with record.held():
                job.finished(record, console)
        if record.identity.table:
            tables[record.identity.table, record.run.scale, record.run.variant, record.config.output] = None
    for table, scale, variant, output in tables:
        print_table(table, scale, variant, output, Console(), failures=False)
    failed = [row for row in rows if row.reason]
    for row in failed:
        complaints.print(f"[red]failed[/]  {escape(row.label)}: {escape(row.reason)}")
    return 1 if failed else 0
