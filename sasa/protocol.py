"""`make results`: rows and seeds in an order that decides many of the paper's statements by the hour, until time is up.

First two seeds of every row of Tables 1 and 3 to 7, one of the others, and a third of the former; then one seed after the
other, to the twelfth, for the open statement that takes least time to decide. What comes next is read from the records: a run
of it that was stopped goes on, and several side by side share the rows: each takes what nobody trains, and waits at the end.
"""

import argparse
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sasa.config import shortcut
from sasa.config.identity import is_machine
from sasa.config.overrides import output_of
from sasa.errors import InputError
from sasa.records.archive import once
from sasa.records.collect import collect, collect_with_shipped
from sasa.records.result import Run
from sasa.report.agreement import agreement
from sasa.report.groups import Group, gather, row_in
from sasa.report.paper import TABLES, find_table
from sasa.report.tables.terminal import duration
from sasa.report.verdicts import judge, print_verdicts

SEVERAL = ("table3", "table4", "table5", "table6", "table7", "table1")  # with three seeds at least
SINGLE = ("figure5", "table2")
LOOKS = range(3, 13)  # seeds after which statements are judged: each look may err (verdicts.METHOD)
# run.py, also where sasa came as a wheel.
RUN = "from sasa.command import program; program(waits={waits})"


@dataclass(frozen=True)
class Step:
    """One sweep: rows of a table that lack a seed, which nobody trains now, or which are waited for."""

    table: str
    rows: tuple[str, ...]
    seed: int
    waits: bool = False


class Records:
    """What has been run at one scale and variant, of some of the tables."""

    def __init__(
        self, runs: Sequence[Run], tables: Sequence[str], scale: str, variant: str, hidden: Sequence[Run] = ()
    ) -> None:
        self.shown, out_of_sight = (
            [run for run in some if (run.scale, run.variant) == (scale, variant)] for some in (runs, hidden)
        )
        self.runs = [*self.shown, *out_of_sight]
        self.tables, self.scale, self.variant = tables, scale, variant
        self.groups = {table: gather(self.runs, table, scale, variant) for table in tables}
        self.trained = once(self.runs)

    @property
    def seconds(self) -> float:
        """The time that all of it took."""
        return sum(run.seconds or 0 for run in self.trained)

    def lacking(self, table: str, rows: Sequence[str], seed: int) -> tuple[str, ...]:
        """The rows that are not finished with a seed."""
        groups = self.groups[table]
        return tuple(row for row in rows if row not in groups or seed not in {run.seed for run in groups[row].finished})

    def running(self, table: str, row: str, seed: int) -> bool:
        """Whether another process trains a row with a seed, or a row of another table that is the same one."""
        return any(run.seed == seed and run.status == "running" and row_in(run, table) == row for run in self.runs)

    def estimate(self, step: Step) -> float:
        """How long a step takes, in seconds, by the same rows' other seeds, else by the mean of all runs."""
        mean = self.seconds / len(self.trained) if self.trained else 0.0
        return sum(time_of(self.groups[step.table].get(row)) or mean for row in step.rows)


def read(output: Path, tables: Sequence[str], scale: str, given: str) -> Records:
    """The records below `output` with these overrides; images of one's own are named in a run's variant beside them."""
    found = collect(output)
    alike = [run for run in found.known if run.scale == scale and run.typed == given]
    newest = max(alike, key=lambda run: run.started, default=None)
    return Records(found.runs, tables, scale, newest.variant if newest else given, found.hidden)


def time_of(group: Group | None) -> float | None:
    """How long a row takes, in seconds."""
    times = [run.seconds for run in group.finished if run.seconds] if group else []
    return sum(times) / len(times) if times else None


def planned(records: Records) -> Iterator[Step]:
    """What is trained whatever comes of it, and is left."""
    several, single = ([name for name in names if name in records.tables] for names in (SEVERAL, SINGLE))
    for seed, tables in ((0, several), (1, several), (0, single), (2, several)):
        for table in tables:
            yield Step(table, records.lacking(table, [row.name for row in TABLES[table].rows], seed), seed)


def further(records: Records) -> Iterator[Step]:
    """The seeds that each open statement needs, if they can decide it: the one first that takes least time."""
    choices = []
    for one in judge(records.shown, records.scale, records.variant):
        table, needed = one.statement.table, one.needed_within(LOOKS[-1])
        if table not in records.tables or not needed:
            continue
        left = [Step(table, records.lacking(table, [row], seed), seed) for row in needed for seed in range(needed[row])]
        choices.append((sum(map(records.estimate, left)), table, needed))
    for _, table, needed in sorted(choices, key=lambda choice: choice[:2]):
        for seed in range(max(needed.values())):
            yield Step(table, records.lacking(table, [row for row in needed if seed < needed[row]], seed), seed)


def next_step(records: Records, seconds: float, given_up: set[tuple[str, str, int]]) -> Step | None:
    """The next step without what failed before; None if nothing is left that the time allows.

    What others train is left to them while there is anything else, and waited for before anything depends on it.
    """
    others: Step | None = None
    for steps in (planned(records), further(records)):
        for step in steps:
            rows = tuple(row for row in step.rows if (step.table, row, step.seed) not in given_up)
            free = tuple(row for row in rows if not records.running(step.table, row, step.seed))
            if free:
                step = Step(step.table, free, step.seed)
                return step if records.seconds + records.estimate(step) <= seconds else None
            if rows:
                others = others or Step(step.table, rows, step.seed, waits=True)
        if others:
            return others
    return None


def tables_of(scale: str) -> list[str]:
    """The tables that a scale has images for: boxes at coco, classes elsewhere, both at demo."""
    return [name for name in TABLES if scale == "demo" or (name == "table2") == (scale == "coco")]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sasa.protocol", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add(
        "words", nargs="*", metavar="TABLE or OVERRIDE", help="only these tables; and for run.py, such as data.root=..."
    )
    add("--scale", default="demo", help="default: demo")
    add("--hours", type=float, default=10.0, help="of training in all, by the records, earlier ones too (default: 10)")
    options = parser.parse_intermixed_args(arguments)
    console = Console(highlight=False)
    try:
        return follow(options.words, options.scale, 3600 * options.hours, console)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def follow(words: Sequence[str], scale: str, seconds: float, console: Console) -> int:
    """Train step after step; returns the exit status: that of a sweep which was stopped or refused, else 0."""
    overrides = [word for word in words if "=" in word]
    last = {word.partition("=")[0]: word for word in overrides}  # of a field that is given twice
    for key, advice in (("scale", "give --scale"), ("seed", "the protocol chooses the seeds: leave it out")):
        if key in last:
            raise InputError(f"{last[key]}: {advice}")
    tables = [find_table(word).name for word in words if "=" not in word] or tables_of(scale)
    output = output_of(overrides)
    given = ",".join(sorted(word for key, word in last.items() if not is_machine(key) and not key.startswith("hydra")))
    given_up: set[tuple[str, str, int]] = set()
    tried: set[tuple[str, str, int]] = set()
    while step := next_step(records := read(output, tables, scale, given), seconds, given_up):
        expected = records.estimate(step)
        lasts = f"about {duration(expected)}" if expected else "nobody knows how long"
        console.print(
            f"\n[bold]{step.table}, seed {step.seed}: {', '.join(step.rows)}[/], "
            f"{'which others train' if step.waits else lasts}; "
            f"{records.seconds / 3600:.2f} h of {seconds / 3600:g} h are used"
        )
        sweep = ["-m", f"{step.table}={','.join(step.rows)}", f"seed={step.seed}", f"scale={scale}", *overrides]
        run = [sys.executable, "-c", RUN.format(waits=step.waits), *sweep]
        code = subprocess.run(run, check=False).returncode
        if code not in (0, 1):
            return code
        after = read(output, tables, scale, given)
        left = {(step.table, row, step.seed) for row in after.lacking(step.table, step.rows, step.seed)}
        left = {one for one in left if not after.running(*one)}
        given_up |= left & tried  # what somebody else had, and did not finish, is tried again, once
        tried |= left
    runs = collect_with_shipped(output).runs
    print_verdicts(runs, scale, records.variant, console)
    console.print(f"\n{records.seconds / 3600:.2f} h of training. {agreement(runs, scale, records.variant)}".rstrip())
    if next_step(records, math.inf, given_up):
        console.print(
            f"The next rows would take it above {seconds / 3600:g} h: {shortcut('results HOURS=...', '--hours')} goes on"
        )
    return 1 if given_up else 0


if __name__ == "__main__":
    sys.exit(main())
