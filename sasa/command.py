"""The command line of run.py: one run, or a sweep of them here, in other processes or as jobs of Slurm; errors are told."""

import os
import signal
import sys
from typing import NoReturn

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from sasa import help, job, quick, slurm, sweep
from sasa.config import PROGRAM, compose, own_tables
from sasa.config.identity import description
from sasa.config.overrides import Typed, check_overrides, chosen, output_of, plain_words, read, swept, use_own
from sasa.errors import InputError, RankLost, RunFailed
from sasa.lead import last_word, led, ranks
from sasa.records.folder import Record
from sasa.report import own
from sasa.report.paper import published
from sasa.report.tables.terminal import print_next, print_run
from sasa.train.interrupt import listen

NOISE = ("full_key", "object_type", "reference_type")  # how lines of OmegaConf begin that say nothing to users


def program(waits: bool = True) -> NoReturn:
    """`main`, and the process ends with its exit status: at once, but where a debugger, a notebook or `python -i` goes on."""
    frame = sys._getframe().f_back
    alone = not (frame and frame.f_back) and not sys.flags.inspect
    try:
        status = main(waits)
    except SystemExit as stop:  # train_one's
        if not isinstance(stop.code, int):
            raise
        status = stop.code
    if alone:
        quick.leave(status)
    sys.exit(status)


def main(waits: bool = True) -> int:
    """Run the command line, in the first of the processes that torchrun starts, and return the exit status.

    A sweep that does not wait leaves the rows that others train to them.
    """
    listen(signal.SIGINT, signal.SIGTERM)
    try:
        return led(lambda: carry_out(waits))
    except RankLost as error:
        complain("failed", str(error))
        return 1
    except KeyboardInterrupt as stop:
        return 128 + getattr(stop, "number", signal.SIGINT)


def carry_out(waits: bool) -> int:
    """Check the command line, let Hydra run it, and return the exit status."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra passes errors on, and they are told below
    try:
        typed = use_own(read(sys.argv[1:]))
        compose.register()
        if not typed.completes:
            check_overrides(typed.overrides, sweep=typed.multirun)
        if typed.multirun and typed.shows:
            raise InputError("-m runs several rows, and the other option shows one thing: leave one of them out")
        if "--resolve" in typed.options and not typed.shows:
            raise InputError("--resolve is of what --cfg or --help shows: add --cfg job, or leave it out")
        if not typed.shows:
            keep_own(typed)
        launcher = chosen(typed.overrides, "hydra/launcher", "basic")
        if typed.multirun and launcher != "basic" and ranks() > 1:
            raise InputError(
                f"hydra/launcher={launcher} starts processes of its own, and torchrun has started {ranks()}: leave out either"
            )
        if typed.multirun and launcher in slurm.NAMES:
            sweeper = chosen(typed.overrides, "hydra/sweeper", "basic")
            if sweeper != "basic":
                raise InputError(
                    f"hydra/launcher={launcher} submits all rows at once, and hydra/sweeper={sweeper} chooses each by "
                    "those before it: leave out either"
                )
            return slurm.run(train_one, typed, PROGRAM)
        if typed.multirun:
            return sweep.run(task, typed, waits)
        if typed.helps and (about := help.row_help(typed.overrides)):
            print(about)
            return 0
        help.prepare()
        compose.launch(task, typed)
        return 0
    except BrokenPipeError:  # head has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (InputError, OSError, *compose.ERRORS) as error:
        message = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
        lines = [line for line in message.splitlines() if line.strip() and not line.lstrip().startswith(NOISE)]
        complain("error", plain_words(" ".join(lines)))
        return 2


def complain(what: str, message: str) -> None:
    """Say what went wrong, in one line."""
    Console(stderr=True, **sweep.PLAIN).print(f"[red]{what}[/]  {escape(message)}")
    last_word(f"{what}  {message}")


def keep_own(typed: Typed) -> None:
    """Where a table of one's own is run, reports are to know it."""
    for name in own_tables():
        if chosen(typed.overrides, name, "") or name in swept(typed.overrides):
            own.keep(name, description(name), output_of(typed.overrides))


def task(cfg: DictConfig) -> float | None:
    """What Hydra runs, here or in another process: a run by itself, or a row of a sweep. Returns what sweepers maximise."""
    if compose.in_sweep():
        return sweep.train_row(cfg)
    train_one(cfg)
    return None


def train_one(cfg: DictConfig) -> None:
    """One run, and what came of it on the terminal; a failed one exits here, since Hydra would tell of its exception."""
    console = Console(**sweep.PLAIN)
    title = "run"
    try:
        config, identity = compose.checked(cfg), compose.identity(PROGRAM)
        title = identity.title
        run, folder = job.run(Record(config, identity), console)
    except (InputError, RunFailed) as error:
        complain("failed", f"{title}: {error}")
        sys.exit(1)
    row = (identity.table, identity.row) if identity.table and identity.row else identity.like
    print_run(run, published(*row) if row else None, folder, console)
    if identity.table is None:
        print_next(console)
