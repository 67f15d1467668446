"""`python -m sasa.plan table1 table3 scale=imagenet seed=0,1,2 gpus=8`: what is not finished yet, and what it will cost.

A table's name stands for all its rows; the other words are those of run.py -m. gpus= says how many runs go side by side.
The rate is measured now (--measure), or what runs on this very kind of device recorded, or a share of a device's peak.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sasa.bench.pace import Pace, device_name, measured, peak_flops
from sasa.config import PROGRAM, compose
from sasa.config.choices import TaskKind
from sasa.config.identity import hashed, network
from sasa.config.overrides import check_overrides
from sasa.config.rows import Row, rows_of
from sasa.config.schema import Config
from sasa.cost import cost
from sasa.data.build import splits
from sasa.errors import InputError
from sasa.records.collect import collect
from sasa.records.folder import Record
from sasa.records.progress import by_the_clock, progress
from sasa.records.result import Run
from sasa.report.groups import gather
from sasa.report.tables.terminal import duration
from sasa.report.verdicts import judge

FORWARD_AND_BACKWARD = 3  # times the FLOPs of a forward pass
# Images of the sets that lie elsewhere: to train on (with those held out), and to test on.
SIZES = {
    "imagenet": (1_281_167, 50_000),
    "cifar10": (50_000, 10_000),
    "cifar100": (50_000, 10_000),
    "coco": (118_287, 5_000),
}
PEAKS = {  # FLOP/s of bfloat16 matrix products without sparsity, by the makers
    "A100": 312e12, "H100": 989e12, "H200": 989e12, "L40S": 362e12, "L4": 121e12, "A10": 125e12, "V100": 125e12,
}  # fmt: skip
SEEDS = re.compile(r"seed=\d+(,\d+)*")
SHARE = 0.08  # the paper's networks on a GPU: from 0.04 to 0.17


@dataclass(frozen=True)
class Work:
    """What a run has to do: images to train on and to evaluate, and FLOPs of a forward pass of one."""

    trained: float
    evaluated: float
    flops: float

    @property
    def total(self) -> float:
        """FLOPs of all of it."""
        return self.flops * (FORWARD_AND_BACKWARD * self.trained + self.evaluated)


@dataclass
class Planned:
    """A run that is not finished, and the rows that it is."""

    labels: list[str]
    config: Config
    work: Work
    done: float  # share of its steps
    pace: Pace | None = None
    source: str = ""

    @property
    def seconds(self) -> float:
        """How long what is left of it takes."""
        assert self.pace is not None
        work, pace = self.work, self.pace
        whole = work.trained / pace.training + work.evaluated / pace.evaluation
        return (1 - self.done) * whole + pace.start


def selection(words: Sequence[str], tell: Callable[[str], None]) -> list[Row]:
    """The rows of all tables that are named, with the other words."""
    tables = [word for word in words if word in compose.tables()]
    others = [word for word in words if word not in tables]
    rows: list[Row] = []
    for chosen in [[f"{table}=glob(*)", *others] for table in tables] or [others]:
        check_overrides(chosen, sweep=True)
        tell(f"composing {chosen[0].removesuffix('=glob(*)')}")
        listed = [word for word in chosen if SEEDS.fullmatch(word)]  # a row of several seeds is composed once
        for row in rows_of([word for word in chosen if word not in listed], PROGRAM):
            seeds = map(int, listed[-1].partition("=")[2].split(",")) if listed else [row.config.seed]
            rows += [replace(row, config=replace(row.config, seed=seed)) for seed in seeds]
    return rows


def unfinished(rows: Iterable[Row], runs: Sequence[Run], tell: Callable[[str], None]) -> tuple[list[Planned], int]:
    """The different runs of some rows that are not finished, and how many are."""
    finished = {run.key for run in runs if run.complete}
    planned: dict[str, Planned] = {}
    done = set()
    for row in rows:
        record = Record(row.config, row.identity)
        label = f"{row.identity.title} {f'seed={row.config.seed}' if row.config.seed else ''}".strip()
        if record.key in finished:
            done.add(record.key)
        elif record.key in planned:
            planned[record.key].labels.append(label)
        else:
            begun = next((run for run in runs if run.key == record.key), None)
            known = progress(record.output / begun.folder, begun) if begun else None
            share = known.share if known else 0.0
            tell(f"counting the FLOPs of {label}")
            planned[record.key] = Planned([label], row.config, work_of(row.config), share)
    return list(planned.values()), len(done)


def work_of(config: Config) -> Work:
    """The images that a run trains on and evaluates, and the FLOPs of one."""
    data, train = config.data, config.train
    if data.reader == "shapes" or data.name in SIZES:
        pool, test = SIZES.get(data.name, (0, 0))
        pool, test = data.train_images or pool, data.test_images or test
        validation = min(max(1, round(pool * data.validation)), pool - 1) if data.validation else 0
        training = pool - validation
    else:
        parts = splits(data, boxes=config.task.kind is TaskKind.detection)
        training, validation, test = len(parts.train), len(parts.validation), len(parts.test)
    batches = max(1, training // train.micro_batch)
    steps = max(1, batches // (train.batch // train.micro_batch))
    an_epoch = steps * min(train.batch, batches * train.micro_batch, training)
    twice = 2 if train.ema_decay else 1  # the trained weights and their averages
    return Work(train.epochs * an_epoch, train.epochs * twice * validation + test, flops_of(config))


known_flops: dict[str, float] = {}


def flops_of(config: Config) -> float:
    """FLOPs of a forward pass, counted once for all seeds."""
    kind = kind_of(config)
    if kind not in known_flops:
        known_flops[kind] = cost(config)["flops"]
    return known_flops[kind]


def kind_of(config: Config) -> str:
    """What two runs share that take as long an image on one device."""
    plain = asdict(config)
    train = [plain["train"][name] for name in ("micro_batch", "amp", "compile", "channels_last")]
    return hashed(repr([network(plain), plain["data"]["size"], train]))


def from_records(planned: Planned, runs: Iterable[Run], device: str) -> tuple[Pace, str] | None:
    """The rate of finished runs of this network on the same kind of device; of others at this scale by their FLOPs."""
    there = [run for run in runs if run.device == device and run.images_per_second and run.flops and run.complete]
    there = [run for run in there if not run.same_as and run.scale == planned.config.scale.name]
    same = [run for run in there if kind_of(compose.checked(run.config)) == kind_of(planned.config)]
    if same:
        rate = sum(run.images_per_second or 0 for run in same) / len(same)
        return Pace(rate, FORWARD_AND_BACKWARD * rate), f"{len(same)} recorded"
    task = planned.config.task.kind
    like = [run for run in there if run.config["task"]["kind"] == task]
    if not like:
        return None
    flops = sorted((run.images_per_second or 0) * (run.flops or 0) for run in like)[len(like) // 2]
    rate = flops / planned.work.flops
    return Pace(rate, FORWARD_AND_BACKWARD * rate), f"FLOP/s of {len(like)} others"


def settle(
    planned: list[Planned], runs: Sequence[Run], options: argparse.Namespace, tell: Callable[[str], None]
) -> None:
    """Give each run its pace, by the best source there is."""
    known: dict[str, tuple[Pace, str]] = {}
    peak = 0.0
    device = options.device or device_name()
    gpu = options.device or torch.cuda.is_available()
    remark = "" if gpu else "; of this CPU: --device H100 plans for a GPU"
    for one in planned:
        kind = kind_of(one.config)
        if kind not in known and options.measure:
            tell(f"measuring {one.labels[0]}, some 15 seconds")
            known[kind] = measured(one.config), "measured"
        if kind not in known and (found := from_records(one, runs, device)):
            known[kind] = found
        if kind not in known:
            peak = peak or next((flops for name, flops in PEAKS.items() if name in device), 0) or peak_flops()
            rate = options.share * peak / (FORWARD_AND_BACKWARD * one.work.flops)
            known[kind] = (
                Pace(rate, FORWARD_AND_BACKWARD * rate),
                f"{options.share:.0%} of {counted(peak)}/s (a guess{remark})",
            )
        one.pace, one.source = known[kind]


def show(planned: list[Planned], finished: int, places: int, device: str, console: Console) -> None:
    """The runs by network, seeds together, and their sum."""
    grid = Table(title=f"What is left, on {device}", title_justify="left")
    for name in ("run", "runs", "FLOPs", "images/s", "hours", "of all"):
        grid.add_column(name, no_wrap=name != "run", justify="left" if name == "run" else "right")
    alike: dict[tuple[str, float], list[Planned]] = {}
    for one in planned:
        alike.setdefault((kind_of(one.config), one.work.total), []).append(one)
    for group in alike.values():
        first, seconds = group[0], sum(one.seconds for one in group)
        assert first.pace is not None
        others = len({label.split()[0] for one in group for label in one.labels}) - 1
        grid.add_row(
            escape(first.labels[0] + (f" and {others} more" if others else "")),
            str(len(group)),
            counted(sum((1 - one.done) * one.work.total for one in group)),
            f"{first.pace.training:.4g}",
            hours(seconds / len(group)),
            hours(seconds),
        )
    console.print(grid)
    for source in dict.fromkeys(one.source for one in planned):
        runs = sum(one.source == source for one in planned)
        console.print(f"images/s{f' of {runs} runs' if runs < len(planned) else ''}: {escape(source)}")
    total = sum(one.seconds for one in planned)
    flops = sum((1 - one.done) * one.work.total for one in planned)
    clock = by_the_clock([one.seconds for one in planned], places) if planned else 0.0
    console.print(f"Runs that differ: {len(planned)} left, {finished} finished. {counted(flops)} to go")
    at_once = f" with {places} at once" if places > 1 else ""
    console.print(f"[bold]{hours(total)} device hours; {lasting(clock)} by the clock{at_once}[/]")


def show_seeds(runs: Sequence[Run], rows: Sequence[Row], planned: Sequence[Planned], console: Console) -> None:
    """Further seeds of the chosen tables' rows that would decide what the paper says of them, and what they would take."""
    tables = {row.identity.table for row in rows}
    settings = {(row.config.scale.name, ",".join(row.identity.variant)) for row in rows}
    expected = {label.split()[0]: one.seconds for one in planned for label in one.labels}
    for scale, variant in sorted(settings):
        for one in judge(runs, scale, variant):
            needed = one.needed
            if one.statement.table not in tables or not needed:
                continue
            groups = gather(runs, one.statement.table, scale, variant)
            further, seconds = 0, 0.0
            for row, seeds in needed.items():
                finished = groups[row].finished if row in groups else ()
                further += max(0, seeds - len(finished))
                took = [run.seconds for run in finished if run.seconds]
                took = took or [expected.get(f"{one.statement.table}={row}", 0.0)]
                seconds += max(0, seeds - len(finished)) * sum(took) / len(took)
            cost = f"about {hours(seconds)} device hours" if seconds else "none of them has been timed yet"
            console.print(
                f"[bold]{escape(one.statement.text)}[/] {max(needed.values())} seeds a row would {one.promise}: "
                f"{further} further runs, {cost}"
            )


def counted(flops: float) -> str:
    """FLOPs in a unit that leaves a few digits."""
    for unit, name in ((1e18, "E"), (1e15, "P"), (1e12, "T")):
        if flops >= unit:
            return f"{flops / unit:.3g} {name}FLOP"
    return f"{flops / 1e9:.3g} GFLOP"


def hours(seconds: float) -> str:
    """Hours in as many digits as mean something."""
    return f"{seconds / 3600:.{2 if seconds < 3600 else 3}g}" if seconds < 360_000 else f"{seconds / 3600:.0f}"


def lasting(seconds: float) -> str:
    """Time as people say it, in days where it is some."""
    days = seconds / 86400
    return duration(seconds) if days < 2 else f"{days:.1f} days" if days < 10 else f"{days:.0f} days"


def main() -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m sasa.plan", description=__doc__, allow_abbrev=False)
    parser.add_argument("words", nargs="+", metavar="WORD", help="table1 table3=conv1 scale=imagenet seed=0,1,2 gpus=8")
    parser.add_argument(
        "--measure", action="store_true", help="some steps of each different network, on this machine now"
    )
    parser.add_argument("--device", help=f"plan for another device: {', '.join(PEAKS)}, or as runs recorded its name")
    parser.add_argument(
        "--share", type=float, default=SHARE, help="of the peak, where nothing was measured or recorded (0.08)"
    )
    options = parser.parse_intermixed_args()
    console = Console()
    try:
        places = [word.partition("=")[2] for word in options.words if word.startswith("gpus=")] or ["1"]
        if not places[0].isdigit() or places[0] == "0":
            raise InputError(f"gpus={places[0]}: expected how many runs go side by side, such as gpus=8")
        if not 0 < options.share <= 1:
            raise InputError(f"--share {options.share:g}: expected a part of the peak, above 0 and at most 1")
        compose.register()
        with console.status("") as status:

            def tell(doing: str) -> None:
                status.update(f"[dim]{escape(doing)}[/]")

            rows = selection([word for word in options.words if not word.startswith("gpus=")], tell)
            output = Path(rows[0].config.output).expanduser() if rows else Path("outputs")
            runs = collect(output).known
            planned, finished = unfinished(rows, runs, tell)
            settle(planned, runs, options, tell)
    except (InputError, *compose.ERRORS) as error:
        parser.error(" ".join(str(error).split()))
    show(planned, finished, int(places[0]), options.device or device_name(), console)
    show_seeds(runs, rows, planned, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
