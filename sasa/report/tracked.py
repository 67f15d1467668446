"""A run's table of the paper, as it stands when the run ends, for its tracker."""

from typing import Any, Protocol

from sasa.records.collect import collect
from sasa.records.folder import Record
from sasa.report.paper import MEASURES, find_table
from sasa.report.tables import NOTHING, compare

COLUMNS = ("row", "status", "flops_published", "flops", "params_published", "params", "seeds")


class Tracker(Protocol):
    """What takes tables and figures."""

    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None: ...

    def figure(self, name: str, columns: list[str], rows: list[list[Any]], x: str, y: str) -> None: ...


def send_table(record: Record, tracker: Tracker) -> None:
    """The table, and its first measure against costs."""
    run = record.run
    if run.table is None:
        return
    table = find_table(run.table)
    rows = []
    for line in compare(table, collect(record.output).runs, run.scale, run.variant).lines:
        scores = [line.scores.get(measure, NOTHING) for measure in table.measures]
        numbers = [number for score in scores for number in (score.published, score.mean)]
        rows.append([*(getattr(line, name) for name in COLUMNS), *numbers])
    columns = [*COLUMNS, *(name for measure in table.measures for name in (f"{measure}_published", measure))]
    tracker.table(run.table, columns, rows)
    first = table.measures[0]
    points = [row for row in rows if row[columns.index(first)] is not None]
    for cost in ("flops", "params"):
        tracker.figure(f"{run.table}: {MEASURES[first]} against {cost}", columns, points, cost, first)
