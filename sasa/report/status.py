"""`python -m sasa.report status`: what is done, running, waiting and failed below outputs/, and when all of it will be done."""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.text import Text

from sasa.records import jobs
from sasa.records.collect import collect
from sasa.records.files import alive, read_json
from sasa.records.progress import Progress, by_the_clock, progress
from sasa.records.result import Run
from sasa.report.names import clean, shorten
from sasa.report.tables.terminal import print_left_out

STYLES = {"finished": "green", "running": "cyan", "waiting": "", "interrupted": "yellow", "failed": "bold red"}


@dataclass(frozen=True)
class Line:
    """A run, what has become of it (a key of STYLES), and where or why; `count` where it stands for several rows."""

    status: str
    name: str
    told: str
    progress: Progress | None = None
    count: int = 1
    run: Run | None = None

    @property
    def again(self) -> str:
        """The command that goes on with a run that was stopped or failed; empty for any other."""
        return self.run.command if self.run and self.status in ("interrupted", "failed") else ""


def status(output: Path, runs: Sequence[Run]) -> list[Line]:
    """A line a run of those below `output`, and one for the rows of a sweep that wait for their turn."""
    runs = [run for run in runs if not run.same_as]
    given = {path.name.split(".")[0]: read_json(path) or {} for path in (output / ".locks").glob("*.job.json")}
    states = jobs.queued([str(one.get("job")) for one in given.values()] + [run.job for run in runs if run.job])
    lines = [of_run(output, run, states) for run in runs]
    known = {run.key for run in runs}
    for key, one in given.items():
        state = (states or {}).get(str(one.get("job")))
        if key not in known and state:
            lines.append(Line("waiting", str(one.get("label")), f"job {one.get('job')} of Slurm, {state}"))
    return lines + waiting_here(output)


def of_run(output: Path, run: Run, states: dict[str, jobs.State] | None) -> Line:
    """What has become of one run; a job of Slurm that waits again has the last word on it."""
    name = name_of(run)
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
    return Line(run.status, name, run.reason or "", run=run)


def waiting_here(output: Path) -> list[Line]:
    """The rows of sweeps under way that no process has begun."""
    lines = []
    for path in sorted((output / ".sweep").glob("*/sweep.json")):
        sweep = read_json(path) or {}
        left = int(sweep.get("rows", 0)) - len(list(path.parent.glob("[0-9]*.json")))
        if left > 0 and alive(sweep.get("pid"), sweep.get("host")):
            told = f"in the sweep of process {sweep['pid']} on {sweep['host']}"
            lines.append(Line("waiting", f"{left} row{'s' if left > 1 else ''}", told, count=left))
    return lines


def name_of(run: Run) -> str:
    """What people read: "table4=k7 seed=1", with the scale and other overrides where they are not the plain ones."""
    title = f"{run.table}={run.row}" if run.table else "run"
    scale = f"scale={run.scale}" if run.scale != "demo" else ""
    return " ".join(part for part in (title, scale, f"seed={run.seed}" if run.seed else "", clean(run.variant)) if part)


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
    lines = status(output, found.runs)
    if lines:
        show(lines, seconds_left(lines, found.runs), output, console)
    else:
        console.print(f"No runs in {output} yet", markup=False)
    print_left_out(found, console)
