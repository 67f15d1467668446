"""`python -m sasa.report status`: what is done, running, waiting and failed below outputs/, and when all of it will be done."""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.text import Text

from sasa.records import jobs
from sasa.records.collect import collect
from sasa.records.files import read_json
from sasa.records.progress import Progress, by_the_clock, progress
from sasa.records.result import Run
from sasa.records.sweeps import answered, missing, sweeps, waiting
from sasa.report.names import clean, shorten
from sasa.report.tables.terminal import print_left_out

STYLES = {
    "finished": "green",
    "running": "cyan",
    "waiting": "",
    "interrupted": "yellow",
    "failed": "bold red",
    "missing": "yellow",
}


@dataclass(frozen=True)
class Line:
    """A run, what has become of it (a key of STYLES), and where or why; `count` where it stands for several rows."""

    status: str
    name: str
    told: str
    progress: Progress | None = None
    count: int = 1
    run: Run | None = None
    again: str = ""  # the command that goes on with what was stopped, failed or never begun


def status(output: Path, known: Sequence[Run], hidden: Sequence[Run] = ()) -> list[Line]:
    """A line a run of those below `output`, one for the rows of a sweep that wait, and one a row that no sweep came to."""
    runs = [run for run in known if not run.same_as]
    given = {path.name.split(".")[0]: read_json(path) or {} for path in sorted((output / ".locks").glob("*.job.json"))}
    states = jobs.queued([str(one.get("job")) for one in given.values()] + [run.job for run in runs if run.job])
    lines = [of_run(output, run, states) for run in runs]
    begun = {run.key for run in (*known, *hidden)}
    for key, one in given.items():
        job, label = str(one.get("job")), clean(str(one.get("label")))
        state = (states or {}).get(job)
        if key not in begun and state:
            lines.append(Line("waiting", label, f"job {job} of Slurm, {state}"))
        elif key not in begun and states is not None:
            again = str(one.get("command", ""))
            lines.append(Line("missing", label, f"never begun: its job {job} is gone", again=again))
    return [*lines, *of_sweeps(output, (*known, *hidden))]


def of_run(output: Path, run: Run, states: dict[str, jobs.State] | None) -> Line:
    """What has become of one run; a job of Slurm that waits again has the last word on it."""
    name = clean(run.name)
    state = (states or {}).get(run.job or "")
    if run.job and run.status in ("running", "interrupted") and states is not None:
        if state is None:
            run = replace(run, status="interrupted", reason=f"its job {run.job} is gone")
        elif state.name != "RUNNING":
            return Line(
                "waiting", name, f"job {run.job} of Slurm, {state}", progress(output / run.folder, run), run=run
            )
    if run.status == "running":
        where = f"job {run.job}, {state}" if run.job else f"process {run.pid} on {run.host}"
        return Line("running", name, where, progress(output / run.folder, run), run=run)
    again = run.command if run.status in ("interrupted", "failed") else ""
    return Line(run.status, name, run.reason or "", run=run, again=again)


def of_sweeps(output: Path, runs: Sequence[Run]) -> Iterator[Line]:
    """The rows that sweeps have not begun: those of a living one wait, and those of the others are nobody's."""
    known, finished = answered(runs), answered(run for run in runs if run.status == "finished")
    for folder, sweep in sorted(sweeps(output), key=lambda one: not one[1].living):
        if sweep.living:
            known |= {row.placed for row in sweep.rows}
            left = len(waiting(folder, sweep, finished))
            if left:
                told = f"in the sweep of process {sweep.pid} on {sweep.host}"
                yield Line("waiting", f"{left} row{'s' if left > 1 else ''}", told, count=left)
            continue
        for row in missing(folder, sweep, known):
            known.add(row.placed)
            told = f"never begun: {folder.relative_to(output)} ended before"
            yield Line("missing", clean(row.name), told, again=row.command)


def seconds_left(lines: Sequence[Line], runs: Sequence[Run]) -> float | None:
    """Until all that runs or waits is done, if as many run at once as now; None where nothing tells how long a run takes."""
    begun = [line.progress.left for line in lines if line.status == "running" and line.progress]
    known = [left for left in begun if left is not None]
    waiting = [line for line in lines if line.status == "waiting" for _ in range(line.count)]
    whole = [run.seconds for run in runs if run.status == "finished" and run.seconds and not run.same_as]
    whole += [one.left / (1 - one.share) for line in lines if (one := line.progress) and one.left and one.share < 1]
    if len(known) < len(begun) or (waiting and not whole):
        return None
    each = statistics.fmean(whole) if waiting else 0.0
    left = [each * (1 - (line.progress.share if line.progress else 0)) for line in waiting]
    return by_the_clock(left, max(1, len(known)), known) if known or left else None


def clock(seconds: float) -> str:
    """4:59:00, or 2 days, 3:00:00."""
    return str(timedelta(seconds=round(seconds)))


def show(lines: Sequence[Line], left: float | None, output: Path, console: Console) -> None:
    """Counts, then what is not finished, then the end."""
    counts = {kind: sum(line.count for line in lines if line.status == kind) for kind in STYLES}
    console.print(
        f"{output}: " + ", ".join(f"{count} {kind}" for kind, count in counts.items() if count),
        markup=False,
        soft_wrap=True,
    )
    for kind in STYLES:
        for line in lines if kind != "finished" else ():
            if line.status != kind:
                continue
            done = line.progress
            far = f"  {done.share:.0%}" if done else ""
            still = f", {clock(done.left)} left" if done and done.left is not None and kind == "running" else ""
            told = f"  {shorten(clean(line.told))}" if line.told else ""
            told += f"; to go on: {clean(line.again)}" if line.again else ""
            console.print(
                Text.assemble((f"{kind:11} ", STYLES[kind]), (line.name, "bold"), far, still, told), soft_wrap=True
            )
    if left is not None:
        end = datetime.fromtimestamp(time.time() + left)
        console.print(f"all of it ends in about {clock(left)}, {end:%A %d %B %H:%M}", style="bold")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m sasa.report status", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("outputs"), metavar="DIR", help="where the runs are")
    output = parser.parse_args(arguments).output
    found, console = collect(output), Console(highlight=False)
    lines = status(output, found.runs, found.hidden)
    if lines:
        show(lines, seconds_left(lines, found.runs), output, console)
    else:
        console.print(f"No runs in {output} yet", markup=False)
    print_left_out(found, console)
