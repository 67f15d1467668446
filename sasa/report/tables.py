"""A published table beside our runs of it, as plain lines of numbers. The formats are made from these."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sasa.report.collect import Run
from sasa.report.groups import Group, gather
from sasa.report.names import clean
from sasa.report.paper import Row, Table


@dataclass(frozen=True)
class Line:
    """One row. Costs are those at the paper's size, in G and M; `run_flops` and `run_params` are the run's own counts."""

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
    top1_published: float | None = None
    top1: float | None = None
    top1_deviation: float | None = None
    top1_difference: float | None = None
    seeds: int = 0
    best: bool = False
    run_flops: float | None = None
    run_params: float | None = None
    notes: tuple[str, ...] = ()
    runs: tuple[Run, ...] = ()


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
            setting = [f"scale {self.scale}", _data(self.runs), _epochs(self.runs)]
        if self.variant:
            setting.append(f"with {self.variant}")
        split = {"validation": "validation split", "test": "test images"}[self.table.split]
        return clean("ours: " + ", ".join(setting) + f"; paper: ImageNet, 130 epochs; top-1 on the {split}.")

    @property
    def legend(self) -> str:
        """How to read the numbers."""
        text = "FLOPs, parameters: ours at the paper's size (224x224, 1000 classes), a multiply-add counted as 2."
        return text + (" ±: sample standard deviation (seeds)." if any(line.seeds > 1 for line in self.lines) else "")

    @property
    def hint(self) -> str:
        """The command for the rows that are missing; empty if none is."""
        missing = [line.row for line in self.lines if line.status == "missing"]
        if not missing:
            return ""
        name, count = self.table.name, f"{len(missing)} of {len(self.lines)} rows missing"
        if self.scale is None:
            return f"nothing has been run yet: make {name}, or python run.py -m '{name}=glob(*)'"
        if self.variant:
            return count
        rows = f"{name}={','.join(missing)}" if self.runs else f"{name}=glob(*)"
        return clean(f"{count}: python run.py -m {shlex.quote(rows)} {shlex.quote(f'scale={self.scale}')}")


def compare(table: Table, runs: Iterable[Run], scale: str | None, variant: str = "") -> Comparison:
    """The published rows in their order, then rows of the user's own; runs of another scale or variant are left out."""
    groups = {} if scale is None else gather(runs, table.name, scale, variant)
    own = [Row(name, (name, *[""] * (len(table.columns) - 1))) for name in sorted(groups)]
    names = {row.name for row in table.rows}
    rows = [*table.rows, *(row for row in own if row.name not in names)]
    lines = [_line(row, groups.get(row.name), table.split) for row in rows]
    return Comparison(table, scale, variant, tuple(_mark_best(lines)))


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
        flops_difference=_difference(flops, row.flops),
        params_published=row.params,
        params=params,
        params_difference=_difference(params, row.params),
        top1_published=row.top1,
    )


def _line(row: Row, group: Group | None, split: str) -> Line:
    if group is None:
        return cost_line(row, None, None)
    newest = group.newest
    costs = cost_line(row, _first(run.paper_flops for run in newest), _first(run.paper_params for run in newest))
    top1 = group.top1(split)
    return replace(
        costs,
        status=group.status,
        progress=max((_progress(run) for run in group.runs if run.status == group.status), key=_done),
        top1=top1.mean if top1 else None,
        top1_deviation=top1.deviation if top1 else None,
        top1_difference=_difference(top1.mean if top1 else None, row.top1),
        seeds=top1.count if top1 else 0,
        run_flops=_first(run.flops for run in newest),
        run_params=_first(run.params for run in newest),
        notes=tuple(_notes(group, split)),
        runs=group.runs,
    )


def _notes(group: Group, split: str) -> Iterable[str]:
    seeds: dict[str, list[str]] = {}
    for run in group.runs:
        for text in _remarks(run, group, split):
            seeds.setdefault(text, []).append(str(run.seed))
    for text, having in seeds.items():
        only = ", seeds " if len(having) > 1 else ", seed "
        yield clean(group.row + (only + " ".join(having) if len(group.runs) > len(having) else "") + f": {text}")
    if len({(run.data, run.epochs) for run in group.finished}) > 1:
        yield clean(f"{group.row}: its seeds differ: {_data(group.finished)}, {_epochs(group.finished)}")


def _remarks(run: Run, group: Group, split: str) -> Iterable[str]:
    if run.status == "finished" and run.same_as:
        yield f"the same run as {run.same_as}"
    if run.status == "finished" and "top1" not in run.accuracy.get(split, {}):
        yield f"finished without a top-1 on the {split} split"
    if run.status == "running" and group.status == "finished":
        yield f"running {_progress(run)}".rstrip()
    if run.status == "failed":
        yield f"failed: {run.reason or 'no reason was recorded'}"
    if run.status == "interrupted":
        again = f"; to go on: {run.command}" if run.command else ""
        yield f"interrupted: {run.reason or 'no reason was recorded'}{again}"


def _mark_best(lines: list[Line]) -> list[Line]:
    values = [line.top1 for line in lines if line.top1 is not None]
    best = max(values) if len(values) > 1 else None
    return [replace(line, best=best is not None and line.top1 == best) for line in lines]


def _difference(own: float | None, published: float | None) -> float | None:
    return None if own is None or published is None else own - published


def _first(values: Iterable[float | None]) -> float | None:
    return next((value for value in values if value is not None), None)


def _progress(run: Run) -> str:
    return "" if run.epochs_done is None or not run.epochs else f"{run.epochs_done}/{run.epochs}"


def _done(progress: str) -> int:
    return int(progress.split("/")[0]) if progress else -1


def _data(runs: Iterable[Run]) -> str:
    return "data " + " and ".join(sorted({run.data or "unknown" for run in runs}))


def _epochs(runs: Iterable[Run]) -> str:
    counts = sorted({run.epochs for run in runs if run.epochs is not None})
    unit = "epoch" if counts == [1] else "epochs"
    return f"{' or '.join(map(str, counts)) or 'unknown'} {unit}" + (" (rows differ)" if len(counts) > 1 else "")
