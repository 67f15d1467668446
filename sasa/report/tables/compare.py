"""A published table beside our runs of it, gathered by row over seeds: plain lines of numbers, which all formats show."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from sasa.config import PROGRAM, shortcut
from sasa.records.collect import SHIPPED
from sasa.records.result import Run
from sasa.report.groups import Group, gather
from sasa.report.intervals import contrast
from sasa.report.names import clean
from sasa.report.paper import MEASURES, Row, Table


@dataclass(frozen=True)
class Score:
    """A measure in percent: the published number, and ours as mean and deviation over seeds.

    difference: ours less the published one, at the paper's own scale alone; elsewhere the images are others.
    """

    published: float | None = None
    mean: float | None = None
    deviation: float | None = None
    difference: float | None = None


NOTHING = Score()


@dataclass(frozen=True)
class Effect:
    """What a row's first measure gains over that of row `over`, in points: published, and ours with its 95 % interval."""

    over: str
    published: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """One row. Costs are those at the paper's size, in G and M; `run_flops` and `run_params` are the run's own counts.

    `scores` has the table's measures; `seeds` counts those of the first one.
    """

    row: str
    cells: tuple[str, ...]
    status: str
    progress: str = ""
    flops_published: float | None = None
    flops: float | None = None
    flops_difference: float | None = None
    params_published: float | None = None
    params: float | None = None
    params_difference: float | None = None
    scores: Mapping[str, Score] = field(default_factory=dict)
    effect: Effect | None = None  # None for the row of reference, and where there is none
    seeds: int = 0
    best: bool = False
    run_flops: float | None = None
    run_params: float | None = None
    notes: tuple[str, ...] = ()
    runs: tuple[Run, ...] = ()

    def score(self, measure: str = "top1") -> Score:
        """A measure, published and ours."""
        return self.scores.get(measure, NOTHING)


@dataclass(frozen=True)
class Comparison:
    """A table at one scale and variant; scale is None where there are no runs to take one from."""

    table: Table
    scale: str | None
    variant: str
    lines: tuple[Line, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        return tuple(run for line in self.lines for run in line.runs)

    @property
    def caption(self) -> str:
        """What our numbers were measured on."""
        if not self.runs:
            setting = [f"no runs at scale {self.scale}" if self.scale is not None else "no runs yet"]
        else:
            setting = [f"scale {self.scale}", data_of(self.runs), epochs_of(self.runs)]
        if len({run.semantics for run in self.runs}) > 1:
            setting.append("of several versions of sasa, whose numbers do not compare")
        if "ap" in self.table.measures and self.runs:
            setting.append(start_of(self.runs))
        overrides = self.variant
        if overrides.startswith(SHIPPED):
            setting.append(f"{SHIPPED} with the project")
            overrides = overrides.removeprefix(SHIPPED).removeprefix(", ")
        if overrides:
            setting.append(f"with {overrides}")
        split = {"validation": "validation split", "test": "test images"}[self.table.split]
        measure = MEASURES[self.table.measures[0]]
        return clean("ours: " + ", ".join(setting) + f"; paper: {self.table.setting}; {measure} on the {split}.")

    @property
    def legend(self) -> str:
        """How to read the numbers."""
        text = f"FLOPs, parameters: ours at the paper's size ({self.table.size}), a multiply-add counted as 2."
        if any(line.seeds > 1 for line in self.lines):
            text += " ±: sample standard deviation (seeds). [ ]: 95 % interval of each gain (Welch's t over seeds)."
        return text

    @property
    def at_paper_scale(self) -> bool:
        """Whether our results and the paper's are of the same images."""
        return self.scale == self.table.scale

    @property
    def hint(self) -> str:
        """The command for the rows that are missing; empty if none is."""
        missing = [line.row for line in self.lines if line.status == "missing"]
        if not missing:
            return ""
        name, count = self.table.name, f"{len(missing)} of {len(self.lines)} rows missing"
        if self.scale is None:
            words = command(self.table, "glob(*)")
            return f"nothing has been run yet: {words if self.table.folder else shortcut(f'{name}, or {words}', words)}"
        if self.variant:
            return count
        rows = ",".join(missing) if self.runs else "glob(*)"
        return clean(f"{count}: {command(self.table, rows, f'scale={self.scale}')}")


def command(table: Table, rows: str, *words: str) -> str:
    """What is typed to train rows of a table."""
    ending = ("--config-dir", table.folder) if table.folder else ()
    return shlex.join((*PROGRAM.split(), "-m", f"{table.name}={rows}", *words, *ending))


def compare(table: Table, runs: Iterable[Run], scale: str | None, variant: str = "") -> Comparison:
    """The published rows in their order, then rows of the user's own; runs of another scale or variant are left out."""
    groups = {} if scale is None else gather(runs, table.name, scale, variant)
    own = [Row(name, (name, *[""] * (len(table.columns) - 1))) for name in sorted(groups)]
    names = {row.name for row in table.rows}
    rows = [*table.rows, *(row for row in own if row.name not in names)]
    lines = [line_of(row, groups, table) for row in rows]
    return Comparison(table, scale, variant, tuple(mark_best(lines, table.measures[0])))


def cost_line(row: Row, flops: float | None, params: float | None) -> Line:
    """The line of a row whose costs at the paper's size, as plain counts, are known and which has not been run."""
    flops = None if flops is None else flops / 1e9
    params = None if params is None else params / 1e6
    return Line(
        row=row.name,
        cells=row.cells,
        status="missing",
        flops_published=row.flops,
        flops=flops,
        flops_difference=above(flops, row.flops),
        params_published=row.params,
        params=params,
        params_difference=above(params, row.params),
        scores={measure: Score(row.published(measure)) for measure in MEASURES if row.published(measure) is not None},
    )


def line_of(row: Row, groups: Mapping[str, Group], table: Table) -> Line:
    group, effect = groups.get(row.name), effect_of(row, groups, table)
    if group is None:
        return replace(cost_line(row, None, None), effect=effect)
    costs = cost_line(row, group.latest("paper_flops"), group.latest("paper_params"))
    first = group.statistic(table.split, table.measures[0])
    return replace(
        costs,
        status=group.status,
        progress=max((progress_of(run) for run in group.runs if run.status == group.status), key=done),
        scores={measure: score_of(row, group, table, measure) for measure in table.measures},
        effect=effect,
        seeds=first.count if first else 0,
        run_flops=group.latest("flops"),
        run_params=group.latest("params"),
        notes=tuple(notes_of(group, table)),
        runs=group.runs,
    )


def score_of(row: Row, group: Group, table: Table, measure: str) -> Score:
    published, own = row.published(measure), group.statistic(table.split, measure)
    if own is None:
        return Score(published)
    return Score(published, own.mean, own.deviation, above(own.mean, published) if group.scale == table.scale else None)


def effect_of(row: Row, groups: Mapping[str, Group], table: Table) -> Effect | None:
    """A row against its table's row of reference; ours where both were trained alike."""
    other, measure = table.reference_of(row.name), table.measures[0]
    reference = next((one for one in table.rows if one.name == other), None)
    if reference is None or row.name == other:
        return None
    effect = Effect(other, above(row.published(measure), reference.published(measure)))
    if row.name not in groups or other not in groups or groups[row.name].conditions != groups[other].conditions:
        return effect
    own, others = (groups[name].values(table.split, measure) for name in (row.name, other))
    if not own or not others:
        return effect
    measured = contrast([(1.0, own), (-1.0, others)])
    low, high = measured.interval() or (None, None)
    return replace(effect, value=measured.value, low=low, high=high)


def notes_of(group: Group, table: Table) -> Iterable[str]:
    seeds: dict[str, list[str]] = {}
    for run in group.runs:
        for text in remarks(run, group, table):
            seeds.setdefault(text, []).append(str(run.seed))
    for text, having in seeds.items():
        only = ", seeds " if len(having) > 1 else ", seed "
        yield clean(group.row + (only + " ".join(having) if len(group.runs) > len(having) else "") + f": {text}")
    if len({(run.data, run.epochs) for run in group.finished}) > 1:
        yield clean(f"{group.row}: its seeds differ: {data_of(group.finished)}, {epochs_of(group.finished)}")


def remarks(run: Run, group: Group, table: Table) -> Iterable[str]:
    if run.status == "finished" and (run.same_as or run.table != table.name):
        yield f"the same run as {run.same_as or run.folder}"
    measure = table.measures[0]
    if run.status == "finished" and measure not in run.measured(table.split):
        yield f"finished without {article(measure)} on the {table.split} split"
    if run.status == "running" and group.status == "finished":
        yield f"running {progress_of(run)}".rstrip()
    if run.status == "failed":
        yield f"failed: {run.reason or 'no reason was recorded'}"
    if run.status == "interrupted":
        again = f"; to go on: {run.command}" if run.command else ""
        yield f"interrupted: {run.reason or 'no reason was recorded'}{again}"


def article(measure: str) -> str:
    """A measure as it stands in a sentence."""
    return "a top-1" if measure == "top1" else f"an {MEASURES[measure]}"


def mark_best(lines: list[Line], measure: str) -> list[Line]:
    means = [line.score(measure).mean for line in lines]
    values = [mean for mean in means if mean is not None]
    best = max(values) if len(values) > 1 else None
    return [replace(line, best=best is not None and mean == best) for line, mean in zip(lines, means, strict=True)]


def above(own: float | None, published: float | None) -> float | None:
    return None if own is None or published is None else own - published


def progress_of(run: Run) -> str:
    return "" if run.epochs_done is None or not run.epochs else f"{run.epochs_done}/{run.epochs}"


def done(progress: str) -> int:
    return int(progress.split("/")[0]) if progress else -1


def data_of(runs: Iterable[Run]) -> str:
    return "data " + " and ".join(sorted({run.data or "unknown" for run in runs}))


def start_of(runs: Iterable[Run]) -> str:
    """Where the backbones of detectors start."""
    starts = sorted({"weights" if (run.config.get("backbone") or {}).get("weights") else "nothing" for run in runs})
    return "backbones from " + " or ".join(starts) + (" (rows differ)" if len(starts) > 1 else "")


def epochs_of(runs: Iterable[Run]) -> str:
    counts = sorted({run.epochs for run in runs if run.epochs is not None})
    unit = "epoch" if counts == [1] else "epochs"
    return f"{' or '.join(map(str, counts)) or 'unknown'} {unit}" + (" (rows differ)" if len(counts) > 1 else "")
