"""The runs of one table's rows, gathered over seeds."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from sasa.records.result import Run


@dataclass(frozen=True)
class Statistic:
    """Mean and sample standard deviation over `count` seeds; the deviation of one seed is None."""

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class Group:
    """The runs of one row that share a scale and a variant, one a seed, by seed."""

    row: str
    scale: str
    variant: str
    runs: tuple[Run, ...]

    @property
    def finished(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.status == "finished")

    @property
    def status(self) -> str:
        """The best that any seed has come to: finished, running, failed, interrupted."""
        present = {run.status for run in self.runs}
        return next(status for status in ("finished", "running", "failed", "interrupted") if status in present)

    @property
    def newest(self) -> tuple[Run, ...]:
        """The runs, newest first."""
        return tuple(sorted(self.runs, key=lambda run: run.started, reverse=True))

    def latest(self, field: str) -> float | None:
        """A field of the newest run that has it: one that has just begun does not know its costs yet."""
        return next((value for run in self.newest if (value := getattr(run, field)) is not None), None)

    @property
    def conditions(self) -> set[tuple[str, int | None, int]]:
        """What its finished runs were trained on, for how long and by which version: results of others do not compare."""
        return {(run.data, run.epochs, run.semantics) for run in self.finished}

    def values(self, split: str, measure: str) -> list[float]:
        """A measure of each finished run that has it on `split`; another split never stands in for it."""
        return [by_measure[measure] for run in self.finished if measure in (by_measure := run.measured(split))]

    def statistic(self, split: str, measure: str) -> Statistic | None:
        """A measure over the finished runs; None if no run has it."""
        values = self.values(split, measure)
        if not values:
            return None
        return Statistic(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def gather(runs: Iterable[Run], table: str, scale: str, variant: str) -> dict[str, Group]:
    """The groups of a table at one scale and variant, by row name.

    A finished run of another table's row that is the same configuration counts, as it would if it were run here.
    """
    seeds: dict[str, dict[int, Run]] = {}
    for run in runs:
        row = row_of(run, table)
        if row is not None and (run.scale, run.variant) == (scale, variant):
            by_seed = seeds.setdefault(row, {})
            # `table4=k3` and `table4=k3 seed=0` are the same experiment in two folders: it counts once.
            by_seed[run.seed] = max(by_seed.get(run.seed, run), run, key=lambda one: standing(one, table))
    return {
        row: Group(row, scale, variant, tuple(run for _, run in sorted(by_seed.items())))
        for row, by_seed in seeds.items()
    }


def settings(runs: Iterable[Run], table: str) -> list[tuple[str, str]]:
    """Every (scale, variant) at which the table has runs; of a scale, the one without overrides comes first.

    Overrides with which nothing but runs that failed before they began was run, such as mistyped ones, are left out.
    """
    known = [run for run in runs if row_of(run, table) is not None]
    return sorted({(run.scale, run.variant) for run in known if run.began or not run.variant})


def row_of(run: Run, table: str) -> str | None:
    """The row of a table that a run counts as; a finished run of another table's row that is the same one does, too."""
    return row_in(run, table) if run.table == table or run.status == "finished" else None


def row_in(run: Run, table: str) -> str | None:
    """The row of a table that a run is, its own or the same one, whatever has become of it."""
    return run.row if run.table == table else dict(run.rows).get(table)


def standing(run: Run, table: str) -> tuple[bool, bool, bool, str]:
    return run.status == "finished", run.table == table, run.status == "running", run.started
